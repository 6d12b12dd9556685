"""A layer for PyTorch that computes with numrnn: its engines, its adjoints, and the memory of torch's tensors.

`RecurrentLayer` is a torch.nn.Module. On a CPU, tensors and NumPy arrays share their memory, so inputs, states and
gradients are not copied. On a GPU CuPy arrays share it through DLPack. torch's autograd sees one node, whose backward
pass is `numrnn.backward`.

`params_from_torch` and `params_to_torch` convert weights between numrnn's cells and the equivalent layers of torch;
`cell_from_torch` creates the cell.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"numrnn.interop.torch needs PyTorch, 2.4 or newer: pip install numrnn[torch]; found: {error}", name="torch"
    ) from error

from numrnn.interop.torch.layer import RecurrentLayer
from numrnn.interop.torch.weights import cell_from_torch, params_from_torch, params_to_torch

__all__ = ["RecurrentLayer", "cell_from_torch", "params_from_torch", "params_to_torch"]
