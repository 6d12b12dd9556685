"""What the tests of numrnn's layer for torch share. Import it after torch was found."""

import numpy as np
import torch

from numrnn.interop.torch import RecurrentLayer, params_to_torch

T, B, M, N = 6, 3, 3, 4


def leaf(array):
    return torch.from_numpy(array.copy()).requires_grad_()


def layer_of(cell, params, **options):
    layer = RecurrentLayer(cell, **options).to(torch.from_numpy(next(iter(params.values()))).dtype)
    params_to_torch(cell, params, layer)
    return layer


def differing(got, wanted):
    """Return the names of what has other bits, or another dtype."""
    return [k for k, v in wanted.items() if got[k].dtype != v.dtype or not np.array_equal(got[k], v)]


def gradients(layer, **inputs):
    parameters = layer.named_cell_parameters()
    return {k: v.grad.numpy() for k, v in (parameters | inputs).items() if v.grad is not None}


def first_of(layer):
    """Return the first parameter: cells have different names for theirs."""
    return next(layer.parameters())


def torch_names(cell):
    """Return the names of a cell's parameters in torch, which allows no dot."""
    return [name.replace(".", "__") for name in cell.parameter_shapes]
