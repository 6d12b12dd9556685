"""Features shifted and scaled to mean 0 and standard deviation 1, by the statistics of the training sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.checks import as_host_array, check_kind, check_rows
from numrnn.datasets.collection import Sequences

__all__ = ["Standardization"]


@dataclass(frozen=True, eq=False)
class Standardization:
    """x -> (x - mean) / std, feature by feature.

    Attributes
    ----------
    mean, std : numpy.ndarray, shape (m,)
        float64; std > 0.

    Raises
    ------
    ValueError
        If their shapes are not one and the same (m,), a value is not finite, or a std is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> data = Sequences([np.array([[1.0, 7.0], [3.0, 7.0]]), np.array([[5.0, 7.0]])])
    >>> scaling = Standardization.of(data)
    >>> scaling.mean.tolist(), scaling.std.round(3).tolist()  # a feature that never changes is only shifted
    ([3.0, 7.0], [1.633, 1.0])
    >>> scaling.apply(data).sequence(0).round(3).tolist()
    [[-1.225, 0.0], [0.0, 0.0]]
    """

    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = as_host_array(name, getattr(self, name))
            if values.dtype.kind not in "iuf":
                raise TypeError(f"{name} must be an array of real numbers (m,), got dtype {values.dtype}")
            object.__setattr__(self, name, values.astype(np.float64))
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise ValueError(f"mean and std must be (m,) both, got {self.mean.shape} and {self.std.shape}")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            raise ValueError(f"mean and std must be finite, and std > 0, got {self.mean} and {self.std}")

    @classmethod
    def of(cls, data: Sequences, rows: Iterable[int] | None = None) -> Standardization:
        """Return the standardization by the mean and std of all steps of some rows; by default of all rows.

        A constant feature gets its value as the mean, and a std of 1. Reads x twice.

        Raises
        ------
        TypeError, ValueError, IndexError
            If the rows are not integers, there are none, or there is no such row.
        """
        check_kind("data", data, Sequences)
        chosen = range(len(data)) if rows is None else check_rows("rows", rows, len(data)).tolist()
        steps = sum(int(data.lengths[row]) for row in chosen)
        mean = sum((data.sequence(row).sum(axis=0, dtype=np.float64) for row in chosen), np.zeros(data.n_features))
        mean = mean / steps
        squares, low, high = (
            np.zeros(data.n_features),
            np.full(data.n_features, np.inf),
            np.full(data.n_features, -np.inf),
        )
        for row in chosen:
            x = data.sequence(row)
            squares += ((x - mean) ** 2).sum(axis=0)
            low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
        std = np.sqrt(squares / steps)
        # The mean of many equal values is not exactly their value, so it cannot tell that a feature is constant.
        mean = np.where(low == high, low, mean)
        # Values that differ by rounding alone have a std of a few eps of their mean, which must not be a divisor.
        constant = (low == high) | (std <= 4 * np.finfo(np.float64).eps * np.abs(mean))
        return cls(mean, np.where(constant, 1.0, std))

    def apply(self, data: Sequences) -> Sequences:
        """Return a copy of the sequences, standardized, with the same targets; integers become float64.

        Raises
        ------
        ValueError
            If the number of features differs.
        """
        check_kind("data", data, Sequences)
        if data.n_features != len(self.mean):
            raise ValueError(f"data must have m={len(self.mean)} features, got {data.n_features}")
        return data.with_x([self._scaled(row) for row in data.x])

    def config(self) -> dict[str, Any]:
        """Return mean and std, JSON-serialisable; no bit is lost."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Standardization:
        """Return the standardization that `config` describes."""
        return cls(np.asarray(config["mean"]), np.asarray(config["std"]))

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.mean) / self.std).astype(x.dtype if x.dtype.kind == "f" else np.float64)
