"""Arrays and devices: the only file that distinguishes NumPy, CuPy and other array libraries.

The namespace is that of the arrays given; no global state decides it. A backend is named only where new arrays are
created (`init_params`, loaders), by `backend=` or, when that is None, by the environment variable NUMRNN_BACKEND.

NumPy and CuPy are supported. Any other library that follows the Python array API standard works in the reference code
too: the tests run it with array-api-strict on its non-default device, which proves that it makes no NumPy-only call.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import ModuleType
from typing import Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from numrnn import gpu
from numrnn.typing import Backend

__all__ = [
    "array_namespace",
    "asarray",
    "astype",
    "backend_module",
    "device_of",
    "empty",
    "eye",
    "from_numpy",
    "is_array",
    "on_device_of",
    "on_their_device",
    "random_generators",
    "to_numpy",
    "trusted_values",
    "values_are_trusted",
    "zeros",
]

Array = Any  # an array of NumPy, CuPy or another array-API library; none of them shares a base class
Params = Mapping[str, Array]
DType = Any  # a dtype of the array's library, or what that library takes for one
F = TypeVar("F", bound=Callable[..., Any])

BACKENDS: tuple[Backend, ...] = get_args(Backend)
OF_NUMPY = (np.ndarray, np.generic)


def array_namespace(*arrays: Array) -> ModuleType:
    """Return the module whose functions work on `arrays`.

    Parameters
    ----------
    *arrays : array
        At least one array; all from the same library.

    Returns
    -------
    module
        `numpy`, `cupy`, or what `array.__array_namespace__()` returns.

    Raises
    ------
    TypeError
        If an argument is not an array, or if two arrays come from different libraries.
    """
    first = _namespace_of(arrays[0]) if arrays else None
    if first is None or any(_namespace_of(array) is not first for array in arrays[1:]):
        names = sorted({_namespace_of(array).__name__ for array in arrays})
        raise TypeError(f"all arrays must come from one library, got arrays of {', '.join(names) or 'none'}")
    return first


def _namespace_of(array: Array) -> ModuleType:
    if isinstance(array, OF_NUMPY):
        return np
    # CuPy arrays have no __array_namespace__; their module is loaded already if one of them exists.
    if type(array).__module__.partition(".")[0] == "cupy":
        return sys.modules["cupy"]
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    raise TypeError(f"expected an array of NumPy, CuPy or an array-API library, got {type(array).__name__}")


def is_array(obj: object) -> bool:
    """Tell whether `obj` is an array that `array_namespace` supports."""
    try:
        _namespace_of(obj)
    except TypeError:
        return False
    return True


def device_of(array: Array) -> object:
    """Return the device of `array` in its own library's terms, comparable with ==."""
    return getattr(array, "device", "cpu")


def on_device_of(*values: Any) -> AbstractContextManager[Any]:
    """Return a context in which the device of the first CuPy array among `values` is the current one.

    CuPy allocates and launches on the current device, whatever the device of the operands: with several GPUs, work on
    arrays outside this context would put its results elsewhere, on a stream without order to theirs. A mapping stands
    for its first value; without a CuPy array the context does nothing.
    """
    for value in values:
        array: Any = next(iter(value.values()), None) if isinstance(value, Mapping) else value
        if type(array).__module__.partition(".")[0] == "cupy" and hasattr(array, "device"):
            return array.device
    return nullcontext()


