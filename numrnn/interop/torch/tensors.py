"""Conversion of tensors to arrays and back, without copies, and checks of tensor arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from numrnn.backend import Array, backend_module

HOST = "cpu"  # type of the device whose tensors become NumPy arrays; all others become CuPy's
DTYPES = (torch.float32, torch.float64)


def to_array(tensor: Any) -> Array:
    """Return a tensor's memory as an array: of NumPy on a CPU, of CuPy on a GPU."""
    # torch negates the imaginary part of a conjugate only when it is read, which no other library knows.
    tensor = tensor.detach().resolve_neg()
    return tensor.numpy() if tensor.device.type == HOST else backend_module("cupy").from_dlpack(tensor)


def to_tensor(array: Array) -> Any:
    """Return an array's memory as a tensor."""
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else torch.from_dlpack(array)


def host_array(lengths: Any) -> Any:
    """Return a tensor of integers as an array on the host, anything else unchanged."""
    return lengths.cpu().numpy() if isinstance(lengths, torch.Tensor) else lengths


def check_alike(named: Mapping[str, Any]) -> None:
    """Check that all are tensors of one dtype, float32 or float64, on one device."""
    first = None
    for name, tensor in named.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
        if tensor.dtype not in DTYPES:
            raise TypeError(f"{name} must be of dtype torch.float32 or torch.float64, got {tensor.dtype}")
        first = name if first is None else first
        other = named[first]
        if tensor.dtype != other.dtype:
            raise TypeError(
                f"all tensors must have one dtype, got {first} of {other.dtype} and {name} of {tensor.dtype}"
            )
        if tensor.device != other.device:
            raise ValueError(
                f"all tensors must be on one device, got {first} on {other.device} and {name} on {tensor.device}"
            )


def check_shape(name: str, tensor: Any, wanted: Sequence[int | None], text: str) -> None:
    """Check a shape, in which None stands for any size; errors show `text`."""
    got = tuple(tensor.shape)
    if len(got) != len(wanted) or any(w not in (None, g) for g, w in zip(got, wanted, strict=True)):
        raise ValueError(f"{name} must be {text}, got {got}")
