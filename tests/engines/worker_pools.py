"""What the tests of worker processes share: passes that run on them, and pools that have started."""

import os
import time
from unittest import mock

import numpy as np
from helpers import draw_sequence, make_cells

from numrnn import backward, forward
from numrnn.bptt import GRADIENTS
from numrnn.engines.cpu import processes
from numrnn.engines.cpu import tape as cpu_tape

CELLS = make_cells()


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def started(pool, count=1):
    """Tell whether so many workers are ready, and start them if they are not."""
    with pool.borrow(count) as workers:
        return workers is not None


def everything(cell, case, **options):
    """Return all that a pass gives, by name."""
    params, x, h0, d_states = case
    states, tape = forward(cell, params, x, h0, engine="fused", **options)
    grads = backward(tape, d_states, wrt=GRADIENTS)
    return {"states": np.array(states), "x": grads.x, "h0": grads.h0, "dh": grads.states, **grads.params}


def draw(cell, rng, n_steps=40, batch=70, dtype=np.float64):
    params, x, h0 = draw_sequence(cell, rng, n_steps, batch, dtype)
    return params, x, h0, rng.standard_normal((n_steps + 1, batch, cell.state_size)).astype(dtype)


def differing(got, wanted):
    """Return the names of what does not have the same bits."""
    return [name for name in wanted if not np.array_equal(got[name], wanted[name])]


def in_threads(function, *arguments, **options):
    """Call a function while every slice is run by a thread."""
    with mock.patch.object(cpu_tape, "PROCESS_FLOPS", np.inf):
        return function(*arguments, **options)


def sent_tasks(monkeypatch):
    """Return a list that grows by a process id whenever a worker is sent a task."""
    found, send = [], processes.Worker.send
    monkeypatch.setattr(processes.Worker, "send", lambda self, task: (found.append(self.pid), send(self, task))[1])
    return found


def descriptors_of_memory():
    """Return where the descriptors of this process's shared memory lead."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return [path for path in found if "memfd:numrnn" in path]
