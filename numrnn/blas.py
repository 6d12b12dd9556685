"""Limits BLAS to one thread during loops of small products.

Multithreaded BLAS is the main risk to the speed of a loop over time: the products are small, and two at once, each on
all cores, block each other. Nor do settings of the caller's thread, such as flushing of subnormal numbers, reach the
threads of BLAS.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

AVX512_KERNELS = ("skylakex", "cooperlake", "sapphirerapids")  # the names that OpenBLAS gives them


class BlasGuard:
    """Limits every BLAS of the process to one thread while any caller is inside, then restores the setting.

    The first to enter saves the setting and the last to leave restores it: if two overlapping calls each saved and
    restored it, the process would be left with one thread.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._inside: list[int] = []  # thread identifiers, one per entry
        self._controller: ThreadpoolController | None = None
        self._found: list[tuple[Any, int]] = []  # each library and its number of threads before
        self._threads = 1

    @contextmanager
    def one_thread_each(self) -> Iterator[int]:
        """Yield the number of threads that BLAS had; the caller may use as many."""
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
        """Forget all threads inside except this one: in the child of a fork they do not exist."""
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
        that one lives; but here the last to leave need not be the first to enter.
        """
        for library in self._controller.lib_controllers if self._controller is not None else ():
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    def _enter(self) -> None:
        # Not with threadpoolctl's limiter: it queries every property of a library, which would slow a short pass.
        self._found = [(library, library.get_num_threads()) for library in self._control().lib_controllers]
        self._threads = max(1, min(max((threads for _, threads in self._found), default=1), available_cores()))
        for library, _ in self._found:
            library.set_num_threads(1)

    def _control(self) -> ThreadpoolController:
        if self._controller is None:  # created once: searching the process's libraries takes milliseconds
            self._controller = ThreadpoolController().select(user_api="blas")
        return self._controller


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


guard = BlasGuard()
one_thread_each = guard.one_thread_each
unpacked_kernels = functools.cache(guard.unpacked_kernels)  # kernels are chosen once, when a BLAS is loaded
