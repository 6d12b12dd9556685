"""Arguments and results of the time loops, whichever engine runs them: checks, tapes, gradients.

An engine takes a `Problem`, whose arguments are checked already, and returns a `Tape`; `backward` checks the cotangents
and hands them to the tape. So every engine meets bad input with the same errors, before any work.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, array_namespace, asarray, empty, is_array, to_numpy, zeros
from numrnn.cells.base import Cell
from numrnn.checks import check_array, check_finite, check_integer, check_same_kind
from numrnn.subnormals import flush_subnormals

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


@dataclass(frozen=True, eq=False)
class Problem:
    """A forward pass to run, its arguments checked.

    Attributes
    ----------
    cell : Cell
    params : mapping of str to array
    x : array, shape (T, B, m)
        Zero after a row's length.
    h0 : array, shape (B, state_size)
        Of the dtype that the states will have.
    active : array of bool, shape (T, B, 1), or None
        Where a row's sequence has not ended; None where every row has T steps.
    every : int or None
        Keep every k-th state only.
    """

    cell: Cell
    params: Params
    x: Array
    h0: Array
    active: Array | None
    every: int | None

    @property
    def n_steps(self) -> int:
        """T."""
        return self.x.shape[0]


class Tape(ABC):
    """What a forward pass keeps for `backward`: the problem, and all states or every k-th.

    The arrays are held, not copied: do not write into params, x or states between forward and backward.

    Parameters
    ----------
    problem : Problem
        What was run.
    every : int
        Steps in a segment: states are kept at the multiples of it; T where all are kept.
    """

    def __init__(self, problem: Problem, every: int) -> None:
        self.problem, self.every = problem, every
        self._states: Any = None  # all of them, where they are kept
        self._recomputed: tuple[int, Array] | None = None  # the last segment that was looked at, by its first step

    @property
    def states(self) -> Any:
        """h_0, ..., h_T, (T + 1, B, state_size): an array, or a CheckpointedStates where not all are kept."""
        # Made at each call: kept, it and the tape would hold each other, and all that they hold would wait for the
        # garbage collector, which counts objects and not their bytes.
        return CheckpointedStates(self) if self._states is None else self._states

    @property
    @abstractmethod
    def final_state(self) -> Array:
        """h_T, (B, state_size)."""

    def recomputed(self, start: int) -> Array:
        """Return `segment(start)`, without work if the last call was for the same one."""
        if self._recomputed is None or self._recomputed[0] != start:
            with flush_subnormals():
                self._recomputed = start, self.segment(start)
        return self._recomputed[1]

    @abstractmethod
    def segment(self, start: int) -> Array:
        """Return h_start, ..., h_end, (end - start + 1, B, state_size), from one multiple of `every` to the next."""

    @abstractmethod
    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients, from dL/dh_T and the loss's own derivatives (T + 1, B, state_size) of all states.

        `g` is the tape's to write into, and has direct[T] in it already.
        """

    def starts(self) -> range:
        """Return the first steps of all segments."""
        return range(0, self.problem.n_steps, self.every)


class CheckpointedStates(Sequence[Array]):
    """The states of a checkpointed forward pass: a read-only sequence that recomputes what was not kept.

    `states[-1]` costs nothing, `states[t]` costs a segment unless the last call was for the same one; iterating costs
    one forward pass; `numpy.asarray(states)` recomputes and stores all.

    Attributes
    ----------
    shape : tuple of int
        (T + 1, B, state_size).
    dtype : dtype
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.shape = (tape.problem.n_steps + 1, *tape.problem.h0.shape)
        self.dtype = tape.problem.h0.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple) and index[1:] == (...,):  # states[t, ...] is how the array-API standard says it
            index = index[0]
        if isinstance(index, slice):
            wanted = range(*index.indices(len(self)))
            out = empty((len(wanted), *self.shape[1:]), like=self._tape.problem.h0)
            for position, t in enumerate(wanted):
                out[position, ...] = self[t]
            return out
        t = range(len(self))[index]  # raises IndexError, and counts from the end
        if t == self._tape.problem.n_steps:
            return self._tape.final_state
        start = t - t % self._tape.every
        return self._tape.recomputed(start)[t - start, ...]

    def __iter__(self) -> Iterator[Array]:
        return (self[t] for t in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("checkpointed states are recomputed: copy=False cannot be met")
        return np.asarray(np.stack([to_numpy(h) for h in self]), dtype=dtype)


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
    g, direct = _check_cotangents(tape.problem, d_states, d_final)
    with flush_subnormals():
        return tape.propagate(g, direct, wrt)


def check_problem(
    cell: Cell, params: Params, x: Array, h0: Array | None, lengths: Any, checkpoint_every: int | str | None
) -> Problem:
    """Return the arguments of a forward pass as a `Problem`; parameters and errors as for `numrnn.forward`."""
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
    h = zeros((batch, cell.state_size), like=x, dtype=array_namespace(x).result_type(*arrays.values()))
    if h0 is not None:
        h[...] = h0
    return Problem(cell, params, x, h, active, _resolve_checkpoints(checkpoint_every, n_steps))


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


def _check_cotangents(problem: Problem, d_states: Array | None, d_final: Array | None) -> tuple[Array, Array | None]:
    """Return g_T, an array of its own, and the loss's own derivatives with respect to the states."""
    if d_states is None and d_final is None:
        raise ValueError("give d_states, d_final or both: without a cotangent there is nothing to propagate")
    arrays = {"x": problem.x}
    sizes = {"B": problem.x.shape[1], "n": problem.cell.state_size}
    if d_states is not None:
        check_array("d_states", d_states, ("T+1", "B", "n"), **sizes, **{"T+1": problem.n_steps + 1})
        check_finite("d_states", d_states)
        arrays["d_states"] = d_states
    if d_final is not None:
        check_array("d_final", d_final, ("B", "n"), **sizes)
        check_finite("d_final", d_final)
        arrays["d_final"] = d_final
    check_same_kind(arrays)
    dtype = array_namespace(problem.x).result_type(*arrays.values(), problem.h0.dtype)
    g: Array = zeros(problem.h0.shape, like=problem.x, dtype=dtype)
    if d_states is not None:
        g = g + d_states[-1, ...]
    if d_final is not None:
        g = g + d_final
    return g, d_states
