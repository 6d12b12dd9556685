"""The configuration of a training run, and the comparison of two configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from numrnn.backend import BACKENDS
from numrnn.bptt import ENGINES
from numrnn.checks import check_bool, check_choice, check_integer, shown
from numrnn.initializers import InitialValues
from numrnn.options import checked, documented, inherited, option
from numrnn.training.averaging import AVERAGES, Average
from numrnn.typing import Backend, Engine, Precision

__all__ = ["TrainingConfig", "check_resumable", "first_difference", "walk"]

# A run may be resumed with other values of these; they change neither parameters nor metrics.
FREE = ("checkpoint_interval",)
LENGTHS = ("epochs", "iterations", "seconds")
DTYPES = ("float32", "float64")


@documented
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run, apart from model, optimiser and data; exactly one of its three lengths must be given.

    Raises
    ------
    TypeError, ValueError
        If a value is of a wrong type or out of range.
    """

    epochs: int | None = option(None, "length of the run in passes over the training data", at_least=1)
    iterations: int | None = option(None, "length of the run in updates, {range}, in place of epochs", at_least=1)
    seconds: float | None = option(
        None,
        "length of the run in seconds of training, {range}, in place of epochs; such a run is not reproducible",
        above=0,
        more="Validations and checkpoints during the run count, the final validation does not; the update in progress "
        "when the time is over is the last.",
    )
    batch_size: int = option(128, "sequences per update", at_least=1, more="The last batch of an epoch may be smaller.")
    seed: int = option(
        0,
        "{range}; decides initial values, the held-out sequences and the order of batches",
        at_least=0,
        more="All randomness of the run comes from it.",
    )
    weight_std: float = inherited(InitialValues, "weight_std", 1.0)
    input_std: float = inherited(InitialValues, "input_std", 1.0)
    gate_bias: float = inherited(InitialValues, "gate_bias", 0.0)
    gate_spread: float = inherited(InitialValues, "gate_spread", 0.0)
    rotations: Sequence[float] | None = inherited(InitialValues, "rotations", None)
    input_gains: Sequence[float] | None = inherited(InitialValues, "input_gains", None)
    bias_std: float = inherited(InitialValues, "bias_std", 0.0)
    forget_bias: float | Literal["chrono"] | None = inherited(InitialValues, "forget_bias", None)
    t_max: int | None = inherited(InitialValues, "t_max", None)
    average: Average | None = option(
        None,
        "average of the weights that is validated and tested instead of them",
        choices=AVERAGES,
        none="the last weights",
        more="See `numrnn.training.averaging`.",
    )
    average_updates: int = option(
        1000,
        "tail: number of last updates to average; exponential: time constant in updates; {range}",
        at_least=1,
    )
    input_dropout: float = option(
        0.0,
        "probability that an element of the input is set to zero in an update",
        at_least=0,
        below=1,
        more="See `numrnn.training.dropout`.",
    )
    clip: float | None = option(None, "largest global norm of the gradient", above=0, none="no clipping")
    validation_size: int = option(
        0, "training sequences held out for validation", at_least=0, more="The seed chooses them."
    )
    evaluation_batch_size: int = option(500, "sequences per batch in evaluations", at_least=1)
    log_interval: int = option(
        50,
        "updates between two lines of metrics",
        at_least=1,
        more="Their loss and accuracy are means over the interval.",
    )
    checkpoint_interval: int = option(
        500, "updates between two checkpoints, {range}; each epoch also ends with one", at_least=1
    )
    dtype: Precision = option("float32", "dtype of parameters and inputs", choices=DTYPES)
    backend: Backend | None = option(
        None,
        "numpy on the CPU, cupy on an NVIDIA GPU",
        choices=BACKENDS,
        none="NUMRNN_BACKEND, or numpy",
    )
    engine: Engine = option(
        "auto", "implementation of the time loops", choices=ENGINES, more="As for `numrnn.forward`."
    )
    recompute_every: int | Literal["sqrt"] | None = option(
        None,
        "keep only every k-th state and recompute the others, for long sequences in little memory",
        more="As for `numrnn.forward`: an integer, or 'sqrt'.",
    )
    patience: int | None = option(
        None,
        "stop after this many epochs without a new lowest validation loss",
        at_least=1,
        none="train to the end",
    )
    keep_best: bool = option(
        False,
        "keep the parameters of the lowest validation loss so far, as best.npz",
        more="With `patience` they are always kept.",
    )
    group_lengths: bool = option(
        False,
        "put sequences of similar length into a batch, to reduce padding",
        more="The order of the batches is random.",
    )

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in LENGTHS}
        if sum(value is not None for value in lengths.values()) != 1:
            given = ", ".join(f"{name} {shown(value)}" for name, value in lengths.items())
            raise ValueError(f"exactly one of epochs, iterations and seconds must be given, got {given}")
        for name, value in checked(self):
            self._set(name, value)
        for name, value in self.initial_values().items():
            self._set(name, value)
        for name, choices in (("average", AVERAGES), ("backend", BACKENDS)):
            if getattr(self, name) is not None:
                check_choice(name, getattr(self, name), choices)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("engine", self.engine, ENGINES)
        if self.recompute_every is not None and not self._is_sqrt():
            if isinstance(self.recompute_every, str):
                raise ValueError(
                    f"recompute_every must be an integer >= 1, 'sqrt' or None, got {self.recompute_every!r}"
                )
            self._set("recompute_every", check_integer("recompute_every", self.recompute_every, at_least=1))
        if self.average == "tail" and self.seconds is not None:
            raise ValueError("average must not be 'tail' if the length is in seconds: its last updates are unknown")
        for name in ("keep_best", "group_lengths"):
            self._set(name, check_bool(name, getattr(self, name)))

    def _is_sqrt(self) -> bool:
        return isinstance(self.recompute_every, str) and self.recompute_every == "sqrt"

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def keeps_best(self) -> bool:
        """Whether the parameters of the lowest validation loss are kept, in best.npz."""
        return self.keep_best or self.patience is not None

    def initial_values(self) -> dict[str, Any]:
        """Return the arguments of `init_params` for the initial values."""
        names = [field.name for field in fields(InitialValues)]
        return vars(InitialValues(**{name: getattr(self, name) for name in names}))

    def steps_per_epoch(self, n_sequences: int) -> int:
        """Return the number of updates in an epoch of `n_sequences` sequences, `validation_size` of them held out.

        Raises
        ------
        ValueError
            If none is left to train on.
        """
        n_training = check_integer("n_sequences", n_sequences, at_least=1) - self.validation_size
        if n_training < 1:
            raise ValueError(
                f"validation_size must be less than the {n_sequences} sequences, got {self.validation_size}"
            )
        return -(-n_training // self.batch_size)

    def total_steps(self, n_sequences: int) -> int | None:
        """Return the number of updates of the whole run, for schedules; arguments as above.

        None if the length is in seconds.
        """
        per_epoch = self.steps_per_epoch(n_sequences)
        return self.iterations if self.epochs is None else self.epochs * per_epoch

    def config(self) -> dict[str, Any]:
        """Return all fields, JSON-serialisable."""
        return asdict(self)


def check_resumable(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Compare the configuration in a checkpoint with that of the run that resumes from it.

    Parameters
    ----------
    stored, given : mapping
        From `Trainer.describe`: "training" holds the fields of a `TrainingConfig`.

    Returns
    -------
    str or None
        None if the run may resume, that is, if no difference affects its updates. A longer run may resume from a
        shorter one, unless its learning rate or the average of its weights depends on its length; see `Trainer.run` for
        what remains of the former end. Otherwise a text that names the field, what was expected and what was given.
    """
    stored, given = json.loads(json.dumps(stored)), json.loads(json.dumps(given))
    for known in fields(TrainingConfig):  # a setting newer than the checkpoint had its default
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

    Fields are in the order of `got`; a missing field has the value None.
    """
    left, right = dict(walk(expected)), dict(walk(got))
    for path in [*right, *(path for path in left if path not in right)]:
        if left.get(path) != right.get(path) or (path in left) != (path in right):
            return path, left.get(path), right.get(path)
    return None
