"""Threads of the CPU engine: Python threads over slices of the batch."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import ThreadpoolController

from numrnn import blas

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.RLock()


def run_all(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all tasks concurrently, the last in the caller's own thread, and return their results.

    An exception of a task is raised here after all have ended, that of the last task before any other.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    ended = outcomes(tasks)
    try:
        for good, value in [ended[-1], *ended]:
            if not good:
                raise value
        return [value for _, value in ended]
    finally:
        # An exception and a frame that refers to it would keep all arrays alive until garbage collection.
        ended.clear()
        del value


def outcomes(tasks: Sequence[Callable[[], Any]]) -> list[tuple[bool, Any]]:
    """Run all tasks as `run_all` does; return (True, result) or (False, exception) for each."""
    waiting = [_begin(task) for task in tasks[:-1]]
    ended = [_outcome(tasks[-1])]
    ended[:0] = [wait() for wait in waiting]
    return ended


def _begin(task: Callable[[], Any]) -> Callable[[], tuple[bool, Any]]:
    """Start a task in another thread, and return a function that waits for its outcome."""
    try:
        # In the caller's context, which includes numpy.errstate.
        future = _executor().submit(contextvars.copy_context().run, task)
    except RuntimeError:  # the interpreter is ending, or the system allows no more threads
        ended = _outcome(task)
        return lambda: ended
    return lambda: (True, future.result()) if future.exception() is None else (False, future.exception())


def _outcome(task: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, task()
    except BaseException as error:
        return False, error


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(
                max_workers=blas.available_cores(), thread_name_prefix="numrnn", initializer=_limit_own_threads
            )
        return _pool


def _limit_own_threads() -> None:
    """Limit a BLAS on OpenMP to one thread in a thread of the pool: such a BLAS has one limit per caller."""
    with blas.guard.lock:  # a fork waits for it: threadpoolctl has its own locks
        for library in ThreadpoolController().lib_controllers:
            if getattr(library, "threading_layer", None) == "openmp":
                library.set_num_threads(1)


def hold() -> None:
    """Prevent other threads from starting or limiting threads until `release`."""
    _pool_lock.acquire()
    blas.guard.lock.acquire()


def release() -> None:
    """Let other threads in again."""
    blas.guard.lock.release()
    _pool_lock.release()


def renew() -> None:
    """In the child of a fork, start new threads: those of the parent do not exist in it."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.RLock()
    blas.guard.renew()
