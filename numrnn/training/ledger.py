"""Per-update statistics, buffered on the device until read.

On a GPU, reading a number synchronises with the device, whose queue is then empty. So an update writes
its loss, its correct predictions and its gradient's norm into a small array on the device, and, for every quantity that
must stay finite, the first update after which it was not. The host reads that array once for up to WAIT_EVERY updates.
On the CPU, where reading is free, it does so after each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numrnn.backend import (
    Array,
    array_namespace,
    asarray,
    astype,
    empty,
    is_array,
    on_their_device,
    to_numpy,
    zeros,
)
from numrnn.checks import dtype_name
from numrnn.kernels import Kernel, has_kernel
from numrnn.training.config import walk

WAIT_EVERY = 50  # updates between two readings on a GPU
LOSS, NORM = "loss", "the gradient's norm"
NUMBERS = 3  # per update: loss, correct predictions, norm


@dataclass(frozen=True)
class Update:
    """Statistics of one update.

    Attributes
    ----------
    step : int
        Its number, from 1.
    images, correct : int
        Targets that count in its batch, one per image or sequence or one per step, and how many were predicted
        correctly; None for a regressor.
    loss, norm : float
        Mean loss of the batch, and the gradient's norm before clipping.
    """

    step: int
    images: int
    correct: int | None
    loss: float
    norm: float


# `Ledger.note` as kernels: the three numbers of an update, and whether two of them are finite.
RECORD = Kernel(
    name="record",
    inputs="T loss, int64 correct, float64 norm, float64 step, int64 row, int64 bad",
    outputs="raw float64 ledger",
    operation="""
        ledger[row] = loss;
        ledger[row + 1] = correct;
        ledger[row + 2] = norm;
        if (!isfinite(double(loss)) && step < ledger[bad]) ledger[bad] = step;
        if (!isfinite(norm) && step < ledger[bad + 1]) ledger[bad + 1] = step;
    """,
)


@functools.cache
def not_finite(count: int) -> Kernel:
    """Return the kernel that records for `count` arrays of one shape, each in its own place, that it is not finite.

    All threads that write to a place write the same number.
    """
    places = range(count)
    return Kernel(
        name=f"not_finite_{count}",
        inputs=", ".join([*(f"T a{k}" for k in places), "float64 step", *(f"int64 bad{k}" for k in places)]),
        outputs="raw float64 ledger",
        operation="".join(f"if (!isfinite(a{k}) && step < ledger[bad{k}]) ledger[bad{k}] = step;\n" for k in places),
    )


class Ledger:
    """Records statistics of updates, and reads them with one synchronisation.

    Parameters
    ----------
    params : mapping of str to array
        The parameters, whose device is the ledger's.
    optimizer : mapping
        The optimiser's state.
    """

    @on_their_device
    def __init__(self, params: Mapping[str, Array], optimizer: Mapping[str, Any]) -> None:
        like = next(iter(params.values()))
        self.every = 1 if array_namespace(like).__name__ == "numpy" else WAIT_EVERY
        watched = _must_be_finite(params, optimizer)
        self._quantities = [LOSS, NORM, *watched]
        self._alike: dict[Any, list[str]] = {}  # names of the watched arrays, by shape and dtype: one launch each
        for name, array in watched.items():
            self._alike.setdefault((tuple(array.shape), dtype_name(array)), []).append(name)
        self._first_bad = NUMBERS * self.every
        # By name: the order of a state from a checkpoint may differ from that after an update.
        self._place = {name: place for place, name in enumerate(self._quantities, start=self._first_bad)}
        xp = array_namespace(like)
        self._array = empty((self._first_bad + len(self._quantities),), like=like, dtype=xp.float64)
        self._array[...] = math.inf
        self._noted: list[tuple[int, int, bool]] = []  # step, images, and whether predictions are right or wrong

    @property
    def full(self) -> bool:
        """Whether it must be read before the next `note`."""
        return len(self._noted) == self.every

    @property
    def row(self) -> int:
        """The place of the next update's numbers."""
        return NUMBERS * len(self._noted)

    def note(
        self,
        step: int,
        images: int,
        loss: Array,
        correct: Array | None,
        norm: Array,
        params: Mapping[str, Array],
        optimizer: Mapping[str, Any],
    ) -> None:
        """Record an update without synchronising: its three numbers, and which arrays are not finite."""
        self.write(self.row, step, loss, correct, norm, params, optimizer)
        self.count(step, images, scored=correct is not None)

    def count(self, step: int, images: int, *, scored: bool) -> None:
        """Count an update whose numbers are written, or will be on the device before the ledger is read."""
        self._noted.append((step, images, scored))

    @on_their_device
    def write(
        self,
        row: Any,
        step: Any,
        loss: Array,
        correct: Array | None,
        norm: Array,
        params: Mapping[str, Array],
        optimizer: Mapping[str, Any],
    ) -> None:
        """Write an update's numbers; for kernels `row` and `step` may be arrays of shape (), int64 and float64."""
        arrays = _must_be_finite(params, optimizer)
        bad, ledger = self._first_bad, self._array
        if correct is None:
            correct = zeros((), like=ledger, dtype=array_namespace(ledger).int64)
        if has_kernel(loss):
            RECORD(loss, correct, norm, step, row, bad, ledger, like=ledger)
            for names in self._alike.values():
                places = (self._place[name] for name in names)
                not_finite(len(names))(*(arrays[name] for name in names), step, *places, ledger, like=ledger)
            return
        xp = array_namespace(ledger)
        for index, number in enumerate((loss, correct, norm), start=row):
            ledger[index] = astype(number, xp.float64)
        now = asarray(float(step), like=ledger, dtype=xp.float64)
        for name, array in {LOSS: loss, NORM: norm, **arrays}.items():
            index = self._place[name]
            finite = xp.all(xp.isfinite(array))
            ledger[index] = xp.where(finite, ledger[index], xp.minimum(ledger[index], now))

    def read(self) -> tuple[list[Update], tuple[int, str] | None]:
        """Return the updates since the last reading, up to the first failure, and the step and quantity of the failure.

        Synchronises once, and only if there is something to read.
        """
        noted, self._noted = self._noted, []
        if not noted:
            return [], None
        numbers = to_numpy(self._array).tolist()
        first_bad = numbers[self._first_bad :]
        failed = min(first_bad)
        updates = [
            Update(step, images, int(numbers[row + 1]) if scored else None, numbers[row], numbers[row + 2])
            for row, (step, images, scored) in zip(range(0, self._first_bad, NUMBERS), noted, strict=False)
            if step < failed
        ]
        failure = None if failed == math.inf else (int(failed), self._quantities[first_bad.index(failed)])
        return updates, failure


