"""Common part of the synthetic tasks: drawn data sets, and presets.

Sequences are drawn from their indices (`numrnn.datasets.DrawnSequences`). With the presets no sequence is repeated:
each makes the same number of updates within one epoch.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from numrnn.datasets import DrawnSequences
from numrnn.experiments.sequence_command import Parts, SequenceCommand, SequenceSettings
from numrnn.options import documented, inherited, option


@documented
@dataclass(frozen=True, kw_only=True)
class TaskSettings(SequenceSettings):
    """Settings of a run on a synthetic task."""

    sequences: int = option(100_000, "training sequences, {range}: an epoch", at_least=1)
    validation_sequences: int = option(1_000, "drawn for validation at the end of each epoch", at_least=1)
    test_sequences: int = option(2_000, "drawn for the test", at_least=1)
    data_seed: int = option(0, "of the sequences, {range}", at_least=0)
    hidden_size: int = inherited(SequenceSettings, "hidden_size", 128)
    batch_size: int = inherited(SequenceSettings, "batch_size", 50)
    epochs: int | None = inherited(SequenceSettings, "epochs", 1)
    log_interval: int = inherited(SequenceSettings, "log_interval", 100)


class Task(SequenceCommand):
    """A synthetic task."""

    validation_share: ClassVar[int] = 1  # validation uses a separate set
    cell_defaults: ClassVar[dict[str, dict[str, Any]]] = {"elman": {"learning_rate": 0.001, "clip": 1.0}}

    @abstractmethod
    def draw(self, config: Any, n_sequences: int, seed: int) -> DrawnSequences:
        """Return a set of sequences."""

    def load(self, config: Any) -> Parts:
        """Return the three sets."""
        sizes = (config.sequences, config.validation_sequences, config.test_sequences)
        return Parts(*(self.draw(config, size, 3 * config.data_seed + part) for part, size in enumerate(sizes)))
