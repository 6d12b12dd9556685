"""The copying problem: ten symbols are shown, and must be repeated after a long delay.

    numrnn copying --delay 100 --cell lstm --forget-bias chrono
    numrnn copying --preset copying-100-antisymmetric
    numrnn copying --resume

The loss is the cross-entropy over all steps. Without memory the best prediction is blank until the delimiter, and then
a guess: a loss of 10 log 8 / (delay + 20), and one symbol in eight correct. result.json has both next to the loss and
the symbol accuracy of the network, which counts only the ten steps of recall. The folder given by --out receives what
`numrnn train` writes.

Source: S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, in the form of M. Arjovsky, A. Shah and
Y. Bengio, "Unitary evolution recurrent neural networks", ICML 2016.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from numrnn.datasets import DrawnSequences, Sequences, copying
from numrnn.experiments.tasks import Task, TaskSettings
from numrnn.options import documented, option
from numrnn.training import Evaluation

PAGE = __doc__
MEMORY, SYMBOLS = 10, 8  # symbols to remember, and their kinds


@documented
@dataclass(frozen=True, kw_only=True)
class Config(TaskSettings):
    """All settings of a run."""

    delay: int = option(100, "steps from the end of the symbols to the first step of recall", at_least=1)


class Copying(Task):
    """The copying problem."""

    name: ClassVar[str] = "copying"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    presets: ClassVar[tuple[str, ...]] = ("copying-",)

    def draw(self, config: Config, n_sequences: int, seed: int) -> DrawnSequences:
        """Return a set of sequences."""
        task = functools.partial(copying, delay=config.delay, n_memory=MEMORY, n_symbols=SYMBOLS)
        return DrawnSequences(task, n_sequences, seed=seed, n_outputs=SYMBOLS + 1)

    def task(self, config: Config) -> str:
        """Return the task in words."""
        return f"copying, delay {config.delay}"

    def scores(self, config: Config, test: Sequences, evaluation: Evaluation) -> dict[str, float]:
        """Return the fraction of symbols repeated correctly, and the values without memory."""
        right = [np.mean(p[-MEMORY:] == test.y[row][-MEMORY:]) for row, p in enumerate(evaluation.predictions)]
        return {
            "symbol_accuracy": float(np.mean(right)),
            "baseline_symbol_accuracy": 1 / SYMBOLS,
            "baseline_loss": MEMORY * math.log(SYMBOLS) / (config.delay + 2 * MEMORY),
        }


EXPERIMENT = Copying()
make_config, make_trainer, run = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.run
parse_arguments, main = EXPERIMENT.parse_arguments, EXPERIMENT.main
