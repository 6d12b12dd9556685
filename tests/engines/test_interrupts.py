"""A pass that is broken off at any moment leaves no answer behind, no worker that still writes, and no descriptor."""

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
from worker_pools import CELLS, descriptors_of_memory, differing, draw, everything, started, wait_for

from numrnn import blas
from numrnn.engines.cpu import processes, shared_memory, workspace

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
]
NAME = "lstm"


@pytest.fixture
def interrupt_after():
    """Return a function that lets KeyboardInterrupt be raised in this thread so many seconds later."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)  # pytest itself answers Ctrl-C
    yield lambda delay: threading.Timer(delay, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    signal.signal(signal.SIGUSR1, before)


def test_the_pass_after_an_interrupted_one_is_right(pool, calls, interrupt_after, rng):
    cell = CELLS[NAME]
    cases = [draw(cell, rng, n_steps=300, batch=64) for _ in range(2)]
    wanted = [everything(cell, case) for case in cases]
    start = time.perf_counter()
    everything(cell, cases[0])
    duration, landed = time.perf_counter() - start, 0
    for trial in range(12):
        wait_for(lambda: started(pool))
        try:
            interrupt_after(rng.uniform(0, duration))
            everything(cell, cases[trial % 2])
            time.sleep(2 * duration)
        except KeyboardInterrupt:
            landed += 1
        which = (trial + rng.integers(2)) % 2
        assert not differing(everything(cell, cases[which]), wanted[which])
    assert landed > 0
    wait_for(lambda: started(pool))
    del calls[:]
    assert not differing(everything(cell, cases[0]), wanted[0])
    assert calls


def test_an_interrupted_call_leaves_no_answer_behind(pool):
    def interrupt():
        raise KeyboardInterrupt

    with pool.borrow(1) as workers, pytest.raises(KeyboardInterrupt):
        pool.run(workers, [str, interrupt])
    wait_for(lambda: started(pool))
    with pool.borrow(1) as workers:
        assert pool.run(workers, [float, int]) == [0.0, 0]


def test_memory_is_not_used_again_while_a_worker_may_write_to_it(pool, monkeypatch):
    """The answer is broken off, and so is the end of the worker: a second Ctrl-C."""
    gc.collect()
    workspace.clear()
    (array,) = shared_memory.arena([((1000,), np.float64)])
    ends = []

    def interrupt(*_):
        ends.append(1)
        raise KeyboardInterrupt

    with pool.borrow(1) as workers:
        worker = workers[0]
        monkeypatch.setattr(processes.Worker, "receive", interrupt)
        monkeypatch.setattr(processes.Worker, "end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.run(workers, [Slow(array), int])
    monkeypatch.undo()
    assert len(ends) == 2
    address = array.ctypes.data
    del array
    (other,) = shared_memory.arena([((1000,), np.float64)])
    assert other.ctypes.data != address
    assert not started(pool)  # that ended it
    assert worker.ended()
    wait_for(lambda: started(pool))
    (again,) = shared_memory.arena([((1000,), np.float64)])
    assert again.ctypes.data == address
    del other, again
    workspace.clear()
    assert not descriptors_of_memory()


class Slow:
    """A task that takes its time, and then writes."""

    def __init__(self, array):
        self.array = array

    def __call__(self):
        time.sleep(1)
        self.array[:] = -1


def test_an_exception_in_this_process_waits_for_the_workers_and_keeps_them(pool, tmp_path):
    def fail():
        raise ValueError("planted")

    (array,) = shared_memory.arena([((1000,), np.float64)])
    array[:] = 0
    with pool.borrow(1) as workers:
        pid = workers[0].pid
        with pytest.raises(ValueError, match="planted"):
            pool.run(workers, [Slow(array), fail])
    assert np.all(array == -1)
    assert pool._workers[0].pid == pid
