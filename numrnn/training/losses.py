r"""Loss functions, each with its hand-written gradient, and accuracy.

Softmax cross-entropy of logits z, (B, K), and labels y in 0..K-1, by log-sum-exp:

    s_k = z_k - max_j Re z_j
    loss = mean over the batch of  log(sum_k exp(s_k)) - s_y
    dloss/dz_k = (softmax(z)_k - [k = y]) / B

No exponent is positive, so nothing overflows. The shift is constant along an imaginary direction, so the loss is an
analytic function of complex logits near the real axis, as a complex-step derivative requires.
"""

from __future__ import annotations

from typing import Any

from numrnn.backend import (
    Array,
    array_namespace,
    asarray,
    astype,
    device_of,
    empty,
    on_their_device,
    values_are_trusted,
)
from numrnn.checks import check_array, check_beside, check_finite, check_same_kind, dtype_name
from numrnn.kernels import Kernel, has_kernel

__all__ = ["accuracy", "check_labels", "correct_rows", "mean_squared_error", "softmax_cross_entropy"]

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@on_their_device
def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean cross-entropy of the softmax of `logits`, and its gradient.

    Parameters
    ----------
    logits : array, shape (B, K)
        float32, float64 or complex128; finite. In float32 any value up to 1e38 is safe.
    labels : array, shape (B,)
        Integers from 0 to K - 1, on the device of `logits`.

    Returns
    -------
    loss : array, shape ()
        In nats, with the dtype of `logits`.
    d_logits : array, shape (B, K)
        dloss/dlogits, with the dtype of `logits`.

    Raises
    ------
    TypeError
        If `logits` is not floating point, or `labels` not integer, or the two come from different libraries.
    ValueError
        If a shape does not fit, a label is out of range, a logit is NaN or infinite, or the two are on different
        devices.

    Notes
    -----
    Costs about 6 B K flops and B K exponentials; on a GPU one launch and one sum, and two synchronisations, to
    check that the labels are in range.

    Examples
    --------
    >>> import numpy as np
    >>> loss, d_logits = softmax_cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> round(float(loss), 4), d_logits
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    check_array("logits", logits, ("B", "K"))
    check_labels(labels, logits)
    check_finite("logits", logits)
    xp, batch = array_namespace(logits), logits.shape[0]
    if has_kernel(logits):
        return _cross_entropy_in_one_launch(logits, labels)
    hit = _one_hot(labels, logits)  # (B, K)
    real = xp.real(logits) if dtype_name(logits) == "complex128" else logits
    s = logits - xp.max(real, axis=1, keepdims=True)
    e = xp.exp(s)
    total = xp.sum(e, axis=1, keepdims=True)  # (B, 1)
    loss = (xp.sum(xp.log(total)) - xp.sum(s * hit)) / batch  # (F18)
    d_logits = (e / total - hit) / batch  # (B28)
    return loss, d_logits


# `softmax_cross_entropy` as a kernel: one thread per row of logits z, (B, K).
CROSS_ENTROPY = Kernel(
    name="cross_entropy",
    inputs="int64 y, raw T z, int64 K, T batch",
    outputs="T loss, raw T d",
    operation="""
        const long long first = i * K;
        T peak = z[first];
        for (long long k = 1; k < K; ++k) {
            peak = z[first + k] > peak ? z[first + k] : peak;
        }
        T total = 0;
        for (long long k = 0; k < K; ++k) {
            total += exp(z[first + k] - peak);
        }
        loss = log(total) - (z[first + y] - peak);                            // (F18), this row's share
        for (long long k = 0; k < K; ++k) {
            d[first + k] = (exp(z[first + k] - peak) / total - T(k == y)) / batch;  // (B28)
        }
    """,
)


