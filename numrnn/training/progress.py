"""Progress display of a run: a tqdm bar if tqdm is installed, else a line from time to time."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

SECONDS_BETWEEN_LINES = 10.0
BAR_OF_SECONDS = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"


class Progress:
    """A progress display with a few numbers, on the standard error stream.

    Parameters
    ----------
    total : int or float
        Length of the whole run, in steps or in seconds.
    done : int or float
        Part done by the run that this one resumes.
    unit : {"step", "s"}
        Unit of `total` and `done`.
    show : bool
        False shows nothing.
    """

    def __init__(
        self, total: float, done: float = 0, *, unit: Literal["step", "s"] = "step", show: bool = True
    ) -> None:
        self.total, self.done, self.unit, self._first, self._show = total, min(done, total), unit, done, show
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if show:
            try:
                tqdm = importlib.import_module("tqdm.auto").tqdm  # in a notebook, a bar of its own kind
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
        elif self._show and (time.monotonic() - self._last > SECONDS_BETWEEN_LINES or self.done == self.total):
            self._last = time.monotonic()
            print(f"{self._place()}, {_text(values)}, {self._left():.0f} s left", file=sys.stderr, flush=True)

    def _place(self) -> str:
        if self.unit == "s":
            return f"{self.done:.0f}/{self.total:.0f} s"
        return f"step {self.done}/{self.total}"

    def _left(self) -> float:
        """Return the seconds to the end; for steps, estimated from the time of those done so far."""
        left = self.total - self.done
        return left if self.unit == "s" else (self._last - self._start) / (self.done - self._first) * left

    def message(self, text: str) -> None:
        """Show a line of text without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self._show:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
