"""Memory that is used again from call to call.

Fresh memory of the size of a tape costs the operating system a page fault for every page, at each call: a fifth of the
whole time of a training step. A buffer given out here is used again once nobody but this module holds it.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

IDLE_BUFFERS = 256  # a search looks at each: a program with sequences of many lengths must not be slowed by all of them
IDLE_BYTES = 2**29  # 512 MiB: twice the tape of a batch of 128 sequences of 1,000 steps and 128 units
Make = Callable[..., np.ndarray]


class _Buffer:
    """An array that is given out, and when it was so last."""

    __slots__ = ("array", "used")

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.used = array, next(_clock)


def _references(buffer: _Buffer) -> int:
    return sys.getrefcount(buffer.array)


_clock = itertools.count()
# What the count is while only a buffer holds the array; measured, since interpreters differ in what they count. Every
# view of an array holds it too, as its base, so that a result that a caller still has is never written to.
_IDLE = _references(_Buffer(np.empty(1)))

_buffers: dict[tuple[Make, tuple[int, ...], np.dtype], list[_Buffer]] = {}  # by what made them, shape and dtype
# Re-entrant: a signal handler that forks or runs a pass may interrupt the thread that holds it.
_lock = threading.RLock()


def take(shape: tuple[int, ...], dtype: Any, make: Make = np.empty) -> np.ndarray:
    """Return an array of any content that nobody else holds, used before if possible.

    It goes back by itself when the caller, and all who hold a view of it, have let it go.

    Parameters
    ----------
    shape : tuple of int
        Sizes.
    dtype : dtype
        Its dtype.
    make : callable
        make(shape, dtype) returns a new one; only one of its own is used again.

    Returns
    -------
    numpy.ndarray
        C-contiguous.

    Raises
    ------
    MemoryError, OSError
        If `make` raises it again after the idle memory has been given back.
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
            # Ordinary arrays want memory, which any idle buffer may give; shared ones more often a descriptor.
            if not _drop_idle(limit=0, most=0, make=None if isinstance(error, MemoryError) else make):
                raise
            new = make(shape, dtype)
        _buffers.setdefault(key, []).append(_Buffer(new))
        return new.view()


def clear() -> None:
    """Give the memory that nobody uses back to the system."""
    with _lock:
        _drop_idle(limit=0, most=0)


def forget(make: Make) -> None:
    """Never use a buffer again that `make` made; those that somebody holds live as long as they are held."""
    with _lock:
        for key in [key for key in _buffers if key[0] is make]:
            del _buffers[key]


def _drop_idle(limit: int, most: int, make: Make | None = None) -> int:
    """Forget idle buffers, the longest unused first, until those left are so few and have so few bytes.

    Those of one `make` only, unless that is None. Returns how many were forgotten.
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
    """Return how many bytes this module keeps."""
    with _lock:
        return sum(buffer.array.nbytes for buffers in _buffers.values() for buffer in buffers)


def hold() -> None:
    """Let no other thread in, until `release`."""
    _lock.acquire()


def release() -> None:
    """Let other threads in again."""
    _lock.release()


def renew() -> None:
    """Be free again in the child of a fork, where the thread that held this module may not exist."""
    global _lock
    _lock = threading.RLock()
