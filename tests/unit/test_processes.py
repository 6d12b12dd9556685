"""Worker processes of the CPU engine: the numbers of its threads, and nobody left behind or written over."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import draw_sequence, make_cells

import numrnn
from numrnn import backward, forward
from numrnn.engines import numpy_engine, processes, threads, workspace
from numrnn.tape import GRADIENTS

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not processes.SUPPORTED, reason="this system has no memfd_create"),
    pytest.mark.skipif(threads.available_cores() < 2, reason="a slice for a second process needs a second core"),
]
CELLS = make_cells()


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def pool(monkeypatch):
    """Return a pool of one worker that has started, which the engine uses for problems of any size."""
    monkeypatch.setattr(numpy_engine, "PROCESS_FLOPS", 0)
    monkeypatch.delenv(processes.VARIABLE, raising=False)
    own = processes.Pool()
    monkeypatch.setattr(processes, "pool", own)

    def started():
        with own.borrow(1) as workers:
            return workers is not None

    wait_for(started)
    yield own
    own.close()


@pytest.fixture
def calls(monkeypatch):
    """Return a list that grows by one whenever a worker is sent a task."""
    found = []
    send = processes.Worker.send
    monkeypatch.setattr(processes.Worker, "send", lambda self, task: (found.append(task), send(self, task))[1])
    return found


def everything(cell, case, **options):
    params, x, h0, d_states = case
    states, tape = forward(cell, params, x, h0, engine="fused", **options)
    grads = backward(tape, d_states, wrt=GRADIENTS)
    return {"states": np.array(states), "x": grads.x, "h0": grads.h0, "dh": grads.states, **grads.params}


def draw(cell, rng, n_steps=40, batch=70):
    params, x, h0 = draw_sequence(cell, rng, n_steps, batch)
    return params, x, h0, rng.standard_normal((n_steps + 1, batch, cell.state_size))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("every", [None, 16])
def test_processes_give_the_bits_of_threads(name, every, pool, calls, monkeypatch, rng):
    cell, case = CELLS[name], draw(CELLS[name], rng)
    options = {"lengths": rng.integers(1, 41, 70), "checkpoint_every": every}
    apart = everything(cell, case, **options)
    assert calls
    monkeypatch.setenv(processes.VARIABLE, "0")
    del calls[:]
    together = everything(cell, case, **options)
    assert not calls
    assert all(np.array_equal(apart[key], together[key]) for key in together)


def fail():
    raise ValueError("planted")


def test_an_exception_in_a_worker_is_raised_here_and_the_worker_goes_on(pool):
    with pool.borrow(1) as workers, pytest.raises(ValueError, match="planted"):
        pool.run(workers, [fail, int])
    with pool.borrow(1) as workers:
        assert pool.run(workers, [os.getpid, os.getpid])[0] != os.getpid()


def test_a_worker_that_dies_is_told_of_and_nothing_is_lost(pool, rng):
    cell, case = CELLS["gated, full"], draw(CELLS["gated, full"], rng)
    before = everything(cell, case)
    with pool.borrow(1) as workers:
        os.kill(workers[0]._process.pid, signal.SIGKILL)
    with pytest.warns(
        RuntimeWarning, match=r"a worker process of the CPU engine ended \(.+\); it goes on with threads"
    ):
        after = everything(cell, case)
    assert all(np.array_equal(after[key], before[key]) for key in before)
    assert all(np.array_equal(value, before[key]) for key, value in everything(cell, case).items())


def test_an_interrupted_call_leaves_no_answer_behind(pool, rng):
    def interrupt():
        raise KeyboardInterrupt

    with pool.borrow(1) as workers, pytest.raises(KeyboardInterrupt):
        pool.run(workers, [str, interrupt])
    wait_for(lambda: try_to_run(pool))
    with pool.borrow(1) as workers:
        assert pool.run(workers, [float, int]) == [0.0, 0]


def try_to_run(pool):
    with pool.borrow(1) as workers:
        return workers is not None


def test_a_second_caller_meanwhile_gets_none(pool):
    got = []
    with pool.borrow(1) as workers:
        other = threading.Thread(target=lambda: got.append(try_to_run(pool)))
        other.start()
        other.join()
        assert workers is not None
    assert got == [False]


def test_models_in_two_threads_do_not_disturb_each_other(pool, rng):
    cell = CELLS["gated, full"]
    cases = [draw(cell, rng) for _ in range(2)]
    wanted = [everything(cell, case) for case in cases]
    wrong = []

    def work(index):
        for _ in range(10):
            got = everything(cell, cases[index])
            wrong.extend(key for key in got if not np.array_equal(got[key], wanted[index][key]))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_shared_memory_is_given_back(pool, rng):
    cell, case = CELLS["antisymmetric, full"], draw(CELLS["antisymmetric, full"], rng)

    def mapped():
        with pool.borrow(1) as workers:
            text = pool.run(workers, [read_own_maps, int])[0]
        return text.count("memfd:numrnn")

    gc.collect()  # what other tests left in cycles
    everything(cell, case)
    assert mapped() > 0
    workspace.clear()
    assert mapped() == 0
    assert not [name for name in os.listdir("/proc/self/fd") if "memfd:numrnn" in readlink(f"/proc/self/fd/{name}")]


def readlink(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:  # of the listing itself
        return ""


def read_own_maps():
    with open("/proc/self/maps") as maps:
        return maps.read()


def test_a_forked_child_and_its_parent_do_not_write_over_each_other(pool, rng):
    cell, case = CELLS["antisymmetric, full"], draw(CELLS["antisymmetric, full"], rng)
    params, x, h0, _ = case
    held, _ = forward(cell, params, x, h0, engine="fused")
    before = held.copy()
    workspace_was = workspace.held_bytes()
    child = os.fork()
    if child == 0:
        ok = False
        try:
            for _ in range(3):
                forward(cell, params, x + 1, h0, engine="fused")
            ok = np.array_equal(held, before) and not processes.pool._workers[1:]
            processes.pool.close()
        finally:
            os._exit(0 if ok else 1)
    assert workspace.held_bytes() < workspace_was
    for _ in range(3):
        forward(cell, params, x + 2, h0, engine="fused")
    assert np.array_equal(held, before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert try_to_run(pool)


SCRIPT = """
import sys, time
from numrnn.engines import processes
while True:
    with processes.pool.borrow(1) as workers:
        if workers:
            print(workers[0]._process.pid, flush=True)
            break
    time.sleep(0.01)
if sys.argv[1] == "stay":
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["stay", "leave"])
def test_a_worker_ends_with_its_caller(end):
    caller = subprocess.Popen([sys.executable, "-W", "error", "-c", SCRIPT, end], stdout=subprocess.PIPE, text=True)
    with caller:
        worker = int(caller.stdout.readline())
        if end == "stay":
            caller.kill()
        assert caller.wait(30) == (-signal.SIGKILL if end == "stay" else 0)
    wait_for(lambda: not alive(worker))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_small_problems_stay_in_the_process(pool, calls, monkeypatch, rng):
    monkeypatch.undo()
    cell = numrnn.AntisymmetricCell(1, 4)
    params, x, h0 = draw_sequence(cell, rng, batch=80)
    forward(cell, params, x, h0, engine="fused")
    assert not calls


def test_a_system_without_shared_memory_uses_threads(pool, calls, monkeypatch, rng):
    monkeypatch.setattr(processes, "SUPPORTED", False)
    everything(CELLS["elman"], draw(CELLS["elman"], rng))
    assert not calls
