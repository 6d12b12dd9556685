"""Memory that is reused from call to call.

New memory for a tape costs one page fault per page at each call: a fifth of the time of a training step. A buffer from
here is reused once only this module holds it.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

IDLE_BUFFERS = 256  # every search visits all of them: sequences of many lengths must not slow a program down
IDLE_BYTES = 2**29  # 512 MiB: twice the tape of a batch of 128 sequences of 1,000 steps and 128 units
Make = Callable[..., np.ndarray]


class _Buffer:
    """An array to lend, and when it was last lent."""

    __slots__ = ("array", "used")

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.used = array, next(_clock)


def _references(buffer: _Buffer) -> int:
    return sys.getrefcount(buffer.array)


_clock = itertools.count()
# The count while only a buffer holds the array; measured, since interpreters count differently. Every view holds the
# array as its base, so a result that a caller still has is never overwritten.
_IDLE = _references(_Buffer(np.empty(1)))

_buffers: dict[tuple[Make, tuple[int, ...], np.dtype], list[_Buffer]] = {}  # by allocator, shape and dtype
# Re-entrant: a signal handler that forks or runs a pass may interrupt the thread that holds it.
_lock = threading.RLock()


def take(shape: tuple[int, ...], dtype: Any, make: Make = np.empty) -> np.ndarray:
    """Return an uninitialised array that nobody else holds, reused if possible.

    It may be reused once the caller's reference and all views of it are gone.

    Parameters
    ----------
    shape : tuple of int
        Sizes.
    dtype : dtype
        Its dtype.
    make : callable
        make(shape, dtype) allocates a new array; only arrays of the same `make` are reused.

    Returns
    -------
    numpy.ndarray
        C-contiguous.

    Raises
    ------
    MemoryError, OSError
        If `make` raises it again after the idle memory has been freed.
    """
    key = make, shape, np.dtype(dtype)
    with _lock:
        for buffer in _buffers.get(key, ()):
            view = buffer.array.view()  # before the count: from here on nobody else finds it idle
            if _references(buffer) == _IDLE + 1:
                buffer.used = next(_clock)
                return view
        _drop_idle(limit=IDLE_BYTES, most=IDLE_BUFFERS)
        try:
            new = make(shape, dtype)
        except (MemoryError, OSError) as error:
            # Ordinary arrays lack memory, which any idle buffer can free; shared ones more often a descriptor.
            if not _drop_idle(limit=0, most=0, make=None if isinstance(error, MemoryError) else make):
                raise
            new = make(shape, dtype)
        _buffers.setdefault(key, []).append(_Buffer(new))
        return new.view()


def clear() -> None:
    """Return unused memory to the system."""
    with _lock:
        _drop_idle(limit=0, most=0)


def forget(make: Make) -> None:
    """Never reuse a buffer allocated by `make`; those that somebody holds live as long as they are held."""
    with _lock:
        for key in [key for key in _buffers if key[0] is make]:
            del _buffers[key]


def _drop_idle(limit: int, most: int, make: Make | None = None) -> int:
    """Drop idle buffers, least recently used first, until at most `most` with `limit` bytes are left.

    Only those of `make`, unless it is None. Returns how many were dropped.
    """
    idle = [
        (buffer.used, key, buffer)
        for key, buffers in list(_buffers.items())
        if make in (None, key[0])
        for buffer in buffers
        if _references(buffer) == _IDLE
    ]
    size, count = sum(buffer.array.nbytes for _, _, buffer in idle), len(idle)
    if size <= limit and count <= most:
        return 0
    for _, key, buffer in sorted(idle, key=lambda entry: entry[0]):
        _buffers[key] = [other for other in _buffers.get(key, ()) if other is not buffer]
        if not _buffers[key]:
            del _buffers[key]
        size, count = size - buffer.array.nbytes, count - 1
        if size <= limit and count <= most:
            break
    return len(idle) - count


def held_bytes() -> int:
    """Return the number of bytes that this module keeps."""
    with _lock:
        return sum(buffer.array.nbytes for buffers in _buffers.values() for buffer in buffers)


def hold() -> None:
    """Keep other threads out until `release`."""
    _lock.acquire()


def release() -> None:
    """Let other threads in again."""
    _lock.release()


def renew() -> None:
    """Unlock in the child of a fork, where the thread that held the lock may not exist."""
    global _lock
    _lock = threading.RLock()
