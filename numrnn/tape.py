"""Results of the time loops: the tape of a forward pass, its states, and the gradients of a backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.backend import Array, empty, on_device_of, to_numpy
from numrnn.problem import Problem
from numrnn.subnormals import flush_subnormals


@dataclass(frozen=True)
class Gradients:
    """Result of `backward`; a field is None if it was not requested.

    Attributes
    ----------
    params : dict of str to array
        dL/dparams, the names and shapes of the parameters.
    x : array, shape (T, B, m)
        dL/dx; zero after a row's length.
    h0 : array, shape (B, state_size)
        dL/dh_0.
    states : array, shape (T + 1, B, state_size)
        Total derivatives dL/dh_t: direct, and through all later states. After a row's length: with respect to the copy
        of its last state.
    """

    params: dict[str, Array] | None
    x: Array | None
    h0: Array | None
    states: Array | None


class DefaultGradients(Gradients):
    """Result of `backward` with the default `wrt`, for the type checker: params, x and h0 are not None."""

    params: dict[str, Array]
    x: Array
    h0: Array


class ParameterGradients(Gradients):
    """Result of `backward` with wrt=("params",), for the type checker: params is not None."""

    params: dict[str, Array]


class Tape(ABC):
    """What a forward pass keeps for `backward`: the problem, and all states or every k-th.

    Each engine has its own subclass. The arrays are referenced, not copied: do not write into params, x or states
    between forward and backward.

    Parameters
    ----------
    problem : Problem
        The forward pass to run.
    every : int
        Steps per segment: states are kept at its multiples; T if all are kept.
    """

    def __init__(self, problem: Problem, every: int) -> None:
        self.problem, self.every = problem, every
        self._states: Any = None  # all states, if they are kept
        self._recomputed: tuple[int, Array] | None = None  # first step and states of the last segment read

    @abstractmethod
    def run(self) -> None:
        """Run the forward pass, and keep what `propagate` needs."""

    @abstractmethod
    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients, from dL/dh_T and the loss's direct derivatives (T + 1, B, state_size).

        `g` may be overwritten; it already includes direct[T]. Only the reference engine supports a dtype of `g` other
        than that of the states.
        """

    @abstractmethod
    def segment(self, start: int) -> Array:
        """Return h_start, ..., h_end, (end - start + 1, B, state_size), from one multiple of `every` to the next."""

    @property
    @abstractmethod
    def final_state(self) -> Array:
        """h_T, (B, state_size)."""

    @property
    def states(self) -> Any:
        """h_0, ..., h_T, (T + 1, B, state_size): an array, or a CheckpointedStates if not all are kept."""
        # Created on access: storing it would form a reference cycle and keep the arrays alive until garbage collection.
        return CheckpointedStates(self) if self._states is None else self._states

    def recomputed(self, start: int) -> Array:
        """Return `segment(start)`; free if the last call was for the same segment."""
        if self._recomputed is None or self._recomputed[0] != start:
            with on_device_of(self.problem.h0), flush_subnormals():
                self._recomputed = start, self.segment(start)
        return self._recomputed[1]

    def starts(self) -> range:
        """Return the first step of every segment."""
        return range(0, self.problem.n_steps, self.every)


class CheckpointedStates(Sequence[Array]):
    """The states of a forward pass with `recompute_every`: a read-only sequence that recomputes what was not kept.

    `states[-1]` is free; `states[t]` costs one segment, unless the last access was to the same one; iterating costs one
    forward pass; `numpy.asarray(states)` recomputes and stores all.

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
        if isinstance(index, tuple) and index[1:] == (...,):  # states[t, ...] is the array-API standard's form
            index = index[0]
        if isinstance(index, slice):
            wanted = range(*index.indices(len(self)))
            out = empty((len(wanted), *self.shape[1:]), like=self._tape.problem.h0)
            with on_device_of(out):
                for position, t in enumerate(wanted):
                    out[position, ...] = self[t]
            return out
        t = range(len(self))[index]  # raises IndexError, and resolves negative indices
        if t == self._tape.problem.n_steps:
            return self._tape.final_state
        start = t - t % self._tape.every
        return self._tape.recomputed(start)[t - start, ...]

    def __iter__(self) -> Iterator[Array]:
        return (self[t] for t in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("states that are recomputed are copies: copy=False is impossible")
        return np.asarray(np.stack([to_numpy(h) for h in self]), dtype=dtype)
