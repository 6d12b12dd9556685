"""What a training run is asked to do, and how two such requests are compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from numrnn.backend import BACKENDS
from numrnn.checks import check_fraction, check_integer, check_number
from numrnn.initializers import InitialValues
from numrnn.training.averaging import AVERAGES, Average
from numrnn.typing import Backend, Engine, Precision

__all__ = ["TrainingConfig", "check_resumable", "first_difference", "walk"]

# A run may be resumed with other values of these: they change neither parameters nor metrics.
FREE = ("checkpoint_interval",)
LENGTHS = ("epochs", "iterations", "seconds")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run, apart from model, optimiser and data.

    Parameters
    ----------
    epochs, iterations : int or None
        Length of the run, >= 1, in passes over the training images or in updates.
    seconds : float or None
        Length of the run, > 0, in seconds of training by the clock. Validations and checkpoints on the way count, the
        validation of the end does not; the update that is under way when they end is the last. Exactly one of the three
        lengths must be given.
    batch_size : int
        Images an update, >= 1. The last batch of an epoch may be smaller.
    seed : int
        >= 0; all randomness of the run comes from it.
    weight_std, input_std, gate_bias, gate_spread, rotations, input_gains, bias_std, forget_bias, t_max
        Initial values of the cell, see `numrnn.initializers.InitialValues`.
    average : {"exponential", "tail"} or None
        Which average of the weights is kept beside them and evaluated in their place, see `numrnn.training.averaging`.
    average_updates : int
        N >= 1 of that average, in updates.
    input_dropout : float
        Probability of an element of the input to be zero in an update, 0 <= p < 1, see `numrnn.training.dropout`.
    clip : float or None
        Largest global norm of a gradient, > 0; None does not clip.
    validation_size : int
        Images held out of training for validation, >= 0; drawn by the seed.
    evaluation_batch_size : int
        Images a batch where no gradient is taken, >= 1.
    log_interval : int
        Updates between two lines of metrics, >= 1; their loss and accuracy are means over the interval.
    checkpoint_interval : int
        Updates between two checkpoints, >= 1; the end of an epoch writes one in any case.
    dtype : {"float32", "float64"}
        Of parameters and inputs.
    backend : {"numpy", "cupy"} or None
        Where arrays live; None takes NUMRNN_BACKEND, or "numpy".
    engine : {"auto", "reference", "fused"}
        As for `numrnn.forward`.
    recompute_every : int, "sqrt" or None
        `checkpoint_every` of `numrnn.forward`: store every so manieth state only and recompute the others, for long
        sequences in little memory.

    Raises
    ------
    TypeError, ValueError
        If a value is of a wrong type or out of range.
    """

    epochs: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    batch_size: int = 128
    seed: int = 0
    weight_std: float = 1.0
    input_std: float = 1.0
    gate_bias: float = 0.0
    gate_spread: float = 0.0
    rotations: Sequence[float] | None = None
    input_gains: Sequence[float] | None = None
    bias_std: float = 0.0
    forget_bias: float | Literal["chrono"] | None = None
    t_max: int | None = None
    average: Average | None = None
    average_updates: int = 1000
    input_dropout: float = 0.0
    clip: float | None = None
    validation_size: int = 0
    evaluation_batch_size: int = 500
    log_interval: int = 50
    checkpoint_interval: int = 500
    dtype: Precision = "float32"
    backend: Backend | None = None
    engine: Engine = "auto"
    recompute_every: int | Literal["sqrt"] | None = None

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in LENGTHS}
        if sum(value is not None for value in lengths.values()) != 1:
            given = ", ".join(f"{name} {value!r}" for name, value in lengths.items())
            raise ValueError(f"exactly one of epochs, iterations and seconds must be given, got {given}")
        if self.seconds is not None:
            self._set("seconds", check_number("seconds", self.seconds, above=0))
        positive = ("batch_size", "evaluation_batch_size", "log_interval", "checkpoint_interval", "average_updates")
        counted = [name for name in ("epochs", "iterations") if lengths[name] is not None]
        for name in (*counted, *positive):
            self._set(name, check_integer(name, getattr(self, name), at_least=1))
        for name in ("seed", "validation_size"):
            self._set(name, check_integer(name, getattr(self, name), at_least=0))
        for name, value in self.initial_values().items():
            self._set(name, value)
        if self.average is not None and self.average not in AVERAGES:
            raise ValueError(f"average must be None or one of {', '.join(map(repr, AVERAGES))}, got {self.average!r}")
        if self.average == "tail" and self.seconds is not None:
            raise ValueError(
                "average must not be 'tail' where the length is in seconds: its last updates are not known"
            )
        self._set("input_dropout", check_fraction("input_dropout", self.input_dropout))
        if self.clip is not None:
            self._set("clip", check_number("clip", self.clip, above=0))
        if self.dtype not in get_args(Precision):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {self.dtype!r}")
        if self.backend is not None and self.backend not in BACKENDS:
            raise ValueError(f"backend must be None or one of {', '.join(map(repr, BACKENDS))}, got {self.backend!r}")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def initial_values(self) -> dict[str, Any]:
        """Return the arguments of `init_params` that decide the initial values."""
        names = [field.name for field in fields(InitialValues)]
        return vars(InitialValues(**{name: getattr(self, name) for name in names}))

    def steps_per_epoch(self, n_images: int) -> int:
        """Return the number of updates an epoch takes, for `n_images` images of which `validation_size` are held out.

        Raises
        ------
        ValueError
            If no image is left to train on.
        """
        n_training = check_integer("n_images", n_images, at_least=1) - self.validation_size
        if n_training < 1:
            raise ValueError(f"validation_size must be less than the {n_images} images, got {self.validation_size}")
        return -(-n_training // self.batch_size)

    def total_steps(self, n_images: int) -> int | None:
        """Return the number of updates of the whole run, what a schedule needs to know; arguments as above.

        It is None where the length is in seconds.
        """
        per_epoch = self.steps_per_epoch(n_images)
        return self.iterations if self.epochs is None else self.epochs * per_epoch

    def config(self) -> dict[str, Any]:
        """Return all fields, as JSON can hold them."""
        return asdict(self)


def check_resumable(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Compare the configuration in a checkpoint with that of the run that is to go on from it.

    Parameters
    ----------
    stored, given : mapping
        As `Trainer.describe` makes them: "training" holds the fields of a `TrainingConfig`.

    Returns
    -------
    str or None
        None if the run may go on: nothing differs that changes its course. A longer run may go on from a shorter one,
        unless its learning rate or the average of its weights depends on its length. Otherwise a text that names the
        field, what was expected and what came.
    """
    stored, given = json.loads(json.dumps(stored)), json.loads(json.dumps(given))
    for known in fields(TrainingConfig):  # a setting that is younger than the checkpoint had its default
        if known.name in given["training"]:
            stored["training"].setdefault(known.name, known.default)
    for name in FREE:
        stored["training"].pop(name, None)
        given["training"].pop(name, None)
    optimizer = [path for path, _ in walk(given.get("optimizer", {}))]
    tied = "the learning rate" if any(path.endswith(("total_steps", "total_seconds")) for path in optimizer) else ""
    if given["training"].get("average") == "tail":
        tied = tied or "the average of the weights"
    for name in LENGTHS:
        before, now = stored["training"].get(name), given["training"].get(name)
        if before is not None and now is not None and now > before:
            if tied:
                return f"training.{name} must stay {before}, for {tied} depends on it, got {now}"
            stored["training"].pop(name)
            given["training"].pop(name)
    difference = first_difference(stored, given)
    if difference is None:
        return None
    path, expected, got = difference
    return f"{path} must be {expected!r} as in the checkpoint, got {got!r}"


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of nested dictionaries with its dotted path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from walk(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def first_difference(expected: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the dotted path of the first field in which two nested dictionaries differ, and its two values.

    Fields come in the order of `got`; one that either of them lacks has the value None there.
    """
    left, right = dict(walk(expected)), dict(walk(got))
    for path in [*right, *(path for path in left if path not in right)]:
        if left.get(path) != right.get(path) or (path in left) != (path in right):
            return path, left.get(path), right.get(path)
    return None
