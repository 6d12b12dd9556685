"""Sources of batches: images with an encoder, or your own sequences; batches are on the parameters' device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from numrnn.backend import Array, array_namespace, asarray, astype, on_device_of
from numrnn.checks import check_plain
from numrnn.datasets.collection import Sequences
from numrnn.kernels import has_kernel
from numrnn.training.optim import describe
from numrnn.training.protocol import Lengths, Model

__all__ = [
    "Batches",
    "DeviceBatch",
    "Encoder",
    "Images",
    "OwnSequences",
    "Source",
    "batches_of",
    "by_length",
    "check_data",
    "encoder_config",
    "source_of",
]

Encoder = Callable[[np.ndarray, np.random.Generator], Array]


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """A `numrnn.datasets.Batch` on the parameters' device, and the number of its targets that count.

    `y` is never None, and `lengths` may stay on the host.
    """

    x: Array
    y: Array
    lengths: Lengths
    mask: Array | None
    count: int


Batches = Callable[[np.ndarray, np.random.Generator], DeviceBatch]


class Source(Protocol):
    """Data to train on, or to evaluate."""

    lengths: np.ndarray | None  # of the sequences, if known and different

    def __len__(self) -> int:
        """Return the number of sequences."""
        ...

    def batches(self, like: Array) -> Batches:
        """Return a function from row numbers and a generator to a batch beside `like`."""
        ...

    def targets(self, rows: np.ndarray) -> Any:
        """Return the targets of some rows: an array, or a list for targets at every step."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return a description of the data, JSON-serialisable."""
        ...


def source_of(encoder: Encoder | None, data: Any, model: Model) -> Source:
    """Return the source for the arguments `encoder` and `data` of `Trainer`.

    Raises
    ------
    TypeError, ValueError
        If they do not fit each other or the model.
    """
    if isinstance(data, Sequences):
        if encoder is not None:
            raise ValueError("encoder must be None for Sequences: they are sequences already")
        model.check_targets(data.targets, data.n_outputs, data.n_features)
        return OwnSequences(data)
    if not callable(encoder):
        raise TypeError(f"encoder must be callable, or None for Sequences, got {type(encoder).__name__}")
    return Images(encoder, *check_data(data, getattr(model, "n_classes", None)))


class Images:
    """Labelled images, and the encoder that turns them into sequences."""

    lengths: np.ndarray | None = None

    def __init__(self, encoder: Encoder, images: np.ndarray, labels: np.ndarray) -> None:
        self.encoder, self.images, self.labels = encoder, images, labels

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, like: Array) -> Batches:
        """Return a function from row numbers and a generator to a batch beside `like`."""
        return batches_of(self.encoder, self.images, self.labels, like)

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Return the labels of some rows."""
        return self.labels[rows]

    def describe(self) -> dict[str, Any]:
        """Return shape and SHA-256 of the images, and SHA-256 of the labels."""
        return {
            "images_shape": list(self.images.shape),
            "images_sha256": hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest(),
            "labels_sha256": hashlib.sha256(np.ascontiguousarray(self.labels, np.int64).data).hexdigest(),
        }


class OwnSequences:
    """`Sequences`, as a source."""

    def __init__(self, data: Sequences) -> None:
        self.data = data
        self.lengths: np.ndarray | None = data.lengths

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, like: Array) -> Batches:
        """Return a function from row numbers and a generator to a batch beside `like`."""

        def batch(rows: np.ndarray, rng: np.random.Generator) -> DeviceBatch:
            host = self.data.batch(rows)
            x = asarray(host.x, like=like, dtype=like.dtype)
            y: Array = np.zeros(len(rows), np.int64) if host.y is None else host.y
            floating = y.dtype.kind == "f"
            mask = None if host.mask is None else asarray(host.mask, like=like)
            count = len(rows) if host.mask is None else int(host.mask.sum())
            return DeviceBatch(
                x, asarray(y, like=like, dtype=like.dtype if floating else None), host.lengths, mask, count
            )

        return batch

    def targets(self, rows: np.ndarray) -> Any:
        """Return the targets of some rows."""
        y = self.data.y
        if self.data.targets is None or "every" not in self.data.targets:
            return None if y is None else y[rows]
        return [np.asarray(y[row][: self.data.lengths[row]]) for row in rows]

    def describe(self) -> dict[str, Any]:
        """Return number, features, targets and SHA-256 of the sequences."""
        return {
            "sequences": len(self.data),
            "n_features": self.data.n_features,
            "targets": self.data.targets,
            "sha256": self.data.digest(),
        }


def encoder_config(source: Source) -> Any:
    """Return the description of the encoder for `Trainer.describe`; None without encoder."""
    return describe(source.encoder) if isinstance(source, Images) else None


def batches_of(encoder: Encoder, images: np.ndarray, labels: np.ndarray, like: Array) -> Batches:
    """Return a function from row numbers and a generator to a batch, x (T, B, m) and labels (B,), on `like`'s device.

    If `like` is a CuPy array, the images are uint8 and the encoder supports it, the images are copied to the device
    once and batches are made there (see `numrnn.datasets.resident`). Otherwise every batch is encoded on the host and
    copied. Calls do not synchronise with the device.

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

    def __call__(self, rows: np.ndarray, rng: np.random.Generator) -> DeviceBatch:
        like = self._like
        x = asarray(self._encoder(self._images[rows], rng), like=like, dtype=like.dtype)
        return DeviceBatch(x, asarray(self._labels[rows], like=like), None, None, len(rows))


