"""Make numrnn/datasets/embedded/mnist-subset.npz, byte for byte, from the full MNIST.

python tools/make_embedded_mnist.py [--root FOLDER] [--output FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from numrnn.datasets.dataset import Dataset
from numrnn.datasets.embedded import FILENAME, TEST_PER_CLASS, TRAIN_PER_CLASS
from numrnn.datasets.mnist import load_mnist

OUTPUT = Path(__file__).parents[1] / "numrnn" / "datasets" / "embedded" / FILENAME


def subset(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the first images of every class with their labels, in the original order."""
    train = _first_of_each_class(dataset.train_labels, TRAIN_PER_CLASS, dataset.n_classes)
    test = _first_of_each_class(dataset.test_labels, TEST_PER_CLASS, dataset.n_classes)
    return {
        "train_images": dataset.train_images[train],
        "train_labels": dataset.train_labels[train],
        "test_images": dataset.test_images[test],
        "test_labels": dataset.test_labels[test],
    }


def _first_of_each_class(labels: np.ndarray, count: int, n_classes: int) -> np.ndarray:
    """Return the ascending indices of the first `count` images of every label."""
    indices = [np.flatnonzero(labels == label)[:count] for label in range(n_classes)]
    if min(map(len, indices)) < count:
        raise ValueError(f"every class must have {count} images or more, got {[len(index) for index in indices]}")
    return np.sort(np.concatenate(indices))


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a compressed .npz file that depends on the arrays only.

    numpy.savez_compressed does not fix the version of the format, the operating system and the level of compression.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # otherwise it names the operating system on which the file was made
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file and print its SHA-256."""
    parser = argparse.ArgumentParser(description="Make the embedded MNIST subset from the full MNIST.")
    parser.add_argument("--root", help="folder of the full MNIST (default: where numrnn.datasets.load_mnist finds it)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    content = npz_bytes(subset(load_mnist(options.root)))
    options.output.write_bytes(content)
    print(f"{options.output}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
