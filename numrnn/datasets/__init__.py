"""Images, speech and synthetic tasks, and how they become sequences.

Loaders keep images as uint8; the encoders turn one batch at a time into sequences (T, B, m), time first.
"""

from numrnn.datasets.cifar10 import load_cifar10, read_cifar10_batch
from numrnn.datasets.collection import Batch, Sequences
from numrnn.datasets.dataset import Dataset, SequenceSplit
from numrnn.datasets.drawn import DrawnSequences
from numrnn.datasets.embedded import load_embedded_mnist
from numrnn.datasets.encoders import Encoder, ImageEncoder, PixelEncoder, RowNoiseEncoder
from numrnn.datasets.mnist import load_mnist, read_idx
from numrnn.datasets.sequences import (
    fixed_noise,
    fixed_permutation,
    pixel_statistics,
    pixels,
    rows_with_noise,
)
from numrnn.datasets.speakers import load_speakers
from numrnn.datasets.standardization import Standardization
from numrnn.datasets.synthetic import adding, copying

__all__ = [
    "Batch",
    "Dataset",
    "DrawnSequences",
    "Encoder",
    "ImageEncoder",
    "PixelEncoder",
    "RowNoiseEncoder",
    "SequenceSplit",
    "Sequences",
    "Standardization",
    "adding",
    "copying",
    "fixed_noise",
    "fixed_permutation",
    "load_cifar10",
    "load_embedded_mnist",
    "load_mnist",
    "load_speakers",
    "pixel_statistics",
    "pixels",
    "read_cifar10_batch",
    "read_idx",
    "rows_with_noise",
]
