"""Handling of floating-point errors in slices: as set by the caller's numpy.errstate.

That setting belongs to a thread. Other threads get it with the caller's context (threads.py), worker processes with the
task: "ignore", "warn" and "raise" mean the same there. A worker sends its warnings and exceptions back, and they are
raised in the caller's process. "call", "log" and "print" name a function or a file of the caller's process: then
threads of that process run all slices, and may call the function concurrently.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

PORTABLE = {"ignore", "warn", "raise"}


def portable() -> bool:
    """Tell whether this thread's setting means the same in another process."""
    return PORTABLE.issuperset(np.geterr().values())


class UnderSetting:
    """A task that runs elsewhere under the setting of the thread that created it, which must be portable."""

    def __init__(self, task: Callable[[], Any]) -> None:
        self.task = task
        self.modes: Any = np.geterr()

    def __call__(self) -> Any:
        """Call the task and return its result."""
        with np.errstate(**self.modes):
            return self.task()


@dataclass(frozen=True)
class Note:
    """A warning raised in another process."""

    text: str
    category: type[Warning]
    filename: str
    line: int

    def repeat(self) -> None:
        """Warn here, as if the line of code had run here: this process's filters apply."""
        module = next((m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == self.filename), None)
        name = self.filename if module is None else module.__name__
        registry: Any = {} if module is None else vars(module).setdefault("__warningregistry__", {})
        warnings.warn_explicit(self.text, self.category, self.filename, self.line, name, registry)


def with_notes(task: Callable[[], Any]) -> tuple[bool | None, Any, list[Note]]:
    """Call a task; return (True, result) or (False, exception), and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once per line: a pass may overflow in every step
        try:
            good, result = True, task()
        except BaseException as error:
            good, result = False, error
    return good, result, [Note(str(w.message), w.category, w.filename, w.lineno) for w in caught]
