"""Classification of sequences, or of their steps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from numrnn.estimators.base import RecurrentEstimator
from numrnn.estimators.conventions import ClassifierMixin, DataConversionWarning
from numrnn.estimators.data import Input, check_labels, cut, joined, read_input, split
from numrnn.estimators.scores import accuracy, step_weights
from numrnn.training.model import Classifier
from numrnn.training.readout import Output

__all__ = ["RNNClassifier"]


class RNNClassifier(ClassifierMixin, RecurrentEstimator):
    """A recurrent network that classifies sequences, or each of their steps, with scikit-learn's conventions.

    If scikit-learn is installed, it derives from its BaseEstimator and ClassifierMixin, so that pipelines, searches and
    cross-validation accept it; otherwise from small classes of this package with get_params and set_params. The network
    is a `numrnn.training.Classifier`, trained with the cross-entropy. Standardise X first: initial values and step
    sizes suit inputs with means about 0 and variances about 1.

    Parameters
    ----------
    cell : str or type of Cell
        A name in `numrnn.CELLS`, or a class that is called as cell(input_size, hidden_size, ...).
    hidden_size : int
        n >= 1, units of the cell.
    step_size : float or None
        eps > 0 of a cell that has it; None means min(1, 5 / T) with the median length T of the sequences.
    diffusion : float or None
        gamma >= 0 of a cell that has it; None means the cell's default.
    cell_options : dict or None
        Further arguments of the cell, such as {"triangular": False}.
    initial_values : dict or None
        Initial values of the parameters: fields of `numrnn.initializers.InitialValues`, such as {"weight_std": 2.0}.
    output : {"last", "every"}
        Whether y has a target for each sequence, or for each of its steps.
    epochs : int
        Passes over the training data, >= 1; with `patience`, the maximum.
    batch_size : int
        Sequences per update, >= 1.
    learning_rate : float
        > 0.
    schedule : {"cosine", "constant"}
        Whether the learning rate falls to 0 over the epochs, as half a cosine, or stays constant.
    optimizer : {"adam", "adamw", "adagrad", "sgd"}
        With the defaults of `numrnn.training.optim`.
    clip : float or None
        Largest global norm of the gradient, > 0; None clips nothing.
    patience : int or None
        Stop after this many epochs without a validation loss below the lowest so far, and keep the parameters of the
        lowest; None trains to the end, on all data.
    validation_fraction : float
        Fraction of the sequences held out if `patience` is given, above 0 and below 1.
    random_state : None, int, numpy.random.Generator or numpy.random.RandomState
        Decides initial values, the held-out sequences and the order of batches; with the same integer, two calls of
        `fit` give the same bits on one machine. None uses a new seed each time.
    dtype : {"float32", "float64"}
        Of parameters and inputs.
    engine : {"auto", "reference", "fused"}
        As for `numrnn.forward`.
    backend : {"numpy", "cupy"} or None
        Where the parameters live; None uses NUMRNN_BACKEND, or numpy.
    out : path or None
        Folder for checkpoints and metrics.jsonl, which must not hold another run; None leaves no files.
    verbose : bool
        Whether to show a progress bar on the standard error stream.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (K,)
        The labels in y, sorted.
    n_features_in_ : int
        The columns T of an X (N, T), else the features m of a step.
    n_channels_ : int
        The features m of a step; 1 of an X (N, T).
    n_iter_ : int
        Epochs trained.
    history_ : dict
        Lines of metrics, one for each epoch, under "training" and "validation": see `numrnn.training.Trainer`.
    model_ : numrnn.training.Classifier
    params_ : dict of str to array
        The parameters of `model_`.
    feature_names_in_ : numpy.ndarray
        Names of the columns, if X was a data frame and scikit-learn is installed.

    Raises
    ------
    TypeError, ValueError
        By `fit`, if an argument is of a wrong type or out of range, or X and y do not fit each other.
    ArithmeticError
        By `fit`, if a number becomes NaN or infinite in training.
    KeyboardInterrupt
        By `fit`, after Ctrl-C; the training so far is in `out` if that was given, else lost.

    Notes
    -----
    X is an array (N, T, m); or a list, or object array, of N arrays (T_i, m), or (T_i,) with one feature per step; or
    an array (N, T), as scikit-learn's tools make it, whose rows are series of one feature per step. A fitted estimator
    can be pickled and copied. Cost of `fit`: epochs times a forward and a backward pass over X.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((rng.integers(5, 10), 2)) for _ in range(60)]
    >>> y = ["rises" if x[:, 0].sum() > 0 else "falls" for x in X]
    >>> network = RNNClassifier(hidden_size=16, epochs=20, batch_size=8, random_state=0).fit(X, y)
    >>> network.classes_.tolist(), network.predict(X[:3]).shape, network.predict_proba(X[:3]).shape
    (['falls', 'rises'], (3,), (3, 2))
    >>> network.score(X, y) > 0.9
    True
    """

    model_: Classifier

    def fit(self, X: Any, y: Any) -> RNNClassifier:
        """Train a new network.

        Parameters
        ----------
        X : numpy.ndarray, shape (N, T, m) or (N, T), or list of N arrays, shape (T_i, m) or (T_i,)
            Sequences, finite; see the notes of the class.
        y : array or list
            Labels (N,) of any one type that can be sorted, none of them missing; or with output="every" (N, T), or a
            list of arrays (T_i,).

        Returns
        -------
        RNNClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError, ArithmeticError, KeyboardInterrupt
            See the class.
        """
        given = self._read(X)
        rows = self._labels(y, given, self.output)
        try:
            classes, numbers = np.unique(np.concatenate(rows), return_inverse=True)
        except TypeError as error:
            raise TypeError(f"y must hold labels of one type: {error}") from None
        numbers = numbers.astype(np.int64)
        targets = numbers if self.output == "last" else cut(numbers, given)
        self._fit(given, X, targets, lambda cell: Classifier(cell, len(classes), self.output))
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> Any:
        """Return the label of each sequence, (N,), or with output="every" of each step, in the form of X.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            If `fit` was not called, or X is not a valid input, or has another number of features.
        """
        found, given = self._outputs(X, lambda outputs: self.model_.predictions(outputs))
        return (
            self.classes_[found]
            if self.model_.output == "last"
            else joined([self.classes_[row] for row in found], given)
        )

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of the K classes, (N, K), or with output="every" of each step, in the form of X.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As `predict`.
        """
        found, given = self._outputs(X, lambda outputs: self.model_.probabilities(outputs))
        return found if self.model_.output == "last" else joined(found, given)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the fraction of correct labels; weights (N,) are those of sequences, and of all their steps.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As `predict`; or if y or the weights do not fit X.
        """
        predicted, given = self.predict(X), read_input(X, self._fitted_dtype)
        every = self.model_.output == "every"
        labels = np.concatenate(self._labels(y, given, self.model_.output))
        found = np.concatenate(list(predicted)) if every else predicted
        return accuracy(labels, found, step_weights(sample_weight, given.lengths if every else [1] * len(given.x)))

    def _labels(self, y: Any, given: Input, output: Output) -> list[np.ndarray]:
        rows = split(type(self).__name__, y, given, output)
        if any(row.ndim == 2 and row.shape[1] == 1 for row in rows):
            message = "A column-vector y was passed when a 1d array was expected; y[:, 0] says the same"
            warnings.warn(message, DataConversionWarning, stacklevel=3)
            rows = [row.reshape(len(row)) if row.ndim == 2 and row.shape[1] == 1 else row for row in rows]
        check_labels(rows)
        return rows
