"""What a run shows while it goes on: a bar of tqdm where that is installed, else a plain line now and then."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from typing import Any

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A display of steps done, with a few numbers beside them, on the standard error stream.

    Parameters
    ----------
    total : int
        Steps of the whole run.
    done : int
        Steps done before, by the run that this one resumes.
    show : bool
        False shows nothing.
    """

    def __init__(self, total: int, done: int = 0, *, show: bool = True) -> None:
        self.total, self.done, self._first, self._show = total, done, done, show
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if show:
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, mininterval=0.5)

    def update(self, values: Mapping[str, float]) -> None:
        """Count one step and show `values` beside it."""
        self.done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(_text(values), refresh=False)
            self._bar.update()
        elif self._show and (time.monotonic() - self._last > SECONDS_BETWEEN_LINES or self.done == self.total):
            self._last = time.monotonic()
            left = (self._last - self._start) / (self.done - self._first) * (self.total - self.done)
            print(f"step {self.done}/{self.total}, {_text(values)}, {left:.0f} s left", file=sys.stderr, flush=True)

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
