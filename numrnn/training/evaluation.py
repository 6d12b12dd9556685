"""Loss and accuracy of a model on rows of labelled images, batch by batch."""

from __future__ import annotations

import numpy as np

from numrnn.backend import Array, array_namespace, astype, empty, to_numpy
from numrnn.training.batches import Batches
from numrnn.training.losses import correct_rows, softmax_cross_entropy
from numrnn.training.model import Classifier
from numrnn.training.results import Evaluation
from numrnn.typing import Engine


def evaluate_rows(
    model: Classifier,
    params: dict[str, Array],
    batches: Batches,
    rows: np.ndarray,
    rng: np.random.Generator,
    *,
    size: int,
    engine: Engine,
) -> Evaluation:
    """Return loss, accuracy and predictions on the images of numbers `rows`, with one wait for a GPU, at the end.

    Parameters
    ----------
    model : Classifier
    params : dict of str to array
        Parameters of the model.
    batches : callable
        From `batches_of`.
    rows : numpy.ndarray, shape (N,)
        int64; N >= 1.
    rng : numpy.random.Generator
        For the noise of an encoder that draws some.
    size : int
        Images a batch, >= 1. Sums over a batch are taken in its dtype, those over batches in float64.
    engine : {"auto", "reference", "fused"}
        As for `forward`.
    """
    like = params["W_out"]
    xp, starts = array_namespace(like), range(0, len(rows), size)
    sums = empty((len(starts), 2), like=like, dtype=xp.float64)  # loss and correct predictions of each batch
    predictions = empty((len(rows),), like=like, dtype=xp.int64)
    for index, first in enumerate(starts):
        x, y = batches(rows[first : first + size], rng)
        logits = model.logits(params, x, engine=engine)
        sums[index, 0] = astype(softmax_cross_entropy(logits, y)[0], xp.float64)
        sums[index, 1] = astype(correct_rows(logits, y), xp.float64)
        predictions[first : first + size] = astype(xp.argmax(logits, axis=1), xp.int64)
    loss, correct = 0.0, 0
    for first, (batch_loss, batch_correct) in zip(starts, to_numpy(sums).tolist(), strict=True):
        loss += batch_loss * min(size, len(rows) - first)
        correct += int(batch_correct)
    return Evaluation(loss / len(rows), correct / len(rows), to_numpy(predictions))
