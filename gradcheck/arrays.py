"""Arrays of any library, and conversions to and from NumPy: the only file that distinguishes libraries.

The checker computes in NumPy on the host; a library and a device matter only where arrays are passed to the function
under check (`beside`) and where its results come back (`to_host`). A parameter is moved once per evaluation, so on a
GPU the cost of a check is that of the function itself plus one transfer of the parameters.

The kind of an object is read from its type, never from its attributes: mappings that answer every attribute are common.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

Array = Any  # an array of NumPy, CuPy or another array-API library; none of them shares a base class
Host = np.ndarray


def is_array(obj: Any) -> bool:
    """Tell whether `obj` is an array of NumPy, CuPy, torch or another library that follows the array API standard."""
    if isinstance(obj, np.ndarray | np.generic):
        return True
    return _is_cupy(obj) or _is_torch(obj) or hasattr(type(obj), "__array_namespace__")


def library(obj: Any) -> str:
    """Return the name of the library that the type of `obj` comes from."""
    name = type(obj).__module__.split(".")[0]
    return {"jaxlib": "jax"}.get(name, name)


def _is_cupy(obj: Any) -> bool:
    return library(obj) == "cupy"


def _is_torch(obj: Any) -> bool:
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported it
    return torch is not None and isinstance(obj, torch.Tensor)


def dtype_name(array: Array) -> str:
    """Return the name of an array's dtype, the same for every library."""
    return getattr(array.dtype, "name", None) or str(array.dtype).rsplit(".", 1)[-1]


def to_host(array: Array) -> Host:
    """Return a NumPy array with the values of `array`; a copy only if it is elsewhere.

    Raises
    ------
    TypeError
        If `array` is not an array.
    """
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if _is_cupy(array):
        return array.get()
    if _is_torch(array):
        return array.detach().resolve_conj().cpu().numpy()
    if not is_array(array):
        raise TypeError(f"expected an array, got {type(array).__name__}")
    xp = array.__array_namespace__()
    if hasattr(xp, "Device") and hasattr(array, "to_device"):  # array-api-strict: only its "CPU_DEVICE" converts
        array = array.to_device(xp.Device("CPU_DEVICE"))
    return np.asarray(array)


def beside(values: Host, like: Array) -> Array:
    """Return a copy of `values`, dtype kept, in the library, on the device and in the memory layout of `like`.

    A library may narrow the dtype (JAX does, unless told otherwise); `Tree.narrows` detects it.
    """
    if isinstance(like, np.generic):
        return values.dtype.type(values[()])
    if isinstance(like, np.ndarray):
        copy = np.empty_like(like, dtype=values.dtype, subok=False)
        copy[...] = values
        return copy
    if _is_cupy(like):
        import cupy

        order = "F" if like.flags.f_contiguous and not like.flags.c_contiguous else "C"
        with like.device:  # CuPy allocates on the current device, which need not be that of `like`
            return cupy.array(values, order=order)
    if _is_torch(like):
        torch: Any = sys.modules["torch"]
        moved = torch.from_numpy(np.array(values, order="C")).to(like.device)
        return torch.empty_like(like, dtype=moved.dtype, requires_grad=False).copy_(moved)
    xp = like.__array_namespace__()
    return xp.asarray(np.array(values), device=like.device)
