"""Losses at every step, with their hand-written gradients: means over the steps that count.

    cross-entropy     loss = 1/N  sum over counted (t, b) of  log(sum_k exp(y_tbk)) - y_tb,label
                      dloss/dy_tbk = 1/N  (softmax(y_tb)_k - [k = label])  where (t, b) counts, else 0
    squared error     loss = 1/(N K)  sum over counted (t, b), k of  (y_tbk - target_tbk)^2
                      dloss/dy_tbk = 2/(N K)  (y_tbk - target_tbk)  where (t, b) counts, else 0

N is the number of counted pairs of a step and a row of the batch. The other elements are not read: they may be any
number, even NaN. The losses with one vector per row are in losses.py.
"""

from __future__ import annotations

from numrnn.backend import Array, array_namespace, asarray, astype, device_of, on_their_device, values_are_trusted
from numrnn.checks import check_array, check_beside, check_finite, check_same_kind, dtype_name
from numrnn.training.losses import INTEGERS

__all__ = ["check_mask", "correct_steps", "masked_cross_entropy", "masked_squared_error"]


@on_their_device
def masked_cross_entropy(logits: Array, labels: Array, mask: Array) -> tuple[Array, Array]:
    """Return the mean cross-entropy over the counted steps, and its gradient with respect to `logits`.

    Parameters
    ----------
    logits : array, shape (T, B, K)
        float32, float64 or complex128.
    labels : array, shape (T, B)
        Integers; from 0 to K - 1 where they count.
    mask : array of bool, shape (T, B)
        True where a label counts, for one label at least.

    Returns
    -------
    loss : array, shape ()
        In nats.
    d_logits : array, shape (T, B, K)

    Raises
    ------
    TypeError, ValueError
        If a shape, dtype or device does not fit, a label that counts is out of range, or none counts.

    Notes
    -----
    Costs about 6 T B K flops and T B K exponentials. The loss is analytic in complex logits near the real axis.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.zeros((2, 1, 4)), np.array([[2], [0]])
    >>> loss, d_logits = masked_cross_entropy(logits, labels, np.array([[True], [False]]))
    >>> round(float(loss), 4), d_logits[0, 0].tolist(), bool(d_logits[1].any())
    (1.3863, [0.25, 0.25, -0.75, 0.25], False)
    """
    check_array("logits", logits, ("T", "B", "K"))
    check_mask(mask, logits)
    xp, classes = check_beside("labels", labels, "logits", logits), logits.shape[2]
    if dtype_name(labels) not in INTEGERS:
        raise TypeError(f"labels must be integers, got {dtype_name(labels)}")
    _check_place("labels", labels, logits, tuple(logits.shape[:2]))
    labels = xp.where(mask, astype(labels, xp.int64), 0)
    if not values_are_trusted():
        low, high = int(xp.min(labels)), int(xp.max(labels))
        if low < 0 or high >= classes:
            raise ValueError(f"labels must be from 0 to K - 1 = {classes - 1}, got {low if low < 0 else high}")
    weights, count = _weights(mask, logits)
    numbers = asarray(list(range(classes)), like=logits, dtype=xp.int64)
    hit = astype(labels[:, :, None] == numbers, logits.dtype)  # (T, B, K)
    counted = xp.where(mask[:, :, None], logits, 0)
    check_finite("logits", counted)
    real = xp.real(counted) if dtype_name(logits) == "complex128" else counted
    s = counted - xp.max(real, axis=2, keepdims=True)
    e = xp.exp(s)
    total = xp.sum(e, axis=2, keepdims=True)  # (T, B, 1)
    loss = xp.sum(weights * (xp.log(total) - xp.sum(s * hit, axis=2, keepdims=True))) / count
    return loss, weights * (e / total - hit) / count


@on_their_device
def masked_squared_error(outputs: Array, targets: Array, mask: Array) -> tuple[Array, Array]:
    """Return the mean of (outputs - targets)^2 over the counted steps and columns, and its gradient.

    Parameters
    ----------
    outputs, targets : array, shape (T, B, K)
        float32, float64 or complex128.
    mask : array of bool, shape (T, B)
        True where a target counts, for one target at least.

    Returns
    -------
    loss : array, shape ()
    d_outputs : array, shape (T, B, K)

    Raises
    ------
    TypeError, ValueError
        If a shape, dtype or device does not fit, or no target counts.

    Notes
    -----
    Costs 6 T B K flops.
    """
    check_array("outputs", outputs, ("T", "B", "K"))
    check_mask(mask, outputs)
    T, B, K = outputs.shape
    check_array("targets", targets, ("T", "B", "K"), T=T, B=B, K=K)
    check_same_kind({"outputs": outputs, "targets": targets})
    xp, (_, count) = array_namespace(outputs), _weights(mask, outputs)
    outputs, targets = (xp.where(mask[:, :, None], array, 0) for array in (outputs, targets))
    check_finite("outputs", outputs)
    check_finite("targets", targets)
    difference = outputs - targets
    return xp.sum(difference * difference) / (count * K), difference * (2 / (count * K))


@on_their_device
def correct_steps(logits: Array, labels: Array, mask: Array) -> Array:
    """Return the number of counted steps whose largest logit is at the label, an int64 of shape (); unchecked."""
    xp = array_namespace(logits)
    right = xp.argmax(logits, axis=2) == astype(labels, xp.int64)
    return xp.sum(astype(xp.logical_and(right, mask), xp.int64))


def check_mask(mask: Array, outputs: Array) -> None:
    """Check that `mask` is a bool array (T, B) for `outputs` (T, B, K), on its device, and somewhere True.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    xp = check_beside("mask", mask, "the outputs", outputs)
    if dtype_name(mask) != "bool":
        raise TypeError(f"mask must hold True and False, got dtype {dtype_name(mask)}")
    _check_place("mask", mask, outputs, tuple(outputs.shape[:2]))
    if not values_are_trusted() and not bool(xp.any(mask)):
        raise ValueError("mask must be True somewhere: no target would count")


def _check_place(name: str, array: Array, outputs: Array, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must be (T={shape[0]}, B={shape[1]}), got {tuple(array.shape)}")
    if device_of(array) != device_of(outputs):
        raise ValueError(f"{name} must be on {device_of(outputs)} as the outputs are, got {device_of(array)}")


def _weights(mask: Array, like: Array) -> tuple[Array, Array]:
    """Return the mask as numbers, (T, B, 1), and the number of counted steps, of shape ()."""
    xp = array_namespace(like)
    weights = astype(mask, like.dtype)
    return weights[:, :, None], xp.sum(weights)
