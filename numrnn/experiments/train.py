"""Train on sequences of your own, from a file that numpy.savez wrote.

    numrnn train DATA.npz --out runs/mine                       the antisymmetric cell
    numrnn train DATA.npz --cell lstm --layers 2 --patience 10  another cell, stopped early
    numrnn train DATA.npz --test TEST.npz                       with a test at the end
    numrnn train --resume --out runs/mine                       continue a run after Ctrl-C, kill -9 or a power cut
    numrnn predict runs/mine NEW.npz                            use the result

DATA.npz holds x (N, T, m) with lengths (N,) if they differ, or x_0, x_1, ..., one (T_i, m) for each sequence; and
the targets y. Integers are labels for a classifier, floating-point numbers are targets of a regressor; y (N,) or (N, k)
is predicted from the last state, y (N, T), (N, T, k) or y_0, y_1, ... at every step. mask (N, T) is True for those that
count.

The folder given by --out receives config.json, metrics.jsonl, timings.jsonl, checkpoints, final.npz, result.json and,
with matplotlib, learning_curves.png. With --patience or --keep-best, final.npz holds the parameters of the lowest
validation loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numrnn.experiments.sequence_command import Parts, SequenceCommand, SequenceSettings, read_sequences
from numrnn.options import documented, option

PAGE = __doc__


@documented
@dataclass(frozen=True, kw_only=True)
class Config(SequenceSettings):
    """All settings of a run."""

    data: str | None = option(None, "the sequences to train on", metavar="DATA.npz", positional=True)
    validation: str | None = option(None, "a separate validation set, instead of held-out rows", metavar="FILE.npz")
    test: str | None = option(None, "sequences to test the result on, once, at the end", metavar="FILE.npz")
    standardize: bool = option(True, "shift and scale each feature to mean 0 and std 1 over the training sequences")


# Euler cells: defaults of `SequenceSettings`.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    "elman": {"learning_rate": 0.003, "clip": 1.0},
    "lstm": {"clip": 1.0},
}


class Train(SequenceCommand):
    """Your own sequences."""

    name: ClassVar[str] = "train"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    validation_share: ClassVar[int] = 10
    presets: ClassVar[tuple[str, ...]] = ()
    cell_defaults: ClassVar[dict[str, dict[str, Any]]] = CELL_DEFAULTS

    def load(self, config: Config) -> Parts:
        """Return the sequences of the files.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it holds no sequences.
        """
        if config.data is None:
            raise ValueError("DATA.npz must be given, the sequences to train on, got none")
        files = (config.data, config.validation, config.test)
        return Parts(*(None if path is None else read_sequences(path) for path in files))  # type: ignore[arg-type]

    def task(self, config: Config) -> str:
        """Return the name of the file."""
        return Path(config.data or "").name

    def standardizes(self, config: Config) -> bool:
        """Tell whether the features are to be standardized."""
        return config.standardize


EXPERIMENT = Train()
make_config, make_trainer, run = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.run
parse_arguments, main = EXPERIMENT.parse_arguments, EXPERIMENT.main
