"""What several test files share: cells of every kind, points that hide no bug, and derivatives by complex step."""

from __future__ import annotations

import numpy as np

import numrnn
from numrnn.cells.base import EulerCell

EPS64 = np.finfo(np.float64).eps
COMPLEX_STEP = 1e-30  # its square vanishes beside 1, so that a complex step has no truncation error
GRADIENT_RTOL = 1e-12


def make_cells(input_size=3, hidden_size=4):
    """Return a dict of every kind of cell, both storages of W, with step and diffusion that leave their mark."""
    euler = {"step_size": 0.3, "diffusion": 0.2}
    cells = {}
    for name, kind in numrnn.CELLS.items():
        if "triangular" in kind(1, 1).config():
            cells[f"{name}, triangular"] = kind(input_size, hidden_size, triangular=True, **euler)
            cells[f"{name}, full"] = kind(input_size, hidden_size, triangular=False, **euler)
        else:
            cells[name] = kind(input_size, hidden_size, **(euler if issubclass(kind, EulerCell) else {}))
    return cells


def draw_params(cell, rng, dtype=np.float64):
    """Return parameters with no zeros: zero biases would hide swapped biases, and W = 0 a missing transpose.

    That includes the entries of a triangular W that are no parameters; the cell must not read them.
    """
    return {k: (0.5 * rng.standard_normal(s)).astype(dtype) for k, s in cell.parameter_shapes.items()}


def draw_step(cell, rng, batch=5, dtype=np.float64):
    """Return params, x and h for one step."""
    x = rng.standard_normal((batch, cell.input_size)).astype(dtype)
    h = rng.standard_normal((batch, cell.state_size)).astype(dtype)
    return draw_params(cell, rng, dtype), x, h


def draw_sequence(cell, rng, n_steps=6, batch=3, dtype=np.float64):
    """Return params, x and h0 for a sequence."""
    params, _, h0 = draw_step(cell, rng, batch, dtype)
    return params, rng.standard_normal((n_steps, batch, cell.input_size)).astype(dtype), h0


def complex_step(function, point, direction):
    """Return the derivative of an analytic function of a dict of arrays along a direction, to rounding.

    A name that the direction lacks is left alone.
    """
    moved = {k: v + 1j * COMPLEX_STEP * direction[k] if k in direction else v for k, v in point.items()}
    return np.imag(function(moved)) / COMPLEX_STEP


def assert_gradient(loss, gradient, point, rng, directions=3):
    """Check each array of a gradient against complex steps of a scalar loss along Gaussian directions."""
    for name, value in point.items():
        assert np.linalg.norm(gradient[name]) > 0, f"the gradient of {name} is zero: this point shows nothing"
        for _ in range(directions):
            v = rng.standard_normal(value.shape)
            numeric = complex_step(loss, point, {name: v})
            analytic = np.vdot(gradient[name], v)
            scale = np.linalg.norm(gradient[name]) * np.linalg.norm(v)
            assert abs(analytic - numeric) <= GRADIENT_RTOL * scale, (
                f"{name}: analytic {analytic:.17g}, complex step {numeric:.17g}"
            )


def worst(got, wanted):
    """Return the largest difference of two arrays relative to the largest element of the second."""
    return np.max(np.abs(np.asarray(got) - np.asarray(wanted))) / np.max(np.abs(np.asarray(wanted)))
