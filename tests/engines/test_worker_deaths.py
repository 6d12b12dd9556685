"""A worker that is killed at any moment changes no bit, and is told of once.

NUMRNN_KILLS=300 in the environment, with -s, is the profile by hand: results/engine/kills.log.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from worker_pools import CELLS, differing, draw, everything, started, wait_for

import numrnn
from numrnn import blas
from numrnn.bptt import GRADIENTS
from numrnn.engines.cpu import processes, shared_memory
from numrnn.engines.cpu import tape as cpu_tape

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
]
NAME = "gated, full"
KILLS = int(os.environ.get("NUMRNN_KILLS", "10"))
DIED = r"a worker process of the CPU engine ended \(process \d+: signal 9, Killed\); threads take its place"
KINDS = sorted(numrnn.CELLS)


@pytest.fixture
def cores(monkeypatch):
    """Let the engine cut a batch into four slices, whatever this machine has."""
    monkeypatch.setattr(blas, "available_cores", lambda: 4)


def draw_trial(rng, number):
    """Return a problem, its options and a number of workers; the kinds of cells take turns."""
    workers = int(rng.integers(1, 4))
    config = {"input_size": int(rng.integers(1, 4)), "hidden_size": int(rng.choice([16, 32, 48]))}
    cell = numrnn.CELLS[KINDS[number % len(KINDS)]](**config)
    n_steps, batch = int(rng.integers(150, 300)), 32 * (workers + 1) + int(rng.integers(0, 20))
    dtype = rng.choice([np.float32, np.float64])
    params = {name: (value / 2).astype(dtype) for name, value in cell.init_params(rng, dtype=np.float64).items()}
    _, x, h0, d_states = draw(cell, rng, n_steps, batch, dtype)
    options = {"recompute_every": [None, None, "sqrt", 48][rng.integers(4)]}
    if rng.random() < 0.5:
        options["lengths"] = rng.integers(1, n_steps + 1, batch)
    return cell, (params, x, h0, d_states), options, workers


def kill(aims):
    """Kill processes, each so many seconds from now: pairs of seconds and a process id."""
    start = time.perf_counter()
    for moment, pid in sorted(aims):
        time.sleep(max(0, start + moment - time.perf_counter()))
        os.kill(pid, signal.SIGKILL)


def forget_the_dead(pool, pids):
    """Let the pool find workers that were killed when the pass had ended already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wait_for(lambda: all(worker.ended() for worker in pool._workers if worker.pid in pids))
        started(pool)


def timed(function, *arguments, **options):
    start = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - start


def run_pass(cell, case, options, pids=(), parts=(), moments=()):
    """Return all that forward and backward give, and the seconds of each; kill each process in its part."""
    params, x, h0, d_states = case
    aims = [
        [(moment, pid) for pid, at, moment in zip(pids, parts, moments, strict=True) if at == part] for part in (0, 1)
    ]
    killers = [threading.Thread(target=kill, args=(aim,)) for aim in aims]
    killers[0].start()
    (states, tape), first = timed(numrnn.forward, cell, params, x, h0, engine="fused", **options)
    killers[1].start()
    grads, second = timed(numrnn.backward, tape, d_states, wrt=GRADIENTS)
    for killer in killers:
        killer.join()
    got = {"states": np.array(states), "x": grads.x, "h0": grads.h0, "dh": grads.states, **grads.params}
    return got, (first, second)


@pytest.mark.timeout(0 if KILLS > 10 else 300)
def test_workers_killed_at_random_moments_change_no_bit(pool, cores, monkeypatch):
    """For all gradients; the moment is drawn from the duration of an undisturbed forward or backward pass."""
    monkeypatch.setattr(processes, "RESTARTS", np.inf)
    rng = np.random.default_rng(KILLS)
    killed = landed = survived = 0
    for number in range(KILLS):
        cell, case, options, count = draw_trial(rng, number)
        with threadpool_limits(count + 1, user_api="blas"):
            wait_for(lambda count=count: started(pool, count))
            wanted, _ = run_pass(cell, case, options)
            again, seconds = run_pass(cell, case, options)
            assert not differing(again, wanted)
            pids = rng.permutation([worker.pid for worker in pool._workers[:count]])[: rng.integers(1, count + 1)]
            parts = rng.integers(0, 2, len(pids))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                got, _ = run_pass(
                    cell, case, options, pids, parts, rng.uniform(0, 1, len(pids)) * np.take(seconds, parts)
                )
        assert all("a worker process of the CPU engine ended" in str(w.message) for w in caught)
        assert not differing(got, wanted), (number, cell, options, count, pids, parts)
        killed, landed, survived = killed + len(pids), landed + bool(caught), survived + 1
        forget_the_dead(pool, pids)
    print(f"\ntried: {KILLS} passes, {killed} workers killed; landed within the pass: {landed}; same bits: {survived}")
    assert landed > 0


@pytest.fixture
def case(rng):
    return draw(CELLS[NAME], rng)


def kill_and_wait(worker):
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)


def test_a_worker_that_dies_between_passes_is_told_of_and_a_later_pass_starts_another(pool, calls, case):
    wanted = everything(CELLS[NAME], case)
    before = pool._workers[0].pid
    kill_and_wait(pool._workers[0])
    del calls[:]
    with pytest.warns(RuntimeWarning, match=DIED + ", and a later pass starts a new one$"):
        assert not differing(everything(CELLS[NAME], case), wanted)
    wait_for(lambda: started(pool))
    assert pool._workers[0].pid != before
    assert not calls
    assert not differing(everything(CELLS[NAME], case), wanted)
    assert calls


