"""Where batches come from: encoded on the host and copied, or made on the GPU from images that lie there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, asarray, astype
from numrnn.kernels import has_kernel

Encoder = Callable[[np.ndarray, np.random.Generator], Array]
Batches = Callable[[np.ndarray, np.random.Generator], tuple[Array, Array]]


def batches_of(encoder: Encoder, images: np.ndarray, labels: np.ndarray, like: Array) -> Batches:
    """Return a function from row numbers and a generator to x (T, B, m) and labels (B,), both beside `like`.

    Where `like` is a CuPy array, the images are uint8 and the encoder can, the images are copied to the device once and
    the batches made there (see `numrnn.datasets.resident`); otherwise every batch is encoded on the host and copied. No
    call waits for the device.

    Parameters
    ----------
    encoder : callable
        As for `Trainer`.
    images, labels : numpy.ndarray
        (N, ...) and (N,), checked.
    like : array
        A parameter: its dtype and device are those of x.
    """
    if has_kernel(like) and images.dtype == np.uint8 and hasattr(encoder, "on_device"):
        return _Resident(encoder, images, labels, like)
    return _Encoded(encoder, images, labels, like)


class _Encoded:
    def __init__(self, encoder: Encoder, images: np.ndarray, labels: np.ndarray, like: Array) -> None:
        self._encoder, self._images, self._labels, self._like = encoder, images, labels, like

    def __call__(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Array, Array]:
        like = self._like
        x = asarray(self._encoder(self._images[rows], rng), like=like, dtype=like.dtype)
        return x, asarray(self._labels[rows], like=like)


class _Resident:
    def __init__(self, encoder: Any, images: np.ndarray, labels: np.ndarray, like: Array) -> None:
        self._like = like
        self._x_of = encoder.on_device(images, like)
        self._labels = asarray(labels.astype(np.int64), like=like)

    def __call__(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Array, Array]:
        # Row numbers of a data set, always in range: nothing on the device checks them.
        index = asarray(np.ascontiguousarray(rows, np.int64), like=self._like)
        x = self._x_of(index, rng)
        labels = array_namespace(index).take(self._labels, index, axis=0)
        return (x if x.dtype == self._like.dtype else astype(x, self._like.dtype)), labels


def check_data(data: tuple[np.ndarray, np.ndarray], n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels after a check of both; all labels are looked at now, not in the middle of an epoch."""
    if not isinstance(data, tuple) or len(data) != 2 or not all(isinstance(part, np.ndarray) for part in data):
        raise TypeError("data must be a tuple of two NumPy arrays, images and labels")
    images, labels = data
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if images.ndim < 1 or labels.shape != images.shape[:1] or len(images) == 0:
        raise ValueError(f"images must be (N, ...) and labels (N,) with N >= 1, got {images.shape} and {labels.shape}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels must be from 0 to K - 1 = {n_classes - 1}, got values from {labels.min()} to {labels.max()}"
        )
    return images, labels
