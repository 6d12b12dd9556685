"""Sequences of a synthetic task, each drawn from its index when a batch needs it.

A set of 100,000 sequences of 1,000 steps then needs no memory, and it is the same set in every process: the data of a
run do not depend on when it was stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from numrnn.checks import check_callable, check_integer, check_rows
from numrnn.datasets.collection import Batch, Sequences

__all__ = ["DrawnSequences"]

Task = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


class DrawnSequences(Sequences):
    """A set of sequences of one length that a function draws.

    Parameters
    ----------
    task : callable
        task(rng, 1) -> x (T, 1, m) and targets: (1,) or (T, 1), integers, or (1, k) or (T, 1, k), floating point; all
        of one length T, as those of `numrnn.datasets.adding` and `copying`.
    n_sequences : int
        N >= 1.
    seed : int
        >= 0. Sequence number i is drawn by a generator of (seed, i).
    n_outputs : int, optional
        For labels, the number of classes; for numbers, their shape gives it.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range, or labels come without `n_outputs`.

    Notes
    -----
    The method `digest` uses the first and the last sequence, N and the seed to represent the whole.

    Examples
    --------
    >>> import functools
    >>> from numrnn.datasets import adding
    >>> data = DrawnSequences(functools.partial(adding, length=20), 100_000, seed=0)
    >>> data
    DrawnSequences(100000 of 20 steps, 2 features, y: numbers)
    >>> data.batch([3, 99_999]).x.shape
    (20, 2, 2)
    """

    def __init__(self, task: Task, n_sequences: int, *, seed: int, n_outputs: int | None = None) -> None:
        self._task = check_callable("task", task)
        self._seed = check_integer("seed", seed, at_least=0)
        n = check_integer("n_sequences", n_sequences, at_least=1)
        x, y = self._draw(0)
        # One sequence represents all: the class checks it, and determines the kind of targets.
        example = Sequences(x[None], y[None])
        self.n_features, self.targets = example.n_features, example.targets
        self.lengths = np.full(n, len(x), np.int64)
        labels = self.targets is not None and self.targets.startswith("label")
        if labels and n_outputs is None:
            raise ValueError("n_outputs must be the number of classes if the targets are labels, got None")
        self._n_outputs = check_integer("n_outputs", n_outputs, at_least=1) if labels else example.n_outputs

    def _draw(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x (T, m) and the target of one sequence."""
        x, y = self._task(np.random.default_rng([self._seed, row]), 1)
        return x[:, 0], y[0] if len(y) == 1 else y[:, 0]

    def __repr__(self) -> str:
        return super().__repr__().replace("Sequences", type(self).__name__, 1)

    @property
    def y(self) -> Any:
        """The targets, each drawn when its index is requested."""
        return _Targets(self)

    @property
    def n_outputs(self) -> int | None:
        """Number of classes, or of numbers in a target."""
        return self._n_outputs

    def sequence(self, row: int) -> np.ndarray:
        """Return one sequence, (T, m)."""
        return self._draw(range(len(self))[check_rows("row", [row], len(self))[0]])[0]

    def with_x(self, x: list[np.ndarray]) -> Sequences:
        """Return sequences with the same targets, but another x; all of them are then in memory."""
        return Sequences(list(x), [self.y[row] for row in range(len(self))])

    def batch(self, rows: Iterable[int] | np.ndarray) -> Batch:
        """Return some rows, in this order, time first; arguments as for `Sequences`."""
        drawn = [self._draw(int(range(len(self))[row])) for row in check_rows("rows", rows, len(self))]
        x = np.stack([x for x, _ in drawn], axis=1)
        every = self.targets is not None and "every" in self.targets
        y = np.stack([y for _, y in drawn], axis=1 if every else 0)
        return Batch(x, y, None, np.ones(y.shape[:2], np.bool_) if every else None)

    def digest(self) -> str:
        """Return a SHA-256 that two sets share only if number, seed, first and last sequence are the same."""
        total = hashlib.sha256(f"{len(self)} {self._seed}".encode())
        for row in (0, len(self) - 1):
            for part in self._draw(row):
                total.update(np.ascontiguousarray(part).tobytes())
        return total.hexdigest()


class _Targets:
    """Targets by the index of their sequence."""

    def __init__(self, data: DrawnSequences) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, np.ndarray):
            return np.stack([self[one] for one in row])
        # An IndexError after the last one ends iteration.
        return self._data._draw(range(len(self))[check_rows("row", [row], len(self))[0]])[1]
