"""What follows a row's last step changes nothing, even where the state that the row keeps is infinite."""

import numpy as np
import pytest
from ended_rows import KINDS, assert_as_alone, draw_ended, rows_alone

import numrnn
from numrnn import backward, forward
from numrnn.bptt import GRADIENTS
from numrnn.engines.cpu import tape


def results(engine, cell, params, x, h0, d_states, lengths, every=None):
    with np.errstate(all="ignore"):
        states, tape = forward(cell, params, x, h0, lengths=lengths, engine=engine, recompute_every=every)
        grads, states = backward(tape, d_states, wrt=GRADIENTS), np.asarray(states)
    named = {f"d{name}": value for name, value in grads.params.items()}
    return {"states": states, **named, "dx": grads.x, "dh0": grads.h0, "dh": grads.states}


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_keeps_an_infinite_state_has_the_gradients_of_the_row_alone(kind, dtype, engine, rng):
    for n in (2, 5, 33):
        case = draw_ended(kind, n, np.dtype(dtype), rng, batch=int(rng.integers(2, 8)))
        with np.errstate(all="ignore"):
            wanted = rows_alone(*case)
        if kind != "lipschitz, rk2":  # whose midpoint is saturated
            assert np.any(wanted["dh0"][:, 1:] != np.sum(case[4], axis=0)[:, 1:])
        for every in (None, 1, 2):
            assert_as_alone(results(engine, *case, every), wanted)


@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_slices_of_a_batch_agree_too(engine, monkeypatch, rng):
    monkeypatch.setattr(tape, "ROWS_PER_SLICE", 2)
    case = draw_ended("gated", 5, np.dtype("float64"), rng, batch=9)
    with np.errstate(all="ignore"):
        wanted = rows_alone(*case)
    assert_as_alone(results(engine, *case), wanted)


@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_a_layer_above_such_a_row_gets_no_nan(engine, rng):
    below, params, x, h0, _, lengths = draw_ended("antisymmetric", 4, np.dtype("float64"), rng)
    stack = numrnn.Stack([below, numrnn.ElmanCell(4, 3)])
    above = {name: rng.standard_normal(shape) for name, shape in stack.cells[1].parameter_shapes.items()}
    above["V"][:, 0] = 0.5  # of a sum with an infinite term, no NaN
    above["V"][:, 1:] *= 1e-3
    params = stack.named([params, above])
    h0 = np.concatenate([h0, rng.standard_normal((4, 3))], axis=1)
    d_states = 1e-3 * rng.standard_normal((len(x) + 1, *h0.shape))
    with np.errstate(all="ignore"):
        wanted = rows_alone(stack, params, x, h0, d_states, lengths)
    got = results(engine, stack, params, x, h0, d_states, lengths)
    assert all(np.array_equal(np.isnan(got[name]), np.isnan(value)) for name, value in wanted.items())
    assert np.isfinite(got["dx"]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", numrnn.CELLS)
def test_a_cotangent_that_overflows_in_a_row_that_has_ended_makes_no_nan_that_the_reference_has_not(kind, dtype, rng):
    cell, largest = numrnn.CELLS[kind](2, 5), float(np.finfo(dtype).max)
    for _ in range(3):
        params = cell.init_params(rng, dtype=np.dtype(dtype))
        x = rng.standard_normal((6, 4, 2)).astype(dtype)
        h0 = rng.standard_normal((4, cell.state_size)).astype(dtype)
        d_states = np.where(rng.random((7, 4, 1)) < 0.5, 0.9 * largest, 1.0) * rng.choice([-1, 1], cell.state_size)
        case = cell, params, x, h0, d_states.astype(dtype), [1, 2, 6, 3]
        wanted, got = results("reference", *case), results("fused", *case)
        assert np.isinf(wanted["dh"]).any()
        for name in ("dh", "dh0", "dx"):
            assert not np.any(np.isnan(got[name]) & ~np.isnan(wanted[name])), name
