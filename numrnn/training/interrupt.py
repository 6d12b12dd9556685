"""Ctrl-C that lets the current step end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Tells whether Ctrl-C was pressed."""

    pressed: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C into a mark that the loop looks at between steps; the second one raises at once.

    Yields
    ------
    Interrupt
        Its `pressed` is True after the first Ctrl-C.

    Notes
    -----
    The handler that was there before comes back at the end, whatever happens. Outside the main thread, where Python
    allows no handlers, and where code other than Python's owns the signal, nothing is installed and Ctrl-C does what it
    did before.
    """
    interrupt = Interrupt()
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield interrupt
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if interrupt.pressed:
            raise KeyboardInterrupt
        interrupt.pressed = True

    signal.signal(signal.SIGINT, handler)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
