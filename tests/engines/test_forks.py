"""Forks: results belong to their process, nothing is held in the child, and old tapes stay right in both."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from typing import ClassVar

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController
from worker_pools import CELLS, descriptors_of_memory, differing, draw, everything, in_threads, started, wait_for

from numrnn import backward, blas, forward
from numrnn.bptt import GRADIENTS
from numrnn.engines.cpu import processes, shared_memory, workspace

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
NAME = "gated, full"
EVERY = pytest.mark.parametrize("every", [None, 16])


class Child:
    """A forked process that calls a function, and fails if that raises or returns False."""

    unjoined: ClassVar[set] = set()

    def __init__(self, function):
        self.pid = os.fork()
        self.unjoined.add(self)
        if self.pid == 0:
            status = 1
            try:
                status = int(function() is False)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def join(self, seconds=60.0):
        self.unjoined.discard(self)
        end = time.monotonic() + seconds
        while (found := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError("the child hangs")
            time.sleep(0.002)
        assert found[1] == 0, f"the child failed, status {found[1]}"


@pytest.fixture(autouse=True)
def nobody_left_behind():
    """End the children of a test that failed."""
    yield
    while Child.unjoined:
        child = Child.unjoined.pop()
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def results(cell, case, **options):
    """Return a tape and every array that a caller may hold, by name."""
    params, x, h0, d_states = case
    states, tape = forward(cell, params, x, h0, engine="fused", **options)
    grads = backward(tape, d_states, wrt=GRADIENTS)
    last = {"states": states} if options.get("recompute_every") is None else {"final": states[-1]}
    inside = (tape._pass.x, tape._pass.h0, tape._pass.acts, tape._pass.checkpoints, tape._pass.final)
    of_tape = {f"tape {i}": array for i, array in enumerate(inside) if array is not None}
    return tape, {"x": grads.x, "h0": grads.h0, "dh": grads.states, **grads.params, **last, **of_tape}


@EVERY
def test_neither_process_sees_what_the_other_writes(every, pool, calls, rng):
    cell = CELLS[NAME]
    old = [results(cell, draw(cell, rng), recompute_every=every) for _ in range(3)]
    new = [results(cell, draw(cell, rng), recompute_every=every) for _ in range(2)]
    assert calls
    everywhere = {f"{i} {name}": array for i, (_, held) in enumerate(old + new) for name, array in held.items()}
    before = {name: array.copy() for name, array in everywhere.items()}
    child_reads, child_writes = os.pipe(), os.pipe()

    def child():
        for array in list(everywhere.values())[::2]:
            array += 1
        os.write(child_writes[1], b".")
        os.read(child_reads[0], 1)
        for array in list(everywhere.values())[1::2]:
            array += 1
        return not differing(everywhere, {name: array + 1 for name, array in before.items()})

    forked = Child(child)
    os.read(child_writes[0], 1)
    assert not differing(everywhere, before)
    for array in everywhere.values():
        array -= 1
    os.write(child_reads[1], b".")
    forked.join()
    assert not differing(everywhere, {name: array - 1 for name, array in before.items()})
    for descriptor in (*child_reads, *child_writes):
        os.close(descriptor)


@EVERY
@pytest.mark.parametrize("name", ["lstm", NAME])
def test_an_old_tape_is_right_in_both_processes(name, every, pool, calls, rng):
    cell, case = CELLS[name], draw(CELLS[name], rng)
    tape, held = results(cell, case, recompute_every=every)
    wanted = {key: held[key].copy() for key in held if not key.startswith("tape")}

    def again():
        grads = backward(tape, case[3], wrt=GRADIENTS)
        got = {"x": grads.x, "h0": grads.h0, "dh": grads.states, **grads.params}
        got |= {"states": tape.states, "final": tape.states[-1]}
        return not differing(got, wanted)

    forked = Child(again)
    del calls[:]
    assert again()
    forked.join()
    assert not calls  # workers no longer see this memory
    assert not differing(everything(cell, case, recompute_every=every), {"h0": wanted["h0"], "dh": wanted["dh"]})
    assert calls  # but that of a new pass
    assert again()


def test_a_child_starts_workers_of_its_own_and_leaves_those_of_the_parent(pool, calls, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    wanted = everything(cell, case)
    worker = pool._workers[0].pid

    def child():
        assert not descriptors_of_memory()
        wait_for(lambda: started(processes.pool))
        assert processes.pool._workers[0].pid != worker
        del calls[:]
        ok = not differing(everything(cell, case), wanted) and bool(calls)
        processes.pool.close()
        return ok

    Child(child).join()
    assert not differing(everything(cell, case), wanted)
    assert pool._workers[0].pid == worker
    assert started(pool)


@pytest.mark.parametrize("large", [False, True])
def test_no_fork_beside_a_busy_thread_hangs_the_child(large, pool, monkeypatch, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng, n_steps=20)
    if not large:
        monkeypatch.setattr("numrnn.engines.cpu.tape.PROCESS_FLOPS", np.inf)
    wanted, wrong, stop = everything(cell, case), [], threading.Event()
    blas = blas_threads()

    def work():
        while not stop.is_set():
            wrong.extend(differing(everything(cell, case), wanted))

    def child():
        assert blas_threads() == blas
        assert not differing(in_threads(everything, cell, case), wanted)
        workspace.clear()

    busy = [threading.Thread(target=work) for _ in range(2)]
    for thread in busy:
        thread.start()
    try:
        for _ in range(40):
            Child(child).join()
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    assert not wrong
    assert blas_threads() == blas


def blas_threads():
    return [library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"]


def test_a_fork_waits_until_the_workers_are_idle(pool):
    forked = []
    with pool.borrow(1) as workers:
        assert workers is not None
        forking = threading.Thread(target=lambda: forked.append(Child(lambda: True)))
        forking.start()
        forking.join(0.3)
        assert not forked
    forking.join()
    forked[0].join()


def test_forks_in_one_thread_leave_the_passes_of_another_right(pool, calls, rng):
    """A pass whose memory became private half-way would miss what its worker writes later."""
    cell, case = CELLS["lstm"], draw(CELLS["lstm"], rng, n_steps=400)
    wanted, stop = everything(cell, case), threading.Event()

    def fork_often():
        while not stop.is_set():
            Child(lambda: True).join()

    forking = threading.Thread(target=fork_often)
    forking.start()
    try:
        for _ in range(10):
            assert not differing(everything(cell, case), wanted)
    finally:
        stop.set()
        forking.join()
    assert calls


def test_a_signal_handler_may_fork_in_the_middle_of_a_pass(pool, calls, rng):
    cell, case = CELLS["lstm"], draw(CELLS["lstm"], rng, n_steps=400)
    wanted, children = everything(cell, case), []

    def fork(*_):
        children.append(Child(lambda: not differing(in_threads(everything, cell, case), wanted)))

    before = signal.signal(signal.SIGUSR1, fork)
    try:
        for delay in rng.uniform(0.001, 0.1, 10):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            assert not differing(everything(cell, case), wanted)
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    for child in children:
        child.join()
    assert children
    assert started(pool)


def test_a_fork_just_before_the_workers_are_borrowed_leaves_the_pass_right(pool, calls, monkeypatch, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    wanted, borrow = everything(cell, case), processes.Pool.borrow
    del calls[:]

    def fork_and_borrow(self, count):
        Child(lambda: True).join()
        return borrow(self, count)

    monkeypatch.setattr(processes.Pool, "borrow", fork_and_borrow)
    assert not differing(everything(cell, case), wanted)
    assert not calls


def test_a_program_that_forks_by_itself_and_calls_the_hook_of_the_child_alone_loses_nothing(pool, calls, rng):
    """As servers do that embed Python: memory is private to the child, which gives none of its parent's back."""
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    _, held = results(cell, case)
    before = {name: array.copy() for name, array in held.items()}
    wanted = everything(cell, case)  # and its memory is idle
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        status = 1
        try:
            processes._after_in_child()
            for array in held.values():
                array += 1
            assert not descriptors_of_memory()
            status = len(differing(in_threads(everything, cell, case), wanted))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not differing(held, before)
    del calls[:]
    assert not differing(everything(cell, case), wanted)
    assert calls


