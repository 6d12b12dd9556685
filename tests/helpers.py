"""What several test files share: cells of every kind, and points that hide no bug."""

from __future__ import annotations

import numpy as np

import numrnn
from numrnn.cells.euler import EulerCell

EPS64 = np.finfo(np.float64).eps
LIPSCHITZ = {"step_size": 0.3, "beta_A": 0.8, "beta_W": 0.6, "diffusion_A": 0.2, "diffusion_W": 0.1}


def make_cells(input_size=3, hidden_size=4):
    """Return a dict of every kind of cell, both storages of W, with step and diffusion that leave their mark."""
    euler = {"step_size": 0.3, "diffusion": 0.2}
    cells = {}
    for name, kind in numrnn.CELLS.items():
        if "triangular" in kind(1, 1).config():
            cells[f"{name}, triangular"] = kind(input_size, hidden_size, triangular=True, **euler)
            cells[f"{name}, full"] = kind(input_size, hidden_size, triangular=False, **euler)
        elif kind is numrnn.LipschitzCell:
            for method in ("euler", "rk2"):
                cells[f"{name}, {method}"] = kind(input_size, hidden_size, method=method, **LIPSCHITZ)
        else:
            cells[name] = kind(input_size, hidden_size, **(euler if issubclass(kind, EulerCell) else {}))
    return cells


def make_stacks(input_size=3, hidden_size=4):
    """Return a dict of stacks: layers of one kind and of several, an LSTM below and on top, a stack in a stack."""
    euler, m, n = {"step_size": 0.3, "diffusion": 0.2}, input_size, hidden_size
    two = numrnn.Stack([numrnn.AntisymmetricCell(m, 5, **euler), numrnn.AntisymmetricCell(5, n, **euler)])
    mixed = numrnn.Stack([numrnn.LSTMCell(m, 2), numrnn.GatedAntisymmetricCell(2, 3, **euler), numrnn.LSTMCell(3, n)])
    nested = numrnn.Stack([numrnn.ElmanCell(m, 3), numrnn.Stack([numrnn.LSTMCell(3, 2), numrnn.ElmanCell(2, n)])])
    return {"stack of two": two, "mixed stack": mixed, "nested stack": nested}


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


def worst(got, wanted):
    """Return the largest difference of two arrays relative to the largest element of the second."""
    return np.max(np.abs(np.asarray(got) - np.asarray(wanted))) / np.max(np.abs(np.asarray(wanted)))
