"""Models of sequences: a cell, an affine read-out of its last state or of every state, and a loss.

`Classifier` computes the logits of K classes; its loss is softmax cross-entropy. `Regressor` computes K numbers; its
loss is the mean squared error. Losses are means over the batch, or over its counted steps.
"""

from __future__ import annotations

from typing import ClassVar

from numrnn.backend import Array, Params, array_namespace, astype, on_their_device
from numrnn.cells.base import Cell
from numrnn.checks import check_array, check_beside, check_finite, check_integer, dtype_name
from numrnn.training.losses import INTEGERS, accuracy, correct_rows, mean_squared_error, softmax_cross_entropy
from numrnn.training.masked import correct_steps, masked_cross_entropy, masked_squared_error
from numrnn.training.protocol import Lengths
from numrnn.training.readout import Output, ReadOut
from numrnn.typing import Engine

__all__ = ["Classifier", "Regressor"]


class Classifier(ReadOut):
    """A recurrent cell with an affine read-out into `n_classes` logits.

    Its parameters are those of the cell, and "W_out" (K, n) and "b_out" (K,).

    Parameters
    ----------
    cell : Cell
        Any cell of `numrnn.cells`.
    n_classes : int
        K >= 1.
    output : {"last", "every"}
        Whether each sequence has a label, or each of its steps.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from numrnn.cells import AntisymmetricCell
    >>> model = Classifier(AntisymmetricCell(input_size=1, hidden_size=128), n_classes=10)
    >>> model.parameter_count()
    9674
    >>> params = model.init_params(np.random.default_rng(0))
    >>> x, labels = np.ones((7, 2, 1), np.float32), np.array([3, 5])
    >>> loss, grads, logits = model.loss_and_gradient(params, x, labels)
    >>> logits.shape, grads["W_out"].shape
    ((2, 10), (10, 128))
    """

    kind: ClassVar[str] = "classifier"
    outputs_name: ClassVar[str] = "n_classes"

    def __init__(self, cell: Cell, n_classes: int, output: Output = "last") -> None:
        super().__init__(cell, n_classes, output)

    @property
    def n_classes(self) -> int:
        """K, the number of classes."""
        return self.n_outputs

    def loss_of(self, outputs: Array, y: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return the mean cross-entropy, in nats, and its gradient with respect to the logits."""
        if self.output == "last":
            return softmax_cross_entropy(outputs, y)
        return masked_cross_entropy(outputs, y, mask)

    def correct(self, outputs: Array, y: Array, mask: Array | None = None) -> Array:
        """Return the number of labels predicted correctly, an int64 of shape (); labels out of range are not."""
        check_array("outputs", outputs, ("B", "K") if self.output == "last" else ("T", "B", "K"))
        check_beside("y", y, "outputs", outputs)
        if dtype_name(y) not in INTEGERS:
            raise TypeError(f"y must be integers, got {dtype_name(y)}")
        if tuple(y.shape) != tuple(outputs.shape[:-1]):
            raise ValueError(f"y must be {tuple(outputs.shape[:-1])} as the outputs are, got {tuple(y.shape)}")
        return correct_rows(outputs, y) if self.output == "last" else correct_steps(outputs, y, mask)

    @on_their_device
    def predictions(self, outputs: Array) -> Array:
        """Return the index of the largest logit, (B,) or (T, B); of equal ones the first."""
        _check_outputs(outputs)
        return array_namespace(outputs).argmax(outputs, axis=-1)

    def check_targets(self, targets: str | None, n_outputs: int | None, n_features: int) -> None:
        """Raise ValueError unless the targets are labels below K and the features fit the cell."""
        wanted = "label" if self.output == "last" else "labels at every step"
        self._check_sizes(targets, wanted, n_features)
        if n_outputs is not None and check_integer("n_outputs", n_outputs, at_least=1) > self.n_classes:
            raise ValueError(f"labels must be from 0 to K - 1 = {self.n_classes - 1}, got {n_outputs - 1}")

    def logits(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the logits of a batch of sequences: `outputs` under its usual name."""
        return self.outputs(params, x, lengths, engine=engine)

    def predict_proba(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the probability of each class, (B, K) or (T, B, K): the softmax of the logits."""
        return self.probabilities(self.outputs(params, x, lengths, engine=engine))

    @on_their_device
    def probabilities(self, outputs: Array) -> Array:
        """Return the softmax of logits, (..., K), without overflow."""
        _check_outputs(outputs)
        xp = array_namespace(outputs)
        e = xp.exp(outputs - xp.max(outputs, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    @on_their_device
    def accuracy(
        self, params: Params, x: Array, labels: Array, *, lengths: Lengths = None, engine: Engine = "auto"
    ) -> float:
        """Return the fraction of labels predicted correctly, 0 to 1; arguments as for `loss_and_gradient`."""
        logits = self.outputs(params, x, lengths, engine=engine)
        if self.output == "last":
            return accuracy(logits, labels)
        mask = self._mask(None, lengths, logits)
        masked_cross_entropy(logits, labels, mask)  # its checks
        counted = float(array_namespace(logits).sum(astype(mask, logits.dtype)))
        return float(correct_steps(logits, labels, mask)) / counted


def _check_outputs(outputs: Array) -> None:
    """Check outputs of the model, (B, K) or (T, B, K)."""
    check_array("outputs", outputs, ("B", "K") if getattr(outputs, "ndim", 2) == 2 else ("T", "B", "K"))
    check_finite("outputs", outputs)


class Regressor(ReadOut):
    """A recurrent cell with an affine read-out into `n_outputs` numbers.

    Its parameters are those of the cell, and "W_out" (K, n) and "b_out" (K,).

    Parameters
    ----------
    cell : Cell
        Any cell of `numrnn.cells`.
    n_outputs : int
        K >= 1.
    output : {"last", "every"}
        Whether each sequence has K numbers, or each of its steps.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from numrnn.cells import AntisymmetricCell
    >>> model = Regressor(AntisymmetricCell(input_size=2, hidden_size=16), n_outputs=1, output="every")
    >>> params = model.init_params(np.random.default_rng(0))
    >>> x, y = np.ones((7, 3, 2), np.float32), np.zeros((7, 3, 1), np.float32)
    >>> loss, grads, outputs = model.loss_and_gradient(params, x, y, lengths=[7, 2, 4])
    >>> outputs.shape
    (7, 3, 1)
    """

    kind: ClassVar[str] = "regressor"
    outputs_name: ClassVar[str] = "n_outputs"

    def loss_of(self, outputs: Array, y: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return the mean squared error and its gradient with respect to the outputs."""
        if self.output == "last":
            return mean_squared_error(outputs, y)
        return masked_squared_error(outputs, y, mask)

    def correct(self, outputs: Array, y: Array, mask: Array | None = None) -> None:
        """Return None: a number is not right or wrong."""

    def predictions(self, outputs: Array) -> Array:
        """Return the outputs, (B, K) or (T, B, K)."""
        _check_outputs(outputs)
        return outputs

    def check_targets(self, targets: str | None, n_outputs: int | None, n_features: int) -> None:
        """Raise ValueError unless the targets are K numbers and the features fit the cell."""
        wanted = "numbers" if self.output == "last" else "numbers at every step"
        self._check_sizes(targets, wanted, n_features)
        if check_integer("n_outputs", n_outputs, at_least=1) != self.n_outputs:
            raise ValueError(f"the targets y must have {self.n_outputs} numbers for {self!r}, got {n_outputs}")
