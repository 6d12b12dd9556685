"""Threads of the CPU engine: Python threads over slices of the batch, and BLAS held to one thread each meanwhile.

A BLAS that threads within the loop over time is the main danger to its speed: the products are small, and two of them
at once, each on all cores, wait for each other.
"""

from __future__ import annotations

import contextvars
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
        self.lock = threading.RLock()
        self._inside: list[int] = []  # a thread's identifier for each time that it is inside
        self._controller: ThreadpoolController | None = None
        self._found: list[tuple[Any, int]] = []  # each library, and how many threads it had
        self._threads = 1

    @contextmanager
    def one_thread_each(self) -> Iterator[int]:
        """Yield the number of threads that BLAS had: how many the caller may use."""
        with self.lock:
            if not self._inside:
                self._enter()
            self._inside.append(threading.get_ident())
        try:
            yield self._threads
        finally:
            with self.lock:
                self._inside.remove(threading.get_ident())
                if not self._inside:
                    self._restore()

    def unpacked_kernels(self) -> bool:
        """Tell whether every BLAS of the process has kernels that multiply small matrices without packing them."""
        with self.lock:
            libraries = self._control().lib_controllers
            names = [str(getattr(library, "architecture", None)).lower() for library in libraries]
        return bool(names) and all(name in AVX512_KERNELS for name in names)

    def renew(self) -> None:
        """Forget all who are inside but this thread: in the child of a fork they do not exist."""
        others = [ident for ident in self._inside if ident != threading.get_ident()]
        self.lock, self._inside = threading.RLock(), [ident for ident in self._inside if ident not in others]
        if others and not self._inside:
            self._restore()

    def _restore(self) -> None:
        self._take_control()
        for library, threads in self._found:
            library.set_num_threads(threads)
        self._take_control()

    def _take_control(self) -> None:
        """Let this thread set the limit.

        threadpoolctl gives control of an OpenBLAS to the first thread that sets its limit, and ignores all others while
        that one lives; but here the last to leave need not be the first that entered.
        """
        for library in self._controller.lib_controllers if self._controller is not None else ():
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    def _enter(self) -> None:
        # By hand: threadpoolctl's limiter looks up all there is to know of a library, which a short pass would notice.
        self._found = [(library, library.get_num_threads()) for library in self._control().lib_controllers]
        self._threads = max(1, min(max((threads for _, threads in self._found), default=1), available_cores()))
        for library, _ in self._found:
            library.set_num_threads(1)

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
_pool_lock = threading.RLock()


def run_all(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call all tasks at the same time, the last in the caller's own thread, and return their results.

    An exception of a task is raised here, after all have ended: of the last task before any other.
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
        # An exception and a frame that holds it would keep all arrays until garbage is collected.
        ended.clear()
        del value


def outcomes(tasks: Sequence[Callable[[], Any]]) -> list[tuple[bool, Any]]:
    """Call all tasks as `run_all` does; return for each (True, its result) or (False, its exception)."""
    waiting = [_begin(task) for task in tasks[:-1]]
    ended = [_outcome(tasks[-1])]
    ended[:0] = [wait() for wait in waiting]
    return ended


def _begin(task: Callable[[], Any]) -> Callable[[], tuple[bool, Any]]:
    """Call a task in another thread, and return a function that waits for its outcome."""
    try:
        # In the caller's context, which holds what numpy.errstate says.
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
                max_workers=available_cores(), thread_name_prefix="numrnn", initializer=_limit_own_threads
            )
        return _pool


def _limit_own_threads() -> None:
    """Hold a BLAS on OpenMP to one thread in a thread of the pool: such a BLAS has a limit for each caller."""
    with _guard.lock:  # a fork waits for it: threadpoolctl has locks of its own
        for library in ThreadpoolController().lib_controllers:
            if getattr(library, "threading_layer", None) == "openmp":
                library.set_num_threads(1)


def hold() -> None:
    """Let no other thread start or set threads, until `release`."""
    _pool_lock.acquire()
    _guard.lock.acquire()


def release() -> None:
    """Let other threads in again."""
    _guard.lock.release()
    _pool_lock.release()


def renew() -> None:
    """Make the child of a fork start threads of its own: those of its parent do not exist in it."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.RLock()
    _guard.renew()
