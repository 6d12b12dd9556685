"""The adding problem: the sum of the two marked numbers of a long sequence.

    numrnn adding --length 200 --cell lstm --forget-bias chrono
    numrnn adding --preset adding-200-antisymmetric
    numrnn adding --resume

Always predicting 1 gives a mean squared error of 1/6 = 0.167, the baseline in result.json next to the error of the
network. The folder given by --out receives what `numrnn train` writes.

Source: S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, in the form of M. Arjovsky, A. Shah and
Y. Bengio, "Unitary evolution recurrent neural networks", ICML 2016.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

from numrnn.datasets import DrawnSequences, Sequences, adding
from numrnn.experiments.tasks import Task, TaskSettings
from numrnn.options import documented, option
from numrnn.training import Evaluation

PAGE = __doc__


@documented
@dataclass(frozen=True, kw_only=True)
class Config(TaskSettings):
    """All settings of a run."""

    length: int = option(200, "T, steps of a sequence", at_least=2)


class Adding(Task):
    """The adding problem."""

    name: ClassVar[str] = "adding"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    presets: ClassVar[tuple[str, ...]] = ("adding-",)

    def draw(self, config: Config, n_sequences: int, seed: int) -> DrawnSequences:
        """Return a set of sequences."""
        return DrawnSequences(functools.partial(adding, length=config.length), n_sequences, seed=seed)

    def task(self, config: Config) -> str:
        """Return the task in words."""
        return f"adding, T = {config.length}"

    def scores(self, config: Config, test: Sequences, evaluation: Evaluation) -> dict[str, float]:
        """Return the mean squared error of always predicting 1."""
        return {"baseline_loss": 1 / 6}


EXPERIMENT = Adding()
make_config, make_trainer, run = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.run
parse_arguments, main = EXPERIMENT.parse_arguments, EXPERIMENT.main
