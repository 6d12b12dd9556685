"""Results of training and evaluation, and the error of a run that diverged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numrnn.backend import Array
from numrnn.training.metrics import read_json_lines

__all__ = ["DivergenceError", "Evaluation", "TrainingResult"]


class DivergenceError(ArithmeticError):
    """A run met NaN or infinity and stopped before it could reach a checkpoint.

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
    """Performance of a model on sequences with targets.

    Attributes
    ----------
    loss : float
        Mean loss: cross-entropy in nats for a classifier, squared error for a regressor.
    accuracy : float or None
        Fraction of labels predicted correctly, 0 to 1; None for a regressor.
    predictions : numpy.ndarray, shape (N,) or (N, K), or list of numpy.ndarray
        The class predicted for each sequence, int64, or its K numbers; at every step, one array (T_i,) or (T_i, K) for
        each sequence.
    """

    loss: float
    accuracy: float | None
    predictions: Any


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """Result of a run.

    Attributes
    ----------
    params : dict of str to array
        Parameters after the last update.
    average : dict of str to array
        The average of the weights; empty if none was kept.
    step : int
        Number of updates.
    total_steps : int or None
        Updates of the whole run; None if its length is in seconds.
    interrupted : bool
        True if Ctrl-C or a time limit ended the run before its last update. A run with a length in seconds that used
        them up was not interrupted.
    checkpoint : Path
        Checkpoint with the state after the last update.
    metrics : Path
        metrics.jsonl.
    best : Path or None
        best.npz, a checkpoint with the parameters of the lowest validation loss; None if not kept.
    """

    params: dict[str, Array]
    step: int
    total_steps: int | None
    interrupted: bool
    checkpoint: Path
    metrics: Path
    average: dict[str, Array] = field(default_factory=dict)
    best: Path | None = None

    @property
    def evaluated(self) -> dict[str, Array]:
        """The weights to evaluate: the average if one was kept, else the parameters."""
        return self.average or self.params

    def history(self, kind: Literal["training", "validation"]) -> list[dict[str, Any]]:
        """Return the lines of metrics of one kind, "training" or "validation"."""
        return [record for record in read_json_lines(self.metrics) if record["kind"] == kind]

    @property
    def validation_accuracy(self) -> float | None:
        """Accuracy of the last validation, or None if there was none, or no labels."""
        records = self.history("validation")
        return records[-1].get("accuracy") if records else None