def on_their_device(function: F) -> F:
    """Make a function run in `on_device_of` its arguments."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with on_device_of(*args, *kwargs.values()):
            return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def backend_module(backend: Backend | None = None) -> ModuleType:
    """Return the array module named `backend`.

    Parameters
    ----------
    backend : {"numpy", "cupy"} or None
        None uses the environment variable NUMRNN_BACKEND, or "numpy" if that is not set.

    Returns
    -------
    module

    Raises
    ------
    ValueError
        If the name is neither "numpy" nor "cupy".
    RuntimeError
        If CuPy is requested but is not installed or finds no GPU. The message says what to install and what was found,
        including the version of CUDA.
    """
    name: str = os.environ.get("NUMRNN_BACKEND", "numpy") if backend is None else backend
    if not isinstance(name, str) or name not in BACKENDS:
        source = "NUMRNN_BACKEND" if backend is None else "backend"
        words = ", ".join(map(repr, BACKENDS))
        if not isinstance(name, str):
            raise TypeError(f"{source} must be one of {words}, got {type(name).__name__}")
        raise ValueError(f"{source} must be one of {words}, got {name!r}")
    return np if name == "numpy" else _cupy()


def _cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        cuda = gpu.find_cuda()
        raise RuntimeError(f"backend='cupy' needs CuPy: {cuda.advice}; found: {cuda}, {error}") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            "backend='cupy' needs an NVIDIA GPU, and a driver for the CUDA of CuPy; "
            f"found: {gpu.find_cuda()}, CuPy {cupy.__version__}, {error}"
        ) from error
    if count == 0:
        raise RuntimeError(
            f"backend='cupy' needs an NVIDIA GPU; found: {gpu.find_cuda()}, CuPy {cupy.__version__}, no device"
        )
    return cupy


def empty(shape: Sequence[int], like: Array, dtype: DType = None) -> Array:
    """Return an uninitialised array of `shape` in the library, on the device and, by default, with `like`'s dtype."""
    return _make("empty", tuple(shape), like, like.dtype if dtype is None else dtype)


def zeros(shape: Sequence[int], like: Array, dtype: DType = None) -> Array:
    """Return zeros of `shape` in the library, on the device and by default with the dtype of `like`."""
    return _make("zeros", tuple(shape), like, like.dtype if dtype is None else dtype)


def _make(function: str, argument: Any, like: Array, dtype: DType) -> Array:
    """Call an array-creation function of `like`'s library on `like`'s device."""
    xp = array_namespace(like)
    if xp.__name__ == "cupy":
        with on_device_of(like):
            return getattr(xp, function)(argument, dtype=dtype)
    return getattr(xp, function)(argument, dtype=dtype, device=like.device)


def eye(n: int, like: Array) -> Array:
    """Return the identity matrix (n, n) in the library, on the device and with the dtype of `like`."""
    return _make("eye", n, like, like.dtype)


def asarray(values: npt.ArrayLike, like: Array, dtype: DType = None) -> Array:
    """Return `values` (an array of any library, or nested sequences) as an array in `like`'s library, on its device."""
    return _make("asarray", values, like, dtype)


def astype(array: Array, dtype: DType) -> Array:
    """Return `array` converted to `dtype`, or itself if it has that dtype; libraries spell this differently."""
    if array.dtype == dtype:
        return array
    if hasattr(array, "astype"):
        return array.astype(dtype)
    return array_namespace(array).astype(array, dtype)


def to_numpy(array: Array) -> np.ndarray:
    """Return `array` as a NumPy array in host memory; copied only if it lives elsewhere."""
    if isinstance(array, OF_NUMPY):
        return np.asarray(array)
    if hasattr(array, "get"):  # CuPy
        return array.get()
    xp = array_namespace(array)
    if hasattr(xp, "Device"):  # array-api-strict: only its "CPU_DEVICE" converts
        array = array.to_device(xp.Device("CPU_DEVICE"))
    return np.asarray(array)


def from_numpy(array: np.ndarray, backend: Backend | None = None) -> Array:
    """Return a NumPy array as an array of `backend` (see `backend_module`)."""
    xp = backend_module(backend)
    return array if xp is np else xp.asarray(array)


def random_generators(seed: int, purposes: Sequence[str]) -> dict[str, np.random.Generator]:
    """Return one independent generator for each purpose, all spawned from one seed.

    If one purpose (initial values, order of batches, noise) draws more or fewer numbers, the others are unaffected.

    Parameters
    ----------
    seed : int
        Any integer >= 0.
    purposes : sequence of str
        Names; their order matters, their spelling does not.

    Returns
    -------
    dict of str to numpy.random.Generator
    """
    children = np.random.SeedSequence(seed).spawn(len(purposes))
    return {purpose: np.random.default_rng(child) for purpose, child in zip(purposes, children, strict=True)}


_trusted: ContextVar[bool] = ContextVar("numrnn.backend.trusted", default=False)


@contextmanager
def trusted_values() -> Iterator[None]:
    """Within this block no check reads the elements of an array; types, shapes and devices are still checked.

    Reading an element synchronises with the GPU. A training loop that has checked its data and looks for NaN and
    infinity in its results does not need these checks. Applies to this thread or asynchronous task only.
    """
    token = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(token)


def values_are_trusted() -> bool:
    """Tell whether this code runs within `trusted_values`."""
    return _trusted.get()
