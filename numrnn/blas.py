"""The threads of BLAS, held to one while small products follow each other.

A BLAS that threads within a loop over time is the main danger to its speed: the products are small, and two of them at
once, each on all cores, wait for each other. Its threads are out of reach of a setting of the caller's thread, as the
flushing of subnormal numbers is.
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


guard = BlasGuard()
one_thread_each = guard.one_thread_each
unpacked_kernels = functools.cache(guard.unpacked_kernels)  # kernels are chosen once, when a BLAS is loaded
