"""Loss, accuracy and predictions of a model on rows of a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, astype, empty, on_their_device, to_numpy
from numrnn.training.batches import Batches
from numrnn.training.protocol import Lengths, Model
from numrnn.training.results import Evaluation
from numrnn.typing import Engine

__all__ = ["evaluate_rows", "outputs_of_rows"]


@on_their_device
def evaluate_rows(
    model: Model,
    params: dict[str, Array],
    batches: Batches,
    rows: np.ndarray,
    rng: np.random.Generator,
    *,
    size: int,
    engine: Engine,
) -> Evaluation:
    """Return loss, accuracy and predictions on the sequences `rows`; synchronises with a GPU only at the end.

    Parameters
    ----------
    model : Model
    params : dict of str to array
        Parameters of the model.
    batches : callable
        From a `Source`.
    rows : numpy.ndarray, shape (N,)
        int64; N >= 1.
    rng : numpy.random.Generator
        For the noise of an encoder that needs it.
    size : int
        Sequences per batch, >= 1. Sums over a batch use its dtype, sums over batches use float64.
    engine : {"auto", "reference", "fused"}
        As for `forward`.
    """
    like = next(iter(params.values()))
    xp, starts = array_namespace(like), range(0, len(rows), size)
    sums = empty((len(starts), 2), like=like, dtype=xp.float64)  # loss and correct predictions of each batch
    counts, parts, scored = [], [], True
    for index, first in enumerate(starts):
        batch = batches(rows[first : first + size], rng)
        outputs = model.outputs(params, batch.x, batch.lengths, engine=engine)
        correct = model.correct(outputs, batch.y, batch.mask)
        scored = correct is not None
        sums[index, 0] = astype(model.loss_of(outputs, batch.y, batch.mask)[0], xp.float64)
        sums[index, 1] = 0.0 if correct is None else astype(correct, xp.float64)
        counts.append(batch.count)
        parts.append((model.predictions(outputs), batch.lengths, outputs.ndim == 3))
    loss, correct_in_all, total = 0.0, 0, sum(counts)
    for (batch_loss, batch_correct), count in zip(to_numpy(sums).tolist(), counts, strict=True):
        loss += batch_loss * count
        correct_in_all += int(batch_correct)
    accuracy = correct_in_all / total if scored else None
    return Evaluation(loss / total, accuracy, _joined(parts))


@on_their_device
def outputs_of_rows(
    model: Model,
    params: dict[str, Array],
    batches: Batches,
    rows: np.ndarray,
    rng: np.random.Generator,
    take: Callable[[Array], Array],
    *,
    size: int,
    engine: Engine,
) -> Any:
    """Return `take(outputs)` for the sequences `rows`, in the form of `Evaluation.predictions`.

    The other arguments are those of `evaluate_rows`.
    """
    found = []
    for first in range(0, len(rows), size):
        batch = batches(rows[first : first + size], rng)
        outputs = model.outputs(params, batch.x, batch.lengths, engine=engine)
        found.append((take(outputs), batch.lengths, outputs.ndim == 3))
    return _joined(found)


def _joined(parts: list[tuple[Array, Lengths, bool]]) -> Any:
    """Return values (B, ...) of all batches as one array on the host, and values at every step, (T, B, ...), as a list.

    The list has one array (T_i, ...) per sequence.
    """
    if not parts[0][2]:
        first = parts[0][0]
        return to_numpy(first if len(parts) == 1 else array_namespace(first).concatenate([part for part, *_ in parts]))
    rows = []
    for part, lengths, _ in parts:
        values = to_numpy(part)
        ends = np.full(values.shape[1], len(values)) if lengths is None else lengths
        rows += [values[:end, row] for row, end in enumerate(ends)]
    return rows
