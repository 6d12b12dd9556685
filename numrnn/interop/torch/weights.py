"""Conversion of weights between numrnn's cells and the equivalent layers of torch.

| layer | cell | its two biases |
|---|---|---|
| torch.nn.RNN, nonlinearity "tanh" | ElmanCell | b is their sum |
| torch.nn.LSTM | LSTMCell, whose gates have the same order: input, forget, candidate, output | b is their sum |
| AntisymmetricRNN of the package torchrecurrent | AntisymmetricCell, triangular=False | b is their sum |
| `RecurrentLayer` | its own cell | it has one |

Layers have one level and one direction. The gradient with respect to each of two biases is that with respect to b.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from numrnn.backend import Params, to_numpy
from numrnn.cells import AntisymmetricCell, Cell, ElmanCell, LSTMCell
from numrnn.cells.antisymmetric import AntisymmetricMatrix
from numrnn.checks import dtype_name
from numrnn.interop.torch.layer import RecurrentLayer

__all__ = ["cell_from_torch", "params_from_torch", "params_to_torch"]

KNOWN = "a RecurrentLayer, torch.nn.RNN with tanh, torch.nn.LSTM or torchrecurrent.AntisymmetricRNN"


@dataclass(frozen=True)
class _Weights:
    """The parameters of a layer that has two biases or none, and the cell that they belong to."""

    cell: Cell
    V: Any
    W: Any
    biases: tuple[Any, ...]


def cell_from_torch(module: Any) -> Cell:
    """Return the cell that is equivalent to a layer of torch.

    Parameters
    ----------
    module : torch.nn.Module
        A `RecurrentLayer`, torch.nn.RNN with tanh, torch.nn.LSTM, or torchrecurrent.AntisymmetricRNN; of one level and
        one direction.

    Returns
    -------
    Cell

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it has more levels or directions, another nonlinearity or a projection.
    """
    return module.cell if isinstance(module, RecurrentLayer) else _weights(module).cell


def params_from_torch(module: Any) -> dict[str, np.ndarray]:
    """Return a layer's parameters as those of the equivalent cell.

    Parameters
    ----------
    module : torch.nn.Module
        As for `cell_from_torch`.

    Returns
    -------
    dict of str to numpy.ndarray
        Copies, of the layer's dtype.

    Raises
    ------
    TypeError, ValueError
        As `cell_from_torch`.

    Examples
    --------
    >>> import torch, numrnn
    >>> module = torch.nn.LSTM(3, 8)
    >>> cell, params = cell_from_torch(module), params_from_torch(module)
    >>> x = torch.randn(20, 5, 3)
    >>> states, _ = numrnn.forward(cell, params, x.numpy())
    >>> torch.allclose(module(x)[0], torch.from_numpy(states[1:, :, :8]), rtol=0, atol=1e-5)
    True
    """
    if isinstance(module, RecurrentLayer):
        return {name: _array(tensor) for name, tensor in module.named_cell_parameters().items()}
    weights = _weights(module)
    n = len(weights.W)
    b = sum((_array(bias) for bias in weights.biases), np.zeros(n, _array(weights.W).dtype))
    return {"W": _array(weights.W), "V": _array(weights.V), "b": b}


def params_to_torch(cell: Cell, params: Params, module: Any) -> None:
    """Write a cell's parameters into an equivalent layer: b into its first bias, 0 into the second.

    Parameters
    ----------
    cell : Cell
        With the sizes and constants of the layer.
    params : mapping of str to array
        Its parameters.
    module : torch.nn.Module
        As for `cell_from_torch`. It keeps its dtype and device.

    Raises
    ------
    TypeError, ValueError
        As `cell_from_torch`; if `params` do not fit the cell, the layer computes another cell, or it has no bias and b
        is not 0.

    Notes
    -----
    Between a triangular antisymmetric cell and one of full storage, W is converted: the layer gets the entries above
    the diagonal of W, or of W - W^T, and 0 elsewhere, and computes the same function.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a numrnn cell, got {type(cell).__name__}")
    for name, array in cell.check_params(params).items():
        if dtype_name(array) not in ("float32", "float64"):
            raise TypeError(f"{name} must be of float32 or float64, got {dtype_name(array)}")
    theirs = cell_from_torch(module)
    ours, wanted = ({k: v for k, v in c.config().items() if k != "triangular"} for c in (cell, theirs))
    if ours != wanted:
        raise ValueError(f"cell must be that of the module, {theirs!r}, got {cell!r}")
    host = _in_storage_of(theirs, cell, {name: to_numpy(array) for name, array in params.items()})
    if isinstance(module, RecurrentLayer):
        _write((tensor, host[name]) for name, tensor in module.named_cell_parameters().items())
        return
    weights = _weights(module)
    W, V, b = (host[name] for name in "WVb")
    if not weights.biases and np.any(b):
        raise ValueError("params['b'] must be 0, since the module has no bias")
    _write([(weights.W, W), (weights.V, V), *zip(weights.biases, (b, np.zeros_like(b)), strict=False)])


def _in_storage_of(theirs: Cell, cell: Cell, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters of `cell` as `theirs` stores the same antisymmetric matrix: triangular, or full."""
    ours, other = (getattr(one, "matrix", None) for one in (cell, theirs))
    if not (isinstance(ours, AntisymmetricMatrix) and isinstance(other, AntisymmetricMatrix)):
        return params
    if ours.triangular == other.triangular:
        return params
    W = params["W"]
    return params | {"W": np.triu(W if ours.triangular else W - W.T, k=1)}


def _write(pairs: Iterable[tuple[Any, np.ndarray]]) -> None:
    with torch.no_grad():
        for tensor, array in pairs:
            tensor.copy_(torch.from_numpy(array))


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().resolve_neg().cpu().numpy().copy()


def _weights(module: Any) -> _Weights:
    """Return the parameters of a layer that is not a RecurrentLayer."""
    kind = type(module)
    if isinstance(module, torch.nn.RNN | torch.nn.LSTM):
        _check_simple(module, nonlinearity=("tanh",), bidirectional=(False,), proj_size=(0,))
        cell_kind = ElmanCell if isinstance(module, torch.nn.RNN) else LSTMCell
        cell: Cell = cell_kind(module.input_size, module.hidden_size)
        return _Weights(cell, module.weight_ih_l0, module.weight_hh_l0, _biases(module, "bias_ih_l0", "bias_hh_l0"))
    if kind.__name__ == "AntisymmetricRNN" and kind.__module__.partition(".")[0] == "torchrecurrent":
        _check_simple(module)
        inner = module.cells[0]
        if type(inner.act) is not torch.nn.Tanh:
            raise ValueError(f"module must have the nonlinearity tanh, got {inner.act}")
        n, m = inner.weight_ih.shape
        cell = AntisymmetricCell(m, n, step_size=inner.epsilon, diffusion=inner.gamma, triangular=False)
        return _Weights(cell, inner.weight_ih, inner.weight_hh, _biases(inner, "bias_ih", "bias_hh"))
    raise TypeError(f"module must be {KNOWN}, got {kind.__name__}")


def _biases(module: Any, *names: str) -> tuple[Any, ...]:
    parameters = dict(module.named_parameters(recurse=False))
    return tuple(parameters[name] for name in names if name in parameters)


def _check_simple(module: Any, **allowed: tuple[Any, ...]) -> None:
    """Check that a layer has one level, and that its attributes, if present, have allowed values."""
    for name, values in {"num_layers": (1,), **allowed}.items():
        if getattr(module, name, values[0]) not in values:
            raise ValueError(f"module must have {name}={values[0]!r}, got {getattr(module, name)!r}")
