"""The layer: a torch.nn.Module around one of numrnn's cells, and the node of torch's graph behind it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from numrnn.backend import Array, on_their_device, zeros
from numrnn.bptt import ENGINES, Engine, Wanted, backward, forward
from numrnn.cells.base import Cell
from numrnn.checks import check_integer
from numrnn.interop.torch.tensors import HOST, check_alike, check_shape, host_array, to_array, to_tensor
from numrnn.tape import Tape

__all__ = ["RecurrentLayer"]

OUTPUTS = ("every", "last")
LARGEST_SEED = 2**63 - 1


class RecurrentLayer(torch.nn.Module):
    """A recurrent layer that runs one of numrnn's cells, in place of torch.nn.RNN.

    Parameters
    ----------
    cell : Cell
        Any cell of numrnn, or one of your own.
    batch_first : bool
        Whether input and output are (B, T, features) instead of (T, B, features). h0 and h_n keep their axes.
    engine : {"auto", "reference", "fused"}
        As for `numrnn.forward`.
    recompute_every : int or "sqrt", optional
        As for `numrnn.forward`: the backward pass recomputes the other states. Use it with output="last": the outputs
        of every step need all states, which costs one more forward pass.
    output : {"every", "last"}
        Whether the first result has the outputs of every step, as torch's layers do, or of the last step only.

    Attributes
    ----------
    cell, batch_first, engine, recompute_every, output
        The arguments.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or has none of the allowed values.

    Notes
    -----
    Its parameters have the cell's names, in which a dot becomes "__". They start in torch's default dtype with the
    values that `reset_parameters` draws; `layer.double()` and `layer.to` convert and move them.

    A loss that reads h_n or output="last" has a faster backward pass than one that reads `output[-1]`: for the latter,
    torch creates a gradient (T, B, n) that is zero except for one step. The tape lives as long as the graph of the
    loss. torch raises a RuntimeError if second derivatives are requested, or if parameters, input or output were
    modified between the two passes. NaN and infinity raise a ValueError in either pass.

    Examples
    --------
    >>> import torch, numrnn
    >>> layer = RecurrentLayer(numrnn.AntisymmetricCell(input_size=3, hidden_size=8))
    >>> output, h_n = layer(torch.randn(20, 5, 3))  # time first: (T, B, m)
    >>> output.shape, h_n.shape
    (torch.Size([20, 5, 8]), torch.Size([1, 5, 8]))
    >>> h_n.square().sum().backward()
    >>> sorted(name for name, parameter in layer.named_parameters() if parameter.grad is not None)
    ['V', 'W', 'b']
    """

    def __init__(
        self,
        cell: Cell,
        *,
        batch_first: bool = False,
        engine: Engine = "auto",
        recompute_every: int | Literal["sqrt"] | None = None,
        output: Literal["every", "last"] = "every",
    ) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f"cell must be a numrnn cell, got {type(cell).__name__}")
        for name, value, choices in (("engine", engine, ENGINES), ("output", output, OUTPUTS)):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
        if recompute_every not in (None, "sqrt"):
            recompute_every = check_integer("recompute_every", recompute_every, at_least=1)
        self.cell, self.batch_first, self.engine = cell, bool(batch_first), engine
        self.recompute_every, self.output = recompute_every, output
        self._names = {name: name.replace(".", "__") for name in cell.parameter_shapes}
        for name, shape in cell.parameter_shapes.items():
            if hasattr(self, self._names[name]):
                raise ValueError(f"the cell's parameter {name!r} must have another name: a torch module has its own")
            self.register_parameter(self._names[name], torch.nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    def reset_parameters(self, rng: np.random.Generator | int | None = None, **initial: Any) -> None:
        """Redraw the parameters, in place.

        Parameters
        ----------
        rng : numpy.random.Generator, int >= 0 or None
            The source of randomness or its seed; None draws a seed from torch's generator, so that torch.manual_seed
            determines it.
        **initial
            Arguments of `Cell.init_params`: weight_std, gate_bias and so on.

        Raises
        ------
        TypeError, ValueError
            As `Cell.init_params`.
        """
        if rng is None:
            rng = int(torch.randint(LARGEST_SEED, (), device=HOST))
        if not isinstance(rng, np.random.Generator):
            rng = np.random.default_rng(check_integer("rng", rng, at_least=0))
        params = self.cell.init_params(rng, dtype=np.float64, backend="numpy", **initial)
        with torch.no_grad():
            for name, parameter in self.named_cell_parameters().items():
                parameter.copy_(torch.from_numpy(params[name]))

    def named_cell_parameters(self) -> dict[str, Any]:
        """Return the parameters under the cell's names for them."""
        return {name: getattr(self, attribute) for name, attribute in self._names.items()}

    def forward(self, x: Any, h0: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Run the cell over a sequence.

        Parameters
        ----------
        x : torch.Tensor, shape (T, B, m), or (B, T, m) with batch_first
            Input, of the parameters' dtype and device.
        h0 : torch.Tensor, shape (1, B, state_size), optional
            First state; zero unless given.
        lengths : tensor, array or sequence of int, shape (B,), optional
            1 <= lengths <= T, in any order: a row keeps its state after its length, also in its outputs, where torch's
            packed sequences would be padded with zeros.

        Returns
        -------
        output : torch.Tensor, shape (T, B, n), or (B, T, n) with batch_first
            h_1, ..., h_T: the first n columns of the states. With output="last" those of the last state, (B, n).
        h_n : torch.Tensor, shape (1, B, state_size)
            The last state, in separate memory. That of an LSTM is [h | c]: `h_n.chunk(2, dim=-1)` gives torch's pair.

        Raises
        ------
        TypeError
            If an argument is not a tensor, not float32 or float64, or of another dtype than the parameters.
        ValueError
            If a shape or a length is wrong, devices are mixed, or an input is NaN or infinite.
        """
        if torch.compiler.is_compiling():
            # The compiler would replace NumPy's functions by its own. As a decorator, `disable` would import the
            # compiler in every program, which takes seconds.
            return torch.compiler.disable(self._forward)(x, h0, lengths)
        return self._forward(x, h0, lengths)

    def _forward(self, x: Any, h0: Any, lengths: Any) -> tuple[Any, Any]:
        params = self.named_cell_parameters()
        check_alike({**params, "x": x, **({} if h0 is None else {"h0": h0})})
        axes = "(B, T, m={})" if self.batch_first else "(T, B, m={})"
        check_shape("x", x, (None, None, self.cell.input_size), axes.format(self.cell.input_size))
        if self.batch_first:
            x = x.transpose(0, 1)
        if h0 is not None:
            batch, width = x.shape[1], self.cell.state_size
            check_shape("h0", h0, (1, batch, width), f"(1, B={batch}, state_size={width})")
            h0 = h0[0]
        tensors, lengths = (x, h0, *params.values()), host_array(lengths)
        # If no gradient can be requested, the tape is released at once.
        wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        output, h = _Recurrence.apply(self, lengths, *tensors) if wanted else self._run(lengths, *tensors)[:2]
        if self.output == "last":
            return h[:, : self.cell.hidden_size].clone(), h[None]  # a copy, as below
        return output.transpose(0, 1) if self.batch_first else output, h[None]

    def _run(self, lengths: Any, x: Any, h0: Any, *params: Any) -> tuple[Any, Any, Tape]:
        """Return h_1, ..., h_T (T, B, n), or None if they are not requested, h_T (B, state_size), and the tape."""
        states, tape = forward(
            self.cell,
            {name: to_array(tensor) for name, tensor in zip(self._names, params, strict=True)},
            to_array(x),
            None if h0 is None else to_array(h0),
            lengths=lengths,
            engine=self.engine,
            recompute_every=self.recompute_every,
        )
        output = to_tensor(states[1:][:, :, : self.cell.hidden_size]) if self.output == "every" else None
        # A copy: writing into h_n must not change the output, or what the tape reads.
        return output, to_tensor(states[-1]).clone(), tape

    def extra_repr(self) -> str:
        """Return the arguments, for `repr`."""
        options = ("batch_first", "engine", "recompute_every", "output")
        return ", ".join([repr(self.cell), *(f"{name}={getattr(self, name)!r}" for name in options)])


class _Recurrence(torch.autograd.Function):
    """`numrnn.forward` and `numrnn.backward` as one node of torch's graph."""

    @staticmethod
    def forward(ctx: Any, layer: RecurrentLayer, lengths: Any, x: Any, h0: Any, *params: Any) -> tuple[Any, Any]:
        """See `RecurrentLayer._run`."""
        output, h, ctx.tape = layer._run(lengths, x, h0, *params)
        ctx.set_materialize_grads(False)
        # The tape reads the memory of these. They are stored so that torch checks, in `saved_tensors`, that nobody
        # modified them. With recompute_every the output is not memory of the tape.
        ctx.save_for_backward(x, h0, output if layer.recompute_every is None else None, *params)
        return output, h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_output: Any, d_h: Any) -> tuple[Any, ...]:
        """Return the gradients of x, h0 and the parameters; None for those not needed."""
        _, _, needs_x, needs_h0, *needs_params = ctx.needs_input_grad
        nothing = (None,) * len(ctx.needs_input_grad)
        _ = ctx.saved_tensors  # raises if one was modified
        if d_output is None and d_h is None:
            return nothing
        needs: dict[Wanted, bool] = {"params": any(needs_params), "x": needs_x, "h0": needs_h0}
        grads = backward(
            ctx.tape,
            None if d_output is None else _d_states(ctx.tape, to_array(d_output)),
            d_final=None if d_h is None else to_array(d_h),
            wrt=[name for name, needed in needs.items() if needed],
        )
        d_params = grads.params or {}
        found = [grads.x, grads.h0, *(d_params.get(name) for name in ctx.tape.problem.params)]
        wanted = (needs_x, needs_h0, *needs_params)
        return None, None, *(to_tensor(g) if need else None for g, need in zip(found, wanted, strict=True))


@on_their_device
def _d_states(tape: Tape, d_output: Array) -> Array:
    """Return dL/dh_t of all states, (T + 1, B, state_size), from that of the outputs, (T, B, n)."""
    n_steps, batch, n = d_output.shape
    d_states = zeros((n_steps + 1, batch, tape.problem.cell.state_size), like=d_output)
    d_states[1:, :, :n] = d_output
    return d_states
