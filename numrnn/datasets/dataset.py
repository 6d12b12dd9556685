"""What the loaders return: labelled images, and labelled sequences of different lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numrnn.datasets.collection import Sequences

__all__ = ["Dataset", "SequenceSplit"]


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
class SequenceSplit:
    """Labelled sequences, split into a training and a test set as their authors did.

    Parameters
    ----------
    train, test : Sequences
        The two sets.
    class_names : tuple of str
        The name of each label, in order.
    """

    train: Sequences
    test: Sequences
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def input_size(self) -> int:
        """m, the number of features of a step."""
        return self.train.n_features
