"""An affine read-out of a cell's states, and the gradient through both.

    h_t = the states of the cell, from h_0 = 0; a row that has ended keeps its last one
    y = W_out h_T + b_out            output="last":  one vector y (B, K) for each sequence
    y_t = W_out h_t + b_out          output="every": one for each step, (T, B, K)

Of a state [h | ...], such as the LSTM's, only h is used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from numrnn.backend import Array, Params, array_namespace, asarray, from_numpy, on_their_device, to_numpy, zeros
from numrnn.bptt import backward, forward
from numrnn.cells.base import Cell, complete_config
from numrnn.checks import (
    check_array,
    check_choice,
    check_finite,
    check_integer,
    check_kind,
    check_same_kind,
    shown,
    values_are_trusted,
)
from numrnn.engines.cuda.update import product_for
from numrnn.tape import Tape
from numrnn.training.protocol import Lengths
from numrnn.typing import Backend, Engine

__all__ = ["Output", "OverflowingOutputsError", "ReadOut"]

Output = Literal["last", "every"]

TOO_LARGE = "outputs, which finite params and x that are too large make infinite,"  # the name in an error
READOUT = ("W_out", "b_out")


class OverflowingOutputsError(ValueError, FloatingPointError):
    """Outputs are not finite: to a caller its arguments are too large, to a training run it has diverged."""


class ReadOut(ABC):
    """A cell with an affine read-out: base class of `Classifier` and `Regressor`.

    Parameters
    ----------
    cell : Cell
        Any cell of `numrnn.cells`.
    n_outputs : int
        K >= 1.
    output : {"last", "every"}
        What is read: the last state of each row, or the state after every step.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    kind: ClassVar[str]
    outputs_name: ClassVar[str]

    def __init__(self, cell: Cell, n_outputs: int, output: Output = "last") -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"cell must be a Cell, got {type(cell).__name__}")
        check_choice("output", output, get_args(Output))
        self.cell, self.output = cell, output
        self.n_outputs = check_integer(self.outputs_name, n_outputs, at_least=1)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: those of the cell, W_out (K, n) and b_out (K,)."""
        K, n = self.n_outputs, self.cell.hidden_size
        return {**self.cell.parameter_shapes, "W_out": (K, n), "b_out": (K,)}

    def parameter_count(self) -> int:
        """Return the number of free parameters, read-out included."""
        return self.cell.parameter_count() + self.n_outputs * (self.cell.hidden_size + 1)

    def config(self) -> dict[str, Any]:
        """Return the model's configuration, JSON-serialisable."""
        output = {} if self.output == "last" else {"output": self.output}
        return {"model": self.kind, self.outputs_name: self.n_outputs, "cell": complete_config(self.cell)} | output

    def __repr__(self) -> str:
        output = "" if self.output == "last" else f", output={self.output!r}"
        return f"{type(self).__name__}({self.cell!r}, {self.outputs_name}={self.n_outputs}{output})"

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
            As for `Cell.init_params`.
        """
        check_kind("rng", rng, np.random.Generator, "a numpy.random.Generator")
        params = self.cell.init_params(rng, dtype=dtype, backend=backend, **initial)
        K, n = self.n_outputs, self.cell.hidden_size
        W_out = (rng.standard_normal((K, n)) / n**0.5).astype(dtype)
        return params | {"W_out": from_numpy(W_out, backend), "b_out": from_numpy(np.zeros(K, dtype), backend)}

    @on_their_device
    def outputs(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the outputs for a batch of sequences, without a tape.

        Parameters
        ----------
        params : mapping of str to array
            As in `parameter_shapes`.
        x : array, shape (T, B, m)
            Input, of the parameters' dtype.
        lengths : sequence of int, shape (B,), or None
            Number of valid steps of each row, 1 to T; None means all.
        engine : {"auto", "reference", "fused"}
            As for `numrnn.forward`.

        Returns
        -------
        array, shape (B, K) or (T, B, K)

        Raises
        ------
        TypeError, ValueError
            As for `numrnn.forward`; also if a parameter of the read-out does not fit, or outputs are not finite.
        """
        core = self._split(params)
        check_array("x", x, ("T", "B", "m"), m=self.cell.input_size)
        every = x.shape[0] if self.output == "last" else None
        states, _ = forward(self.cell, core, x, lengths=lengths, engine=engine, recompute_every=every)
        outputs = self._readout(params, self._read(states))
        _check_outputs_are_finite(outputs)
        return outputs

    @on_their_device
    def loss(
        self,
        params: Params,
        x: Array,
        y: Array,
        *,
        lengths: Lengths = None,
        mask: Array | None = None,
        engine: Engine = "auto",
    ) -> Array:
        """Return the mean loss of a batch, of shape (), without a tape; arguments as for `loss_and_gradient`."""
        outputs = self.outputs(params, x, lengths, engine=engine)
        return self.loss_of(outputs, y, self._mask(mask, lengths, outputs))[0]

    @on_their_device
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
        """Return the mean loss of a batch, its gradient, and the outputs.

        Parameters
        ----------
        params, x, lengths, engine
            As for `outputs`.
        y : array
            Targets, on the device of `x`: labels (B,), or (T, B) at every step; numbers (B, K), or (T, B, K).
        mask : array of bool, shape (T, B), or None
            With output="every": which targets count; None means all before `lengths`.
        recompute_every : int, "sqrt" or None
            As for `numrnn.forward`.

        Returns
        -------
        loss : array, shape ()
        grads : dict of str to array
            dloss/dparams, with the names and shapes of `params`.
        outputs : array, shape (B, K) or (T, B, K)

        Raises
        ------
        TypeError, ValueError
            As for `numrnn.forward` and the loss.
        FloatingPointError
            If the loss is NaN or infinite, so that there is nothing to propagate. Not within `trusted_values`.
        """
        core = self._split(params)
        states, tape = forward(self.cell, core, x, lengths=lengths, engine=engine, recompute_every=recompute_every)
        read = self._read(states)
        outputs = self._readout(params, read)
        if not values_are_trusted() and not bool(
            array_namespace(outputs).all(array_namespace(outputs).isfinite(outputs))
        ):
            raise FloatingPointError("loss must be finite, got outputs that are not")
        loss, d_outputs = self.loss_of(outputs, y, self._mask(mask, lengths, outputs))
        if not values_are_trusted() and not bool(array_namespace(loss).isfinite(loss)):
            raise FloatingPointError(f"loss must be finite, got {loss}")
        readout_grads, d_read = self._readout_vjp(params, read, d_outputs)
        cell_grads = backward(tape, **self._cotangents(tape, d_read), wrt=("params",)).params
        assert cell_grads is not None
        return loss, {**cell_grads, **readout_grads}, outputs

    @on_their_device
    def state_gradients(
        self,
        params: Params,
        x: Array,
        y: Array,
        *,
        lengths: Lengths = None,
        mask: Array | None = None,
        engine: Engine = "auto",
    ) -> Array:
        """Return dloss/dh_t for t = 0..T, (T+1, B, state_size): the gradient at every step.

        Arguments and errors as for `loss_and_gradient`.
        """
        states, tape = forward(self.cell, self._split(params), x, lengths=lengths, engine=engine)
        read = self._read(states)
        outputs = self._readout(params, read)
        _check_outputs_are_finite(outputs)
        _, d_outputs = self.loss_of(outputs, y, self._mask(mask, lengths, outputs))
        _, d_read = self._readout_vjp(params, read, d_outputs)
        return backward(tape, **self._cotangents(tape, d_read), wrt=("states",)).states

    @on_their_device
    def predict(self, params: Params, x: Array, lengths: Lengths = None, *, engine: Engine = "auto") -> Array:
        """Return the predictions for a batch, (B, ...) or (T, B, ...); arguments as for `outputs`."""
        return self.predictions(self.outputs(params, x, lengths, engine=engine))

    @abstractmethod
    def loss_of(self, outputs: Array, y: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return the mean loss, of shape (), and its gradient with respect to the outputs."""

    @abstractmethod
    def correct(self, outputs: Array, y: Array, mask: Array | None = None) -> Array | None:
        """Return the number of correct predictions, an int64 of shape (); None for numbers."""

    @abstractmethod
    def predictions(self, outputs: Array) -> Array:
        """Return the predictions for the outputs."""

    @abstractmethod
    def check_targets(self, targets: str | None, n_outputs: int | None, n_features: int) -> None:
        """Raise ValueError unless the number of features and the kind of targets fit the model."""

    def _check_sizes(self, targets: str | None, wanted: str, n_features: int) -> None:
        if not isinstance(targets, str | None):
            raise TypeError(f"targets must be {wanted!r}, got {shown(targets)}")
        n_features = check_integer("n_features", n_features, at_least=1)
        if targets != wanted:
            raise ValueError(f"the targets y must be {wanted} for {self!r}, got {targets or 'none'}")
        if n_features != self.cell.input_size:
            raise ValueError(
                f"n_features: sequences must have m={self.cell.input_size} features for {self!r}, got {n_features}"
            )

    def _read(self, states: Any) -> Array:
        """Return the states that are read, (B, state_size) or (T, B, state_size)."""
        return states[-1, ...] if self.output == "last" else states[1:, ...]

    def _cotangents(self, tape: Tape, d_read: Array) -> dict[str, Array]:
        """Return the arguments of `backward` for a gradient with respect to the states that are read."""
        if self.output == "last":
            return {"d_final": d_read}
        d_states = zeros((tape.problem.n_steps + 1, *d_read.shape[1:]), like=d_read)
        d_states[1:, ...] = d_read
        return {"d_states": d_states}

    def _mask(self, mask: Array | None, lengths: Lengths, outputs: Array) -> Array | None:
        """Return the mask of the counted steps; None if only the last states are read."""
        if self.output == "last":
            if mask is not None:
                raise ValueError("mask is only for output='every'")
            return None
        if mask is not None:
            return mask
        T, B = outputs.shape[:2]
        ends = np.full(B, T) if lengths is None else np.asarray(to_numpy(lengths) if _on_device(lengths) else lengths)
        return asarray(np.arange(T)[:, None] < ends, like=outputs)

    def _readout(self, params: Params, states: Array) -> Array:
        """Return W_out h + b_out, (..., K), from states (..., state_size)."""
        h = states[..., : self.cell.hidden_size]
        product = product_for(h, self.cell.hidden_size)
        return product(h, params["W_out"].T) + params["b_out"]  # (..., K) (F17)

    def _readout_vjp(self, params: Params, states: Array, d_outputs: Array) -> tuple[dict[str, Array], Array]:
        """Return the gradients of W_out and b_out, and that of the states, from dL/doutputs."""
        xp, n, K = array_namespace(d_outputs), self.cell.hidden_size, self.n_outputs
        h = states[..., :n]
        product = product_for(h, n)
        flat = d_outputs if d_outputs.ndim == 2 else xp.reshape(d_outputs, (-1, K))
        rows = h if h.ndim == 2 else xp.reshape(h, (-1, n))
        dW_out, db_out = product(flat.T, rows), xp.sum(flat, axis=0)  # (K, n), (K,) (B29)
        dh = product(d_outputs, params["W_out"])  # (..., n) (B30)
        if h.shape == states.shape:
            return {"W_out": dW_out, "b_out": db_out}, dh
        d_states = zeros(states.shape, like=d_outputs)  # the part that is not read has no gradient
        d_states[..., :n] = dh
        return {"W_out": dW_out, "b_out": db_out}, d_states

    def _split(self, params: Params) -> dict[str, Array]:
        """Return the cell's parameters, after checking those of the read-out; `forward` checks the rest."""
        shapes = self.parameter_shapes
        if not isinstance(params, Mapping) or set(params) != set(shapes):
            names = ", ".join(map(str, params)) if isinstance(params, Mapping) else type(params).__name__
            raise ValueError(f"params must have the names {', '.join(shapes)}, got {names}")
        for name in READOUT:
            check_array(f"params[{name!r}]", params[name], shapes[name])
        core = {name: array for name, array in params.items() if name not in READOUT}
        check_same_kind({f"params[{name!r}]": params[name] for name in (*list(core)[:1], *READOUT)})
        return core


def _check_outputs_are_finite(outputs: Array) -> None:
    try:
        check_finite(TOO_LARGE, outputs)
    except ValueError as error:
        raise OverflowingOutputsError(str(error)) from None


def _on_device(lengths: Any) -> bool:
    return not isinstance(lengths, np.ndarray | Sequence)
