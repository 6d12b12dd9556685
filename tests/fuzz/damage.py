"""Damages files of every kind that the package reads: they read as they were, or one line names the file.

    PYTHONPATH=tests python -m fuzz.damage --files 5000

A damage is a flipped bit, a truncation, zeros in place of a block, a block of another place, or bytes behind the end.
Formats with a checksum (checkpoints, .npz, gzip) must notice every change of content. Raw bytes of pixels have none:
there a changed pixel is another picture, and all else must be noticed. JSON of a configuration may change into another
valid one.
"""

from __future__ import annotations

import gzip
import random
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from training_run import make_trainer

from fuzz.disturb import command
from numrnn.datasets import Sequences, read_cifar10_batch, read_idx
from numrnn.datasets.cifar10 import FOLDER, TEST_NAME, TRAIN_NAMES, _unpack
from numrnn.experiments.mnist import Config
from numrnn.experiments.presets import stored_arguments
from numrnn.training import CheckpointError, load_checkpoint

Read = Callable[[Path], Any]
REFUSALS = (CheckpointError, ValueError, TypeError, OSError, EOFError, tarfile.TarError)


def checkpoint(path: Path) -> Any:
    """Return what a checkpoint holds."""
    found = load_checkpoint(path)
    arrays = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in found.params.items()}
    return found.step, arrays, repr(found.optimizer), found.config, found.progress, found.generators


def resume(path: Path) -> Any:
    """Return what a run comes to that goes on with these metrics."""
    result = make_trainer(path.parent).run(resume=True)
    return result.metrics.read_bytes(), {name: array.tobytes() for name, array in result.params.items()}


def sequences(path: Path) -> Any:
    data = Sequences.from_npz(path)
    return data.digest()


def images(path: Path) -> Any:
    found = read_idx(path)
    return found.shape, found.tobytes()


def configuration(path: Path) -> Any:
    return stored_arguments(path.parent, Config)


def archive(path: Path) -> Any:
    _unpack(path)
    return {one.name: one.read_bytes() for one in path.parent.iterdir()}


# Reader, how a file is made, and whether a change of its content must always be noticed.
KINDS: dict[str, tuple[Read, Callable[[Path], Path], bool]] = {}


def kind(name: str, read: Read, *, noticed: bool = True) -> Callable[[Any], Any]:
    """Register a kind of file by the function that makes one in a folder."""

    def register(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        KINDS[name] = (read, make, noticed)
        return make

    return register


@kind("checkpoint", checkpoint)
def _checkpoint(folder: Path) -> Path:
    return make_trainer(folder).run().checkpoint


@kind("metrics.jsonl, and resuming", resume)
def _metrics(folder: Path) -> Path:
    make_trainer(folder, epochs=2).run()
    return folder / "metrics.jsonl"


@kind("own sequences, .npz", sequences)
def _sequences(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / "a.npz", x=rng.standard_normal((5, 4, 2)), y=np.arange(5))
    return folder / "a.npz"


@kind("own sequences, compressed", sequences)
def _compressed(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez_compressed(folder / "a.npz", x=rng.standard_normal((5, 4, 2)), y=np.arange(5))
    return folder / "a.npz"


IDX = bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(range(144))


@kind("images, gzip", images)
def _gzip(folder: Path) -> Path:
    (folder / "a.gz").write_bytes(gzip.compress(IDX, mtime=0))
    return folder / "a.gz"


@kind("images, raw", images, noticed=False)
def _raw(folder: Path) -> Path:
    (folder / "a").write_bytes(IDX)
    return folder / "a"


@kind("CIFAR-10 batch, raw", read_cifar10_batch, noticed=False)
def _batch(folder: Path) -> Path:
    (folder / "a.bin").write_bytes(bytes(10_000 * 3073))
    return folder / "a.bin"


@kind("CIFAR-10 archive", archive, noticed=False)  # its SHA-256 is verified before it is unpacked
def _archive(folder: Path) -> Path:
    with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
        for name in (*TRAIN_NAMES, TEST_NAME):
            (folder / name).write_bytes(name.encode() * 100)
            tar.add(folder / name, f"{FOLDER}/{name}")
            (folder / name).unlink()
    return folder / "a.tar.gz"


@kind("config.json", configuration, noticed=False)
def _config(folder: Path) -> Path:
    (folder / "config.json").write_text('{"cell": "lstm", "hidden_size": 8, "clip": 2.5, "permuted": true}')
    return folder / "config.json"


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the content with one damage."""
    size, place = len(content), rng.randrange(len(content))
    length = rng.randint(1, min(64, size))
    other = rng.randrange(size)
    choice = rng.randrange(5)
    if choice == 0:
        return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
    if choice == 1:
        return content[:place]
    if choice == 2:
        return (content[:place] + bytes(length) + content[place + length :])[:size]
    if choice == 3:
        return (content[:place] + content[other : other + length] + content[place + length :])[:size]
    return content + rng.randbytes(length)


def run(files: int, seed: int) -> dict[str, Counter[str]]:
    """Damage so many files, and return for each kind how many were refused and how many read as they were.

    Raises
    ------
    AssertionError
        If one was read as something else, or refused without its name or in several lines.
    """
    rng = random.Random(seed)
    counts = {name: Counter[str]() for name in KINDS}
    with tempfile.TemporaryDirectory() as top, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known: dict[str, tuple[dict[str, bytes], str, Any]] = {}
        for name, (read, make, _) in KINDS.items():
            folder = Path(top) / f"{len(known)}"
            folder.mkdir()
            path = make(folder)
            sound = {one.name: one.read_bytes() for one in folder.iterdir()}
            known[name] = sound, path.name, comparable(read(path))
        for number in range(files):
            name = list(KINDS)[number % len(KINDS)]
            (read, _, noticed), (sound, target, expected) = KINDS[name], known[name]
            folder = Path(top) / f"damaged-{number}"
            folder.mkdir()
            for one, content in sound.items():
                (folder / one).write_bytes(content)
            path = folder / target
            path.write_bytes(damaged(sound[target], rng))
            try:
                found = comparable(read(path))
            except REFUSALS as error:
                found, text = None, str(error)
                assert read is archive or str(path) in text, f"{name}, {seed}/{number}: no name in {text!r}"
                assert "\n" not in text, f"{name}, {seed}/{number}: several lines in {text!r}"
                counts[name]["refused"] += 1
            if found is not None:
                same = found == expected
                assert same or not noticed, f"{name}, {seed}/{number}: read as something else"
                counts[name]["as it was" if same else "other values"] += 1
            for one in folder.iterdir():
                one.unlink()
            folder.rmdir()
    return counts


def comparable(found: Any) -> Any:
    """Return a result in a form that == compares."""
    return (
        tuple(array.tobytes() for array in found)
        if isinstance(found, tuple) and hasattr(found[0], "tobytes")
        else found
    )


if __name__ == "__main__":
    sys.exit(command(run, "files", 5000, "no wrong content, no unclear message"))
