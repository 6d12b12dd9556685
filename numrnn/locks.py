"""Locks on folders: one process at a time may write a run, a sweep or a download.

A lock is `fcntl.flock` on a separate file in the folder. The kernel releases it however its process ends, even by kill
-9, and no lock survives a restart of the machine. The file names the holder, for the message to a second process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FolderInUseError", "locked"]

LOCK_FILE = "lock"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

# Folders that this thread holds, and its process: a forked child inherits the variable, but not the locks.
_held: ContextVar[frozenset[tuple[str, int]]] = ContextVar("numrnn.locks.held", default=frozenset())
_descriptors: set[int] = set()
_warned = False


class FolderInUseError(RuntimeError):
    """Another process, or another thread of this one, is at work in the folder; the message says which."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a folder; within it, in the same thread, the same lock may be taken again.

    Parameters
    ----------
    folder : path
        An existing folder; it gets a file "lock" meanwhile.
    wait : bool
        Whether to wait for another holder, instead of raising an error.

    Raises
    ------
    FolderInUseError
        If another holds the lock: the message names its process, host and start.
    OSError
        If the file cannot be written.

    Warns
    -----
    RuntimeWarning
        Once per process, if the file system or the platform has no locks; the work continues without one.
    """
    folder = Path(folder)
    mine = (os.path.realpath(folder), os.getpid())
    if mine in _held.get():
        yield
        return
    descriptor = _acquire(folder / LOCK_FILE, wait)
    _descriptors.add(descriptor)
    token = _held.set(_held.get() | {mine})
    try:
        yield
    finally:
        _held.reset(token)
        if os.getpid() == mine[1]:
            with contextlib.suppress(OSError):
                (folder / LOCK_FILE).unlink(missing_ok=True)
            _descriptors.discard(descriptor)
            os.close(descriptor)


def _acquire(path: Path, wait: bool) -> int:
    """Return the descriptor of the locked file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, path, wait)
            # The holder before may have deleted the file between the two calls: then another may lock a new one.
            if _is_still(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path, wait: bool) -> None:
    if fcntl is None:
        _say_once(f"{sys.platform} has no locks of this kind")
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise FolderInUseError(f"{path.parent} is in use by {_holder(descriptor)}") from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        _say_once(f"the file system of {path.parent} has no locks ({error.strerror})")


def _say_once(reason: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"{reason}: nothing keeps a second process out of this folder", RuntimeWarning, stacklevel=2)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)


def _sign(descriptor: int) -> None:
    """Write who holds the lock; it holds without this text too, on a full disk for instance."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode() + b"\n")


def _holder(descriptor: int) -> str:
    """Return who holds a lock, as its file says."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        who: Any = json.loads(os.read(descriptor, 4096))
        return f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock, and has not written this yet
        return "another process"


def _forget() -> None:
    """In a forked child: close what it inherited, or the lock would outlive its holder as long as the child lives."""
    for descriptor in _descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
