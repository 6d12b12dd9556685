r"""The time loop and its adjoint: backpropagation through time, for every cell.

    forward    h_t = step(params, x_t, h_{t-1}),                                   t = 1..T          (F16)
    backward   g_T = dL/dh_T,   (dparams_t, dx_t, g) = step_vjp(x_t, h_{t-1}, g_t),
               g_{t-1} = g + (the loss's own derivative with respect to h_{t-1}),  t = T..1          (B26)
               dparams = sum over t of dparams_t                                                     (B27)

This is the reference engine: the plainest loops that are right, for any array library. The tape holds states only;
step_vjp computes the rest again. With `checkpoint_every=k` the tape holds every k-th state only, and the backward pass
recomputes k states at a time: the same numbers bit for bit, at the price of one more forward pass.

Derivation: docs/derivation.md, section 7.

References
----------
P. J. Werbos, "Backpropagation Through Time: What It Does and How to Do It", Proceedings of the IEEE 78(10), 1990.
T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, array_namespace, asarray, empty, is_array, to_numpy, zeros
from numrnn.cells.base import Cell, unchecked
from numrnn.checks import check_array, check_finite, check_integer, check_same_kind

ENGINES = ("auto", "reference")
GRADIENTS = ("params", "x", "h0", "states")


@dataclass(frozen=True)
class Gradients:
    """What `backward` returns; a field that was not asked for is None.

    Attributes
    ----------
    params : dict of str to array
        dL/dparams, the names and shapes of the parameters.
    x : array, shape (T, B, m)
        dL/dx; zero after a row's length.
    h0 : array, shape (B, state_size)
        dL/dh_0.
    states : array, shape (T + 1, B, state_size)
        dL/dh_t, total derivatives: through the loss's own use of h_t and through all later states. After a row's length
        it is the derivative with respect to the held copy.
    """

    params: dict[str, Array] | None
    x: Array | None
    h0: Array | None
    states: Array | None


class Tape:
    """What `forward` keeps for `backward`: the arguments, and every k-th state.

    The arrays are held, not copied: do not write into params or x between forward and backward.
    """

    def __init__(self, cell: Cell, params: Params, x: Array, active: Array | None, dtype: Any, every: int) -> None:
        self.cell, self.params, self.x, self.active, self.dtype, self.every = cell, params, x, active, dtype, every
        self.n_steps, self.batch_size = x.shape[0], x.shape[1]
        self.checkpoints: list[Array] = []  # h_0, h_k, h_2k, ..., and h_T; with every state kept, one array of all

    def advance(self, t: int, h: Array) -> Array:
        """Return h_{t+1} from h_t; a row whose sequence has ended holds its state."""
        h_next = unchecked(self.cell.step)(self.params, self.x[t, ...], h)  # (F16)
        return h_next if self.active is None else array_namespace(h).where(self.active[t, ...], h_next, h)

    def retreat(self, t: int, h: Array, g: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, g_t) of step t from h_t and g_{t+1}; a row that holds its state passes g on."""
        step_vjp = unchecked(self.cell.step_vjp)
        if self.active is None:
            return step_vjp(self.params, self.x[t, ...], h, g)  # (B26)
        where, active = array_namespace(g).where, self.active[t, ...]
        dparams, dx, dh = step_vjp(self.params, self.x[t, ...], h, where(active, g, 0))
        return dparams, dx, where(active, dh, g)

    def segment(self, start: int) -> Array:
        """Return h_start, ..., h_end, where end is the next multiple of k, or T; recomputed from h_start."""
        end = min(start + self.every, self.n_steps)
        first = self.checkpoints[start // self.every]
        states = empty((end - start + 1, *first.shape), like=first)
        states[0, ...] = first
        for t in range(start, end):
            states[t + 1 - start, ...] = self.advance(t, states[t - start, ...])
        return states

    def segments_reversed(self) -> Iterator[tuple[int, Array]]:
        """Yield (start, states from h_start on) from the last segment to the first."""
        for start in reversed(range(0, self.n_steps, self.every)):
            yield start, self.segment(start)


class FullTape(Tape):
    """A tape that holds all states, (T + 1, B, state_size)."""

    states: Array

    def segments_reversed(self) -> Iterator[tuple[int, Array]]:
        """Yield the one segment that there is."""
        yield 0, self.states


class CheckpointedStates(Sequence[Array]):
    """The states of a checkpointed forward pass: a read-only sequence that recomputes what was not kept.

    `states[t]` costs at most k steps, `states[0]` and `states[-1]` cost none; iterating costs one forward pass;
    `numpy.asarray(states)` recomputes and stores all.

    Attributes
    ----------
    shape : tuple of int
        (T + 1, B, state_size).
    dtype : dtype
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.shape = (tape.n_steps + 1, *tape.checkpoints[0].shape)
        self.dtype = tape.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple) and index[1:] == (...,):  # states[t, ...] is how the array-API standard says it
            index = index[0]
        if isinstance(index, slice):
            wanted = range(*index.indices(len(self)))
            out = empty((len(wanted), *self.shape[1:]), like=self._tape.checkpoints[0])
            for position, t in enumerate(wanted):
                out[position, ...] = self[t]
            return out
        t = range(len(self))[index]  # raises IndexError, and counts from the end
        if t == self._tape.n_steps:
            return self._tape.checkpoints[-1]
        start = t - t % self._tape.every
        h = self._tape.checkpoints[start // self._tape.every]
        for step in range(start, t):
            h = self._tape.advance(step, h)
        return h

    def __iter__(self) -> Iterator[Array]:
        h = self._tape.checkpoints[0]
        yield h
        for t in range(self._tape.n_steps):
            h = self._tape.advance(t, h)
            yield h

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("checkpointed states are recomputed: copy=False cannot be met")
        return np.asarray(np.stack([to_numpy(h) for h in self]), dtype=dtype)


def forward(
    cell: Cell,
    params: Params,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Any = None,
    engine: str = "auto",
    checkpoint_every: int | str | None = None,
) -> tuple[Any, Tape]:
    """Run a cell over a sequence.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : mapping of str to array
        Its parameters, float32, float64 or complex128.
    x : array, shape (T, B, m)
        Input, time first; T, B >= 1, of the parameters' precision.
    h0 : array, shape (B, state_size), optional
        First state; zero unless given.
    lengths : sequence or array of int, shape (B,), optional
        1 <= lengths <= T. Row i is a sequence of lengths[i] steps: after them it holds its last state, and what stands
        in x is neither read nor checked.
    engine : {"auto", "reference"}
        Which implementation of the loops; "auto" takes the fastest that covers the case.
    checkpoint_every : int or "sqrt", optional
        Keep every k-th state only, k >= 1; "sqrt" takes k = ceil(sqrt(T)), which holds 2 sqrt(T) states at most at any
        time of the backward pass.

    Returns
    -------
    states : array, shape (T + 1, B, state_size)
        states[0] is h0. With `checkpoint_every` a `CheckpointedStates` of that shape.
    tape : Tape
        For `backward`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type, an array not float32, float64 or complex128, or precisions are mixed.
    ValueError
        If a shape, a length, the engine or `checkpoint_every` is wrong, T or B is 0, devices are mixed, or a NaN or an
        infinity comes in.

    Notes
    -----
    Costs T steps, and (T + 1) B state_size numbers of memory, or with checkpoints (T / k + 2) B state_size.

    A sequence may be cut: start the second part at `states[-1]` of the first, and hand `grads.h0` of the second to
    `backward` of the first as `d_final`. Leaving that cotangent out instead is truncated backpropagation through time.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> cell = numrnn.AntisymmetricCell(input_size=1, hidden_size=4)
    >>> rng = np.random.default_rng(0)
    >>> params = cell.init_params(rng)
    >>> x = rng.standard_normal((10, 2, 1), dtype=np.float32)
    >>> states, tape = numrnn.forward(cell, params, x)
    >>> states.shape
    (11, 2, 4)
    >>> grads = numrnn.backward(tape, d_final=np.ones((2, 4), np.float32))
    >>> grads.x.shape
    (10, 2, 1)
    """
    _check_engine(engine)
    x, h, active = _check_sequence(cell, params, x, h0, lengths)
    n_steps = x.shape[0]
    every = _resolve_checkpoints(checkpoint_every, n_steps)
    if every is None:
        full = FullTape(cell, params, x, active, h.dtype, n_steps)
        full.states = empty((n_steps + 1, *h.shape), like=h)
        full.states[0, ...] = h
        for t in range(n_steps):
            full.states[t + 1, ...] = full.advance(t, full.states[t, ...])
        return full.states, full
    tape = Tape(cell, params, x, active, h.dtype, every)
    for t in range(n_steps):
        if t % every == 0:
            tape.checkpoints.append(h)
        h = tape.advance(t, h)
    tape.checkpoints.append(h)
    return CheckpointedStates(tape), tape


def backward(
    tape: Tape,
    d_states: Array | None = None,
    *,
    d_final: Array | None = None,
    wrt: Collection[str] = ("params", "x", "h0"),
) -> Gradients:
    """Run the adjoint of `forward`: gradients of a loss from its derivatives with respect to the states.

    Parameters
    ----------
    tape : Tape
        From `forward`; it may be used more than once.
    d_states : array, shape (T + 1, B, state_size), optional
        The loss's own derivative with respect to each of `states`.
    d_final : array, shape (B, state_size), optional
        The loss's own derivative with respect to states[-1]; added to d_states[-1] where both are given.
    wrt : collection of {"params", "x", "h0", "states"}
        The gradients wanted. Leave out "x" to save T B m numbers.

    Returns
    -------
    Gradients
        `.params`, `.x`, `.h0`, and `.states` where asked for.

    Raises
    ------
    TypeError, ValueError
        If `tape` is no tape, neither cotangent is given, `wrt` has an unknown name, or a cotangent has a wrong shape,
        dtype or device, or holds NaN or infinity.

    Notes
    -----
    Costs three times the flops of `forward`, four times with checkpoints.

    complex128 is taken as the analytic continuation: nothing is conjugated, so that a complex step through `backward`
    gives second derivatives.
    """
    if not isinstance(tape, Tape):
        raise TypeError(f"tape must be the tape that forward returned, got {type(tape).__name__}")
    unknown = set(wrt) - set(GRADIENTS)
    if isinstance(wrt, str) or unknown:
        raise ValueError(f"wrt must be a collection of {', '.join(map(repr, GRADIENTS))}, got {wrt!r}")
    g, direct = _check_cotangents(tape, d_states, d_final)
    dparams = {name: zeros(shape, like=g) for name, shape in tape.cell.parameter_shapes.items()}
    dx = empty(tape.x.shape, like=g) if "x" in wrt else None
    all_g = empty((tape.n_steps + 1, *g.shape), like=g) if "states" in wrt else None
    if all_g is not None:
        all_g[-1, ...] = g
    for start, states in tape.segments_reversed():
        for t in reversed(range(start, start + states.shape[0] - 1)):
            dparams_t, dx_t, g = tape.retreat(t, states[t - start, ...], g)
            if direct is not None:
                g = g + direct[t, ...]
            for name, value in dparams_t.items():
                dparams[name] += value  # (B27)
            if dx is not None:
                dx[t, ...] = dx_t
            if all_g is not None:
                all_g[t, ...] = g
    return Gradients(dparams if "params" in wrt else None, dx, g if "h0" in wrt else None, all_g)


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}, got {engine!r}")


def _check_sequence(
    cell: Cell, params: Params, x: Array, h0: Array | None, lengths: Any
) -> tuple[Array, Array, Array | None]:
    """Check the arguments of `forward`; return x without padding, the first state, and the mask of active steps."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a numrnn cell, got {type(cell).__name__}")
    arrays = cell.check_params(params)
    check_array("x", x, ("T", "B", "m"), m=cell.input_size)
    arrays["x"] = x
    n_steps, batch = x.shape[0], x.shape[1]
    if h0 is not None:
        check_array("h0", h0, ("B", "n"), B=batch, n=cell.state_size)
        check_finite("h0", h0)
        arrays["h0"] = h0
    check_same_kind(arrays)
    active = None
    if lengths is not None:
        active = _active_steps(lengths, n_steps, batch, x)
        x = array_namespace(x).where(active, x, 0)
    check_finite("x", x)
    dtype = array_namespace(x).result_type(*arrays.values())
    h = zeros((batch, cell.state_size), like=x, dtype=dtype)
    if h0 is not None:
        h[...] = h0
    return x, h, active


