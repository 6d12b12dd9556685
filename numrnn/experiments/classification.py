"""Common part of the experiments on images: training and test of a configuration, and its command line.

An `Experiment` is a family of tasks on one set of images. It defines the images, their encoding as sequences and what
is recorded about them; everything else is here, once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numrnn.backend import backend_module
from numrnn.datasets import Dataset, Encoder
from numrnn.experiments.builders import make_cell, make_optimizer, training_config
from numrnn.experiments.command_line import printer, write_json
from numrnn.experiments.pictures import can_draw, draw_run
from numrnn.experiments.training_command import TrainingCommand
from numrnn.training import (
    Checkpoint,
    Classifier,
    Evaluation,
    Trainer,
    TrainingResult,
    save_checkpoint,
)
from numrnn.training.run import FINAL_FILE, RESULT_FILE

COMPARED = ("antisymmetric", "lstm", "elman")  # their initial gradients are drawn next to the trained ones


@dataclass(frozen=True, eq=False)
class Result:
    """Result of `Experiment.run`.

    Attributes
    ----------
    training : TrainingResult
        Parameters, step, metrics.
    test_accuracy : float or None
        Fraction of correctly classified test images, 0 to 1; None if the run was interrupted.
    test_loss : float or None
        Mean cross-entropy on the test images, in nats.
    pictures : list of Path
        The pictures drawn.
    """

    training: TrainingResult
    test_accuracy: float | None
    test_loss: float | None
    pictures: list[Path]


class Experiment(TrainingCommand):
    """Tasks on one set of images."""

    @abstractmethod
    def load_data(self, config: Any) -> Dataset:
        """Return the images of a configuration."""

    @abstractmethod
    def make_encoder(self, config: Any, data: Dataset) -> Encoder:
        """Return the encoder of images as sequences."""

    def record(self, config: Any) -> dict[str, Any]:
        """Return the entries of result.json about the task."""
        return {"preprocessing": "standardized" if config.standardize else "scaled to 0..1"}

    def make_trainer(self, config: Any, data: Dataset, *, show_progress: bool = True) -> Trainer:
        """Return the trainer of a configuration, ready to run."""
        encoder, n_images = self.make_encoder(config, data), len(data.train_images)
        held_out = n_images // self.validation_share if config.validation_size is None else config.validation_size
        training = training_config(config, encoder.length, validation_size=held_out)
        model = Classifier(make_cell(config, encoder.input_size), data.n_classes)
        return Trainer(
            model,
            make_optimizer(config, model, training.total_steps(n_images)),
            encoder,
            (data.train_images, data.train_labels),
            training,
            config.out,
            show_progress=show_progress,
        )

    def run(
        self,
        config: Any,
        *,
        resume: bool = False,
        overwrite: bool = False,
        data: Dataset | None = None,
        quiet: bool = False,
        draw: bool = True,
    ) -> Result:
        """Train, then test once, and draw.

        Parameters
        ----------
        config : Config
            From `make_config`.
        resume, overwrite : bool
            As for `Trainer.run`.
        data : Dataset, optional
            Images to use instead of those that the configuration names.
        quiet : bool
            Show no progress and print nothing.
        draw : bool
            Draw the pictures if matplotlib is installed.

        Returns
        -------
        Result

        Raises
        ------
        DivergenceError, CheckpointError, FileExistsError, FileNotFoundError, RuntimeError, ValueError
            As `Trainer.run`, the loaders and `backend_module`.
        """
        backend_module(config.backend)
        data = self.load_data(config) if data is None else data
        trainer = self.make_trainer(config, data, show_progress=not quiet)
        say = printer(quiet)
        say(f"{self.task(config)}, {', '.join(f'{k}: {v}' for k, v in self.record(config).items())}")
        say(self.summary(config, trainer))
        with self.folder(config, resume=resume, overwrite=overwrite) as out:
            return self._train(config, trainer, data, out, say, resume=resume, draw=draw)

    def _train(
        self,
        config: Any,
        trainer: Trainer,
        data: Dataset,
        out: Path,
        say: Callable[..., Any],
        *,
        resume: bool,
        draw: bool,
    ) -> Result:
        """Train, test and draw in the folder of the run."""
        training = trainer.run(resume=resume)
        if training.interrupted:
            return Result(training, None, None, [])
        final = Checkpoint(step=training.step, params=training.evaluated, config=trainer.describe())
        save_checkpoint(out / FINAL_FILE, final)
        test = trainer.evaluate(training.evaluated, data.test_images, data.test_labels)
        assert test.accuracy is not None  # of a classifier
        write_json(out / RESULT_FILE, self._result(config, trainer, training, test))
        pictures = self._draw(config, data, trainer, training, test) if draw and can_draw(say) else []
        say(f"test accuracy {100 * test.accuracy:.2f} %, test loss {test.loss:.4f}")
        say("written: " + ", ".join(str(path) for path in [out / RESULT_FILE, *pictures]))
        return Result(training, test.accuracy, test.loss, pictures)

    def _draw(
        self, config: Any, data: Dataset, trainer: Trainer, training: TrainingResult, test: Evaluation
    ) -> list[Path]:
        """Draw the pictures of a run and return their paths."""
        same = {"hidden_size": config.hidden_size, "backend": config.backend}
        starts = {name: config if name == config.cell else self.make_config(name, **same) for name in COMPARED}
        n_steps = self.make_encoder(config, data).length
        return draw_run(config, self.heading(config), starts, n_steps, data, trainer, training, test)

    def _result(self, config: Any, trainer: Trainer, training: TrainingResult, test: Evaluation) -> dict[str, Any]:
        """Return the content of result.json."""
        return {
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "validation_accuracy": training.validation_accuracy,
            "task": self.task(config),
            **self.record(config),
            **self.record_of_run(config, trainer, training),
        }
