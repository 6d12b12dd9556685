"""How a slice of the CPU engine is cut in time, and how its matrices lie in memory."""

import numpy as np
import pytest
from helpers import draw_sequence, make_cells

import numrnn
from numrnn.engines.cpu import slices
from numrnn.engines.cpu import tape as cpu_tape
from numrnn.engines.cpu.products import ALIGNMENT, aligned
from numrnn.engines.cpu.slices import CHUNK_BYTES, SHORTEST_CHUNK, steps_per_chunk

CELLS = make_cells()


def test_a_chunk_is_as_long_as_the_cache_allows(rng):
    for _ in range(200):
        rows, n = (int(2 ** rng.uniform(0, 10)) for _ in range(2))
        dtype = rng.choice([np.float32, np.float64])
        steps, size = steps_per_chunk(rows, n, dtype), rows * n * np.dtype(dtype).itemsize
        assert SHORTEST_CHUNK <= steps <= slices.LONGEST_CHUNK
        assert steps == SHORTEST_CHUNK or steps * size <= CHUNK_BYTES
        assert steps == slices.LONGEST_CHUNK or 2 * steps * size > CHUNK_BYTES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (16, 16), (4, 7, 7), (4, 50, 50), (256, 256)])
def test_aligned_matrices_are_equal_and_begin_at_a_cache_line(shape, dtype, rng):
    matrices = rng.standard_normal(shape).astype(dtype)
    copy = aligned(matrices)
    assert copy.dtype == dtype
    assert np.array_equal(copy, matrices)
    for matrix in copy.reshape(-1, *shape[-2:]) if copy.ndim == 2 else copy:
        assert matrix.ctypes.data % ALIGNMENT == 0
        assert matrix.flags.c_contiguous


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_matrix_that_a_step_multiplies_with_is_aligned(name, dtype, rng):
    cell = CELLS[name]
    params, x, h0 = draw_sequence(cell, rng, n_steps=3, batch=2, dtype=dtype)
    _, tape = numrnn.forward(cell, params, x, h0, engine="fused")
    constants = tape._pass.constants
    for matrices in (constants.A, constants.A_T):
        for matrix in matrices if matrices.ndim == 3 else [matrices]:
            assert matrix.ctypes.data % ALIGNMENT == 0


@pytest.mark.parametrize("name", CELLS)
def test_the_length_of_a_chunk_changes_sums_over_time_by_rounding_only(name, rng, monkeypatch):
    cell = CELLS[name]
    params, x, h0 = draw_sequence(cell, rng, n_steps=70, batch=5)
    d_final = rng.standard_normal(h0.shape)
    results = []
    for longest in (4, 64):
        monkeypatch.setattr(slices, "LONGEST_CHUNK", longest)
        states, tape = numrnn.forward(cell, params, x, h0, engine="fused")
        assert tape._pass.constants.chunk == longest
        results.append((np.array(states), numrnn.backward(tape, d_final=d_final)))
    (states, grads), (again, others) = results
    assert np.array_equal(states, again)
    assert np.array_equal(grads.h0, others.h0)
    for key, value in grads.params.items():
        bound = 70 * 5 * np.finfo(float).eps * np.abs(value).max()
        np.testing.assert_allclose(others.params[key], value, rtol=0, atol=bound)


def test_a_chunk_stays_the_same_whatever_slices_run_the_backward_pass(rng, monkeypatch):
    cell = CELLS["gated, full"]
    params, x, h0 = draw_sequence(cell, rng, n_steps=40, batch=70)
    _, tape = numrnn.forward(cell, params, x, h0, engine="fused", recompute_every=1)
    chunk = tape._pass.constants.chunk
    monkeypatch.setattr(cpu_tape, "ROWS_PER_SLICE", 1000)  # one slice from now on
    grads = numrnn.backward(tape, d_final=np.ones_like(h0))
    assert tape._pass.constants.chunk == chunk
    _, whole = numrnn.forward(cell, params, x, h0, engine="fused")
    expected = numrnn.backward(whole, d_final=np.ones_like(h0))
    assert np.array_equal(grads.h0, expected.h0)
