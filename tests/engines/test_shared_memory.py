"""Memory that workers see: what it costs, and what is done where it is not to be had."""

import errno
import gc
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from worker_pools import CELLS, descriptors_of_memory, differing, draw, everything, in_threads

from numrnn import blas, forward
from numrnn.engines.cpu import shared_memory, workspace

pytestmark = [
    pytest.mark.usefixtures("short_chunks"),
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
]
NAME = "gated, full"
EVERY = pytest.mark.parametrize("every", [None, 16])


@pytest.fixture
def case(rng):
    return draw(CELLS[NAME], rng)


@pytest.fixture
def nothing_idle():
    gc.collect()
    workspace.clear()
    yield
    workspace.clear()


@EVERY
def test_a_tape_costs_two_descriptors_at_most(every, pool, case, nothing_idle):
    params, x, h0, _ = case
    tapes, counts = [], [len(descriptors_of_memory())]
    for _ in range(5):
        tapes.append(forward(CELLS[NAME], params, x, h0, engine="fused", recompute_every=every)[1])
        counts.append(len(descriptors_of_memory()))
    assert tapes[0]._pass.visible()
    assert np.all(np.diff(counts) == (2 if every is None else 1))
    everything(CELLS[NAME], case, recompute_every=every)
    del tapes
    workspace.clear()
    assert not descriptors_of_memory()


@EVERY
def test_memory_is_used_again_from_call_to_call(every, pool, calls, case, nothing_idle, monkeypatch):
    made, create = [], os.memfd_create
    monkeypatch.setattr(os, "memfd_create", lambda *arguments: (made.append(1), create(*arguments))[1])
    everything(CELLS[NAME], case, recompute_every=every)
    assert made
    del made[:]
    for _ in range(3):
        everything(CELLS[NAME], case, recompute_every=every)
    assert not made
    assert calls


def test_idle_memory_is_given_back_for_memory_of_another_size(pool, calls, nothing_idle, monkeypatch, rng):
    monkeypatch.setattr(shared_memory, "_descriptors_allowed", lambda: 6)
    for n_steps in range(20, 30):
        del calls[:]
        everything(CELLS[NAME], draw(CELLS[NAME], rng, n_steps))
        assert len(calls) == 2  # one in each direction
        assert len(descriptors_of_memory()) <= 6


def test_idle_memory_is_given_back_before_there_is_too_little(nothing_idle):
    workspace.take((10**6,), np.float64)
    held = []

    def make(shape, dtype):
        held.append(workspace.held_bytes())
        if held[-1] > 0:
            raise MemoryError
        return np.empty(shape, dtype)

    workspace.take((5,), np.float64, make)
    assert held == [8 * 10**6, 0]
    kept = workspace.take((10**6,), np.float64)
    with pytest.raises(MemoryError):
        workspace.take((6,), np.float64, make)
    del kept


