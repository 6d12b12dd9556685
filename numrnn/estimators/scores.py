"""The scores of estimators: the accuracy of labels, and R^2 of numbers, as scikit-learn defines them."""

from __future__ import annotations

import numpy as np

from numrnn.checks import as_host_array, shown

__all__ = ["accuracy", "r_squared", "step_weights"]


def step_weights(sample_weight: np.ndarray | None, lengths: list[int]) -> np.ndarray:
    """Return a weight for each of the concatenated rows, of which sequence i has lengths[i]; 1 by default.

    Raises
    ------
    ValueError
        If the weights are not (N,), finite and >= 0, with a sum above 0.
    """
    if sample_weight is None:
        return np.ones(sum(lengths))
    weights = as_host_array("sample_weight", sample_weight)
    if weights.dtype.kind not in "buif":
        raise ValueError(f"sample_weight must hold numbers, got dtype {weights.dtype}")
    weights = weights.astype(np.float64)
    if weights.shape != (len(lengths),) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight must be (N={len(lengths)},), finite, >= 0, not all 0, got {shown(sample_weight)}"
        )
    return np.repeat(weights, lengths)


def accuracy(y: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Return the fraction of correct labels (M,), each counted with its weight."""
    return float(np.average(y == predicted, weights=weights))


def r_squared(y: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Return 1 - sum_i w_i (y_i - p_i)^2 / sum_i w_i (y_i - mean y)^2, its mean over the columns of y (M, k).

    A column that is constant where weights are > 0 scores 1 if it is predicted exactly, else 0; the mean of y is
    weighted as well.
    """
    w = weights[:, None]
    residual = (w * (y - predicted) ** 2).sum(axis=0)  # (k,)
    total = (w * (y - np.average(y, axis=0, weights=weights)) ** 2).sum(axis=0)
    # `total` alone cannot tell: the mean of many equal values is not exactly their value.
    counted = y[weights > 0]
    varies = (counted.min(axis=0) < counted.max(axis=0)) & (total > 0)
    scores = np.where(varies, 1 - residual / np.where(varies, total, 1), residual == 0)
    return float(scores.mean())
