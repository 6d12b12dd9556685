"""Flushing of subnormal numbers: where it holds, where it ends, and what a vanishing gradient leaves behind."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import draw_sequence, make_cells
from threadpoolctl import threadpool_limits

import numrnn
from numrnn import blas, info, subnormals
from numrnn.bptt import GRADIENTS
from numrnn.engines.cpu import processes
from numrnn.training import Adam

pytestmark = pytest.mark.usefixtures("short_chunks")
CELLS = make_cells()
flushing = pytest.mark.skipif(not subnormals.can_flush(), reason="this system offers no way to flush subnormals")
TINY = {dtype: np.finfo(dtype).tiny for dtype in (np.float32, np.float64)}


def flushes():
    """Tell whether this thread flushes, in products and in sums, of results and of operands."""
    found = set()
    for dtype, tiny in TINY.items():
        smallest, half = np.full(33, tiny, dtype), dtype(0.5)
        found.add(not (smallest * half).any())
        found.add(not (smallest * dtype(1.5) - smallest).any())
    assert len(found) == 1
    return found.pop()


def count_subnormals(*arrays):
    return sum(int(((array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)).sum()) for array in arrays)


@flushing
def test_a_block_flushes_and_what_was_before_comes_back():
    assert not flushes()
    with numrnn.flush_subnormals():
        assert flushes()
        with numrnn.flush_subnormals():
            assert flushes()
        assert flushes()
    assert not flushes()


@flushing
def test_one_object_may_be_entered_twice():
    block = numrnn.flush_subnormals()
    with block:
        with block:
            assert flushes()
        assert flushes()
    assert not flushes()


@flushing
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_ends_the_block(error):
    with pytest.raises(error), numrnn.flush_subnormals():
        raise error
    assert not flushes()


@flushing
def test_threads_that_run_already_are_left_alone():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(flushes).result() is False
        with numrnn.flush_subnormals():
            assert pool.submit(flushes).result() is False
            assert flushes()


@flushing
def test_a_thread_that_flushes_already_goes_on_so():
    with numrnn.flush_subnormals():
        subnormals._environment.cache_clear()
        assert subnormals.can_flush()  # it can be tried all the same
        with numrnn.flush_subnormals():
            assert flushes()
        assert flushes()
    assert not flushes()


def test_a_system_without_a_way_runs_as_before(monkeypatch, rng):
    monkeypatch.setattr(subnormals, "_REGISTERS", {})
    subnormals._environment.cache_clear()
    try:
        assert not subnormals.can_flush()
        with numrnn.flush_subnormals():
            assert not flushes()
        report = info.collect(measure=False)
        assert report["flushes_subnormals"] is False
        assert "cannot be flushed here" in info.report_text(report)
        cell = CELLS["lstm"]
        params, x, h0 = draw_sequence(cell, rng)
        _, tape = numrnn.forward(cell, params, x, h0)
        assert np.isfinite(numrnn.backward(tape, d_final=h0).x).all()
    finally:
        subnormals._environment.cache_clear()


@flushing
def test_a_wrong_place_of_the_register_is_noticed(monkeypatch):
    # Bytes 60 to 63 of the buffer belong to nobody: what is set there has no effect.
    monkeypatch.setattr(subnormals, "_REGISTERS", dict.fromkeys(subnormals._REGISTERS, subnormals._Register(60, 1)))
    subnormals._environment.cache_clear()
    try:
        assert not subnormals.can_flush()
    finally:
        subnormals._environment.cache_clear()
    assert not flushes()


@flushing
def test_the_report_says_that_it_can_be_done():
    report = info.collect(measure=False)
    assert report["flushes_subnormals"] is True
    assert "flushed while a pass runs" in info.report_text(report)


@flushing
def test_finfo_knows_subnormals_after_a_block_that_asked_first():
    code = (
        "import numpy as np, numrnn\n"
        "with numrnn.flush_subnormals():\n    np.finfo(np.float32)\n"
        "assert np.finfo(np.float32).smallest_subnormal > 0"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def vanishing(cell, engine, rng, batch=70, **options):
    """Return what a pass gives whose gradient falls far below the smallest normal number."""
    params, x, h0 = draw_sequence(cell, rng, n_steps=40, batch=batch, dtype=np.float32)
    states, tape = numrnn.forward(cell, params, x, h0, engine=engine, **options)
    d_final = (1e-36 * rng.standard_normal((batch, cell.state_size))).astype(np.float32)
    grads = numrnn.backward(tape, d_final=d_final, wrt=GRADIENTS)
    return [np.array(states), grads.x, grads.h0, grads.states[:-1], *grads.params.values()]


@flushing
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("every", [None, 16])
def test_a_vanishing_gradient_leaves_no_subnormal_number_in_any_slice(name, engine, every, rng, monkeypatch):
    monkeypatch.setattr(blas, "available_cores", lambda: 2)
    monkeypatch.setenv(processes.VARIABLE, "0")
    results = vanishing(CELLS[name], engine, rng, recompute_every=every)
    assert count_subnormals(*results) == 0
    assert not flushes()


@flushing
@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("name", ["antisymmetric, full", "lstm"])
def test_products_large_enough_for_the_threads_of_blas_flush_too(name, engine, rng):
    cell = type(CELLS[name])(3, 128)
    params, x, h0 = draw_sequence(cell, rng, n_steps=4, batch=96, dtype=np.float32)
    d_final = (1e-37 * rng.standard_normal((96, cell.state_size))).astype(np.float32)
    with threadpool_limits(2, user_api="blas"):
        _, tape = numrnn.forward(cell, params, x, h0, engine=engine)
        grads = numrnn.backward(tape, d_final=d_final, wrt=GRADIENTS)
    assert count_subnormals(grads.x, grads.h0, grads.states[:-1], *grads.params.values()) == 0


@flushing
def test_without_flushing_there_would_be_some(rng, monkeypatch):
    monkeypatch.setattr(subnormals._Environment, "set", lambda self: 0)
    assert count_subnormals(*vanishing(CELLS["lstm"], "fused", rng)) > 100


@flushing
def test_a_pass_that_fails_leaves_the_thread_as_it_was(rng):
    class Failing(numrnn.ElmanCell):
        def step(self, params, x, h):
            assert flushes()
            raise ZeroDivisionError

    cell = Failing(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    with pytest.raises(ZeroDivisionError):
        numrnn.forward(cell, params, x, h0)
    assert not flushes()


@flushing
def test_states_that_are_recomputed_are_those_of_the_pass(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng, n_steps=40, dtype=np.float32)
    x, h0, params = x * np.float32(1e-37), h0 * 0, params | {"b": 0 * params["b"]}
    whole, _ = numrnn.forward(cell, params, x, h0)
    parts, _ = numrnn.forward(cell, params, x, h0, recompute_every=16)
    assert np.array_equal(whole, np.asarray(parts))
    assert count_subnormals(whole) == 0


@flushing
def test_adam_meets_no_subnormal_squares():
    params = {"W": np.ones((8, 8), np.float32)}
    grads = {"W": np.full((8, 8), 1e-20, np.float32)}  # its square is 1e-40
    optimizer = Adam(0.01)
    _, state = optimizer.update(params, grads, optimizer.init(params))
    assert count_subnormals(state["square_mean"]["W"]) == 0
    assert not flushes()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_normal_numbers_keep_their_bits(name, engine, rng, monkeypatch):
    cell = CELLS[name]
    params, x, h0 = draw_sequence(cell, rng, n_steps=20)
    d_final = rng.standard_normal(h0.shape)

    def run():
        states, tape = numrnn.forward(cell, params, x, h0, engine=engine)
        grads = numrnn.backward(tape, d_final=d_final)
        return [states, grads.x, grads.h0, *grads.params.values()]

    flushed = run()
    monkeypatch.setattr(subnormals._Environment, "set", lambda self: 0)
    assert all(np.array_equal(a, b) for a, b in zip(flushed, run(), strict=True))