def _active_steps(lengths: Any, n_steps: int, batch: int, x: Array) -> Array:
    """Return the mask (T, B, 1) that is True where a row's sequence has not ended."""
    host = to_numpy(lengths) if is_array(lengths) else np.asarray(lengths)
    if host.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, got dtype {host.dtype}")
    if host.shape != (batch,):
        raise ValueError(f"lengths must be (B={batch},), got {host.shape}")
    if host.min() < 1 or host.max() > n_steps:
        raise ValueError(f"lengths must be from 1 to T={n_steps}, got values from {host.min()} to {host.max()}")
    return asarray(np.arange(n_steps)[:, None, None] < host[None, :, None], like=x)


def _resolve_checkpoints(checkpoint_every: int | str | None, n_steps: int) -> int | None:
    if checkpoint_every is None:
        return None
    if isinstance(checkpoint_every, str):
        if checkpoint_every != "sqrt":
            raise ValueError(f"checkpoint_every must be an integer >= 1, 'sqrt' or None, got {checkpoint_every!r}")
        return math.isqrt(n_steps - 1) + 1  # the ceiling of the square root
    return check_integer("checkpoint_every", checkpoint_every, at_least=1)


def _check_cotangents(tape: Tape, d_states: Array | None, d_final: Array | None) -> tuple[Array, Array | None]:
    """Return g_T, an array of its own, and the loss's own derivatives with respect to the states."""
    if d_states is None and d_final is None:
        raise ValueError("give d_states, d_final or both: without a cotangent there is nothing to propagate")
    arrays = {"x": tape.x}
    sizes = {"B": tape.batch_size, "n": tape.cell.state_size}
    if d_states is not None:
        check_array("d_states", d_states, ("T+1", "B", "n"), **sizes, **{"T+1": tape.n_steps + 1})
        check_finite("d_states", d_states)
        arrays["d_states"] = d_states
    if d_final is not None:
        check_array("d_final", d_final, ("B", "n"), **sizes)
        check_finite("d_final", d_final)
        arrays["d_final"] = d_final
    check_same_kind(arrays)
    dtype = array_namespace(tape.x).result_type(*arrays.values(), tape.dtype)
    g: Array = zeros((tape.batch_size, tape.cell.state_size), like=tape.x, dtype=dtype)
    if d_states is not None:
        g = g + d_states[-1, ...]
    if d_final is not None:
        g = g + d_final
    return g, d_states
