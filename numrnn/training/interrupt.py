"""Ctrl-C that lets the current step finish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Records whether Ctrl-C was pressed."""

    pressed: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C into a flag that the loop checks between steps; the second one raises at once.

    Yields
    ------
    Interrupt
        Its `pressed` is True after the first Ctrl-C.

    Notes
    -----
    The previous handler is always restored at the end. Outside the main thread, where Python allows no handlers, and if
    code other than Python's owns the signal, nothing is installed and Ctrl-C works as before.
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
