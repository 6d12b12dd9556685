"""Memory that worker processes see too.

An array of this memory is sent to a worker as its place, not as its numbers; what the worker writes there the caller
finds. The memory has no name (memfd_create): no other program sees it, and nothing is left of it when those who map it
have ended. A region costs one file descriptor, by which workers are given it. Several arrays may lie in one region.

When the process forks, all regions become private to each side: from then on they are ordinary memory, copied when
written to, that no worker sees. Where there is no such memory to be had, for lack of descriptors, of memory or of the
system call, `arena` says so, and the engine uses ordinary arrays.
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
SHARE_OF_DESCRIPTORS = 4  # regions take a quarter of the process's descriptors at most: the rest is the program's own
PIECE = 2**24  # bytes allocated by one call: a signal makes the call start anew, and a long one might never end
MAP_FIXED = 0x10  # on Linux; Python's mmap does not name it
_numbers = itertools.count()


class Region:
    """A mapping of memory that has a descriptor.

    Parameters
    ----------
    descriptor : int
        Of the memory; the region closes it when its array and all views of that have gone.
    shape, dtype
        Of the array that fills it.

    Attributes
    ----------
    number : int
        Its name among the regions of a process.
    array : weakref to numpy.ndarray
        The array that fills it. Every view of that holds it as its base.
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
        """Return the array that fills the region, which goes with it."""
        array = np.asarray(self)
        weakref.finalize(array, self._release).atexit = False
        self.array = weakref.ref(array)
        return array

    def make_private(self) -> None:
        """Copy what is written to from now on, and let nobody else map it."""
        _map(self.address, self.size, mmap.MAP_PRIVATE | MAP_FIXED, self.descriptor)
        os.close(self.descriptor)
        self.descriptor = -1

    def _release(self) -> None:
        _regions.pop(self.number, None)
        _unmap(self.address, self.size)
        if self.descriptor >= 0:
            if self.owner == os.getpid():
                os.ftruncate(self.descriptor, 0)  # gives it back at once: a worker that has nothing to do maps it still
            os.close(self.descriptor)


_regions: dict[int, Region] = {}  # those that workers may see, by number; single operations, which need no lock


def array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a C-contiguous array in a region of its own, for as long as it or a view of it lives.

    Raises
    ------
    OSError
        If there is no such memory, or not enough of it, or no descriptor to spare.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if len(_regions) >= _descriptors_allowed():
        raise OSError(EMFILE, os.strerror(EMFILE))
    descriptor = os.memfd_create("numrnn")
    try:
        # Memory that is only reserved would end the process by SIGBUS where it cannot be had. To allocate it costs
        # nothing: the first touch of a page is shorter by as much.
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
    """Return arrays of these shapes and dtypes, of any content, in one region; None where that is not to be had.

    The region is used again once nobody holds any of them; each starts a page, so that none shares a line of a cache
    with another and matrices are aligned.
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
    """Make every region ordinary memory of this process, which a child of a fork inherits as its own.

    No worker may be writing meanwhile; threads of this process may.
    """
    for region in list(_regions.values()):
        held = region.array()  # while it is held, nobody unmaps the region
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
    """Pickles arrays in regions as their place there, and notes the regions."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.regions: dict[int, Region] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Return the place of such an array, and None for all else."""
        region = _region_of(obj) if isinstance(obj, np.ndarray) else None
        if region is None:
            return None
        self.regions[region.number] = region
        return region.number, obj.shape, obj.dtype.str, obj.ctypes.data - region.address, obj.strides


class Unpickler(pickle.Unpickler):
    """Makes arrays again from their places in `regions`, arrays of bytes by number."""

    def __init__(self, data: bytes, regions: dict[int, np.ndarray]) -> None:
        super().__init__(io.BytesIO(data))
        self.regions = regions

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the array of a place."""
        number, shape, dtype, offset, strides = pid
        return np.ndarray(shape, dtype, self.regions[number], offset, strides)


def map_for_another(descriptor: int, size: int) -> np.ndarray:
    """Return a region of another process as bytes; the descriptor is closed, since a mapping needs none."""
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
