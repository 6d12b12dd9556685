"""Sequences of different lengths whose last step overflows: a row that has ended keeps an infinite state."""

from __future__ import annotations

import numpy as np

import numrnn
from numrnn import backward, forward
from numrnn.bptt import GRADIENTS

LONGEST = 3  # steps
STEP = 2.0**-13  # what a step adds at most, over the largest number
KINDS = ("antisymmetric", "gated", "unstructured", "gated-unstructured", "lipschitz", "lipschitz, rk2")


def draw_ended(kind, n, dtype, rng, batch=4):
    """Return cell, params, x, h0, cotangents of all states, and lengths.

    Unit 0 of every row reaches infinity at the row's last step, and no gradient is infinite or NaN: no other unit reads
    it, and its own candidate is +1. The other units are not saturated in the first step of a row, so that gradients are
    not zero, and the cotangents are so small that products with states near the largest number are finite.
    """
    largest = float(np.finfo(dtype).max)
    if kind.startswith("lipschitz"):
        method = "rk2" if kind.endswith("rk2") else "euler"
        cell = numrnn.LipschitzCell(2, n, step_size=STEP * largest, diffusion_A=0.0, diffusion_W=0.2, method=method)
        names = {"M_A": 0.0, "M_W": 1.0, "V": 1.0, "b": 1.0}
    else:
        storage = {} if "unstructured" in kind else {"triangular": bool(rng.integers(2))}
        cell = numrnn.CELLS[kind](2, n, step_size=STEP * largest, diffusion=0.2, **storage)
        names = dict.fromkeys(cell.parameter_shapes, 1.0)
    params = {name: scale * rng.standard_normal(cell.parameter_shapes[name]) for name, scale in names.items()}
    for name in params.keys() & {"W", "M_W"}:
        params[name] /= 100 * n
        params[name][0] = params[name][:, 0] = 0
    for name in params.keys() & {"b", "b_z"}:
        params[name][0] = largest / 4  # against the diffusion of h0
    lengths = rng.permutation([1, LONGEST, *rng.integers(1, LONGEST + 1, batch - 2)])
    h0 = rng.uniform(0.5, 2, (batch, n)) * rng.choice([-1, 1], (batch, n))  # over the step size not subnormal either
    h0[:, 0] = (1 - (lengths - 0.25) * STEP) * largest
    x = rng.standard_normal((LONGEST + 1, batch, 2))  # one step more than any row has
    # Neither the cotangents nor sums of them are subnormal, which the loops would flush to zero.
    d_states = 16 / largest * rng.uniform(1, 2, (LONGEST + 2, batch, n)) * rng.choice([-1, 1], n)
    x, h0, d_states = (array.astype(dtype) for array in (x, h0, d_states))
    return cell, {name: value.astype(dtype) for name, value in params.items()}, x, h0, d_states, lengths


def rows_alone(cell, params, x, h0, d_states, lengths):
    """Return what the reference engine gives for every row alone, with no step after its last one.

    The states and dL/dh_t of all steps, dL/dx, dL/dh_0, and the gradients of the parameters.
    """
    states, dh = np.zeros_like(d_states), np.zeros_like(d_states)
    dx, dh0, totals = np.zeros_like(x), np.zeros_like(h0), {k: np.zeros_like(v) for k, v in params.items()}
    for i, steps in enumerate(lengths):
        row, direct = slice(i, i + 1), d_states[: steps + 1, i : i + 1].copy()
        direct[-1] += d_states[steps + 1 :, row].sum(0)  # the copies of the last state
        own, tape = forward(cell, params, x[:steps, row], h0[row], engine="reference")
        grads = backward(tape, direct, wrt=GRADIENTS)
        states[: steps + 1, row], states[steps + 1 :, row] = own, own[-1]
        dh[:steps, row], dx[:steps, row], dh0[row] = grads.states[:-1], grads.x, grads.h0
        dh[steps:, row] = np.cumsum(d_states[steps:, row][::-1], axis=0)[::-1]
        totals = {name: total + grads.params[name] for name, total in totals.items()}
    return {"states": states, **{f"d{k}": v for k, v in totals.items()}, "dx": dx, "dh0": dh0, "dh": dh}


def assert_as_alone(got, wanted):
    """Assert that infinite states agree, that gradients are finite, and that all numbers agree to rounding."""
    assert got.keys() == wanted.keys()
    assert np.isinf(wanted["states"]).any(axis=(0, 2)).all()
    for name, value in wanted.items():
        finite = np.isfinite(value)
        assert finite.all() or name == "states", name
        assert np.array_equal(np.asarray(got[name])[~finite], value[~finite]), name
        of_unit_0 = np.zeros(value.shape, bool)  # it has other sizes than the others
        of_unit_0[..., 0] = True
        if name in ("dW", "dM_A", "dM_W"):
            of_unit_0[0] = True
        error = np.abs(np.where(finite, got[name], 0) - np.where(finite, value, 0))
        for group in (of_unit_0, ~of_unit_0):
            largest = np.max(np.abs(value[finite & group]), initial=0)
            assert np.all(error[group] <= 100 * np.finfo(value.dtype).eps * largest), (name, np.max(error), largest)
