"""Sums over the steps inside the backward kernel of lean.cu are as exact as a product of float32 outside it."""

import numpy as np
import pytest
from problems import draw, make_cell, standin_tape
from standin import missing

from numrnn.engines.cuda.families import VARIABLE

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
EPS = float(np.finfo(np.float32).eps)
STEPS, BATCH = 1000, 8


@pytest.fixture(autouse=True)
def wanted(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")


def sums_of(kind, rows, rng):
    """Return the gradients of A and of [V | b] from the kernel, and their factors: deltas, and [h | x | 1]."""
    cell = make_cell(kind, 1, 30, step_size=0.01, diffusion=0.01)
    _, x, h0, d_states = draw(cell, rng, STEPS, BATCH, np.float32)
    params = cell.init_params(rng, weight_std=4.0)
    tape = standin_tape(cell, params, x, h0, rows=rows)
    assert tape._recurrence.layout.adds_dA
    outputs = tape._run_back(0, tape._segment(0), d_states[-1].copy(), None, None, ("params", "x"))
    own = np.concatenate([outputs.dA.sum(0), outputs.dV_b.sum(0).reshape(2, 30).T], axis=1)
    h_x_1 = np.concatenate([tape.states[:-1], x, np.ones_like(x)], axis=2)
    return own, outputs.deltas.reshape(STEPS * BATCH, -1), h_x_1.reshape(STEPS * BATCH, -1)


def test_a_sum_over_1000_steps_is_as_exact_as_a_product(rng):
    """Of numbers in float32: the sum in the kernel, a chain of rows x 1000 additions, and BLAS, against float64."""
    rows = 4
    own, deltas, factors = sums_of("unstructured", rows, rng)
    exact = deltas.astype(np.float64).T @ factors.astype(np.float64)
    blas = deltas.T @ factors
    worst = [np.max(np.abs(value - exact) / np.max(np.abs(exact), axis=0)) for value in (own, blas)]
    print(f"{rows} rows per block: kernel {worst[0] / EPS:.2g} eps, product {worst[1] / EPS:.2g} eps")
    terms = np.abs(deltas).astype(np.float64).T @ np.abs(factors).astype(np.float64)
    assert np.all(np.abs(own - exact) <= np.sqrt(rows * STEPS) * EPS * terms)
    assert worst[0] <= 8 * max(worst[1], EPS)