def test_children_of_multiprocessing_run_passes(pool, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    wanted = everything(cell, case)
    with multiprocessing.get_context("fork").Pool(2) as children:
        for got in children.starmap(everything, [(cell, case)] * 4):
            assert not differing(got, wanted)


def test_a_daemon_runs_passes(pool, tmp_path, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    wanted = everything(cell, case)
    tape, _ = results(cell, case)
    done = tmp_path / "done"

    def daemon():
        wait_for(lambda: started(processes.pool))
        assert not differing(everything(cell, case), wanted)
        assert np.array_equal(backward(tape, case[3]).h0, wanted["h0"])
        processes.pool.close()
        done.touch()

    def first():
        os.setsid()
        Child(daemon)

    Child(first).join()
    wait_for(done.exists)


@pytest.mark.filterwarnings("ignore:.*preexec_fn:DeprecationWarning")
def test_a_subprocess_with_preexec_fn_leaves_the_results_alone(pool, calls, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    _, held = results(cell, case)
    before = {name: array.copy() for name, array in held.items()}

    def write():
        for array in held.values():
            array += 1

    subprocess.run([sys.executable, "-c", ""], preexec_fn=write, check=True)
    assert not differing(held, before)
    del calls[:]
    assert not differing(everything(cell, case), {"x": before["x"]})
    assert calls


def test_memory_that_cannot_be_made_private_is_told_of(pool, monkeypatch, rng):
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    held = results(cell, case)

    def refuse(self):
        raise OSError(12, "planted")

    monkeypatch.setattr(shared_memory.Region, "make_private", refuse)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Child(lambda: True).join()
    texts = [str(w.message) for w in caught if w.category is RuntimeWarning]
    assert all("could not be made private" in text and "planted" in text for text in texts)
    assert len(texts) >= 2
    monkeypatch.undo()
    shared_memory.make_private()
    del held
