"""Common part of the training commands: presets, configuration, options, --resume and exit statuses.

A `TrainingCommand` defines the settings, their values for each cell, and the run; the rest is here, once.
"""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numrnn import info, plots
from numrnn.commands import INTERRUPTED
from numrnn.experiments.command_line import (
    add_verbosity,
    default_text,
    guarded,
    is_quiet,
    make_parser,
    read,
    write_json,
)
from numrnn.experiments.presets import merged, preset_names, read_preset, stored_arguments
from numrnn.initializers import CHRONO
from numrnn.locks import locked
from numrnn.options import options
from numrnn.plots.text import literal
from numrnn.training import Trainer, TrainingResult, training_seconds
from numrnn.training.config import LENGTHS
from numrnn.training.run import CONFIG_FILE, remove_run, traces_of_a_run


@dataclass(frozen=True)
class Request:
    """The request of a command line."""

    config: Any
    resume: bool
    overwrite: bool
    quiet: bool


class TrainingCommand(ABC):
    """A command that trains: `numrnn NAME`."""

    name: ClassVar[str]
    text: ClassVar[str | None]  # the docstring of the module, for --help
    config: ClassVar[type[Any]]
    validation_share: ClassVar[int]  # one row in this many is held out unless the configuration gives a number
    presets: ClassVar[tuple[str, ...]]  # what names of presets begin with
    # What differs from the defaults of the configuration for each cell.
    cell_defaults: ClassVar[dict[str, dict[str, Any]]]

    @staticmethod
    def summary(config: Any, trainer: Trainer[Any]) -> str:
        """Return the model and the length of a run as one line."""
        steps = trainer.total_steps
        length = f"{config.seconds:g} s of training" if steps is None else f"{steps:,} updates"
        return f"{trainer.model!r}, {trainer.model.parameter_count():,} parameters, {length}"

    @staticmethod
    @contextlib.contextmanager
    def folder(config: Any, *, resume: bool, overwrite: bool) -> Iterator[Path]:
        """Lock the folder of a run and write its configuration there, after deleting an earlier run if requested.

        Raises
        ------
        ValueError
            If `resume` and `overwrite` are both given.
        FolderInUseError
            If another run uses it.
        OSError
            If it cannot be written.
        """
        if resume and overwrite:
            raise ValueError("--resume and --overwrite must not both be given")
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            if overwrite:
                remove_run(out)
            if not traces_of_a_run(out):  # otherwise the configuration belongs to the earlier run
                write_json(out / CONFIG_FILE, dataclasses.asdict(config))
            yield out

    @abstractmethod
    def run(self, config: Any, *, resume: bool = False, overwrite: bool = False, quiet: bool = False) -> Any:
        """Train and test; the result has the `TrainingResult` as its attribute `training`."""

    def heading(self, config: Any) -> str:
        """Return the task, the cell and what is special about its start, as the heading of a picture."""
        start = ", chrono initialisation" if config.cell == "lstm" and config.forget_bias == CHRONO else ""
        return plots.readable(f"{literal(self.task(config))}, {config.cell} cell{start}")

    @abstractmethod
    def task(self, config: Any) -> str:
        """Return the task in words."""

    @staticmethod
    def record_of_run(config: Any, trainer: Trainer[Any], training: TrainingResult) -> dict[str, Any]:
        """Return the entries of result.json that every run has."""
        return {
            "preset": config.preset,
            "cell": config.cell,
            "parameters": trainer.model.parameter_count(),
            "iterations": training.step,
            "batch_size": config.batch_size,
            "seconds": round(training_seconds(trainer.timings_path), 1),
            "machine": info.machine(config.backend),
            "seed": config.seed,
        }

    def preset_names(self) -> list[str]:
        """Return the names of the presets of this experiment."""
        return preset_names(self.presets) if self.presets else []

    def read_preset(self, name: str) -> dict[str, Any]:
        """Return the values of a preset, by its name, or of a .toml file.

        Raises
        ------
        ValueError
            If there is no such preset, it is not TOML, or a key or the type of a value is wrong.
        OSError
            If the file cannot be read.
        """
        return read_preset(name, self.preset_names(), self.config)

    def make_config(self, cell: str | None = None, **given: Any) -> Any:
        """Return a configuration: the given values first, then the preset, the values for the cell, and the defaults.

        Raises
        ------
        ValueError
            If a choice is unknown, or as `read_preset`.
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
        config = self.config(**(self.cell_defaults.get(given.get("cell", "antisymmetric"), {}) | given))
        if config.out:
            return config
        folder = f"{self.name}-{config.cell}" if config.preset is None else f"{Path(config.preset).stem}/{config.seed}"
        return dataclasses.replace(config, out=f"runs/{folder}")

    def parse_arguments(self, argv: list[str] | None = None, *, program: str | None = None) -> tuple[Any, bool, bool]:
        """Return the configuration, and whether to resume or to overwrite.

        Raises
        ------
        ValueError
            As `make_config`, or if the run to be resumed is of another preset.
        """
        request = self._request(argv, program)
        return request.config, request.resume, request.overwrite

    def _request(self, argv: list[str] | None, program: str | None) -> Request:
        """Return the request of a command line."""
        command = f"numrnn {self.name}"
        parser = make_parser(command, self.text, self.config, program=program, default=self._default_text)
        parser.add_argument(
            "--resume", action="store_true", default=False, help="continue from the newest checkpoint in --out"
        )
        parser.add_argument("--overwrite", action="store_true", default=False, help="delete an earlier run in --out")
        add_verbosity(parser)
        given = read(parser, argv, self.config)
        resume, overwrite, quiet = given.pop("resume"), given.pop("overwrite"), is_quiet(given)
        if resume and overwrite:
            parser.error("give only one of --resume and --overwrite")
        positional = {name: meaning for name, meaning in options(self.config).items() if meaning.positional}
        missing = [meaning.metavar or name for name, meaning in positional.items() if name not in given]
        if missing and not resume:  # takes them from the run
            parser.error(f"the following arguments are required: {', '.join(missing)}")
        if len(given.keys() & set(LENGTHS)) > 1:
            parser.error("give only one of --epochs, --iterations and --seconds")
        config = self.make_config(**given)
        stored = stored_arguments(Path(config.out), self.config) if resume else {}
        if stored:
            asked, found = config.preset, stored.get("preset")
            if asked not in (None, found):
                raise ValueError(f"preset must be {found!r} as in {config.out}, got {asked!r}")
            config = self._complete(merged(stored, given))
        return Request(config, resume, overwrite, quiet)

    def _default_text(self, field: dataclasses.Field[Any]) -> str:
        """Return the help text for a default, with its differences between cells."""
        if field.name == "preset":
            return f" ({', '.join(self.preset_names())})" if self.preset_names() else ""
        if field.name == "validation_size":
            return f" (default: one in {self.validation_share})"
        if field.name == "out":
            return f" (default: runs/{self.name}-CELL, or runs/PRESET/SEED)"
        others = {cell: own[field.name] for cell, own in self.cell_defaults.items() if field.name in own}
        differs = "".join(f"; {cell}: {value}" for cell, value in others.items())
        text = default_text(field)
        return f"{text.removesuffix(')')}{differs})" if differs else text

    def main(self, argv: list[str] | None = None, *, program: str | None = None) -> int:
        """Run from the command line and return the exit status, as numrnn.commands names them.

        Parameters
        ----------
        argv : list of str, optional
            Options; those of the process unless given.
        program : str, optional
            Another name of the command, if the user called that.
        """

        def work() -> int:
            request = self._request(argv, program)
            config, quiet = request.config, request.quiet
            result = self.run(config, resume=request.resume, overwrite=request.overwrite, quiet=quiet)
            if not result.training.interrupted:
                return 0
            print(f"stopped at update {result.training.step}; continue with --resume --out {config.out}")
            return INTERRUPTED

        return guarded(work)
