"""What the experiments on images share: training and test of a configuration, and its command line.

An `Experiment` is a family of tasks on one set of images. It says which images, how they become sequences and what is
recorded of that; everything else stands here, once.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numrnn import info
from numrnn.backend import backend_module
from numrnn.datasets import Dataset, Encoder
from numrnn.experiments.builders import initial_values, make_cell, make_optimizer
from numrnn.experiments.command_line import INTERRUPTED, default_text, guarded, make_parser, read, write_json
from numrnn.experiments.pictures import can_draw, draw_run
from numrnn.experiments.presets import CONFIG_FILE, merged, preset_names, read_preset, stored_arguments
from numrnn.options import options
from numrnn.training import (
    Checkpoint,
    Classifier,
    Evaluation,
    Trainer,
    TrainingConfig,
    TrainingResult,
    list_checkpoints,
    save_checkpoint,
    training_seconds,
)
from numrnn.training.config import LENGTHS

RESULT_FILE = "result.json"
COMPARED = ("antisymmetric", "lstm", "elman")  # whose gradients at the start are drawn beside the trained ones
FINAL_CHECKPOINT = "final.npz"  # what was tested, without the state of the optimiser


@dataclass(frozen=True, eq=False)
class Result:
    """What `Experiment.run` returns.

    Attributes
    ----------
    training : TrainingResult
        Parameters, step, metrics.
    test_accuracy : float or None
        Share of the test images classified rightly, 0 to 1; None if the run was interrupted.
    test_loss : float or None
        Mean cross-entropy on the test images, in nats.
    pictures : list of Path
        What was drawn.
    """

    training: TrainingResult
    test_accuracy: float | None
    test_loss: float | None
    pictures: list[Path]


class Experiment(ABC):
    """Tasks on one set of images."""

    name: ClassVar[str]
    text: ClassVar[str | None]  # the docstring of the module, for --help
    config: ClassVar[type[Any]]
    validation_share: ClassVar[int]  # one image of so many is held out unless the configuration says how many
    presets: ClassVar[tuple[str, ...]]  # what names of presets begin with
    # What differs from the defaults of the configuration for each cell.
    cell_defaults: ClassVar[dict[str, dict[str, Any]]]

    @abstractmethod
    def load_data(self, config: Any) -> Dataset:
        """Return the images of a configuration."""

    @abstractmethod
    def make_encoder(self, config: Any, data: Dataset) -> Encoder:
        """Return what turns images into sequences."""

    @abstractmethod
    def task(self, config: Any) -> str:
        """Return the task in words, as the headings of pictures give it."""

    def record(self, config: Any) -> dict[str, Any]:
        """Return what result.json says of the task."""
        return {"preprocessing": "standardized" if config.standardize else "scaled to 0..1"}

    def preset_names(self) -> list[str]:
        """Return the names of the presets of this experiment."""
        return preset_names(self.presets)

    def read_preset(self, name: str) -> dict[str, Any]:
        """Return the values of a preset, by its name, or of a .toml file.

        Raises
        ------
        ValueError
            If there is no such preset, it is no TOML, or a key or the type of a value is wrong.
        OSError
            If the file cannot be read.
        """
        return read_preset(name, self.preset_names(), self.config)

    def make_config(self, cell: str | None = None, **given: Any) -> Any:
        """Return a configuration: what is given, then the preset, then what suits the cell, then the defaults.

        Raises
        ------
        ValueError
            If a choice is none of those that there are, or as `read_preset`.
        TypeError
            If there is no such field.
        """
        if cell is not None:
            given["cell"] = cell
        preset = given.get("preset")
        return self._complete(given if preset is None else merged(self.read_preset(preset), given))

    def _complete(self, given: dict[str, Any]) -> Any:
        if given.get("iterations") is not None or given.get("seconds") is not None:
            given.setdefault("epochs", None)
        for name, meaning in options(self.config).items():
            if meaning.choices and name in given and given[name] not in meaning.choices:
                raise ValueError(f"{name} must be one of {', '.join(meaning.choices)}, got {given[name]!r}")
        for name in ("rotations", "input_gains"):
            if isinstance(given.get(name), list):  # from JSON
                given[name] = tuple(given[name])
        config = self.config(**(self.cell_defaults.get(given.get("cell", "antisymmetric"), {}) | given))
        if config.out:
            return config
        folder = f"{self.name}-{config.cell}" if config.preset is None else f"{Path(config.preset).stem}/{config.seed}"
        return dataclasses.replace(config, out=f"runs/{folder}")

    def make_trainer(self, config: Any, data: Dataset, *, show_progress: bool = True) -> Trainer:
        """Return the trainer of a configuration, ready to run."""
        encoder, n_images = self.make_encoder(config, data), len(data.train_images)
        held_out = n_images // self.validation_share if config.validation_size is None else config.validation_size
        training = TrainingConfig(
            epochs=config.epochs,
            iterations=config.iterations,
            seconds=config.seconds,
            batch_size=config.batch_size,
            seed=config.seed,
            **initial_values(config, encoder.length),
            average=None if config.average == "none" else config.average,
            average_updates=config.average_updates,
            input_dropout=config.input_dropout,
            clip=config.clip,
            validation_size=held_out,
            log_interval=config.log_interval,
            checkpoint_interval=config.checkpoint_interval,
            backend=config.backend,
            engine=config.engine,
        )
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
            Images to use in place of those that the configuration names.
        quiet : bool
            Show no progress and print nothing.
        draw : bool
            Draw the pictures, where matplotlib is there.

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
        say = (lambda *_: None) if quiet else print
        say(f"{self.task(config)}, {', '.join(f'{k}: {v}' for k, v in self.record(config).items())}")
        length = (
            f"{config.seconds:g} s of training" if trainer.total_steps is None else f"{trainer.total_steps:,} updates"
        )
        say(f"{trainer.model!r}, {trainer.model.parameter_count():,} parameters, {length}")
        out = Path(config.out)
        if overwrite or not list_checkpoints(out):  # else it is there, and belongs to the run that made it
            write_json(out / CONFIG_FILE, dataclasses.asdict(config))
        training = trainer.run(resume=resume, overwrite=overwrite)
        if training.interrupted:
            return Result(training, None, None, [])
        final = Checkpoint(step=training.step, params=training.evaluated, config=trainer.describe())
        save_checkpoint(out / FINAL_CHECKPOINT, final)
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
        return draw_run(config, self.task(config), starts, n_steps, data, trainer, training, test)

    def _result(self, config: Any, trainer: Trainer, training: TrainingResult, test: Evaluation) -> dict[str, Any]:
        """Return the content of result.json."""
        return {
            "test_accuracy": test.accuracy,
            "test_loss": test.loss,
            "validation_accuracy": training.validation_accuracy,
            "preset": config.preset,
            "cell": config.cell,
            "task": self.task(config),
            **self.record(config),
            "parameters": trainer.model.parameter_count(),
            "iterations": training.step,
            "batch_size": config.batch_size,
            "seconds": round(training_seconds(trainer.timings_path), 1),
            "machine": info.machine(config.backend),
            "seed": config.seed,
        }

    def parse_arguments(self, argv: list[str] | None = None, *, program: str | None = None) -> tuple[Any, bool, bool]:
        """Return the configuration, and whether to resume or to overwrite.

        Raises
        ------
        ValueError
            As `make_config`, or if the run to be resumed is of another preset.
        """
        command = f"numrnn {self.name}"
        parser = make_parser(command, self.text, self.config, program=program, default=self._default_text)
        parser.add_argument(
            "--resume", action="store_true", default=False, help="go on from the newest checkpoint in --out"
        )
        parser.add_argument("--overwrite", action="store_true", default=False, help="delete an earlier run in --out")
        given = read(parser, argv, self.config)
        resume, overwrite = given.pop("resume"), given.pop("overwrite")
        if len(given.keys() & set(LENGTHS)) > 1:
            parser.error("give only one of --epochs, --iterations and --seconds")
        config = self.make_config(**given)
        stored = stored_arguments(Path(config.out)) if resume else {}
        if stored:
            asked, found = config.preset, stored.get("preset")
            if asked not in (None, found):
                raise ValueError(f"preset must be {found!r} as in {config.out}, got {asked!r}")
            config = self._complete(merged(stored, given))
        return config, resume, overwrite

    def _default_text(self, field: dataclasses.Field[Any]) -> str:
        """Return what the help says of a default, and where it differs from cell to cell."""
        if field.name == "preset":
            return f" ({', '.join(self.preset_names())})"
        if field.name == "validation_size":
            return f" (default: one in {self.validation_share})"
        if field.name == "out":
            return f" (default: runs/{self.name}-CELL, or runs/PRESET/SEED)"
        others = {cell: own[field.name] for cell, own in self.cell_defaults.items() if field.name in own}
        differs = "".join(f"; {cell}: {value}" for cell, value in others.items())
        text = default_text(field)
        return f"{text.removesuffix(')')}{differs})" if differs else text

    def main(self, argv: list[str] | None = None, *, program: str | None = None) -> int:
        """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C.

        Parameters
        ----------
        argv : list of str, optional
            Options; those of the process unless given.
        program : str, optional
            What the user started, where that is another name of the command.
        """

        def work() -> int:
            config, resume, overwrite = self.parse_arguments(argv, program=program)
            result = self.run(config, resume=resume, overwrite=overwrite)
            if not result.training.interrupted:
                return 0
            print(f"stopped at update {result.training.step}; go on with --resume --out {config.out}")
            return INTERRUPTED

        return guarded(work)