def test_who_keeps_the_states_alone_keeps_nothing_else(pool, case, nothing_idle):
    params, x, h0, _ = case
    states = forward(CELLS[NAME], params, x, h0, engine="fused")[0]
    workspace.clear()
    pages = -(-states.nbytes // 4096)
    assert workspace.held_bytes() == 4096 * pages


REFUSALS = {
    "memfd_create": [errno.ENOSYS, errno.EMFILE, errno.ENFILE, errno.EPERM, errno.ENOMEM],
    "posix_fallocate": [errno.ENOSPC, errno.EFBIG, errno.ENOMEM, errno.EOPNOTSUPP],
    "_map": [errno.ENOMEM, errno.EPERM],
}


@EVERY
@pytest.mark.parametrize("function", REFUSALS)
def test_where_memory_is_refused_threads_take_over_without_a_word(
    function, every, pool, case, nothing_idle, monkeypatch, rng
):
    """The refusal comes at any allocation of the pass, once or from then on."""
    wanted = in_threads(everything, CELLS[NAME], case, recompute_every=every)
    module = shared_memory if function == "_map" else os
    original = getattr(module, function)
    for error in REFUSALS[function]:
        for first in range(5):
            last = first if rng.random() < 0.5 else np.inf
            seen = []

            def refuse(*arguments, error=error, first=first, last=last, seen=seen):
                seen.append(1)
                if first < len(seen) <= last + 1:
                    raise OSError(error, os.strerror(error))
                return original(*arguments)

            workspace.clear()
            monkeypatch.setattr(module, function, refuse)
            got = everything(CELLS[NAME], case, recompute_every=every)
            monkeypatch.setattr(module, function, original)
            assert not differing(got, wanted), (error, first, last)
            assert seen
            del got
            workspace.clear()
            assert not descriptors_of_memory()


def test_a_region_that_cannot_be_made_leaves_no_descriptor(nothing_idle, monkeypatch):
    for function, error in (("posix_fallocate", MemoryError), ("posix_fallocate", KeyboardInterrupt)):

        def refuse(*_, error=error):
            raise error

        monkeypatch.setattr(os, function, refuse)
        with pytest.raises(error):
            shared_memory.array((1000,), np.float64)
        assert not descriptors_of_memory()


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_AS"])
def test_a_worker_that_cannot_map_the_memory_leaves_the_task_to_this_process(limit, pool, calls, case, nothing_idle):
    resource = pytest.importorskip("resource")
    wanted = in_threads(everything, CELLS[NAME], case)
    everything(CELLS[NAME], case)  # so that the worker has its scratch
    workspace.clear()
    pid = pool._workers[0].pid
    number = getattr(resource, limit)
    before = resource.prlimit(pid, number)
    resource.prlimit(pid, number, (3 if limit == "RLIMIT_NOFILE" else 2**20, before[1]))
    del calls[:]
    assert not differing(everything(CELLS[NAME], case), wanted)
    assert calls
    resource.prlimit(pid, number, before)
    assert not differing(everything(CELLS[NAME], case), wanted)
    assert pool._workers[0].pid == pid


def run(script, *arguments):
    """Run a script in a process with two threads of BLAS and passes of any size on workers; return what it prints."""
    begin = """
        import os, resource, sys, time
        import numpy as np
        import numrnn
        from numrnn.engines.cpu import processes, tape as cpu_tape
        cpu_tape.PROCESS_FLOPS = 0
        cell = numrnn.GatedAntisymmetricCell(1, 16)
        params = cell.init_params(np.random.default_rng(0))
        x = np.ones((int(sys.argv[1]), 64, 1), np.float32)

        def wait():
            while True:
                with processes.pool.borrow(1) as workers:
                    if workers:
                        return
                time.sleep(0.01)

        def step():
            states, tape = numrnn.forward(cell, params, x, engine="fused")
            return tape, numrnn.backward(tape, d_final=np.ones((64, 16), np.float32)).params["W"]
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(begin) + textwrap.dedent(script), *map(str, arguments)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_a_thousand_tapes_may_be_kept_and_files_opened_beside_them():
    out = run(
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        step()
        wait()
        wanted, kept = step()[1], []
        for _ in range(1000):
            kept.append(step())
            assert np.array_equal(kept[-1][1], wanted)
        for _ in range(500):
            os.open(os.devnull, os.O_RDONLY)
        print(sum(tape._pass.visible() for tape, _ in kept))
        for tape, _ in kept[::99]:
            again = numrnn.backward(tape, d_final=np.ones((64, 16), np.float32)).params["W"]
            assert np.array_equal(again, wanted)
        del kept[:]
        tape, _ = step()
        assert tape._pass.visible()
        """,
        20,
    )
    assert 100 <= int(out) <= 128


def test_limits_of_the_system_give_right_numbers_without_a_word():
    out = run(
        """
        step()
        wait()
        wanted = step()[1]
        from numrnn.engines.cpu import workspace
        for limit, values in (("RLIMIT_FSIZE", (10_000, 10**5)), ("RLIMIT_NOFILE", (3, 30))):
            number = getattr(resource, limit)
            before = resource.getrlimit(number)
            for value in values:
                workspace.clear()
                resource.setrlimit(number, (value, before[1]))
                tape, got = step()
                assert np.array_equal(got, wanted)
                print(tape._pass.visible())
                del tape
                resource.setrlimit(number, before)
        tape, got = step()
        assert tape._pass.visible() and np.array_equal(got, wanted)
        """,
        100,
    )
    assert out.split() == ["False", "False", "False", "True"]


def test_too_little_memory_is_a_memory_error_that_leaves_nothing_behind():
    out = run(
        """
        step()
        wait()
        wanted = step()[1]
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 10**8, hard))
        small, errors, counts = x, 0, []
        for _ in range(5):
            x = np.ones((40_000, 64, 1), np.float32)  # 500 MB of states and activations
            try:
                step()
            except MemoryError:
                errors += 1
            x = small
            assert np.array_equal(step()[1], wanted)
            counts.append(len(os.listdir("/proc/self/fd")))
        print(errors, len(set(counts)))
        """,
        100,
    )
    assert out.split() == ["5", "1"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")
def test_a_process_that_becomes_another_user_keeps_its_workers():
    out = run(
        """
        step()
        wait()
        wanted = step()[1]
        os.setgid(65534)
        os.setuid(65534)
        x = np.concatenate([x, x])  # memory that the worker has not seen
        sent, send = [], processes.Worker.send
        processes.Worker.send = lambda self, task: (sent.append(1), send(self, task))
        tape, first = step()
        cpu_tape.PROCESS_FLOPS = np.inf
        assert np.array_equal(first, step()[1])
        print(len(sent), tape._pass.visible())
        """,
        50,
    )
    assert out.split() == ["2", "True"]
