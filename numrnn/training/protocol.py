"""The methods that `Trainer` requires of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from numrnn.backend import Array, Params
from numrnn.typing import Backend, Engine

__all__ = ["Lengths", "Model"]

Lengths = Sequence[int] | Array | None


@runtime_checkable
class Model(Protocol):
    """Interface of a model for `Trainer`: write a class with these methods to train your own model.

    x is (T, B, m); y, mask and lengths are as in `numrnn.datasets.Batch`, on the device of the parameters.
    """

    def init_params(
        self,
        rng: np.random.Generator,
        *,
        dtype: npt.DTypeLike = np.float32,
        backend: Backend | None = None,
        **initial: Any,
    ) -> dict[str, Array]:
        """Return the initial parameters; `initial` are the values of `TrainingConfig` for them."""
        ...

    def config(self) -> dict[str, Any]:
        """Return the model's configuration, JSON-serialisable: a run is resumed only if it is the same."""
        ...

    def check_targets(self, targets: str | None, n_outputs: int | None, n_features: int) -> None:
        """Raise ValueError unless the number of features and the kind of targets fit the model."""
        ...

    def outputs(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the model's outputs for a batch, (B, K) or (T, B, K)."""
        ...

    def loss_of(self, outputs: Array, y: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return the mean loss, of shape (), and its gradient with respect to the outputs."""
        ...

    def loss_and_gradient(
        self,
        params: Params,
        x: Array,
        y: Array,
        *,
        lengths: Lengths = None,
        mask: Array | None = None,
        engine: Engine = "auto",
        recompute_every: int | Literal["sqrt"] | None = None,
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the mean loss, its gradient by the names of `params`, and the outputs."""
        ...

    def correct(self, outputs: Array, y: Array, mask: Array | None = None) -> Array | None:
        """Return the number of correct predictions, an int64 of shape (); None for numbers."""
        ...

    def predictions(self, outputs: Array) -> Array:
        """Return the predictions: for a classifier the class with the largest logit, else the outputs."""
        ...
