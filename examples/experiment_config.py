"""The configuration of a training run of the examples: its fields, what they mean, and where their values come from."""

from __future__ import annotations

import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import BACKEND_HELP

import numrnn
from numrnn.backend import BACKENDS
from numrnn.bptt import ENGINES
from numrnn.training import AVERAGES

CONFIG_FILE = "config.json"
PRESETS = Path(__file__).parent / "presets"
LENGTHS = ("epochs", "iterations", "seconds")
MOMENTUM = 0.9
BETA2 = 0.99  # of Adam: the size of the gradient changes within a hundred updates here, too fast for 0.999


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the course of a run; HELP says what each field means."""

    preset: str | None = None
    cell: str = "antisymmetric"
    root: str | None = None
    hidden_size: int = 128
    step_size: float = 0.03
    diffusion: float = 0.001
    storage: str = "triangular"
    weight_std: float = 4.0
    input_std: float = 1.0
    gate_bias: float = 0.0
    gate_spread: float = 0.0
    rotations: tuple[float, float] | None = None
    input_gains: tuple[float, float] | None = None
    bias_std: float = 0.0
    forget_bias: str | None = None
    t_max: int | None = None
    standardize: bool = False
    input_dropout: float = 0.0
    optimizer: str = "adam"
    weight_decay: float = 0.01
    learning_rate: float = 0.02
    recurrent_rate: float = 1.0
    schedule: str = "cosine"
    warmup: int = 0
    clip: float = 20.0
    average: str = "none"
    average_updates: int = 1000
    batch_size: int = 128
    epochs: int | None = 5
    iterations: int | None = None
    seconds: float | None = None
    validation_size: int | None = None
    log_interval: int = 10
    checkpoint_interval: int = 100
    seed: int = 0
    backend: str = "numpy"
    engine: str = "auto"
    out: str = ""


HELP = {
    "preset": "a row of the paper's tables, of examples/presets, or a .toml file; other options override it",
    "cell": "the recurrent cell",
    "root": "folder of the images' files; default: $NUMRNN_DATA, then the user's cache, then a download",
    "hidden_size": "n, number of units, >= 1",
    "step_size": "eps of the step, > 0, without unit; for the four Euler cells and the Lipschitz RNN",
    "diffusion": "gamma, >= 0, without unit; for the four Euler cells, and both matrices of the Lipschitz RNN",
    "storage": "of W in the antisymmetric cells: its strict upper triangle, or the full matrix",
    "weight_std": "sigma_w >= 0: the recurrent weights start as N(0, sigma_w^2 / n); lipschitz: (0.1 sigma_w / n)^2",
    "input_std": ">= 0: the input weights start as N(0, input_std^2 / m)",
    "gate_bias": "where the gate's bias b_z starts, in the mean; for the two gated Euler cells",
    "gate_spread": ">= 0: b_z starts evenly spread over the units, by so much to either side; for these two cells",
    "rotations": "w_min w_max > 0: angular speeds of the rotations added to W; for the two antisymmetric cells",
    "input_gains": "low high > 0: gains of the rows of V and of their steps; units then remember for different times",
    "bias_std": ">= 0: b starts as N(0, bias_std^2); not for the LSTM",
    "forget_bias": "where the LSTM's forget bias starts: a number, or chrono for time scales up to t_max; default: 1",
    "t_max": "of chrono: the longest dependency expected, in steps, >= 3; default: the length of the sequences",
    "standardize": "shift and scale the pixels to mean 0 and std 1 over the training images",
    "input_dropout": "probability of an element of the input to be zero in an update, >= 0 and < 1",
    "optimizer": f"adam or adamw with beta2 {BETA2}, adagrad, or sgd with momentum {MOMENTUM}",
    "weight_decay": "lambda of adamw, >= 0: in an update weights, not biases, lose lambda times the rate of themselves",
    "learning_rate": "> 0, at the start of the schedule",
    "recurrent_rate": "learning rate of W over that of all other parameters, > 0",
    "schedule": "constant; step: a tenth after every third of the run, not with seconds; cosine: down to 0 at its end",
    "warmup": "updates over which the learning rate rises linearly, >= 0",
    "clip": "largest global norm of the gradient, > 0",
    "average": "which average of the weights is validated and tested in their place",
    "average_updates": "of tail: the last updates that are averaged; of exponential: its time constant; >= 1",
    "batch_size": "images an update, >= 1",
    "epochs": "length of the run in passes over the training images, >= 1",
    "iterations": "length of the run in updates, >= 1, in place of epochs",
    "seconds": "length of the run in seconds of training, > 0, in place of epochs; such a run is not reproducible",
    "validation_size": "training images held out for validation, >= 0",
    "log_interval": "updates between two lines of metrics, >= 1",
    "checkpoint_interval": "updates between two checkpoints, >= 1; each epoch writes one at its end as well",
    "seed": ">= 0; decides initial values, the held-out images and the order of batches",
    "backend": BACKEND_HELP,
    "engine": "implementation of the time loops",
    "out": "folder for everything that the run writes",
}
CHOICES: dict[str, tuple[str, ...]] = {
    "cell": tuple(numrnn.CELLS),
    "storage": ("triangular", "full"),
    "optimizer": ("adam", "adamw", "adagrad", "sgd"),
    "schedule": ("constant", "step", "cosine"),
    "average": ("none", *AVERAGES),
    "backend": BACKENDS,
    "engine": ENGINES,
}


def read_preset(name: str, names: Sequence[str], config: type) -> dict[str, Any]:
    """Return the values of a preset.

    Parameters
    ----------
    name : str
        One of `names`, a file of examples/presets, or the path of any .toml file.
    names : sequence of str
        The presets that there are.
    config : type
        The dataclass whose fields its keys are.

    Raises
    ------
    ValueError
        If there is no such preset, it is no TOML, or a key or the type of a value is wrong.
    OSError
        If the file cannot be read.
    """
    if name.endswith(".toml"):
        path = Path(name)
    elif name in names:
        path = PRESETS / f"{name}.toml"
    else:
        raise ValueError(f"preset must be one of {', '.join(names)}, or a .toml file, got {name!r}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected TOML: {error}") from error
    return checked_values(str(path), values, config)


def checked_values(label: str, values: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return the values of fields of a configuration after a check of their names and types.

    Raises
    ------
    ValueError
        If a name is that of no field, or a value of another type; the message begins with `label`.
    """
    hints = typing.get_type_hints(config)
    del hints["preset"]
    if unknown := [key for key in values if key not in hints]:
        raise ValueError(f"{label}: unknown keys {', '.join(unknown)}; known are {', '.join(hints)}")
    return {key: typed(f"{label}: {key}", value, hints[key]) for key, value in values.items()}


def merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, of which `given` counts; a length of one kind takes the place of one of the other."""
    replaced = LENGTHS if given.keys() & set(LENGTHS) else ()
    return {key: value for key, value in base.items() if key not in replaced} | dict(given)


def typed(label: str, value: Any, hint: Any) -> Any:
    """Return a value of a preset after a check of its type; a list becomes a tuple, and 1 a float where one is due."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    if typing.get_origin(kinds[0]) is tuple:
        wanted = typing.get_args(kinds[0])
        if isinstance(value, list) and len(value) == len(wanted):
            return tuple(typed(label, item, kind) for item, kind in zip(value, wanted, strict=True))
        raise ValueError(f"{label} must be a list of {len(wanted)} numbers, got {value!r}")
    if kinds[0] is float and type(value) is int:
        value = float(value)
    if type(value) is not kinds[0]:
        raise ValueError(f"{label} must be of type {kinds[0].__name__}, got {value!r}")
    return value


def stored_arguments(out: Path) -> dict[str, Any]:
    """Return the configuration that a run left in its folder, or nothing."""
    path = out / CONFIG_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
