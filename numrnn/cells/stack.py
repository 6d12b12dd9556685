r"""Layers: stacked cells, each of which reads the new state of the one below.

    h^l_t = step_l(params_l, h^{l-1}_t, h^l_{t-1}),   l = 1..L,   h^0_t = x_t

A stack is a cell, with derivatives by the chain rule. Its state is the layers' states side by side, the top layer's
first, [h^L | ... | h^1], so that the first hidden_size columns are h, which the read-out uses. Above an LSTM, a layer
reads only the hidden part h of the state [h | c].

Its parameters have the names of the layers' parameters, prefixed with the number of the layer from 1 at the bottom:
"1.W", "1.V", ..., "2.W". A slash instead of the dot would split the names in a checkpoint file.

Guaranteed: the Jacobian is block triangular, so its eigenvalues are those of the layers' own Jacobians. Not guaranteed:
a bound on its powers. A gradient through the layers may grow with time even if that of no single layer does.

Derivation: docs/derivation.md, section 10.

References
----------
S. El Hihi, Y. Bengio, "Hierarchical Recurrent Neural Networks for Long-Term Dependencies", NIPS 1995.
A. Graves, A. Mohamed, G. Hinton, "Speech Recognition with Deep Recurrent Neural Networks", ICASSP 2013,
arXiv:1303.5778, equation (11).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from numrnn.backend import Array, Params, array_namespace, empty, zeros
from numrnn.cells.base import Cell, checked, complete_config, unchecked
from numrnn.initializers import InitialValues

__all__ = ["Stack", "add_to_hidden", "by_input"]


class Stack(Cell):
    """Layers of cells: each reads h of the one below it at the same step; the lowest reads x.

    Parameters
    ----------
    cells : iterable of Cell
        One or more layers, from the bottom to the top. The input size of each layer is the number of units of the layer
        below.

    Attributes
    ----------
    cells : tuple of Cell
    input_size : int
        Input size of the lowest layer.
    hidden_size : int
        Number of units of the top layer.
    state_size : int
        The sum of the layers' state sizes.

    Raises
    ------
    TypeError
        If `cells` is not an iterable of cells.
    ValueError
        If it is empty, or the sizes of two adjacent layers do not match.

    Notes
    -----
    A step costs the steps of its layers. `numrnn.forward` runs one layer after the other through all steps, each with
    the engine that supports it.

    Examples
    --------
    >>> import numpy as np
    >>> from numrnn import AntisymmetricCell, LSTMCell
    >>> cell = Stack([AntisymmetricCell(3, 8), LSTMCell(8, 4)])
    >>> params = cell.init_params(np.random.default_rng(0))
    >>> list(params)
    ['1.W', '1.V', '1.b', '2.W', '2.V', '2.b']
    >>> cell.input_size, cell.hidden_size, cell.state_size  # [h | c] of the LSTM, then h of the lower layer
    (3, 4, 16)
    >>> cell.step(params, np.ones((2, 3), np.float32), np.zeros((2, 16), np.float32)).shape
    (2, 16)
    """

    name: ClassVar[str] = "stack"

    def __init__(self, cells: Iterable[Cell]) -> None:
        if not isinstance(cells, Iterable) or isinstance(cells, np.ndarray):
            raise TypeError(f"cells must be numrnn cells, from the bottom to the top, got {type(cells).__name__}")
        self.cells = tuple(cells)
        if not self.cells:
            raise ValueError("cells must be one cell or more, got none")
        for number, cell in enumerate(self.cells, 1):
            if not isinstance(cell, Cell):
                raise TypeError(f"cells must be numrnn cells, got {type(cell).__name__} as layer {number}")
        for number, (below, above) in enumerate(itertools.pairwise(self.cells), 2):
            if above.input_size != below.hidden_size:
                raise ValueError(
                    f"cells must have matching sizes: layer {number} must have input_size {below.hidden_size}, "
                    f"the hidden_size of layer {number - 1}, got {above.input_size}"
                )
        super().__init__(self.cells[0].input_size, self.cells[-1].hidden_size)

    @property
    def state_size(self) -> int:
        """Width of the state: the sum of the layers' state sizes."""
        return sum(cell.state_size for cell in self.cells)

    @property
    def columns(self) -> tuple[slice, ...]:
        """The columns of each layer's state, from the bottom layer, whose columns are last, to the top layer."""
        stops = [sum(cell.state_size for cell in self.cells[i:]) for i in range(len(self.cells) + 1)]
        return tuple(slice(start, stop) for stop, start in itertools.pairwise(stops))

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, such as "1.W": those of the bottom layer first."""
        return self.named([cell.parameter_shapes for cell in self.cells])

    def named(self, layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the layers' mappings by parameter name as one mapping by the stack's parameter names."""
        numbered = enumerate(layers, 1)
        return {f"{number}.{name}": value for number, values in numbered for name, value in values.items()}

    def layer_params(self, params: Params) -> list[dict[str, Array]]:
        """Return each layer's parameters (or tangents, or gradients) by its own names, the bottom layer's first."""
        numbered = enumerate(self.cells, 1)
        return [{name: params[f"{number}.{name}"] for name in cell.parameter_shapes} for number, cell in numbered]

    def parameter_count(self) -> int:
        """Return the number of free parameters of all layers, without read-out."""
        return sum(cell.parameter_count() for cell in self.cells)

    def config(self) -> dict[str, Any]:
        """Return the layers' configurations under "cells", for `numrnn.cells.cell_from_config`."""
        return {"cell": self.name, "cells": [complete_config(cell) for cell in self.cells]}

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.cells))}])"

    def unused_initial_values(self) -> set[str]:
        """Return the arguments of `init_params` that apply to no layer."""
        return set.intersection(*(cell.unused_initial_values() for cell in self.cells))

    def draw_params(self, rng: np.random.Generator, initial: InitialValues) -> dict[str, np.ndarray]:
        """Draw layer by layer from the bottom, each with the options that apply to it."""
        default = InitialValues()
        layers = []
        for cell in self.cells:
            unused = {name: getattr(default, name) for name in cell.unused_initial_values()}
            layers.append(cell.draw_params(rng, replace(initial, **unused)))
        return self.named(layers)

    def split(self, state: Array) -> list[Array]:
        """Return each layer's part of a state (..., state_size), contiguous, the bottom layer's first."""
        parts = []
        for columns in self.columns:
            part = empty((*state.shape[:-1], columns.stop - columns.start), like=state)
            part[...] = state[..., columns]
            parts.append(part)
        return parts

    def join(self, parts: list[Array]) -> Array:
        """Return a state (..., state_size) from the layers' parts, the bottom layer's first."""
        dtype = array_namespace(*parts).result_type(*parts)
        state = empty((*parts[0].shape[:-1], self.state_size), like=parts[0], dtype=dtype)
        for part, columns in zip(parts, self.columns, strict=True):
            state[..., columns] = part
        return state

    def _inputs_and_outputs(self, params: Params, x: Array, h: Array) -> tuple[list[Array], list[Array]]:
        """Return each layer's input, (B, m_l), and its next state."""
        inputs, outputs = [], []
        for cell, own, part in zip(self.cells, self.layer_params(params), self.split(h), strict=True):
            inputs.append(x)
            outputs.append(unchecked(cell.step)(own, x, part))  # (F19)
            x = outputs[-1][:, : cell.hidden_size]
        return inputs, outputs

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return the layers' next states side by side, (B, state_size), the top layer's first; see `Cell.step`."""
        return self.join(self._inputs_and_outputs(params, x, h)[1])

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state, (B, state_size); see `Cell.step_jvp`."""
        inputs, _ = self._inputs_and_outputs(params, x, h)
        points = zip(self.cells, self.layer_params(params), inputs, self.split(h), strict=True)
        directions = zip(self.layer_params(params_dot), self.split(h_dot), strict=True)
        tangents = []
        for (cell, own, x_l, h_l), (own_dot, h_l_dot) in zip(points, directions, strict=True):
            tangents.append(unchecked(cell.step_jvp)(own, x_l, h_l, own_dot, x_dot, h_l_dot))  # (T16)
            x_dot = tangents[-1][:, : cell.hidden_size]
        return self.join(tangents)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, dh) from dh_next; see `Cell.step_vjp`. Costs one step more than the layers' adjoints."""
        inputs, _ = self._inputs_and_outputs(params, x, h)
        points = zip(self.cells, self.layer_params(params), inputs, self.split(h), self.split(dh_next), strict=True)
        dparams: list[dict[str, Array]] = []
        dh: list[Array] = []
        dx = None
        for cell, own, x_l, h_l, dh_next_l in reversed(list(points)):
            if dx is not None:
                dh_next_l = add_to_hidden(dh_next_l, dx)  # the layer above reads h of this one (B31)
            dparams_l, dx, dh_l = unchecked(cell.step_vjp)(own, x_l, h_l, dh_next_l)  # (B32)
            dparams.insert(0, dparams_l)
            dh.insert(0, dh_l)
        return self.named(dparams), dx, self.join(dh)

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return the derivative of the next state with respect to the state for each row, (B, state_size, state_size).

        Block triangular: no layer depends on those above it. Costs input_size tangents of each layer except the lowest.
        """
        inputs, outputs = self._inputs_and_outputs(params, x, h)
        points = zip(self.cells, self.layer_params(params), inputs, self.split(h), self.columns, strict=True)
        dtype = array_namespace(*outputs).result_type(*outputs)
        J = zeros((x.shape[0], self.state_size, self.state_size), like=h, dtype=dtype)
        read = None  # the rows of J for the layer's input, (B, m_l, state_size)
        for cell, own, x_l, h_l, columns in points:
            if read is not None:
                J[:, columns, :] = by_input(cell, own, x_l, h_l) @ read  # (J9)
            J[:, columns, columns] = unchecked(cell.jacobian)(own, x_l, h_l)  # (J10)
            read = J[:, columns.start : columns.start + cell.hidden_size, :]
        return J


def add_to_hidden(g: Array, dx: Array) -> Array:
    """Return a cotangent (..., state_size) with dx, (..., hidden_size), added to the part of h: its first columns."""
    total = empty(g.shape, like=g, dtype=array_namespace(g, dx).result_type(g, dx))
    total[...] = g
    total[..., : dx.shape[-1]] += dx
    return total


def by_input(cell: Cell, params: Params, x: Array, h: Array) -> Array:
    """Return the derivative of the next state with respect to x, (B, state_size, m): one tangent per column."""
    nothing = {name: zeros(value.shape, like=value) for name, value in params.items()}
    h_dot, columns = zeros(h.shape, like=h), []
    for k in range(cell.input_size):
        x_dot = zeros(x.shape, like=x)
        x_dot[:, k] = 1
        columns.append(unchecked(cell.step_jvp)(params, x, h, nothing, x_dot, h_dot))
    return array_namespace(*columns).stack(columns, axis=-1)
