"""MNIST: 60,000 + 10,000 images of handwritten digits, 28 x 28, in four IDX files.

An IDX file is a header of big-endian bytes, then the values, last index fastest:

    00 00 | type (08: uint8) | rank r | r sizes of 4 bytes each | values

Every byte of the header is checked, and the file must end exactly where the header says. The content of the images is
not checked: other sets in the same format and size (Fashion-MNIST) load as well.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from numrnn.archives import largest_unpacked_size
from numrnn.checks import check_path
from numrnn.datasets.dataset import Dataset
from numrnn.datasets.locate import DataFiles, Download, StrPath, locate

__all__ = ["CLASS_NAMES", "IMAGE_SHAPE", "load_mnist", "read_idx"]

IMAGE_SHAPE = (28, 28)
CLASS_NAMES = tuple("0123456789")

UINT8 = 0x08
LARGEST_RANK = 32  # the limit of arrays in every version of NumPy
GZIP_MAGIC = b"\x1f\x8b"

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

SHA256_AND_BYTES = {
    "train-images-idx3-ubyte.gz": ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
    "train-labels-idx1-ubyte.gz": ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
    "t10k-images-idx3-ubyte.gz": ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
    "t10k-labels-idx1-ubyte.gz": ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
}


def _spellings(split: str, kind: str, rank: int) -> tuple[str, ...]:
    """Return the names in use for one file."""
    dashed, dotted = f"{split}-{kind}-idx{rank}-ubyte", f"{split}-{kind}.idx{rank}-ubyte"
    return f"{dashed}.gz", dashed, f"{dotted}.gz", dotted


FILES = DataFiles(
    title="MNIST",
    folder="mnist",
    names={
        "train_images": _spellings("train", "images", 3),
        "train_labels": _spellings("train", "labels", 1),
        "test_images": _spellings("t10k", "images", 3),
        "test_labels": _spellings("t10k", "labels", 1),
    },
    downloads=tuple(
        Download(name, sha256, tuple(mirror + name for mirror in MIRRORS), size)
        for name, (sha256, size) in SHA256_AND_BYTES.items()
    ),
)


def load_mnist(root: StrPath | None = None, *, download: bool = True) -> Dataset:
    """Load MNIST.

    Parameters
    ----------
    root : path or None
        A folder with the four files, or with a subfolder `mnist` that has them. None searches $NUMRNN_DATA and the
        user's cache (see `numrnn.datasets.locate`).
    download : bool
        Whether to download the files into the cache if they are not found. Ignored if `root` is given.

    Returns
    -------
    Dataset
        Images (60000, 28, 28) and (10000, 28, 28), labels (60000,) and (10000,), uint8, read-only, 55 MB.

    Raises
    ------
    FileNotFoundError
        If the files are not found: the message lists every place and how to get them.
    ValueError
        If a file is not an IDX file of 28 x 28 images or of labels 0 .. 9, is truncated or too long, or if the numbers
        of labels and images differ: the message gives its path, what was expected and what was found.

    Notes
    -----
    The number of images is not checked against 60,000 and 10,000, so smaller sets in the same format load too.
    """
    paths = locate(FILES, root, download=download)
    train_images, train_labels = _read_split(paths["train_images"], paths["train_labels"])
    test_images, test_labels = _read_split(paths["test_images"], paths["test_labels"])
    return Dataset(train_images, train_labels, test_images, test_labels, CLASS_NAMES)


def _read_split(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE or len(images) == 0:
        raise ValueError(f"{images_path}: expected images (N, 28, 28) with N >= 1, got sizes {images.shape}")
    if labels.ndim != 1:
        raise ValueError(f"{labels_path}: expected labels (N,), got sizes {labels.shape}")
    if len(labels) != len(images):
        raise ValueError(
            f"{labels_path}: expected {len(images)} labels, one for each image in {images_path}, got {len(labels)}"
        )
    if labels.max() >= len(CLASS_NAMES):
        first = int(np.argmax(labels >= len(CLASS_NAMES)))
        raise ValueError(f"{labels_path}: expected labels 0 .. 9, got {labels[first]} at index {first}")
    return images, labels


def read_idx(path: StrPath) -> np.ndarray:
    """Read an IDX file of uint8, compressed by gzip or not.

    Compression is detected by the first bytes, not by the name: some programs decompress a download and keep its name.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    numpy.ndarray
        uint8, with the shape in the header, read-only.

    Raises
    ------
    TypeError
        If path is not a path.
    OSError
        If the file cannot be opened.
    ValueError
        If it is not an IDX file of uint8, would unpack to more than 1 GiB and 100 times its size, is shorter or longer
        than its header says, or is corrupt gzip: the message gives the path, what was expected and what was found.
    """
    path = check_path("path", path)
    data = _read_bytes(path)
    rank = data[3] if len(data) >= 4 else 0
    if data[:3] != bytes([0, 0, UINT8]) or not 1 <= rank <= LARGEST_RANK:
        raise ValueError(
            f"{path}: expected an IDX file of uint8, which starts with 00 00 08 and its rank from 1 to "
            f"{LARGEST_RANK}, "
            f"got {data[:4].hex(' ') or 'an empty file'}"
        )
    header = 4 + 4 * rank
    if len(data) < header:
        raise ValueError(f"{path}: expected a header of {header} bytes for rank {rank}, got {len(data)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(data, dtype=">u4", count=rank, offset=4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise ValueError(
            f"{path}: expected {expected} bytes for sizes {shape} (uncompressed), got {len(data)}: "
            f"the file is {'truncated' if len(data) < expected else 'too long'}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(GZIP_MAGIC):
        return data
    most = largest_unpacked_size(len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(most + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got a corrupt one ({error})") from error
    if len(unpacked) > most:
        raise ValueError(f"{path}: expected a file of images or labels, got one that unpacks to more than {most} bytes")
    return unpacked