def _must_be_finite(params: Mapping[str, Array], optimizer: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays after an update, by the names used in errors."""
    leaves = walk({"parameter": params, "optimizer": optimizer})
    return {name.replace(".", " ", 1): value for name, value in leaves if is_array(value)}


@dataclass
class Interval:
    """Sums over the updates since the last line of metrics."""

    updates: int = 0
    images: int = 0
    correct: int = 0
    loss: float = 0.0
    norm: float = 0.0
    largest_norm: float = 0.0

    def add(self, update: Update) -> dict[str, float]:
        """Add an update; return the values for the progress bar."""
        self.updates += 1
        self.images += update.images
        self.correct += update.correct or 0
        self.loss += update.loss * update.images
        self.norm += update.norm
        self.largest_norm = max(self.largest_norm, update.norm)
        accuracy = {} if update.correct is None else {"accuracy": self.correct / self.images}
        return {"loss": update.loss, **accuracy, "gradient norm": update.norm}

    def means(self, scored: bool = True) -> dict[str, float]:
        """Return the values of a line of metrics for these updates; `scored` if predictions are right or wrong."""
        accuracy = {"accuracy": self.correct / self.images} if scored else {}
        return {
            "loss": self.loss / self.images,
            **accuracy,
            "gradient_norm": self.norm / self.updates,
            "largest_gradient_norm": self.largest_norm,
        }
