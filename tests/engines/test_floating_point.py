"""The caller's numpy.errstate holds in every slice, whoever runs it and wherever it overflows."""

import contextlib
import gc
import sys
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from worker_pools import CELLS, draw, sent_tasks, started, wait_for

from numrnn import backward, blas, forward
from numrnn.engines.cpu import floating_point, shared_memory, threads, workspace
from numrnn.engines.cpu import tape as cpu_tape

COUNT = 3  # slices
ROWS = 32
WHO = pytest.mark.parametrize("who", ["threads", "workers"], indirect=True)
WHERE = pytest.mark.parametrize("where", range(COUNT))
NAME = "antisymmetric, full"


@pytest.fixture
def who(request, monkeypatch):
    """Let three slices be run by threads, or two of them by workers; yield a list of what workers are sent."""
    monkeypatch.setattr(blas, "available_cores", lambda: COUNT)
    with threadpool_limits(COUNT, user_api="blas"):
        if request.param == "threads":
            monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", np.inf)
            yield sent_tasks(monkeypatch)
            return
        if not shared_memory.SUPPORTED:
            pytest.skip("this system has no memory to share")
        pool = request.getfixturevalue("lasting_pool")
        wait_for(lambda: started(pool, COUNT - 1))
        yield sent_tasks(monkeypatch)
        assert len(pool._workers) == COUNT - 1


def overflow(where, rng):
    """Return functions whose only overflow is in the rows of one slice: a forward and a backward pass."""
    cell = CELLS[NAME]
    params, x, h0, d_states = draw(cell, rng, 20, COUNT * ROWS, np.float32)
    large, row = np.finfo(np.float32).max, ROWS * where + int(rng.integers(ROWS))
    _, tape = forward(cell, params, x, h0, engine="fused")
    h0[row] = large  # over the step size, that is too large
    d_states[:, row] = large / 2  # of which the sum over time is too large
    return (
        lambda: forward(cell, params, x, h0, engine="fused"),
        lambda: backward(tape, d_states, wrt=("params", "h0", "x", "states")),
    )


@WHO
@WHERE
def test_raise_raises_in_the_caller(where, who, rng):
    for run in overflow(where, rng):
        for _ in range(2):  # the workers go on
            with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow|invalid"):
                run()


@WHO
@WHERE
def test_ignore_is_silent(where, who, rng, capfd):
    for run in overflow(where, rng):
        with np.errstate(all="ignore"):
            run()
    assert capfd.readouterr() == ("", "")


@WHO
@WHERE
def test_warn_warns_in_the_caller(where, who, rng, capfd):
    for run in overflow(where, rng):
        with np.errstate(over="warn", invalid="ignore"), pytest.warns(RuntimeWarning, match="overflow") as caught:
            run()
        assert all("numrnn" in w.filename for w in caught)
    assert capfd.readouterr() == ("", "")


@WHO
@WHERE
def test_the_callers_filters_say_what_becomes_of_a_warning(where, who, rng, capfd):
    for run in overflow(where, rng):
        with np.errstate(over="warn", invalid="ignore"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(RuntimeWarning, match="overflow"):
                    run()
                warnings.filterwarnings("ignore", "overflow", RuntimeWarning, module=r"numrnn\.engines\.")
                run()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("default")  # once for each line of code
                run()
                first = len(caught)
                run()
            assert 1 <= len(caught) == first
    assert capfd.readouterr() == ("", "")


@WHO
@WHERE
def test_what_is_called_is_called_in_this_process(where, who, rng):
    for run in overflow(where, rng):
        del who[:]
        seen = []
        with np.errstate(over="call", invalid="ignore", call=lambda text, _, seen=seen: seen.append(text)):
            run()
        assert set(seen) == {"overflow"}
        assert not who


@WHO
def test_what_is_logged_or_printed_is_so_in_this_process(who, rng, capfd):
    class Log:
        text = ""

        def write(self, text):
            self.text += text

    for run in overflow(0, rng):
        log = Log()
        with np.errstate(over="log", invalid="ignore", call=log):
            run()
        assert "overflow" in log.text
        with np.errstate(over="print", invalid="ignore"):
            run()
        assert "overflow" in "".join(capfd.readouterr())


@WHO
def test_workers_are_used_with_every_mode_that_means_the_same_there(who, rng, request):
    run = overflow(0, rng)[0]
    workers = request.node.callspec.params["who"] == "workers"
    for mode in ("ignore", "warn", "raise"):
        del who[:]
        with np.errstate(over="ignore", invalid="ignore", divide=mode):
            run()
        assert bool(who) == workers


def test_a_setting_is_carried_to_threads_and_leaves_them_as_they_were():
    before = np.geterr()
    with np.errstate(all="raise"):
        assert [set(modes.values()) for modes in threads.run_all([np.geterr] * 4)] == [{"raise"}] * 4
    assert threads.run_all([np.geterr] * 4) == [before] * 4


def test_a_note_is_repeated_as_if_its_line_had_run_here():
    line = sys._getframe().f_lineno
    note = floating_point.Note("planted", UserWarning, __file__, line)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        note.repeat()
        note.repeat()
        floating_point.Note("planted", UserWarning, "/of/no/module.py", 1).repeat()
    assert [(str(w.message), w.category, w.filename, w.lineno) for w in caught] == [
        ("planted", UserWarning, __file__, line),
        ("planted", UserWarning, "/of/no/module.py", 1),
    ]


@WHO
@WHERE
def test_an_error_keeps_no_memory_until_garbage_is_collected(where, who, rng):
    gc.collect()
    workspace.clear()
    gc.disable()
    try:
        before = workspace.held_bytes()
        for run in overflow(where, rng):
            with np.errstate(all="raise"), contextlib.suppress(FloatingPointError):
                run()
        del run
        workspace.clear()
        assert workspace.held_bytes() == before
    finally:
        gc.enable()
