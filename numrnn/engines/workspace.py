"""Memory that is used again from call to call.

Fresh memory of the size of a tape costs the operating system a page fault for every page, at each call: a fifth of the
whole time of a training step. A buffer given out here is used again once nobody but this module holds it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_lock = threading.Lock()
_buffers: list[np.ndarray] = []
_makers: list[Callable[..., np.ndarray]] = []  # of each buffer, in the same order
IDLE_BUFFERS = 256  # a search looks at each: a program with sequences of many lengths must not be slowed by all of them
IDLE_BYTES = 2**29  # 512 MiB: twice the tape of a batch of 128 sequences of 1,000 steps and 128 units


def _references(buffers: list[np.ndarray], position: int) -> int:
    return sys.getrefcount(buffers[position])


# What the count is while only a list holds the buffer; measured, since interpreters differ in what they count. Every
# view of a buffer holds it too, as its base, so that a result that a caller still has is never written to.
_IDLE = _references([np.empty(1)], 0)


def _idle(position: int) -> bool:
    return _references(_buffers, position) == _IDLE


def take(shape: tuple[int, ...], dtype: Any, make: Callable[..., np.ndarray] = np.empty) -> np.ndarray:
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
    """
    dtype = np.dtype(dtype)
    with _lock:
        for position in range(len(_buffers)):
            fits = _buffers[position].shape == shape and _buffers[position].dtype == dtype
            if fits and _makers[position] is make and _idle(position):
                _buffers.append(_buffers.pop(position))  # the list is in the order of last use
                _makers.append(_makers.pop(position))
                return _buffers[-1].view()
        _drop_idle(limit=IDLE_BYTES, most=IDLE_BUFFERS)
        new = make(shape, dtype)
        _buffers.append(new)
        _makers.append(make)
        return new.view()


def clear() -> None:
    """Give the memory that nobody uses back to the system."""
    with _lock:
        _drop_idle(limit=0, most=0)


def forget(make: Callable[..., np.ndarray]) -> None:
    """Never use a buffer again that `make` made; those that somebody holds live as long as they are held."""
    kept = [(buffer, maker) for buffer, maker in zip(_buffers, _makers, strict=True) if maker is not make]
    _buffers[:], _makers[:] = [buffer for buffer, _ in kept], [maker for _, maker in kept]


def _drop_idle(limit: int, most: int) -> None:
    """Forget idle buffers, the longest unused first, until those left are so few and have so few bytes."""
    sizes = [_buffers[position].nbytes for position in range(len(_buffers)) if _idle(position)]
    idle, count, position = sum(sizes), len(sizes), 0
    while idle > limit or count > most:
        if _idle(position):
            idle, count = idle - _buffers.pop(position).nbytes, count - 1
            _makers.pop(position)
        else:
            position += 1


def held_bytes() -> int:
    """Return how many bytes this module keeps."""
    with _lock:
        return sum(buffer.nbytes for buffer in _buffers)
