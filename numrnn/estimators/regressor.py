"""Prediction of numbers for sequences, or for their steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from numrnn.estimators.base import RecurrentEstimator
from numrnn.estimators.conventions import RegressorMixin
from numrnn.estimators.data import check_numbers, cut, joined, read_input, split
from numrnn.estimators.scores import r_squared, step_weights
from numrnn.training.model import Regressor

__all__ = ["RNNRegressor"]


class RNNRegressor(RegressorMixin, RecurrentEstimator):
    """A recurrent network that predicts numbers for sequences, or for each of their steps, as scikit-learn does.

    If scikit-learn is installed, it derives from its BaseEstimator and RegressorMixin, otherwise from small classes of
    this package. The network is a `numrnn.training.Regressor`, trained with the mean squared error. Standardise X and y
    first: nothing is scaled here (scikit-learn's TransformedTargetRegressor does it for y).

    Parameters, attributes, errors and notes are those of `RNNClassifier`, except for `classes_`.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(200)[:, None] / 5 + np.arange(20) / 5
    >>> X, y = np.sin(t), np.sin(t[:, -1] + 0.2)  # the next value of a series (N, T)
    >>> network = RNNRegressor(hidden_size=8, epochs=10, random_state=0).fit(X, y)
    >>> network.predict(X[:3]).shape, network.n_features_in_
    ((3,), 20)
    >>> network.score(X, y) > 0.9
    True
    """

    model_: Regressor

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: y may have k columns."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> RNNRegressor:
        """Train a new network.

        Parameters
        ----------
        X : numpy.ndarray, shape (N, T, m) or (N, T), or list of N arrays, shape (T_i, m) or (T_i,)
            Sequences, finite; see the notes of `RNNClassifier`.
        y : array or list
            Numbers (N,) or (N, k), or with output="every" (N, T), (N, T, k), or a list of arrays (T_i,) or (T_i, k).

        Returns
        -------
        RNNRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError, ArithmeticError, KeyboardInterrupt
            See `RNNClassifier`.
        """
        given = self._read(X)
        rows = check_numbers(split(type(self).__name__, y, given, self.output), self.dtype)
        columns = [row.reshape(len(row), -1) for row in rows]
        targets = columns[0] if self.output == "last" else cut(np.concatenate(columns), given)
        self._fit(given, X, targets, lambda cell: Regressor(cell, columns[0].shape[1], self.output))
        self._is_vector = rows[0].ndim == 2
        return self

    def predict(self, X: Any) -> Any:
        """Return the numbers of each sequence, (N,) or (N, k) as y was, or with output="every" of each step.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            If `fit` was not called, or X is not a valid input, or has another number of features.
        """
        found, given = self._outputs(X, lambda outputs: self.model_.predictions(outputs))
        if self.model_.output == "last":
            return found if self._is_vector else found[:, 0]
        return joined([row if self._is_vector else row[:, 0] for row in found], given)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R^2 over all sequences, or all their steps; weights (N,) are those of sequences, and of their steps.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As `predict`; or if y or the weights do not fit X.
        """
        predicted, given = self.predict(X), read_input(X, self._fitted_dtype)
        rows = check_numbers(split(type(self).__name__, y, given, self.model_.output), "float64")
        lengths = [1] * len(given.x) if self.model_.output == "last" else given.lengths
        found = predicted if self.model_.output == "last" else np.concatenate(list(predicted))
        y, found = (array.reshape(sum(lengths), -1).astype(np.float64) for array in (np.concatenate(rows), found))
        if y.shape != found.shape:
            raise ValueError(f"y must have k={found.shape[1]} numbers as in fit, got {y.shape[1]}")
        return r_squared(y, found, step_weights(sample_weight, lengths))
