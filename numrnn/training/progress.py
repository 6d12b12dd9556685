"""Progress display of a run: a tqdm bar on a terminal if tqdm is installed, else lines at intervals.

Without a terminal, as in a log file, there is at most one line per minute, each with date and time.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_LINES_OF_A_LOG = 60.0
BAR_OF_SECONDS = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"


class Progress:
    """A progress display with a few numbers, on the standard error stream; nothing if the process has none.

    Parameters
    ----------
    total : int or float
        Length of the whole run, in steps or in seconds.
    done : int or float
        Part done before the run was resumed.
    unit : {"step", "s"}
        Unit of `total` and `done`.
    show : bool
        False shows nothing.
    """

    def __init__(
        self, total: float, done: float = 0, *, unit: Literal["step", "s"] = "step", show: bool = True
    ) -> None:
        self.total, self.done, self.unit, self._first = total, min(done, total), unit, done
        # A program without a console, such as one started by pythonw or a service, has None instead of the stream.
        self._show = show and sys.stderr is not None
        self._start = self._last = time.monotonic()
        self._log = self._show and not _has_a_screen()
        self._between = SECONDS_BETWEEN_LINES_OF_A_LOG if self._log else SECONDS_BETWEEN_LINES
        self._bar: Any = None
        if self._show and not self._log:
            try:
                tqdm = importlib.import_module("tqdm.auto").tqdm  # in a notebook, tqdm's notebook bar
            except ImportError:
                return
            layout = {"bar_format": BAR_OF_SECONDS} if unit == "s" else {}
            self._bar = tqdm(total=total, initial=self.done, unit=unit, dynamic_ncols=True, mininterval=0.5, **layout)

    def update(self, done: float, values: Mapping[str, float]) -> None:
        """Show the number of steps or seconds done, and `values`."""
        new = min(done, self.total) - self.done
        self.done += new
        if self._bar is not None:
            self._bar.set_postfix_str(_text(values), refresh=False)
            self._bar.update(new)
        elif self._show and (self._is_due() or (self.done == self.total and new)):
            self._last = time.monotonic()
            self._print(f"{self._place()}, {_text(values)}, {self._left():.0f} s left")

    def _is_due(self) -> bool:
        return time.monotonic() - self._last > self._between

    def _print(self, text: str) -> None:
        when = f"{datetime.now():%Y-%m-%d %H:%M:%S} " if self._log else ""
        print(f"{when}{text}", file=sys.stderr, flush=True)

    def _place(self) -> str:
        if self.unit == "s":
            return f"{self.done:.0f}/{self.total:.0f} s"
        return f"step {self.done}/{self.total}"

    def _left(self) -> float:
        """Return the seconds to the end; for steps, estimated from the time of those done so far."""
        left = self.total - self.done
        return left if self.unit == "s" else (self._last - self._start) / (self.done - self._first) * left

    def message(self, text: str, *, last: bool = False) -> None:
        """Show a line of text above the bar; in a log only if a line is due, or it is the last one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self._show and (last or not self._log or self._is_due()):
            self._last = time.monotonic()
            self._print(text)

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()


def _has_a_screen() -> bool:
    """Tell whether the standard error stream is shown live: on a terminal or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
