"""A classifier of sequences: a cell, and an affine read-out of its last state.

    h_T = the state after the last valid step of each row, from h_0 = 0
    logits = W_out h_T + b_out
    loss = softmax cross-entropy of logits and labels, mean over the batch

For the LSTM, whose state is [h | c], only h is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from numrnn.backend import Array, Params, array_namespace, from_numpy, zeros
from numrnn.cells.base import Cell
from numrnn.checks import check_array, check_integer, check_same_kind, values_are_trusted
from numrnn.engines import forward
from numrnn.tape import backward
from numrnn.training.losses import accuracy, softmax_cross_entropy
from numrnn.typing import Backend, Engine

__all__ = ["Classifier", "Lengths"]

Lengths = Sequence[int] | Array | None

READOUT = ("W_out", "b_out")


class Classifier:
    """A recurrent cell with an affine read-out into `n_classes` logits.

    Its parameters are those of the cell, and "W_out" (K, n) and "b_out" (K,).

    Parameters
    ----------
    cell : Cell
        Any cell of `numrnn.cells`.
    n_classes : int
        K >= 1.

    Raises
    ------
    TypeError, ValueError
        If `cell` is no cell or `n_classes` no integer >= 1.

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

    def __init__(self, cell: Cell, n_classes: int) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"cell must be a Cell, got {type(cell).__name__}")
        self.cell = cell
        self.n_classes = check_integer("n_classes", n_classes, at_least=1)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter."""
        K, n = self.n_classes, self.cell.hidden_size
        return {**self.cell.parameter_shapes, "W_out": (K, n), "b_out": (K,)}

    def parameter_count(self) -> int:
        """Return how many numbers the model may choose freely, read-out included."""
        return self.cell.parameter_count() + self.n_classes * (self.cell.hidden_size + 1)

    def config(self) -> dict[str, Any]:
        """Return what makes the model again, as JSON can hold it."""
        return {"model": "classifier", "n_classes": self.n_classes, "cell": self.cell.config()}

    def __repr__(self) -> str:
        return f"Classifier({self.cell!r}, n_classes={self.n_classes})"

    def init_params(
        self,
        rng: np.random.Generator,
        *,
        dtype: npt.DTypeLike = np.float32,
        backend: Backend | None = None,
        **initial: Any,
    ) -> dict[str, Array]:
        """Draw initial values: the cell's, then W_out ~ N(0, variance 1/n); b_out is 0.

        Parameters
        ----------
        rng, dtype, backend
            As for `Cell.init_params`.
        **initial
            The initial values that `Cell.init_params` takes by name, from weight_std to t_max.

        Returns
        -------
        dict of str to array

        Raises
        ------
        TypeError, ValueError
            As `Cell.init_params`.
        """
        params = self.cell.init_params(rng, dtype=dtype, backend=backend, **initial)
        K, n = self.n_classes, self.cell.hidden_size
        W_out = (rng.standard_normal((K, n)) / n**0.5).astype(dtype)
        return params | {"W_out": from_numpy(W_out, backend), "b_out": from_numpy(np.zeros(K, dtype), backend)}

    def _readout(self, params: Params, state: Array) -> Array:
        """Return logits, (B, K), from the last state, (B, state_size)."""
        h = state[:, : self.cell.hidden_size]
        return h @ params["W_out"].T + params["b_out"]  # (B, K) (F17)

    def _readout_vjp(self, params: Params, state: Array, d_logits: Array) -> tuple[dict[str, Array], Array]:
        """Return the gradients of W_out and b_out, and that of the last state, from dL/dlogits."""
        h = state[:, : self.cell.hidden_size]
        dW_out, db_out = d_logits.T @ h, array_namespace(d_logits).sum(d_logits, axis=0)  # (K, n), (K,) (B29)
        dh = d_logits @ params["W_out"]  # (B, n) (B30)
        if h.shape == state.shape:
            return {"W_out": dW_out, "b_out": db_out}, dh
        d_state = zeros(state.shape, like=d_logits)  # what is not read has no gradient
        d_state[:, : self.cell.hidden_size] = dh
        return {"W_out": dW_out, "b_out": db_out}, d_state

    def logits(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the logits of a batch of sequences, without a tape.

        Parameters
        ----------
        params : mapping of str to array
            As in `parameter_shapes`.
        x : array, shape (T, B, m)
            Input, of the parameters' dtype.
        lengths : sequence of int, shape (B,), or None
            How many steps of each row are valid, 1 to T; None takes all.
        engine : {"auto", "reference", "fused"}
            As for `numrnn.forward`.

        Returns
        -------
        array, shape (B, K)

        Raises
        ------
        TypeError, ValueError
            As `numrnn.forward`; and if a parameter of the read-out does not fit.
        """
        core = self._split(params)
        check_array("x", x, ("T", "B", "m"), m=self.cell.input_size)
        states, _ = forward(self.cell, core, x, lengths=lengths, engine=engine, checkpoint_every=x.shape[0])
        return self._readout(params, states[-1, ...])

    def loss(
        self, params: Params, x: Array, labels: Array, *, lengths: Lengths = None, engine: Engine = "auto"
    ) -> Array:
        """Return the mean loss of a batch, of shape (), without a tape; arguments as for `loss_and_gradient`."""
        return softmax_cross_entropy(self.logits(params, x, lengths, engine=engine), labels)[0]

    def loss_and_gradient(
        self,
        params: Params,
        x: Array,
        labels: Array,
        *,
        lengths: Lengths = None,
        engine: Engine = "auto",
        checkpoint_every: int | Literal["sqrt"] | None = None,
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the mean loss of a batch, its gradient, and the logits.

        Parameters
        ----------
        params, x, lengths, engine
            As for `logits`.
        labels : array, shape (B,)
            Integers from 0 to K - 1, beside `x`.
        checkpoint_every : int, "sqrt" or None
            As for `numrnn.forward`.

        Returns
        -------
        loss : array, shape ()
        grads : dict of str to array
            dloss/dparams, with the names and shapes of `params`.
        logits : array, shape (B, K)

        Raises
        ------
        TypeError, ValueError
            As `numrnn.forward` and `softmax_cross_entropy`.
        FloatingPointError
            If the loss is NaN or infinite; there is nothing to propagate then. Not within `trusted_values`.
        """
        core = self._split(params)
        states, tape = forward(self.cell, core, x, lengths=lengths, engine=engine, checkpoint_every=checkpoint_every)
        last = states[-1, ...]
        logits = self._readout(params, last)
        loss, d_logits = softmax_cross_entropy(logits, labels)
        if not values_are_trusted() and not bool(array_namespace(loss).isfinite(loss)):
            raise FloatingPointError(f"loss must be finite, got {loss}")
        readout_grads, d_last = self._readout_vjp(params, last, d_logits)
        cell_grads: Any = backward(tape, d_final=d_last, wrt=("params",)).params
        return loss, {**cell_grads, **readout_grads}, logits

    def state_gradients(
        self, params: Params, x: Array, labels: Array, *, lengths: Lengths = None, engine: Engine = "auto"
    ) -> Array:
        """Return dloss/dh_t for t = 0..T, (T+1, B, state_size): how the gradient travels back in time.

        Arguments and errors as for `loss_and_gradient`.
        """
        states, tape = forward(self.cell, self._split(params), x, lengths=lengths, engine=engine)
        last = states[-1, ...]
        _, d_logits = softmax_cross_entropy(self._readout(params, last), labels)
        _, d_last = self._readout_vjp(params, last, d_logits)
        return backward(tape, d_final=d_last, wrt=("states",)).states

    def predict(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the number of the largest logit of each row, (B,); arguments as for `logits`."""
        logits = self.logits(params, x, lengths, engine=engine)
        return array_namespace(logits).argmax(logits, axis=1)

    def accuracy(
        self, params: Params, x: Array, labels: Array, *, lengths: Lengths = None, engine: Engine = "auto"
    ) -> float:
        """Return the share of rows predicted rightly, 0 to 1; arguments as for `loss_and_gradient`."""
        return accuracy(self.logits(params, x, lengths, engine=engine), labels)

    def _split(self, params: Params) -> dict[str, Array]:
        """Return the cell's parameters, after a check of the read-out's; `forward` checks the rest."""
        shapes = self.parameter_shapes
        if set(params) != set(shapes):
            raise ValueError(f"params must have the names {', '.join(shapes)}, got {', '.join(params)}")
        for name in READOUT:
            check_array(f"params[{name!r}]", params[name], shapes[name])
        core = {name: array for name, array in params.items() if name not in READOUT}
        check_same_kind({f"params[{name!r}]": params[name] for name in (next(iter(core)), *READOUT)})
        return core
