"""A small part of MNIST in the package, so that a demonstration needs no network.

The first 500 training images and the first 100 test images of every class, in the order of MNIST itself: 5,000 + 1,000
real images. embedded/README.md gives their licence and how the file was made.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from numrnn.datasets.dataset import Dataset
from numrnn.datasets.mnist import CLASS_NAMES

__all__ = ["load_embedded_mnist"]

TRAIN_PER_CLASS = 500
TEST_PER_CLASS = 100
FILENAME = "mnist-subset.npz"


def load_embedded_mnist() -> Dataset:
    """Load the embedded part of MNIST.

    Returns
    -------
    Dataset
        Images (5000, 28, 28) and (1000, 28, 28), labels (5000,) and (1000,), uint8, read-only, 5 MB; the same number
        of images per class.

    Notes
    -----
    Accuracies on its 1,000 test images have a standard error of up to 1.6 percentage points, and are not comparable
    with those on the 10,000 of MNIST.
    """
    file = resources.files("numrnn.datasets").joinpath("embedded", FILENAME)
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for array in arrays.values():
        array.flags.writeable = False
    return Dataset(**arrays, class_names=CLASS_NAMES)
