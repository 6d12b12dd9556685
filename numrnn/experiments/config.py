"""The configuration of an experiment: its fields, their meanings and defaults."""

from __future__ import annotations

from dataclasses import dataclass

import numrnn
from numrnn.options import Checked, documented, inherited, option
from numrnn.training import AVERAGES
from numrnn.training.config import TrainingConfig
from numrnn.typing import Backend

MOMENTUM = 0.9
BETA2 = 0.99  # of Adam: the size of the gradient changes within a hundred updates here, too fast for 0.999


@documented
@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Settings of every run, independent of its data."""

    preset: str | None = option(
        None,
        "a row of the paper's tables, or a .toml file; other options override it",
    )
    cell: str = option("antisymmetric", "the recurrent cell", choices=numrnn.CELLS.keys())
    cell_options: tuple[tuple[str, str], ...] = option(
        (), "another argument of the cell, such as method=rk2; repeatable", metavar="NAME=VALUE"
    )
    hidden_size: int = option(128, "n, number of units", at_least=1)
    step_size: float = option(
        0.03, "eps of the step, {range}, without unit; for the four Euler cells and the Lipschitz RNN", above=0
    )
    diffusion: float = option(
        0.001,
        "gamma, {range}, without unit; for the four Euler cells, and both matrices of the Lipschitz RNN",
        at_least=0,
    )
    storage: str = option(
        "triangular",
        "of W in the antisymmetric cells: its strict upper triangle, or the full matrix",
        choices=("triangular", "full"),
    )
    weight_std: float = inherited(TrainingConfig, "weight_std", 4.0)
    input_std: float = inherited(TrainingConfig, "input_std", 1.0)
    gate_bias: float = inherited(TrainingConfig, "gate_bias", 0.0)
    gate_spread: float = inherited(TrainingConfig, "gate_spread", 0.0)
    rotations: tuple[float, float] | None = inherited(TrainingConfig, "rotations", None)
    input_gains: tuple[float, float] | None = inherited(
        TrainingConfig,
        "input_gains",
        None,
        help="low high > 0: gains of the rows of V and of their steps; units then remember for different times",
    )
    bias_std: float = inherited(TrainingConfig, "bias_std", 0.0)
    forget_bias: str | None = inherited(TrainingConfig, "forget_bias", None)
    t_max: int | None = inherited(TrainingConfig, "t_max", None, none="the length of the sequences")
    input_dropout: float = inherited(TrainingConfig, "input_dropout", 0.0)
    optimizer: str = option(
        "adam",
        f"adam or adamw with beta2 {BETA2}, adagrad, or sgd with momentum {MOMENTUM}",
        choices=("adam", "adamw", "adagrad", "sgd"),
    )
    weight_decay: float = option(
        0.01,
        "lambda of adamw, {range}: an update reduces weights, not biases, by lambda times the learning rate",
        at_least=0,
    )
    learning_rate: float = option(0.02, "{range}, at the start of the schedule", above=0)
    recurrent_rate: float = option(1.0, "ratio of the learning rate of W to that of all other parameters", above=0)
    schedule: str = option(
        "cosine",
        "constant; step: a tenth after every third of the run, not with seconds; cosine: down to 0 at its end",
        choices=("constant", "step", "cosine"),
    )
    warmup: int = option(0, "updates over which the learning rate rises linearly", at_least=0)
    clip: float = inherited(TrainingConfig, "clip", 20.0)
    average: str = inherited(TrainingConfig, "average", "none", choices=("none", *AVERAGES))
    average_updates: int = inherited(TrainingConfig, "average_updates", 1000)
    batch_size: int = inherited(TrainingConfig, "batch_size", 128)
    epochs: int | None = inherited(TrainingConfig, "epochs", 5)
    iterations: int | None = inherited(TrainingConfig, "iterations", None)
    seconds: float | None = inherited(TrainingConfig, "seconds", None)
    validation_size: int | None = inherited(TrainingConfig, "validation_size", None)
    log_interval: int = inherited(TrainingConfig, "log_interval", 10)
    checkpoint_interval: int = inherited(TrainingConfig, "checkpoint_interval", 100)
    seed: int = inherited(TrainingConfig, "seed", 0)
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")
    engine: str = inherited(TrainingConfig, "engine", "auto")
    out: str = option("", "folder for everything that the run writes")


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """All settings of a run on images."""

    root: str | None = option(
        None, "folder of the images' files", none="$NUMRNN_DATA, then the user's cache, then a download"
    )
    standardize: bool = option(False, "shift and scale the pixels to mean 0 and std 1 over the training images")
