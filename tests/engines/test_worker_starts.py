"""Workers start from any sys.path, fail to start without a word of their own, and end in silence with their caller."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
from worker_pools import CELLS, differing, draw, everything, started, wait_for

from numrnn import blas
from numrnn.engines.cpu import processes, shared_memory, workers

pytestmark = [
    pytest.mark.skipif(not shared_memory.SUPPORTED, reason="this system has no memory to share"),
    pytest.mark.skipif(blas.available_cores() < 2, reason="a slice for a second process needs a second core"),
]
NAME = "elman"


class OddText(str):
    def __repr__(self):
        return "<not Python>"

    def __str__(self):
        return "<not Python>"


@pytest.fixture
def new_pool(monkeypatch):
    monkeypatch.setattr("numrnn.engines.cpu.tape.PROCESS_FLOPS", 0)
    own = processes.Pool()
    monkeypatch.setattr(processes, "pool", own)
    yield own
    own.close()


ENTRIES = [
    pathlib.Path("/nowhere"),
    b"/nowhere",
    None,
    7,
    object(),
    OddText("/odd"),
    "/a'b\"c\\d\n",
    "/\udcff",
    "/naïve/数",
    "",
]


@pytest.mark.parametrize("entry", [*ENTRIES, ENTRIES], ids=itertools.count())
def test_any_entry_of_sys_path_will_do(entry, new_pool, monkeypatch):
    monkeypatch.setattr(sys, "path", [*(entry if isinstance(entry, list) else [entry]), *sys.path])
    wait_for(lambda: started(new_pool))
    with new_pool.borrow(1) as lent:
        there = new_pool.run(lent, [path_there, int])[0]
    assert there[1:] == [str.__str__(e) for e in sys.path if isinstance(e, str)]


def path_there():
    return sys.path


def fail_to_start(pool, rng, capfd):
    """Return the warnings of passes while workers fail to start; the numbers are right."""
    cell, case = CELLS[NAME], draw(CELLS[NAME], rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numrnn.engines.cpu.tape.PROCESS_FLOPS", np.inf)
        wanted = everything(cell, case)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        end = time.monotonic() + 60
        while pool._losses <= processes.RESTARTS and time.monotonic() < end:
            assert not differing(everything(cell, case), wanted)
    assert not pool._workers
    assert all(warning.category is RuntimeWarning for warning in caught)
    assert capfd.readouterr() == ("", "")
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("executable", "said"),
    [
        ("false", "status 1"),
        ("missing", "No such file or directory"),
        ("talks", "status 3: a last line$"),
        ("killed", "signal 9, Killed"),
    ],
)
def test_a_worker_that_fails_to_start_is_told_of_in_a_warning_alone(
    executable, said, new_pool, monkeypatch, tmp_path, rng, capfd
):
    program = tmp_path / executable
    scripts = {"false": "exit 1", "talks": "echo hello; echo first >&2; echo a last line >&2; exit 3"}
    if executable != "missing":
        program.write_text(f"#!/bin/sh\n{scripts.get(executable, 'kill -9 $$')}\n")
        program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    texts = fail_to_start(new_pool, rng, capfd)
    assert len(texts) == processes.RESTARTS + 1
    assert all(said.rstrip("$") in text for text in texts)
    assert texts[-1].endswith(f"no more are started, since this happened {processes.RESTARTS + 1} times")


def test_a_worker_with_another_numrnn_is_not_used(new_pool, monkeypatch, rng, capfd):
    monkeypatch.setattr(workers, "identity", lambda: ("/another/numrnn", "/another/numpy"))
    texts = fail_to_start(new_pool, rng, capfd)
    assert all("it loaded another numrnn or NumPy" in text for text in texts)


def test_a_frozen_program_is_not_started_as_if_it_were_python(monkeypatch):
    monkeypatch.delenv(processes.VARIABLE, raising=False)
    assert processes.usable()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not processes.usable()


BEGIN = """
import atexit, os, sys, threading, time
import numpy as np
import numrnn
from numrnn import blas
from numrnn.engines.cpu import processes, tape as cpu_tape
cell = numrnn.AntisymmetricCell(1, 128)
params = cell.init_params(np.random.default_rng(0))
x = np.ones((200, 64, 1), np.float32)
def step():
    return numrnn.forward(cell, params, x)[0][-1]
def wait():
    while True:
        with processes.pool.borrow(1) as workers:
            if workers:
                return
        time.sleep(0.01)
"""
SCRIPTS = {
    "one pass and no more": "step()",
    "one pass, and some of a worker's start": "step(); time.sleep(float(sys.argv[1]))",
    "a worker that has started": "step(); wait(); step()",
    "a change of directory before the first pass": "os.chdir('/'); step(); wait(); step()",
    "an exit without the interpreter's end": "step(); wait(); step(); sys.stdout.flush(); os._exit(0)",
    "a daemon thread in a pass at the end": """
        step(); wait()
        def work():
            while True:
                step()
        threading.Thread(target=work, daemon=True).start()
        time.sleep(float(sys.argv[1]))
    """,
    "a pass after the threads have ended": """
        wanted = step()
        def last():
            assert np.array_equal(step(), wanted)
            cpu_tape.PROCESS_FLOPS = np.inf
            assert np.array_equal(step(), wanted)
        atexit.register(last)
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_end_in_silence(name, rng):
    for delay in rng.uniform(0, 0.5, 4 if "argv" in SCRIPTS[name] else 1):
        done = subprocess.run(
            [sys.executable, "-W", "always", "-c", BEGIN + textwrap.dedent(SCRIPTS[name]), str(delay)],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},
            cwd=workers.PACKAGE.parent,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_parent_that_is_killed_leaves_silence_and_no_worker(tmp_path):
    script = BEGIN + "step(); wait(); print(processes.pool._workers[0].pid, flush=True)\nwhile True: step()"
    with open(tmp_path / "stderr", "w+") as stderr:
        parent = subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "2"},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        with parent:
            worker = int(parent.stdout.readline())
            time.sleep(0.1)
            parent.kill()
            assert parent.wait(30) == -signal.SIGKILL
        wait_for(lambda: not os.path.exists(f"/proc/{worker}/exe") or not running(worker))
        stderr.seek(0)
        assert not stderr.read()


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_answer_that_cannot_be_sent_is_an_error_here(new_pool):
    wait_for(lambda: started(new_pool))
    with new_pool.borrow(1) as lent, pytest.raises(RuntimeError, match="cannot be sent to another process"):
        new_pool.run(lent, [local_function, int])
    with new_pool.borrow(1) as lent:
        assert new_pool.run(lent, [float, int]) == [0.0, 0]


def local_function():
    return lambda: None
