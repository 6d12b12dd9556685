"""CIFAR-10: 50,000 + 10,000 colour images of ten classes, 32 x 32, binary version.

A file holds 10,000 records of 3,073 bytes: one label, then 1,024 bytes of red, 1,024 of green and 1,024 of blue, each
plane row by row. The images keep this order, (3, 32, 32), so a sequence of pixels is a transpose of them.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from numrnn.checks import check_path
from numrnn.datasets.dataset import Dataset
from numrnn.datasets.locate import DataFiles, Download, StrPath, locate
from numrnn.files import replacing

__all__ = ["CLASS_NAMES", "IMAGE_SHAPE", "load_cifar10", "read_cifar10_batch"]

IMAGE_SHAPE = (3, 32, 32)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

RECORD_BYTES = 1 + 3 * 32 * 32
RECORDS = 10_000
FILE_BYTES = RECORDS * RECORD_BYTES

TRAIN_NAMES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_NAME = "test_batch.bin"
FOLDER = "cifar-10-batches-bin"  # as in the archive


def load_cifar10(root: StrPath | None = None, *, download: bool = True) -> Dataset:
    """Load CIFAR-10, binary version.

    Parameters
    ----------
    root : path or None
        A folder with data_batch_1.bin .. data_batch_5.bin and test_batch.bin, or with a subfolder
        `cifar-10-batches-bin` that has them. None searches $NUMRNN_DATA and the user's cache (see
        `numrnn.datasets.locate`).
    download : bool
        Whether to download the archive (170 MB) into the cache if the files are not found. Ignored if `root` is given.

    Returns
    -------
    Dataset
        Images (50000, 3, 32, 32) and (10000, 3, 32, 32), planes red, green, blue; labels (50000,) and (10000,);
        uint8, read-only, 184 MB.

    Raises
    ------
    FileNotFoundError
        If the files are not found: the message lists every place and how to get them.
    ValueError
        If a file does not hold exactly 10,000 records of 3,073 bytes, or a label is not in 0 .. 9: the message gives
        its path, what was expected and what was found.
    """
    paths = locate(FILES, root, download=download)
    train_images, train_labels = _read_batches([paths[name] for name in TRAIN_NAMES])
    test_images, test_labels = _read_batches([paths[TEST_NAME]])
    return Dataset(train_images, train_labels, test_images, test_labels, CLASS_NAMES)


def _read_batches(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(paths), RECORDS, *IMAGE_SHAPE), np.uint8)
    labels = np.empty((len(paths), RECORDS), np.uint8)
    for i, path in enumerate(paths):
        images[i], labels[i] = read_cifar10_batch(path)
    images.flags.writeable = labels.flags.writeable = False
    return images.reshape(-1, *IMAGE_SHAPE), labels.reshape(-1)


def read_cifar10_batch(path: StrPath) -> tuple[np.ndarray, np.ndarray]:
    """Read one file of the binary version.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    images : numpy.ndarray
        (10000, 3, 32, 32) uint8, read-only; planes red, green, blue.
    labels : numpy.ndarray
        (10000,) uint8 in 0 .. 9, read-only.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file does not hold exactly 10,000 records of 3,073 bytes, or a label is not in 0 .. 9: the message gives
        the path, what was expected and what was found.
    """
    path = check_path("path", path)
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES + 1)
    if len(data) != FILE_BYTES:
        size = max(len(data), path.stat().st_size)
        raise ValueError(
            f"{path}: expected {FILE_BYTES} bytes, {RECORDS} records of {RECORD_BYTES}, got {size}: "
            f"the file is {'truncated' if size < FILE_BYTES else 'too long'}"
        )
    records = np.frombuffer(data, np.uint8).reshape(RECORDS, RECORD_BYTES)
    labels = records[:, 0]
    if labels.max() >= len(CLASS_NAMES):
        first = int(np.argmax(labels >= len(CLASS_NAMES)))
        raise ValueError(f"{path}: expected labels 0 .. 9, got {labels[first]} in record {first}")
    return records[:, 1:].reshape(RECORDS, *IMAGE_SHAPE), labels


def _unpack(archive: Path) -> None:
    """Extract the files of the archive next to it and remove the archive.

    No name in the archive is used as a path, and each file gets its name only when it is complete.
    """
    missing = {*TRAIN_NAMES, TEST_NAME}
    try:
        _extract(archive, missing)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive}: expected a whole archive, got a damaged one ({error})") from error
    if missing:
        wanted = ", ".join(f"{FOLDER}/{name}" for name in sorted(missing))
        raise ValueError(f"{archive}: expected {wanted} in it, found no such file")
    archive.unlink(missing_ok=True)  # without locks another process may have unpacked it


def _extract(archive: Path, missing: set[str]) -> None:
    """Write the missing files, and remove their names from the set."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            source = tar.extractfile(member) if member.isfile() and folder == FOLDER and name in missing else None
            if source is not None:
                if member.size > FILE_BYTES:
                    raise ValueError(f"{archive}: {member.name} must hold {FILE_BYTES} bytes, got {member.size}")
                with replacing(archive.with_name(name)) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                missing.remove(name)


FILES = DataFiles(
    title="CIFAR-10 (binary version)",
    folder=FOLDER,
    names={name: (name,) for name in (*TRAIN_NAMES, TEST_NAME)},
    downloads=(
        Download(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            (
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
            ),
            170_052_171,
        ),
    ),
    unpack=_unpack,
)
