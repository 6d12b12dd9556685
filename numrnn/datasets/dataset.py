"""What the loaders return: labelled images, and labelled sequences of different lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, split into a training and a test set as their authors did.

    The arrays that the loaders return are read-only: two experiments in one process may share them.

    Parameters
    ----------
    train_images, test_images : numpy.ndarray
        (N, ...) uint8: (N, 28, 28) for MNIST, (N, 3, 32, 32) for CIFAR-10.
    train_labels, test_labels : numpy.ndarray
        (N,) uint8, in 0 .. n_classes - 1.
    class_names : tuple of str
        The name of each label, in order.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image, as the encoders take it."""
        return self.train_images.shape[1:]


@dataclass(frozen=True, eq=False)
class LabelledSequences:
    """Sequences of different lengths, each with a label.

    The arrays that the loaders return are read-only.

    Parameters
    ----------
    padded : numpy.ndarray
        (N, T, m) float32, one sequence after the other, T the largest length; zero after a sequence's end. Time comes
        second here: a batch for `numrnn.forward` is `padded[rows].swapaxes(0, 1)`, with `lengths=lengths[rows]`.
    lengths : numpy.ndarray
        (N,) int64, 1 <= lengths <= T.
    y : numpy.ndarray
        (N,) int64, labels in 0 .. n_classes - 1.
    """

    padded: np.ndarray
    lengths: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def x(self) -> list[np.ndarray]:
        """The sequences without padding, (T_i, m) float32 each: views of `padded`."""
        return [rows[:length] for rows, length in zip(self.padded, self.lengths, strict=True)]


@dataclass(frozen=True, eq=False)
class SequenceSplit:
    """Labelled sequences, split into a training and a test set as their authors did.

    Parameters
    ----------
    train, test : LabelledSequences
        The two sets.
    class_names : tuple of str
        The name of each label, in order.
    """

    train: LabelledSequences
    test: LabelledSequences
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def input_size(self) -> int:
        """m, the number of features of a step."""
        return self.train.padded.shape[2]
