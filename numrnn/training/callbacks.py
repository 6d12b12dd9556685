"""What callbacks are told, and what is remembered of validation: the lowest loss, and how long ago it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numrnn.backend import Array

__all__ = ["Best", "Callback", "EpochEnd"]


@dataclass(frozen=True, eq=False)
class EpochEnd:
    """What a callback is called with at the end of an epoch, when the checkpoint is written.

    Attributes
    ----------
    epoch, step : int
        Epochs and updates done.
    params : dict of str to array
        What was validated: the average of the weights where one is kept, else the parameters. Do not write to them.
    training, validation : dict
        The last lines of metrics of both kinds; `validation` is empty where nothing is held out.
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
        """Take notice of a validation loss, and tell whether it is the lowest."""
        if self.loss is None or loss < self.loss:
            self.loss, self.step, self.waited = loss, step, 0
            return True
        self.waited += 1
        return False
