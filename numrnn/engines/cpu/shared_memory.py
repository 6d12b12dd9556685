"""Memory shared with worker processes.

An array in this memory is sent to a worker as a reference, not as data, and the caller sees what the worker writes. The
memory has no name (memfd_create): no other program sees it, and it is freed when the last process that maps it ends. A
region costs one file descriptor, which is sent to the workers. Several arrays may lie in one region.

When the process forks, all regions become private to each side: from then on they are ordinary copy-on-write memory
that no worker sees. If shared memory is not available, for lack of descriptors, of memory or of the system call,
`arena` returns None, and the engine uses ordinary arrays.
"""

from __future__ import annotations

import ctypes
import functools
import io
import itertools
import math
import mmap
import os
import pickle
import socket
import warnings
import weakref
from collections.abc import Iterable, Sequence
from errno import EMFILE
from typing import Any

import numpy as np

from numrnn.engines.cpu import workspace

SUPPORTED = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")
SHARE_OF_DESCRIPTORS = 4  # regions use at most a quarter of the process's descriptors; the rest is the program's
PIECE = 2**24  # bytes allocated by one call: a signal restarts the call, and a long one might never end
MAP_FIXED = 0x10  # on Linux; Python's mmap does not name it
_numbers = itertools.count()


class Region:
    """A memory mapping with a file descriptor.

    Parameters
    ----------
    descriptor : int
        File descriptor of the memory; the region closes it when its array and all views are gone.
    shape, dtype
        Of the array that fills it.

    Attributes
    ----------
    number : int
        Identifies it among the regions of a process.
    array : weakref to numpy.ndarray
        The array that fills it; every view has it as its base.
    """

    def __init__(self, descriptor: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.number, self.owner, self.descriptor = next(_numbers), os.getpid(), descriptor
        self.size = math.prod(shape) * dtype.itemsize
        self.address = _map(None, self.size, mmap.MAP_SHARED, descriptor)
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (self.address, False),  # not read-only
        }

    def fill(self) -> np.ndarray:
        """Return the array that fills the region; the region is freed with it."""
        array = np.asarray(self)
        weakref.finalize(array, self._release).atexit = False
        self.array = weakref.ref(array)
        return array

    def make_private(self) -> None:
        """Make the memory copy-on-write, and let nobody else map it."""
        _map(self.address, self.size, mmap.MAP_PRIVATE | MAP_FIXED, self.descriptor)
        os.close(self.descriptor)
        self.descriptor = -1

    def _release(self) -> None:
        _regions.pop(self.number, None)
        _unmap(self.address, self.size)
        if self.descriptor >= 0:
            if self.owner == os.getpid():
                os.ftruncate(self.descriptor, 0)  # frees it at once: an idle worker still maps it
            os.close(self.descriptor)


_regions: dict[int, Region] = {}  # those that workers may see, by number; operations are atomic and need no lock


def array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a C-contiguous array in its own region, which lives as long as the array or a view of it.

    Raises
    ------
    OSError
        If there is no shared memory, not enough of it, or no free descriptor.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if len(_regions) >= _descriptors_allowed():
        raise OSError(EMFILE, os.strerror(EMFILE))
    descriptor = os.memfd_create("numrnn")
    try:
        # Memory that is only reserved ends the process by SIGBUS if it is not available at the first access.
        # Allocating it costs nothing: the first access to a page becomes faster by as much.
        for start in range(0, size, PIECE):
            os.posix_fallocate(descriptor, start, min(PIECE, size - start))
        region = Region(descriptor, shape, dtype)
    except BaseException:
        os.close(descriptor)
        raise
    filled = region.fill()
    _regions[region.number] = region
    return filled


def _descriptors_allowed() -> float:
    import resource  # which Windows does not have

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit // SHARE_OF_DESCRIPTORS


def arena(shapes: Sequence[tuple[tuple[int, ...], Any]]) -> list[np.ndarray] | None:
    """Return uninitialised arrays of these shapes and dtypes in one region; None if that is not available.

    The region is reused once nobody holds any of them. Each starts on a new page, so that no two share a cache line
    and matrices are aligned.
    """
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes]
    ends = list(itertools.accumulate(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes))
    try:
        memory = workspace.take((ends[-1],), np.uint8, array)
    except OSError:
        return None
    places = zip([0, *ends], sizes, shapes, strict=False)
    return [memory[start : start + size].view(dtype).reshape(shape) for start, size, (shape, dtype) in places]


def visible(arrays: Iterable[np.ndarray]) -> bool:
    """Tell whether workers can see all these arrays."""
    return all(_region_of(array) is not None for array in arrays)


def _region_of(array: np.ndarray) -> Region | None:
    filled = array if isinstance(array.base, Region) else array.base
    region = getattr(filled, "base", None)
    return region if isinstance(region, Region) and region.number in _regions else None


def make_private() -> None:
    """Make every region ordinary memory of this process, of which the child of a fork gets its own copy.

    Workers must not write meanwhile; threads of this process may.
    """
    for region in list(_regions.values()):
        held = region.array()  # while this reference exists, the region stays mapped
        if held is None:
            continue
        try:
            region.make_private()
        except OSError as error:
            warnings.warn(
                f"memory of the CPU engine's results could not be made private ({error}): after this fork the parent "
                f"and the child write to the same {region.size} bytes",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            _regions.pop(region.number, None)


def numbers() -> set[int]:
    """Return the numbers of all regions that workers may see."""
    return set(_regions)


class Pickler(pickle.Pickler):
    """Pickles arrays in regions as references, and records the regions."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.regions: dict[int, Region] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Return the reference to an array in a region, and None for anything else."""
        region = _region_of(obj) if isinstance(obj, np.ndarray) else None
        if region is None:
            return None
        self.regions[region.number] = region
        return region.number, obj.shape, obj.dtype.str, obj.ctypes.data - region.address, obj.strides


class Unpickler(pickle.Unpickler):
    """Restores arrays from references into `regions`, byte arrays by number."""

    def __init__(self, data: bytes, regions: dict[int, np.ndarray]) -> None:
        super().__init__(io.BytesIO(data))
        self.regions = regions

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the array of a reference."""
        number, shape, dtype, offset, strides = pid
        return np.ndarray(shape, dtype, self.regions[number], offset, strides)


def map_for_another(descriptor: int, size: int) -> np.ndarray:
    """Return a region of another process as bytes; closes the descriptor, which the mapping does not need."""
    try:
        region = Region(descriptor, (size,), np.dtype(np.uint8))
    finally:
        os.close(descriptor)
    region.descriptor = -1
    return region.fill()


@functools.cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def _map(address: int | None, size: int, flags: int, descriptor: int) -> int:
    # Not Python's mmap: that keeps a second descriptor, and cannot map over a mapping.
    got = _libc().mmap(address, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, 0)
    if got == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got


def _unmap(address: int, size: int) -> None:
    _libc().munmap(address, size)
