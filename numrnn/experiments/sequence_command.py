"""Common part of the commands on sequences: a model chosen by the targets, its training, test and result.

A `SequenceCommand` defines the source of the sequences; everything else is here, once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numrnn import plots
from numrnn.backend import Array, backend_module
from numrnn.datasets import Sequences, Standardization
from numrnn.experiments.builders import make_layers, make_optimizer, training_config
from numrnn.experiments.command_line import printer, write_json
from numrnn.experiments.config import Settings
from numrnn.experiments.pictures import can_draw
from numrnn.experiments.training_command import TrainingCommand
from numrnn.options import documented, inherited, option
from numrnn.training import (
    Checkpoint,
    Classifier,
    Evaluation,
    Regressor,
    Trainer,
    TrainingConfig,
    TrainingResult,
    load_checkpoint,
    save_checkpoint,
)
from numrnn.training.run import FINAL_FILE, RESULT_FILE

STANDARDIZATION = "standardization"  # its key in the configuration of a checkpoint


@documented
@dataclass(frozen=True, kw_only=True)
class SequenceSettings(Settings):
    """Settings of a run on sequences."""

    layers: int = option(1, "layers of the cell, on top of each other", at_least=1)
    hidden_size: int = inherited(Settings, "hidden_size", 64)
    step_size: float = inherited(Settings, "step_size", 0.1)
    diffusion: float = inherited(Settings, "diffusion", 0.01)
    weight_std: float = inherited(Settings, "weight_std", 1.0)
    learning_rate: float = inherited(Settings, "learning_rate", 0.01)
    clip: float = inherited(Settings, "clip", 5.0)
    batch_size: int = inherited(Settings, "batch_size", 32)
    epochs: int | None = inherited(Settings, "epochs", 50)
    patience: int | None = inherited(TrainingConfig, "patience", None)
    keep_best: bool = inherited(TrainingConfig, "keep_best", False)
    group_lengths: bool = inherited(TrainingConfig, "group_lengths", False)


@dataclass(frozen=True, eq=False)
class Parts:
    """The sequences of a run: for training and, if given separately, for validation and test."""

    train: Sequences
    validation: Sequences | None = None
    test: Sequences | None = None

    def change(self, function: Callable[[Sequences], Sequences]) -> Parts:
        """Return a function applied to each part."""
        parts = (self.train, self.validation, self.test)
        return Parts(*(None if part is None else function(part) for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """Result of `SequenceCommand.run`.

    Attributes
    ----------
    training : TrainingResult
        Parameters, step, metrics.
    params : dict of str to array
        The tested parameters: those of the lowest validation loss if they are kept, else the last ones.
    test : Evaluation or None
        None without a test set, or if the run was interrupted.
    content : dict
        The content of result.json; empty if the run was interrupted.
    """

    training: TrainingResult
    params: dict[str, Array]
    test: Evaluation | None
    content: dict[str, Any]


class StandardizedTrainer(Trainer[Classifier | Regressor]):
    """A trainer whose checkpoints hold the standardization of its sequences, so that others can be scaled alike."""

    standardization: Standardization | None = None

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the run."""
        scaling = {} if self.standardization is None else {STANDARDIZATION: self.standardization.config()}
        return super().describe() | scaling


