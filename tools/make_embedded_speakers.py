"""Make numrnn/datasets/embedded/japanese-vowels.npz, byte for byte, from the files of the UEA archive.

python -m tools.make_embedded_speakers FOLDER [--output FILE]

FOLDER holds JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts; the PyPI package aeon contains them in
aeon/datasets/data/JapaneseVowels. A line of them is an utterance: its twelve coefficients separated by colons, each the
values of all frames separated by commas, and the number of the speaker.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from numrnn.datasets.speakers import CLASS_NAMES, FILENAME
from tools.make_embedded_mnist import npz_bytes

OUTPUT = Path(__file__).parents[1] / "numrnn" / "datasets" / "embedded" / FILENAME
FEATURES = 12


def read(lines: Iterable[str], part: str) -> dict[str, np.ndarray]:
    """Return the arrays of one file: all frames concatenated, the lengths, and the labels from 0."""
    sequences, labels = [], []
    for line in lines:
        if not line.strip() or line.startswith(("#", "@")):
            continue
        *coefficients, label = line.strip().split(":")
        values = [[float(value) for value in text.split(",")] for text in coefficients]
        if len(values) != FEATURES or len(set(map(len, values))) != 1 or not np.isfinite(values).all():
            raise ValueError(f"an utterance must have {FEATURES} coefficients of one length and no gaps, got {line!r}")
        if not 1 <= int(label) <= len(CLASS_NAMES):
            raise ValueError(f"a speaker must be from 1 to {len(CLASS_NAMES)}, got {label!r}")
        sequences.append(np.array(values).T.astype(np.float32))
        labels.append(int(label) - 1)
    return {
        f"{part}_frames": np.concatenate(sequences),
        f"{part}_lengths": np.array([len(sequence) for sequence in sequences], np.uint8),
        f"{part}_labels": np.array(labels, np.uint8),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file and print its SHA-256."""
    parser = argparse.ArgumentParser(description="Make the embedded Japanese Vowels from the files of the UEA archive.")
    parser.add_argument("folder", type=Path, help="with JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    arrays = {}
    for part in ("train", "test"):
        text = (options.folder / f"JapaneseVowels_{part.upper()}.ts").read_text(encoding="utf-8")
        arrays |= read(text.splitlines(), part)
    content = npz_bytes(arrays)
    options.output.write_bytes(content)
    print(f"{options.output}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
