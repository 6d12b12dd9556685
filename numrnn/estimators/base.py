"""The common part of the estimators: arguments, the training run, and the outputs for new sequences.

`numrnn.training.Trainer` runs the training; its files go to a temporary folder unless `out` is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from typing import Any, Literal, get_args

import numpy as np

from numrnn.backend import Array
from numrnn.cells.base import Cell
from numrnn.checks import check_integer, check_number, dtype_name
from numrnn.datasets.collection import Sequences
from numrnn.estimators.arguments import make_cell, seed_of
from numrnn.estimators.conventions import (
    BaseEstimator,
    NotFittedError,
    note_feature_names,
)
from numrnn.estimators.data import Input, read_input
from numrnn.initializers import InitialValues
from numrnn.training.batches import OwnSequences
from numrnn.training.checkpoint import load_checkpoint
from numrnn.training.config import DTYPES, TrainingConfig
from numrnn.training.evaluation import outputs_of_rows
from numrnn.training.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from numrnn.training.readout import Output, ReadOut
from numrnn.training.results import DivergenceError
from numrnn.training.schedules import CosineSchedule
from numrnn.training.trainer import Trainer
from numrnn.typing import Backend, Engine, Precision

__all__ = ["RecurrentEstimator"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "adagrad": Adagrad, "sgd": SGD}
KINDS: tuple[Literal["training"], Literal["validation"]] = ("training", "validation")
SCHEDULES = ("cosine", "constant")
PREDICTED_TOGETHER = 500  # sequences
NEVER = 2**31  # updates: lines of metrics and checkpoints come at the ends of epochs only


class RecurrentEstimator(BaseEstimator):
    """Base of both estimators; a subclass converts y to targets and chooses the read-out and its number of outputs."""

    def __init__(
        self,
        cell: str | type[Cell] = "antisymmetric",
        hidden_size: int = 64,
        *,
        step_size: float | None = None,
        diffusion: float | None = None,
        cell_options: dict[str, Any] | None = None,
        initial_values: dict[str, Any] | None = None,
        output: Output = "last",
        epochs: int = 50,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        schedule: str = "cosine",
        optimizer: str = "adam",
        clip: float | None = 5.0,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        dtype: Precision = "float32",
        engine: Engine = "auto",
        backend: Backend | None = None,
        out: Any = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.step_size = step_size
        self.diffusion = diffusion
        self.cell_options = cell_options
        self.initial_values = initial_values
        self.output = output
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimizer = optimizer
        self.clip = clip
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.dtype = dtype
        self.engine = engine
        self.backend = backend
        self.out = out
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags; only scikit-learn calls this."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    def _fit(self, given: Input, X: Any, targets: Any, make_model: Callable[[Cell], ReadOut]) -> None:
        """Train on sequences, with targets as `Sequences` takes them, and set the fitted attributes."""
        data = Sequences(given.x, targets)
        cell = make_cell(
            self.cell,
            given.n_channels,
            self.hidden_size,
            steps=float(np.median(given.lengths)),
            step_size=self.step_size,
            diffusion=self.diffusion,
            options=self.cell_options,
        )
        model = make_model(cell)
        config = self._config(len(data))
        total_steps = config.total_steps(len(data))
        assert total_steps is not None  # since its length is in epochs
        optimizer = self._optimizer(total_steps)
        folder = tempfile.TemporaryDirectory(prefix="numrnn-") if self.out is None else nullcontext(self.out)
        with folder as out:
            trainer = Trainer(model, optimizer, None, data, config, out, show_progress=bool(self.verbose))
            try:
                result = trainer.run()
            except DivergenceError as error:
                if self.out is not None:
                    raise
                raise ArithmeticError(
                    f"{error.quantity} is not finite at step {error.step}: try a smaller learning_rate, or clip"
                ) from None
            if result.interrupted:
                raise KeyboardInterrupt
            params = result.params if result.best is None else load_checkpoint(result.best, backend=self.backend).params
            history = {kind: result.history(kind) for kind in KINDS}
        note_feature_names(self, X, reset=True)
        self.model_, self.params_, self.history_ = model, dict(params), history
        self.n_iter_ = history["training"][-1]["epoch"]
        self.n_features_in_, self.n_channels_, self._input_ndim = given.n_features, given.n_channels, given.ndim

    def _config(self, n_sequences: int) -> TrainingConfig:
        held_out = 0
        if self.patience is not None:
            fraction = check_number("validation_fraction", self.validation_fraction, above=0, below=1)
            held_out = max(1, round(fraction * n_sequences))
            if held_out >= n_sequences:
                raise ValueError(
                    f"validation_fraction must leave sequences to train on, got {self.validation_fraction} of "
                    f"n_samples={n_sequences}"
                )
        initial = {} if self.initial_values is None else dict(self.initial_values)
        unknown = set(initial) - {field.name for field in fields(InitialValues)}
        if unknown:
            raise ValueError(f"initial_values must be fields of InitialValues, got {min(unknown)!r}")
        return TrainingConfig(
            epochs=check_integer("epochs", self.epochs, at_least=1),
            batch_size=self.batch_size,
            seed=seed_of(self.random_state),
            clip=self.clip,
            validation_size=held_out,
            patience=self.patience,
            log_interval=NEVER,
            checkpoint_interval=NEVER,
            dtype=self.dtype,
            backend=self.backend,
            engine=self.engine,
            **initial,
        )

    def _optimizer(self, total_steps: int) -> Optimizer:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        rate = check_number("learning_rate", self.learning_rate, above=0)
        return OPTIMIZERS[self.optimizer](
            CosineSchedule(learning_rate=rate, total_steps=total_steps) if self.schedule == "cosine" else rate
        )

    def _read(self, X: Any) -> Input:
        """Return X for `fit`, after checking the arguments that determine how X and y are read."""
        if self.output not in get_args(Output):
            raise ValueError(f"output must be 'last' or 'every', got {self.output!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be 'float32' or 'float64', got {self.dtype!r}")
        return read_input(X, self.dtype)

    @property
    def _fitted_dtype(self) -> Any:
        """The dtype of the fitted parameters: that of the arguments may have been changed since."""
        return dtype_name(next(iter(self.params_.values())))

    def _outputs(self, X: Any, take: Callable[[Array], Array]) -> tuple[Any, Input]:
        """Return `take` of the outputs for X, (N, ...) or a list of (T_i, ...), and X as it was read."""
        if not hasattr(self, "params_"):
            raise NotFittedError(f"This {type(self).__name__} instance is not fitted yet: call fit first")
        note_feature_names(self, X, reset=False)
        given = read_input(X, self._fitted_dtype)
        got, wanted = given.n_channels, self.n_channels_
        if given.ndim == self._input_ndim == 2:
            got, wanted = given.n_features, self.n_features_in_
        if got != wanted:
            name = type(self).__name__
            raise ValueError(f"X has {got} features, but {name} is expecting {wanted} features as input")
        data, rng = Sequences(given.x), np.random.default_rng(0)  # nothing draws from it
        batches, rows = OwnSequences(data).batches(next(iter(self.params_.values()))), np.arange(len(data))
        size, engine, params = PREDICTED_TOGETHER, self.engine, self.params_
        return outputs_of_rows(self.model_, params, batches, rows, rng, take, size=size, engine=engine), given