class SequenceCommand(TrainingCommand):
    """Training on sequences."""

    @abstractmethod
    def load(self, config: Any) -> Parts:
        """Return the sequences of a configuration."""

    def standardizes(self, config: Any) -> bool:
        """Tell whether the features are to be standardized."""
        return False

    def scores(self, config: Any, test: Sequences, evaluation: Evaluation) -> dict[str, float]:
        """Return further results of the test, and the values to compare them with."""
        return {}

    def make_trainer(
        self, config: Any, parts: Parts, *, show_progress: bool = True
    ) -> tuple[StandardizedTrainer, Sequences | None]:
        """Return the trainer of a configuration, ready to run, and the test set, scaled for it.

        Raises
        ------
        ValueError
            If the sequences have no targets, or those of the parts do not fit each other.
        """
        data = parts.train
        held_out = len(data) // self.validation_share if config.validation_size is None else config.validation_size
        if parts.validation is not None:
            if config.validation_size:
                raise ValueError(f"validation_size must be 0 with a validation set, got {config.validation_size}")
            held_out = 0
        extra = {name: getattr(config, name) for name in ("patience", "keep_best", "group_lengths")}
        training = training_config(config, int(data.lengths.max()), validation_size=held_out, **extra)
        model = make_model(config, data)
        if parts.test is not None:
            model.check_targets(parts.test.targets, parts.test.n_outputs, parts.test.n_features)
        optimizer = make_optimizer(config, model, training.total_steps(len(data)))

        def trainer_of(parts: Parts) -> StandardizedTrainer:
            return StandardizedTrainer(
                model,
                optimizer,
                None,
                parts.train,
                training,
                config.out,
                validation=parts.validation,
                show_progress=show_progress,
            )

        trainer = trainer_of(parts)
        if not self.standardizes(config):
            return trainer, parts.test
        scaling = Standardization.of(data, trainer.training_rows)
        parts = parts.change(scaling.apply)
        trainer = trainer_of(parts)
        trainer.standardization = scaling
        return trainer, parts.test

    def run(
        self,
        config: Any,
        *,
        resume: bool = False,
        overwrite: bool = False,
        quiet: bool = False,
        draw: bool = True,
    ) -> SequenceResult:
        """Train, test once if there is a test set, and draw the learning curves.

        Parameters
        ----------
        config
            From `make_config`.
        resume, overwrite : bool
            As for `Trainer.run`.
        quiet : bool
            Show no progress and print nothing.
        draw : bool
            Draw the picture if matplotlib is installed.

        Returns
        -------
        SequenceResult

        Raises
        ------
        DivergenceError, CheckpointError, FileExistsError, FileNotFoundError, RuntimeError, ValueError
            As `Trainer.run`, `backend_module`, and the function that reads the sequences.
        """
        backend_module(config.backend)
        say = printer(quiet)
        trainer, test_set = self.make_trainer(config, self.load(config), show_progress=not quiet)
        counts = f"{len(trainer.training_rows):,} sequences to train on, {len(trainer.validation_rows):,} to validate"
        say(f"{self.task(config)}: {counts}")
        say(self.summary(config, trainer))
        with self.folder(config, resume=resume, overwrite=overwrite) as out:
            return self._train(config, trainer, test_set, out, say, resume=resume, draw=draw)

    def _train(
        self,
        config: Any,
        trainer: StandardizedTrainer,
        test_set: Sequences | None,
        out: Path,
        say: Callable[..., Any],
        *,
        resume: bool,
        draw: bool,
    ) -> SequenceResult:
        """Train, test and draw in the folder of the run."""
        training = trainer.run(resume=resume)
        if training.interrupted:
            return SequenceResult(training, training.evaluated, None, {})
        params, step = training.evaluated, training.step
        if training.best is not None:
            best = load_checkpoint(training.best, backend=config.backend)
            params, step = best.params, best.step
        save_checkpoint(out / FINAL_FILE, Checkpoint(step=step, params=params, config=trainer.describe()))
        test = None if test_set is None else trainer.evaluate(params, test_set)
        scores: dict[str, float] = {}
        if test is not None and test_set is not None:
            accuracy = {} if test.accuracy is None else {"test_accuracy": test.accuracy}
            scores = {**accuracy, "test_loss": test.loss, **self.scores(config, test_set, test)}
        content = scores | self._result(config, trainer, training, step)
        write_json(out / RESULT_FILE, content)
        written = [out / RESULT_FILE, out / FINAL_FILE]
        if draw and can_draw(say):
            curves, title = out / "learning_curves.png", self.heading(config)
            history = training.history
            plots.learning_curves(history("training"), history("validation"), curves, title=title)
            written.append(curves)
        for name, value in scores.items():
            text = f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.4g}"
            say(f"{name.replace('_', ' ')}: {text}")
        say("written: " + ", ".join(map(str, written)))
        return SequenceResult(training, params, test, content)

    def _result(self, config: Any, trainer: Trainer[Any], training: TrainingResult, step: int) -> dict[str, Any]:
        """Return the content of result.json without the test."""
        validation = [record for record in training.history("validation") if record["step"] == step]
        found = {f"validation_{name}": validation[-1].get(name) for name in ("loss", "accuracy") if validation}
        return {
            **{name: value for name, value in found.items() if value is not None},
            "task": self.task(config),
            "layers": config.layers,
            "tested_step": step,
            **self.record_of_run(config, trainer, training),
        }


def make_model(config: Any, data: Sequences) -> Classifier | Regressor:
    """Return the model for the targets: a classifier for labels or a regressor for numbers, for one or every step.

    Raises
    ------
    ValueError
        If there are no targets.
    """
    if data.targets is None or data.n_outputs is None:
        raise ValueError("y must be there to train on: labels or numbers, for each sequence or at every step; got none")
    cell = make_layers(config, data.n_features, config.layers)
    kind = Classifier if data.targets.startswith("label") else Regressor
    return kind(cell, data.n_outputs, "every" if "every" in data.targets else "last")


def read_sequences(path: str) -> Sequences:
    """Return the sequences of a file.

    Raises
    ------
    FileNotFoundError, ValueError
        As `Sequences.from_npz`; a TypeError becomes a ValueError, since the user of a command has no types.
    """
    try:
        return Sequences.from_npz(path)
    except TypeError as error:
        raise ValueError(str(error)) from None


def saved_values(name: str, values: Any) -> dict[str, np.ndarray]:
    """Return values as an .npz file holds them: one array under a name; a list of arrays as name_0, name_1, ..."""
    if isinstance(values, list):
        return {f"{name}_{number}": one for number, one in enumerate(values)}
    return {name: values}
