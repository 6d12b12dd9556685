"""Arrays of any library, and the way between them and NumPy: the only file that tells libraries apart.

The checker computes in NumPy on the host; a library and a device matter only where arrays are handed to the function
under check (`beside`) and where its answers come back (`to_host`). A parameter is moved once an evaluation, so on a
GPU the cost of a check is that of the function itself plus one transfer of the parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any  # an array of NumPy, CuPy or another array-API library; none of them shares a base class
Host = np.ndarray


def is_array(obj: Any) -> bool:
    """Tell whether `obj` is an array of NumPy, CuPy or another library that follows the array API standard."""
    return isinstance(obj, np.ndarray | np.generic) or _is_cupy(obj) or hasattr(obj, "__array_namespace__")


def _is_cupy(obj: Any) -> bool:
    return type(obj).__module__.split(".")[0] == "cupy"


def dtype_name(array: Array) -> str:
    """Return the name of an array's dtype, the same word for every library."""
    return getattr(array.dtype, "name", None) or str(array.dtype).rsplit(".", 1)[-1]


def to_host(array: Array) -> Host:
    """Return a NumPy array with the values of `array`; a copy only where it lives elsewhere.

    Raises
    ------
    TypeError
        If `array` is no array.
    """
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if _is_cupy(array):
        return array.get()
    if not is_array(array):
        raise TypeError(f"expected an array, got {type(array).__name__}")
    xp = array.__array_namespace__()
    if hasattr(xp, "Device") and hasattr(array, "to_device"):  # array-api-strict: only its "CPU_DEVICE" converts
        array = array.to_device(xp.Device("CPU_DEVICE"))
    return np.asarray(array)


def beside(values: Host, like: Array) -> Array:
    """Return a copy of `values`, dtype kept, in the library and on the device of `like`."""
    if isinstance(like, np.ndarray | np.generic):
        return np.array(values)
    if _is_cupy(like):
        import cupy

        with like.device:  # CuPy allocates on the current device, which need not be that of `like`
            return cupy.array(values)
    xp = like.__array_namespace__()
    return xp.asarray(np.array(values), device=like.device)
