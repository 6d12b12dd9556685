"""Threads of the CPU engine: Python threads over slices of the batch, and BLAS held to one thread each meanwhile.

A BLAS that threads within the loop over time is the main danger to its speed: the products are small, and two of them
at once, each on all cores, wait for each other.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

AVX512_KERNELS = ("skylakex", "cooperlake", "sapphirerapids")  # the names that OpenBLAS gives them


class _BlasGuard:
    """Holds every BLAS of the process to one thread while anybody is inside, and then restores what it found.

    The first to enter stores the setting and the last to leave restores it: two calls that overlap, each storing and
    restoring for itself, would leave the process with one thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller: ThreadpoolController | None = None
        self._limiter: Any = None
        self._threads = 1

    @contextmanager
    def one_thread_each(self) -> Iterator[int]:
        """Yield the number of threads that BLAS had: how many the caller may use."""
        with self._lock:
            if self._inside == 0:
                self._enter()
            self._inside += 1
        try:
            yield self._threads
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._take_control()
                    self._limiter.restore_original_limits()
                    self._take_control()

    def unpacked_kernels(self) -> bool:
        """Tell whether every BLAS of the process has kernels that multiply small matrices without packing them."""
        with self._lock:
            libraries = self._control().lib_controllers
            names = [str(getattr(library, "architecture", None)).lower() for library in libraries]
        return bool(names) and all(name in AVX512_KERNELS for name in names)

    def reset(self) -> None:
        """Forget all who are inside: in a forked child they do not exist."""
        self._lock, self._inside = threading.Lock(), 0

    def _take_control(self) -> None:
        """Let this thread set the limit.

        threadpoolctl gives control of an OpenBLAS to the first thread that sets its limit, and ignores all others while
        that one lives; but here the last to leave need not be the first that entered.
        """
        for library in self._controller.lib_controllers if self._controller is not None else ():
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    def _enter(self) -> None:
        found = [library.get_num_threads() for library in self._control().lib_controllers]
        self._threads = max(1, min(max(found, default=1), available_cores()))
        self._limiter = self._control().limit(limits=1)

    def _control(self) -> ThreadpoolController:
        if self._controller is None:  # made once: it searches the libraries of the process, which takes milliseconds
            self._controller = ThreadpoolController().select(user_api="blas")
        return self._controller


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_guard = _BlasGuard()
one_thread_each = _guard.one_thread_each
unpacked_kernels = functools.cache(_guard.unpacked_kernels)  # kernels are chosen once, when a BLAS is loaded
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def run_all(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call all tasks at the same time, the last in the caller's own thread, and return their results.

    An exception of a task is raised here, after all have ended.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    futures = [_executor().submit(task) for task in tasks[:-1]]
    try:
        last = tasks[-1]()
    finally:
        results = [future.exception() or future.result() for future in futures]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [*results, last]


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(
                max_workers=available_cores(), thread_name_prefix="numrnn", initializer=_limit_own_threads
            )
        return _pool


def _limit_own_threads() -> None:
    """Hold a BLAS on OpenMP to one thread in a thread of the pool: such a BLAS has a limit for each caller."""
    for library in ThreadpoolController().lib_controllers:
        if getattr(library, "threading_layer", None) == "openmp":
            library.set_num_threads(1)


def _forget_pool() -> None:
    """Make a forked child start threads of its own: those of its parent do not exist in it."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()
    _guard.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
