"""The argument of callbacks, and the record of the lowest validation loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numrnn.backend import Array

__all__ = ["Best", "Callback", "EpochEnd"]


@dataclass(frozen=True, eq=False)
class EpochEnd:
    """Argument of a callback at the end of an epoch, or of a run within one, after the checkpoint is written.

    Attributes
    ----------
    epoch, step : int
        Number of epochs, the last perhaps not whole, and of updates so far.
    params : dict of str to array
        The validated weights: the average if one is kept, else the parameters. Do not write to them.
    training, validation : dict
        The last lines of metrics of both kinds; `validation` is empty without validation data.
    out : Path
        The folder of the run.
    """

    epoch: int
    step: int
    params: dict[str, Array]
    training: dict[str, Any]
    validation: dict[str, Any]
    out: Path


Callback = Callable[[EpochEnd], None]


@dataclass
class Best:
    """The lowest validation loss so far, the step after which it was found, and the epochs since."""

    loss: float | None = None
    step: int = 0
    waited: int = 0

    def note(self, loss: float, step: int) -> bool:
        """Record a validation loss, and tell whether it is the lowest so far."""
        if self.loss is None or loss < self.loss:
            self.loss, self.step, self.waited = loss, step, 0
            return True
        self.waited += 1
        return False