class _Resident:
    def __init__(self, encoder: Any, images: np.ndarray, labels: np.ndarray, like: Array) -> None:
        self._like = like
        self._x_of = encoder.on_device(images, like)
        self._labels = asarray(labels.astype(np.int64), like=like)

    def __call__(self, rows: np.ndarray, rng: np.random.Generator) -> DeviceBatch:
        # Row numbers of a data set are always in range: the device does not check them.
        index = asarray(np.ascontiguousarray(rows, np.int64), like=self._like)
        with on_device_of(index):
            x = self._x_of(index, rng)
            labels = array_namespace(index).take(self._labels, index, axis=0)
            x = x if x.dtype == self._like.dtype else astype(x, self._like.dtype)
        return DeviceBatch(x, labels, None, None, len(rows))


def check_data(data: tuple[np.ndarray, np.ndarray], n_classes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels after checking both; all labels are checked now, not during an epoch."""
    if not isinstance(data, tuple) or len(data) != 2 or not all(isinstance(part, np.ndarray) for part in data):
        raise TypeError("data must be Sequences, or a tuple of two NumPy arrays, images and labels")
    images, labels = data
    for name, array in (("images", images), ("labels", labels)):
        check_plain(name, array)
    if images.dtype.kind not in "biufc":
        raise TypeError(f"images must hold numbers, got dtype {images.dtype}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if images.ndim < 1 or labels.shape != images.shape[:1] or len(images) == 0:
        raise ValueError(f"images must be (N, ...) and labels (N,) with N >= 1, got {images.shape} and {labels.shape}")
    if labels.min() < 0 or (n_classes is not None and labels.max() >= n_classes):
        top = "" if n_classes is None else f" to K - 1 = {n_classes - 1}"
        raise ValueError(f"labels must be from 0{top}, got values from {labels.min()} to {labels.max()}")
    return images, labels


def by_length(order: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of an epoch with similar lengths within a batch, and the batches in random order.

    Rows are sorted within windows of WINDOW batches, so that batches differ between epochs. The last batch of an epoch,
    which may be smaller, stays last.
    """
    rows = np.concatenate(
        [part[np.argsort(lengths[part], kind="stable")] for part in _cut(order, size * WINDOW)],
    )
    batches = _cut(rows, size)
    whole = [batch for batch in batches if len(batch) == size]
    shuffled = [whole[i] for i in rng.permutation(len(whole))]
    return np.concatenate(shuffled + [batch for batch in batches if len(batch) < size])


WINDOW = 50  # batches


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]
