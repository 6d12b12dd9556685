"""A forward pass with checked arguments, which `forward` and `backward` pass to an engine.

All engines raise the same errors for bad input, because they are raised here, before any work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, array_namespace, asarray, is_array, to_numpy, zeros
from numrnn.cells.base import Cell
from numrnn.checks import as_host_array, check_array, check_finite, check_integer, check_plain, check_same_kind, shown


@dataclass(frozen=True, eq=False)
class Problem:
    """A forward pass with checked arguments.

    Attributes
    ----------
    cell : Cell
    params : mapping of str to array
    x : array, shape (T, B, m)
        Zero after a row's length.
    h0 : array, shape (B, state_size)
        Has the dtype of the states.
    active : array of bool, shape (T, B, 1), or None
        True where a row's sequence has not ended; None if every row has T steps.
    every : int or None
        k if only every k-th state is kept, else None.
    """

    cell: Cell
    params: Params
    x: Array
    h0: Array
    active: Array | None
    every: int | None

    @property
    def n_steps(self) -> int:
        """T."""
        return self.x.shape[0]


def check_problem(
    cell: Cell, params: Params, x: Array, h0: Array | None, lengths: Any, recompute_every: int | str | None
) -> Problem:
    """Return the arguments of a forward pass as a `Problem`; parameters and errors as for `numrnn.forward`."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a numrnn cell, got {type(cell).__name__}")
    arrays = cell.check_params(params)
    check_array("x", x, ("T", "B", "m"), m=cell.input_size)
    arrays["x"] = x
    n_steps, batch = x.shape[0], x.shape[1]
    if h0 is not None:
        check_array("h0", h0, ("B", "n"), B=batch, n=cell.state_size)
        check_finite("h0", h0)
        arrays["h0"] = h0
    check_same_kind(arrays)
    active = None
    if lengths is not None:
        active = _active_steps(lengths, n_steps, batch, x)
        x = array_namespace(x).where(active, x, 0)
    check_finite("x", x)
    h = zeros((batch, cell.state_size), like=x, dtype=array_namespace(x).result_type(*arrays.values()))
    if h0 is not None:
        h[...] = h0
    return Problem(cell, params, x, h, active, _resolve_every(recompute_every, n_steps))


def _active_steps(lengths: Any, n_steps: int, batch: int, x: Array) -> Array:
    """Return the mask (T, B, 1) that is True where a row's sequence has not ended."""
    host = check_lengths(lengths, n_steps, batch)
    return asarray(np.arange(n_steps)[:, None, None] < host[None, :, None], like=x)


def check_lengths(lengths: Any, n_steps: int, batch: int) -> np.ndarray:
    """Return lengths on the host after checking that they are `batch` integers from 1 to `n_steps`.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If there are more or fewer, or one is out of range.
    """
    check_plain("lengths", lengths)
    host = to_numpy(lengths) if is_array(lengths) else as_host_array("lengths", lengths)
    if host.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, got dtype {host.dtype}")
    if host.shape != (batch,):
        raise ValueError(f"lengths must be (B={batch},), got {host.shape}")
    if host.min() < 1 or host.max() > n_steps:
        raise ValueError(f"lengths must be from 1 to T={n_steps}, got values from {host.min()} to {host.max()}")
    return host


def _resolve_every(recompute_every: int | str | None, n_steps: int) -> int | None:
    if recompute_every is None:
        return None
    if isinstance(recompute_every, str):
        if recompute_every != "sqrt":
            raise ValueError(f"recompute_every must be an integer >= 1, 'sqrt' or None, got {shown(recompute_every)}")
        return math.isqrt(n_steps - 1) + 1  # the ceiling of the square root
    return check_integer("recompute_every", recompute_every, at_least=1)


def check_cotangents(problem: Problem, d_states: Array | None, d_final: Array | None) -> tuple[Array, Array | None]:
    """Return g_T, a new array, and the loss's direct derivatives with respect to the states."""
    if d_states is None and d_final is None:
        raise ValueError("give d_states, d_final or both: without a cotangent there is nothing to propagate")
    arrays = {"x": problem.x}
    sizes = {"B": problem.x.shape[1], "n": problem.cell.state_size}
    if d_states is not None:
        check_array("d_states", d_states, ("T+1", "B", "n"), **sizes, **{"T+1": problem.n_steps + 1})
        check_finite("d_states", d_states)
        arrays["d_states"] = d_states
    if d_final is not None:
        check_array("d_final", d_final, ("B", "n"), **sizes)
        check_finite("d_final", d_final)
        arrays["d_final"] = d_final
    check_same_kind(arrays)
    dtype = array_namespace(problem.x).result_type(*arrays.values(), problem.h0.dtype)
    g: Array = zeros(problem.h0.shape, like=problem.x, dtype=dtype)
    if d_states is not None:
        g = g + d_states[-1, ...]
    if d_final is not None:
        g = g + d_final
    return g, d_states