def _cross_entropy_in_one_launch(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the result of `softmax_cross_entropy`."""
    xp, (batch, n_classes) = array_namespace(logits), logits.shape
    losses, d_logits = empty((batch,), like=logits), empty(logits.shape, like=logits)
    labels, z = astype(labels, xp.int64), xp.ascontiguousarray(logits)
    CROSS_ENTROPY(labels, z, n_classes, batch, losses, d_logits, like=logits)
    return xp.sum(losses) / batch, d_logits


@on_their_device
def mean_squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of (outputs - targets)^2 over batch and columns, and its gradient with respect to `outputs`.

    Parameters
    ----------
    outputs, targets : array, shape (B, K)
        float32, float64 or complex128; finite.

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape (B, K)
        2 (outputs - targets) / (B K).

    Raises
    ------
    TypeError, ValueError
        If a shape, precision or device of one does not fit the other, or a number is NaN or infinite.

    Notes
    -----
    Costs 4 B K flops. The square is a product and not a squared modulus, so the loss is analytic.
    """
    check_array("outputs", outputs, ("B", "K"))
    check_array("targets", targets, ("B", "K"), B=outputs.shape[0], K=outputs.shape[1])
    check_same_kind({"outputs": outputs, "targets": targets})
    check_finite("outputs", outputs)
    check_finite("targets", targets)
    difference = outputs - targets
    size = difference.shape[0] * difference.shape[1]
    loss = array_namespace(outputs).sum(difference * difference) / size
    return loss, difference * (2 / size)


@on_their_device
def accuracy(logits: Array, labels: Array) -> float:
    """Return the fraction of rows whose largest logit is at the label, 0 to 1; of equal logits the first counts.

    Parameters
    ----------
    logits : array, shape (B, K)
        float32 or float64.
    labels : array, shape (B,)
        Integers from 0 to K - 1.

    Raises
    ------
    TypeError, ValueError
        As for `softmax_cross_entropy`.
    """
    check_array("logits", logits, ("B", "K"))
    check_labels(labels, logits)
    check_finite("logits", logits)
    return int(correct_rows(logits, labels)) / logits.shape[0]


# `correct_rows` as a kernel: of equal logits the first counts.
CORRECT = Kernel(
    name="correct",
    inputs="int64 y, raw T z, int64 K",
    outputs="int64 correct",
    operation="""
        long long best = 0;
        for (long long k = 1; k < K; ++k) {
            best = z[i * K + k] > z[i * K + best] ? k : best;
        }
        correct = best == y;
    """,
)


@on_their_device
def correct_rows(logits: Array, labels: Array) -> Array:
    """Return the number of rows whose largest logit is at the label, an int64 of shape ().

    Arguments as for `accuracy`, not checked; does not synchronise with the device.
    """
    xp = array_namespace(logits)
    labels = astype(labels, xp.int64)
    if has_kernel(logits):
        return xp.sum(CORRECT(labels, xp.ascontiguousarray(logits), logits.shape[1], like=logits))
    return xp.sum(astype(xp.argmax(logits, axis=1) == labels, xp.int64))


def check_labels(labels: Array, logits: Array) -> None:
    """Check that `labels` are integers, one per row of `logits`, each the index of a column.

    Raises
    ------
    TypeError
        If they are not integers, or of another library than `logits`.
    ValueError
        If there are too many or too few, one is out of range, or they are on another device.
    """
    xp = check_beside("labels", labels, "logits", logits)
    if dtype_name(labels) not in INTEGERS:
        raise TypeError(f"labels must be integers, got {dtype_name(labels)}")
    batch, n_classes = logits.shape
    if tuple(labels.shape) != (batch,):
        raise ValueError(f"labels must be (B={batch},), got {tuple(labels.shape)}")
    if device_of(labels) != device_of(logits):
        raise ValueError(f"labels must be on {device_of(logits)} as logits are, got {device_of(labels)}")
    if values_are_trusted():
        return
    low, high = int(xp.min(labels)), int(xp.max(labels))
    if low < 0 or high >= n_classes:
        raise ValueError(f"labels must be from 0 to K - 1 = {n_classes - 1}, got {low if low < 0 else high}")


def _one_hot(labels: Array, like: Array) -> Any:
    """Return [k = y] as numbers, (B, K); by comparison, which every array library supports."""
    xp = array_namespace(like)
    classes = asarray(list(range(like.shape[1])), like=like, dtype=xp.int64)
    return astype(astype(labels, xp.int64)[:, None] == classes[None, :], like.dtype)
