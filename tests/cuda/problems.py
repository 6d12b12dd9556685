"""Passes of the CUDA engine on the CPU stand-in, beside those of the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from helpers import draw_params
from standin import StandinLauncher

import gradcheck
import numrnn
from numrnn import backward, bptt
from numrnn.bptt import GRADIENTS
from numrnn.engines.cuda import kernels_reason, make_tape
from numrnn.problem import check_problem

PARAMETERS = ("dW", "dV", "db", "dV_z", "db_z")
KINDS = ("antisymmetric", "gated", "unstructured", "gated-unstructured")


def make_cell(kind, m, n, *, step_size=0.3, diffusion=0.2, triangular=True):
    if kind in ("elman", "lstm"):
        return numrnn.CELLS[kind](m, n)
    storage = {} if "unstructured" in kind else {"triangular": triangular}
    return numrnn.CELLS[kind](m, n, step_size=step_size, diffusion=diffusion, **storage)


def draw(cell, rng, n_steps, batch, dtype):
    """Return params, x, h0 and cotangents of all states; norm(A) stays near one as n grows."""
    params = draw_params(cell, rng, dtype)
    params["W"] = (params["W"] / cell.hidden_size**0.5).astype(dtype)
    shapes = (n_steps, batch, cell.input_size), (batch, cell.state_size), (n_steps + 1, batch, cell.state_size)
    return params, *(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def standin_tape(cell, params, x, h0=None, *, lengths=None, every=None, launcher=None, rows=None, layout=None):
    """Return the tape of a forward pass of the CUDA engine; with rows per block, or a layout, other than its choice."""
    launcher = launcher or StandinLauncher()
    problem = check_problem(cell, params, x, h0, lengths, every)
    assert kernels_reason(problem, launcher) is None
    tape = make_tape(problem, launcher)
    if rows or layout:
        tape._recurrence.layout = layout or replace(tape._recurrence.layout, rows=rows)
    tape.run()
    return tape


def results(tape, d_states):
    """Return a dict of all that a pass gives."""
    grads = backward(tape, d_states, wrt=GRADIENTS)
    named = {f"d{k}": v for k, v in grads.params.items()}
    return {"states": np.asarray(tape.states), **named, "dx": grads.x, "dh0": grads.h0, "dh": grads.states}


def reference(cell, params, x, h0, d_states, lengths=None, dtype=np.float64):
    """Return the same from the reference engine, by default in float64."""
    params, x, h0, d_states = (_as_type(a, dtype) for a in (params, x, h0, d_states))
    tape = bptt.ReferenceTape(check_problem(cell, params, x, h0, lengths, None))
    tape.run()
    return results(tape, d_states)


def _as_type(array, dtype):
    return {k: _as_type(v, dtype) for k, v in array.items()} if isinstance(array, dict) else array.astype(dtype)


def largest_errors(got, wanted):
    """Return for each array the largest difference, relative to the largest element, or to a term of the sum it is.

    A gradient of parameters is a sum of cotangents times rows [h | x | 1], which may cancel: of one unit dW is zero.
    """
    assert got.keys() == wanted.keys()
    term = np.max(np.abs(wanted["dh"])) * max(1, np.max(np.abs(wanted["states"])))
    sizes = {k: max(np.max(np.abs(v)), term if k in PARAMETERS else 0) for k, v in wanted.items()}
    return {k: float(np.max(np.abs(got[k] - v)) / sizes[k]) for k, v in wanted.items()}


def tolerance(cell, params, n_steps, dtype):
    """Return the rounding of a pass: of a step, added up over T steps that expand it by 1 + eps norm(A) at most.

    A sum of n products is one of n / LANES in each thread and then a tree: its rounding does not grow with n here.
    """
    W = params["W"].astype(np.float64)
    if cell.name == "elman":
        growth = max(1, np.linalg.norm(W, 2))
    elif cell.name == "lstm":  # the memory keeps its size at most; the slope of a gate is 1/4, times what it gates
        growth = 1 + np.linalg.norm(W, 2) / 2
    else:
        growth = 1 + cell.step_size * np.linalg.norm(cell.matrix.value(W), 2)
    return 8 * (4 + n_steps) * growth**n_steps * float(np.finfo(dtype).eps)


def assert_agrees(cell, params, x, h0, d_states, *, lengths=None, limit=None, launcher=None, **options):
    """Assert that the engine gives what the float64 reference gives, and return the launcher."""
    launcher = launcher or StandinLauncher()
    got = results(standin_tape(cell, params, x, h0, lengths=lengths, launcher=launcher, **options), d_states)
    assert all(value.dtype == x.dtype for value in got.values())
    errors = largest_errors(got, reference(cell, params, x, h0, d_states, lengths))
    limit = limit or tolerance(cell, params, len(x), x.dtype)
    worst = max(errors, key=lambda name: errors[name] if errors[name] == errors[name] else np.inf)
    assert errors[worst] <= limit, f"{worst}: error {errors[worst]:.3g}, allowed {limit:.3g}"
    return launcher


def assert_gradients_of_own_loss(cell, rng, every, layout=None):
    """Check the engine's gradients by gradcheck, against a loss that the engine itself computes."""
    params, x, h0, d_states = draw(cell, rng, 8, 3, np.float64)
    lengths = [8, 1, 5]
    options = {"lengths": lengths, "layout": layout}
    grads = backward(standin_tape(cell, params, x, h0, every=every, **options), d_states)

    def loss(point):
        named = {k: point[k] for k in params}
        return np.sum(d_states * np.asarray(standin_tape(cell, named, point["x"], point["h0"], **options).states))

    gradcheck.assert_gradient(loss, {**grads.params, "x": grads.x, "h0": grads.h0}, {**params, "x": x, "h0": h0})
