"""What training and evaluation give back: results, and the error that stands for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from numrnn.backend import Array
from numrnn.training.metrics import read_json_lines

__all__ = ["DivergenceError", "Evaluation", "TrainingResult"]


class DivergenceError(ArithmeticError):
    """A run met NaN or infinity and stopped before that could reach parameters or checkpoint.

    Attributes
    ----------
    step : int
        Number of the update that failed, counted from 1.
    quantity : str
        What was not finite.
    checkpoint : Path
        The last good checkpoint.
    """

    def __init__(self, step: int, quantity: str, checkpoint: Path) -> None:
        super().__init__(f"{quantity} is not finite at step {step}; the last good checkpoint is {checkpoint}")
        self.step, self.quantity, self.checkpoint = step, quantity, checkpoint


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model does on labelled images.

    Attributes
    ----------
    loss : float
        Mean cross-entropy, in nats.
    accuracy : float
        Share predicted rightly, from 0 to 1.
    predictions : numpy.ndarray, shape (N,)
        int64, the class predicted for each image.
    """

    loss: float
    accuracy: float
    predictions: np.ndarray


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a run leaves.

    Attributes
    ----------
    params : dict of str to array
        Parameters after the last update.
    average : dict of str to array
        The average of the weights; empty where none was kept.
    step : int
        Updates done.
    total_steps : int or None
        Updates that the run was asked for; None if its length is in seconds.
    interrupted : bool
        True if Ctrl-C or a time limit ended the run before its last update. A run whose length is in seconds, and that
        came to their end, was not interrupted.
    checkpoint : Path
        Holds the state after the last update.
    metrics : Path
        metrics.jsonl.
    """

    params: dict[str, Array]
    step: int
    total_steps: int | None
    interrupted: bool
    checkpoint: Path
    metrics: Path
    average: dict[str, Array] = field(default_factory=dict)

    @property
    def evaluated(self) -> dict[str, Array]:
        """What is to be evaluated: the average of the weights where one was kept, else the parameters."""
        return self.average or self.params

    def history(self, kind: Literal["training", "validation"]) -> list[dict[str, Any]]:
        """Return the lines of metrics of one kind, "training" or "validation"."""
        return [record for record in read_json_lines(self.metrics) if record["kind"] == kind]

    @property
    def validation_accuracy(self) -> float | None:
        """Accuracy of the last validation, or None if there was none."""
        records = self.history("validation")
        return records[-1]["accuracy"] if records else None
