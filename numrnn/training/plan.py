"""The checked arguments of a `Trainer`, and what is derived from them before the first update."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from numrnn.backend import Array, backend_module, random_generators
from numrnn.checks import check_bool, check_callable, check_kind, check_path, shown
from numrnn.datasets.collection import Sequences
from numrnn.training.batches import Batches, Encoder, Images, Source, encoder_config, source_of
from numrnn.training.callbacks import Callback
from numrnn.training.config import TrainingConfig
from numrnn.training.evaluation import evaluate_rows
from numrnn.training.optim import Optimizer
from numrnn.training.protocol import Model
from numrnn.training.results import Evaluation
from numrnn.training.run import BEST_FILE, METRICS_FILE, TIMINGS_FILE
from numrnn.training.schedules import TimedCosineSchedule

__all__ = ["Plan", "evaluation"]

# Order matters: a generator is identified by its position in this list. Append new purposes.
PURPOSES = ("init", "batches", "noise", "split", "evaluation")
RESERVED = ("kind", "step", "epoch", "loss", "accuracy")

M = TypeVar("M", bound=Model)


class Plan(Generic[M]):
    """The checked arguments of a `Trainer`, whose docstring describes them, and what is derived from them.

    Attributes
    ----------
    source, held_out : Source
        Training data, and validation data; the same object if rows of the training data are held out.
    own_metrics, callbacks
        The arguments `metrics` and `callbacks`.
    """

    def __init__(
        self,
        model: M,
        optimizer: Optimizer,
        encoder: Encoder | None,
        data: Sequences | tuple[np.ndarray, np.ndarray],
        config: TrainingConfig,
        out: str | os.PathLike[str],
        *,
        validation: Sequences | tuple[np.ndarray, np.ndarray] | None = None,
        metrics: Mapping[str, Callable[[Any, Any], float]] | None = None,
        callbacks: Sequence[Callback] = (),
        show_progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, kind in (
            ("model", model, Model),
            ("optimizer", optimizer, Optimizer),
            ("config", config, TrainingConfig),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")
        self.model: M = model
        self.optimizer, self.encoder, self.config = optimizer, encoder, config
        self.source = source_of(encoder, data, model)
        self.held_out: Source = self.source
        if not isinstance(validation, Sequences | tuple | None):
            raise TypeError(f"validation must be Sequences, or images and labels, got {shown(validation)}")
        if metrics is not None:
            check_kind("metrics", metrics, Mapping, "a mapping of names to functions")
        check_kind("callbacks", callbacks, Sequence, "a sequence of functions")
        check_bool("show_progress", show_progress)
        check_callable("clock", clock)
        if validation is not None:
            if config.validation_size:
                raise ValueError("validation_size must be 0 if a validation set is given")
            self.held_out = source_of(encoder, validation, model)
        self.own_metrics, self.callbacks = dict(metrics or {}), tuple(callbacks)
        for name, metric in self.own_metrics.items():
            if name in RESERVED or not callable(metric):
                raise ValueError(
                    f"metrics must be callables under names other than {', '.join(RESERVED)}, got {name!r}"
                )
        if not all(callable(callback) for callback in self.callbacks):
            raise TypeError("callbacks must be callables")
        schedule = optimizer.learning_rate
        if isinstance(schedule, TimedCosineSchedule) and schedule.total_seconds != config.seconds:
            raise ValueError(
                f"total_seconds of the learning rate must be the seconds of config, {config.seconds}, "
                f"got {schedule.total_seconds}"
            )
        self.out, self.show_progress, self.clock = check_path("out", out), show_progress, clock
        n_sequences = len(self.source)
        self.steps_per_epoch = config.steps_per_epoch(n_sequences)
        self.total_steps = config.total_steps(n_sequences)
        order = random_generators(config.seed, PURPOSES)["split"].permutation(n_sequences)
        self.validation_rows = np.sort(order[: config.validation_size])
        self.training_rows = np.sort(order[config.validation_size :])
        if validation is not None:
            self.validation_rows = np.arange(len(self.held_out))
        if (config.keeps_best or self.own_metrics) and not len(self.validation_rows):
            raise ValueError("patience, keep_best and metrics need a validation set: validation_size or validation")
        if config.group_lengths and self.source.lengths is None:
            raise ValueError("group_lengths must be False for images: their sequences are of one length")
        self._description: dict[str, Any] | None = None

    @property
    def metrics_path(self) -> Path:
        """Path of metrics.jsonl."""
        return self.out / METRICS_FILE

    @property
    def timings_path(self) -> Path:
        """Path of timings.jsonl."""
        return self.out / TIMINGS_FILE

    @property
    def best_path(self) -> Path:
        """Path of best.npz: a checkpoint with the parameters of the lowest validation loss."""
        return self.out / BEST_FILE

    @property
    def images(self) -> np.ndarray:
        """The training images, if the data are images."""
        assert isinstance(self.source, Images)
        return self.source.images

    @property
    def labels(self) -> np.ndarray:
        """The labels of the images."""
        assert isinstance(self.source, Images)
        return self.source.labels

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the run, JSON-serialisable; the data by their SHA-256."""
        if self._description is None:
            training = self.config.config() | {"backend": backend_module(self.config.backend).__name__}
            self._description = {
                "model": self.model.config(),
                "optimizer": self.optimizer.config(),
                "encoder": encoder_config(self.source),
                "training": training,
                "data": self.source.describe(),
            }
            if self.held_out is not self.source:
                self._description["validation"] = self.held_out.describe()
        return self._description


def evaluation(plan: Plan[Any], params: dict[str, Array], batches: Batches, rows: np.ndarray) -> Evaluation:
    """Return the performance of the model on some rows; the noise of the encoder is the same at each call."""
    rng = random_generators(plan.config.seed, PURPOSES)["evaluation"]
    size, engine = plan.config.evaluation_batch_size, plan.config.engine
    return evaluate_rows(plan.model, params, batches, rows, rng, size=size, engine=engine)