def test_workers_are_started_again_so_often_and_no_more(pool, calls, case):
    wanted = everything(CELLS[NAME], case)
    for deaths in range(1, processes.RESTARTS + 2):
        wait_for(lambda: started(pool))
        kill_and_wait(pool._workers[0])
        last = f"no more are started, since this happened {deaths} times"
        further = last if deaths > processes.RESTARTS else "a later pass starts a new one"
        with pytest.warns(RuntimeWarning, match=f"{DIED}, and {further}$"):
            assert not differing(everything(CELLS[NAME], case), wanted)
    assert deaths == processes.RESTARTS + 1
    del calls[:]
    assert not differing(everything(CELLS[NAME], case), wanted)
    assert not pool._workers
    assert not calls


def test_a_worker_killed_while_it_starts_is_told_of_once(monkeypatch, rng, case):
    monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", np.inf)
    wanted = everything(CELLS[NAME], case)
    monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", 0)
    for delay in rng.uniform(0, 0.3, 4):
        pool = processes.Pool()
        monkeypatch.setattr(processes, "pool", pool)
        assert not differing(everything(CELLS[NAME], case), wanted)
        time.sleep(delay)
        kill_and_wait(pool._workers[0])
        with pytest.warns(RuntimeWarning, match=DIED) as caught:
            assert not differing(everything(CELLS[NAME], case), wanted)
        assert len(caught) == 1
        wait_for(lambda pool=pool: started(pool))
        assert not differing(everything(CELLS[NAME], case), wanted)
        pool.close()


def test_a_worker_killed_while_it_is_sent_a_large_task_is_told_of(pool):
    data = bytes(10**8)  # a pipe holds some 200,000
    with pool.borrow(1) as workers:
        pid = workers[0].pid
        os.kill(pid, signal.SIGSTOP)  # so that it reads nothing
        killer = threading.Thread(target=kill, args=([(0.2, pid)],))
        killer.start()
        with pytest.warns(RuntimeWarning, match=DIED):
            assert pool.run(workers, [functools.partial(len, data), int]) == [10**8, 0]
        killer.join()
    wait_for(lambda: started(pool))
    with pool.borrow(1) as workers:
        assert pool.run(workers, [functools.partial(len, data), int]) == [10**8, 0]


def test_the_answers_of_living_workers_are_waited_for_before_a_task_is_run_again(pool, cores, tmp_path):
    wait_for(lambda: started(pool, 3))
    with pool.borrow(3) as workers:
        killer = threading.Thread(target=kill, args=([(0.1, workers[1].pid)],))
        killer.start()
        slow = functools.partial(note_the_time, tmp_path / "slow", 0.5)
        with pytest.warns(RuntimeWarning, match=DIED):
            ends = pool.run(workers, [slow, functools.partial(time_if_in, os.getpid(), 60), slow, int])
        killer.join()
    assert ends[1] > max(ends[0], ends[2])
    assert len(pool._workers) == 2  # the living ones go on


def note_the_time(path, seconds):
    time.sleep(seconds)
    path.touch()
    return time.monotonic()


def time_if_in(pid, seconds):
    """Return the time in that process, and sleep in another."""
    if os.getpid() != pid:
        time.sleep(seconds)
    return time.monotonic()


def test_a_worker_that_is_stopped_for_a_while_is_waited_for(pool, calls, case):
    wanted = everything(CELLS[NAME], case)
    del calls[:]
    pid = pool._workers[0].pid
    os.kill(pid, signal.SIGSTOP)
    waking = threading.Timer(0.3, os.kill, (pid, signal.SIGCONT))
    waking.start()
    assert not differing(everything(CELLS[NAME], case), wanted)
    waking.join()
    assert calls


def test_a_warning_that_is_an_error_leaves_the_pool_in_order(pool, case):
    wanted = everything(CELLS[NAME], case)
    kill_and_wait(pool._workers[0])
    with pytest.raises(RuntimeWarning, match=DIED):
        everything(CELLS[NAME], case)
    wait_for(lambda: started(pool))
    assert not differing(everything(CELLS[NAME], case), wanted)


SCRIPT = """
import os, threading, time
import numpy as np
import numrnn
from numrnn.engines.cpu import processes
cell = numrnn.AntisymmetricCell(1, 128, step_size=.03, diffusion=.001)
params = cell.init_params(np.random.default_rng(0))
x, d = np.random.default_rng(1).random((3000, 128, 1), dtype=np.float32), np.ones((128, 128), np.float32)
_, tape = numrnn.forward(cell, params, x)
while not processes.pool._workers[0].ready():
    time.sleep(.1)
wanted = numrnn.backward(tape, d_final=d)
threading.Timer(.1, lambda: os.kill(processes.pool._workers[0].pid, 9)).start()
got = numrnn.backward(tape, d_final=d)
print((got.h0 / wanted.h0)[0, 0], np.array_equal(got.x, wanted.x))
"""


def test_a_script_whose_worker_dies_in_a_backward_pass_prints_the_right_number(tmp_path):
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout, done.stderr) == ("1.0 True\n", "")
