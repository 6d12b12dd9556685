"""Worker processes of the CPU engine: the numbers of its threads, and nobody left behind or written over."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from helpers import draw_sequence
from worker_pools import CELLS, descriptors_of_memory, differing, draw, everything, started, wait_for

import numrnn
from numrnn import blas, forward
from numrnn.engines import processes, shared_memory, workspace

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
]


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
    assert not differing(apart, together)


def fail():
    raise ValueError("planted")


def test_an_exception_in_a_worker_is_raised_here_and_the_worker_goes_on(pool):
    with pool.borrow(1) as workers, pytest.raises(ValueError, match="planted"):
        pool.run(workers, [fail, int])
    with pool.borrow(1) as workers:
        assert pool.run(workers, [os.getpid, os.getpid])[0] != os.getpid()


def test_a_second_caller_meanwhile_gets_none(pool):
    got = []
    with pool.borrow(1) as workers:
        other = threading.Thread(target=lambda: got.append(started(pool)))
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
            wrong.extend(differing(got, wanted[index]))

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
    assert kilobytes_held(pool._workers[0].pid) > 0
    workspace.clear()
    assert kilobytes_held(pool._workers[0].pid) == 0  # though the worker has not been told yet
    assert mapped() == 0
    assert not descriptors_of_memory()


def kilobytes_held(pid):
    """Return how much shared memory a process holds."""
    with open(f"/proc/{pid}/smaps") as maps:
        entries = maps.read().split("memfd:numrnn")[1:]
    return sum(int(re.search(r"Rss: +(\d+) kB", entry)[1]) for entry in entries)


def read_own_maps():
    with open("/proc/self/maps") as maps:
        return maps.read()


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
    monkeypatch.setattr(shared_memory, "SUPPORTED", False)
    everything(CELLS["elman"], draw(CELLS["elman"], rng))
    assert not calls
