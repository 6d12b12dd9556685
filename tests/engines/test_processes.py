"""Worker processes of the CPU engine: the numbers of its threads, and nobody left behind or written over."""

import functools
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import draw_sequence
from worker_pools import CELLS, descriptors_of_memory, differing, draw, everything, started, wait_for

import numrnn
from numrnn import blas, forward
from numrnn.engines.cpu import processes, shared_memory, workspace
from numrnn.engines.cpu import tape as cpu_tape
from numrnn.engines.cpu.passes import Pass
from numrnn.problem import check_problem

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("every", [None, 16])
def test_processes_give_the_bits_of_threads(name, every, lasting_pool, calls, monkeypatch, rng):
    cell, case = CELLS[name], draw(CELLS[name], rng)
    options = {"lengths": rng.integers(1, 41, 70), "recompute_every": every}
    apart = everything(cell, case, **options)
    assert calls
    monkeypatch.setenv(processes.VARIABLE, "0")
    del calls[:]
    together = everything(cell, case, **options)
    assert not calls
    assert not differing(apart, together)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("every", [None, 16])
def test_a_task_reads_only_what_no_task_writes_and_can_be_run_again(name, every, rng):
    cell, batch = CELLS[name], 10
    params, x, h0, d_states = draw(cell, rng, 40, batch)
    problem = check_problem(cell, params, x, h0, rng.integers(1, 41, batch), every)
    run = Pass(problem, cpu_tape._slice_class(problem), shared=False, rows=5)
    dx, all_g, g = np.empty_like(x), np.empty_like(d_states), d_states[-1]
    first, second = slice(0, 4), slice(4, batch)

    def results():
        parts = [run.backward(rows, g, d_states, dx, all_g, True) for rows in (first, second, first)]
        whole = {"x": dx.copy(), "dh": all_g[:-1].copy(), "h0": np.vstack([parts[0][0], parts[1][0]])}
        return whole | {f"{part} {i}": total for part in (0, 1) for i, total in enumerate(parts[part][1])}

    def forget(*arrays):
        for array in arrays:
            if array is not None:
                array[...] = np.nan

    for array in (problem.x, problem.h0, problem.active, d_states):
        array.flags.writeable = False
    kept = {}
    for _ in range(2):
        forget(None if run.states is None else run.states[1:], run.acts, run.checkpoints, run.final)
        for rows in (first, second, first):
            run.forward(rows)
        got = [array.copy() for array in (run.states, run.acts, run.checkpoints, run.final) if array is not None]
        kept = kept or dict(enumerate(got))
        assert not differing(dict(enumerate(got)), kept)
    for array in (run.states, run.acts, run.checkpoints, run.final):
        if array is not None:
            array.flags.writeable = False
    wanted = results()
    forget(dx, all_g)
    assert not differing(results(), wanted)


def fail():
    raise ValueError("planted")


def test_an_exception_in_a_worker_is_raised_here_and_the_worker_goes_on(pool):
    with pool.borrow(1) as workers, pytest.raises(ValueError, match="planted"):
        pool.run(workers, [fail, int])
    with pool.borrow(1) as workers:
        assert pool.run(workers, [os.getpid, os.getpid])[0] != os.getpid()


def test_a_pool_that_is_closed_at_exit_leaves_a_thread_its_results_without_a_word(pool):
    """As when the interpreter ends beside a daemon thread in a pass."""
    got, sent = [], threading.Event()

    def work():
        with pool.borrow(1) as workers:
            got.append(pool.run(workers, [functools.partial(sleep_elsewhere, os.getpid()), sent.set]))

    thread = threading.Thread(target=work)
    thread.start()
    sent.wait()
    pool.close()
    thread.join()
    assert got == [[os.getpid(), None]]
    assert not started(pool)


def sleep_elsewhere(pid):
    if os.getpid() != pid:
        time.sleep(60)
    return os.getpid()


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
from numrnn.engines.cpu import processes
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
