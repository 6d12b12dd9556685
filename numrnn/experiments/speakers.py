"""Japanese Vowels: which of nine men is speaking, from 7 to 29 frames of 12 coefficients; the data are included.

    numrnn speakers                the antisymmetric cell
    numrnn speakers --cell lstm    a baseline
    numrnn speakers --resume       continue a stopped run

One training utterance in five is held out for validation; the parameters of the lowest validation loss are tested once,
on the 370 test utterances. The folder given by --out receives what `numrnn train` writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numrnn.datasets import load_speakers
from numrnn.experiments.sequence_command import Parts, SequenceCommand, SequenceSettings
from numrnn.options import documented, inherited, option

PAGE = __doc__


@documented
@dataclass(frozen=True, kw_only=True)
class Config(SequenceSettings):
    """All settings of a run."""

    standardize: bool = option(True, "shift and scale each feature to mean 0 and std 1 over the training utterances")
    learning_rate: float = inherited(SequenceSettings, "learning_rate", 0.03)
    input_dropout: float = inherited(SequenceSettings, "input_dropout", 0.4)
    epochs: int | None = inherited(SequenceSettings, "epochs", 100)
    keep_best: bool = inherited(SequenceSettings, "keep_best", True)
    group_lengths: bool = inherited(SequenceSettings, "group_lengths", True)


# Compared on held-out training utterances only, 54 of 270, with seeds 0 to 2; accuracies are means of those at
# the lowest validation loss, and 1.9 points are one utterance.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    # 40 epochs without dropout: eps .1, .3, 1 with rates .003 to .03 gave 75 to 96 %, the best at .1 and .03. With a
    # dropout of .3, 60 epochs at .02: 96.9 %; with .4, 100 epochs at .03: 98.1 %, and the lowest loss, .042.
    "antisymmetric": {},
    # The same grid: 83 to 96 %, the best at eps .3 and .01. With a dropout of .4, 100 epochs at .02: 99.4 %, loss .036.
    "gated": {"step_size": 0.3, "learning_rate": 0.02},
    # 40 epochs without dropout: .003: 90.7 %, .01: 92.6, .03: 95.7. With a dropout of .3, 60 epochs: .02: 96.3, .03:
    # 96.9 %, loss .091 both; with .4, 100 epochs: .02: 95.0, .03: 97.5 %, loss .093 and .104.
    "lstm": {"input_dropout": 0.3},
}


class Speakers(SequenceCommand):
    """Japanese Vowels."""

    name: ClassVar[str] = "speakers"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    validation_share: ClassVar[int] = 5
    presets: ClassVar[tuple[str, ...]] = ()
    cell_defaults: ClassVar[dict[str, dict[str, Any]]] = CELL_DEFAULTS

    def load(self, config: Config) -> Parts:
        """Return the published training and test set."""
        data = load_speakers()
        return Parts(data.train, test=data.test)

    def task(self, config: Config) -> str:
        """Return the task in words."""
        return "Japanese Vowels"

    def standardizes(self, config: Config) -> bool:
        """Tell whether the features are to be standardized."""
        return config.standardize


EXPERIMENT = Speakers()
make_config, make_trainer, run = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.run
parse_arguments, main = EXPERIMENT.parse_arguments, EXPERIMENT.main
