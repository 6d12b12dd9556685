"""Files that would run code, fill the memory or lose a mask are refused in one clear line."""

import ast
import gzip
import io
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

import numrnn
from numrnn import archives
from numrnn.datasets import Sequences
from numrnn.datasets.cifar10 import FOLDER, TRAIN_NAMES, _unpack, read_cifar10_batch
from numrnn.datasets.mnist import read_idx
from numrnn.training import CheckpointError, load_checkpoint, load_model, read_json_lines, training_seconds
from numrnn.training.batches import check_data

READERS = (Sequences.from_npz, load_checkpoint, load_model, read_idx, read_cifar10_batch, read_json_lines)
REFUSED = (ValueError, TypeError, CheckpointError)
ROOT = Path(numrnn.__file__).parents[1]
SOURCES = [path for package in ("numrnn", "gradcheck") for path in (ROOT / package).rglob("*.py")]


# ---------------------------------------------------------------- no code is run


class Armed:
    """An object that leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("read", READERS)
def test_no_reader_runs_what_a_file_holds(tmp_path, read):
    trace, path = tmp_path / "trace", tmp_path / "file.npz"
    armed = np.empty(1, object)
    armed[0] = Armed(trace)
    alone = io.BytesIO()
    np.save(alone, armed)
    inside = io.BytesIO()
    np.savez(inside, x=armed, metadata=armed, checksum=armed)
    for content in (pickle.dumps(Armed(trace)), alone.getvalue(), inside.getvalue()):
        path.write_bytes(content)
        with pytest.raises(REFUSED, match=re.escape(str(path))):
            read(path)
        assert not trace.exists()
    pickle.loads(pickle.dumps(Armed(trace)))
    assert trace.exists()  # the weapon works


# Between the processes of one pass, over a pipe that no other can open: see numrnn/engines/cpu/workers.py.
PIPES = {Path(numrnn.__file__).parent / "engines" / "cpu" / name for name in ("workers.py", "shared_memory.py")}
SERIALISERS = {"pickle", "marshal", "shelve", "joblib", "dill"}
DANGEROUS = {"eval", "exec", "compile", "__import__"}


def dangers(source):
    """Return what in a source could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            found += [
                name for name in names if name.partition(".")[0] in {"pickle", "marshal", "shelve", "joblib", "dill"}
            ]
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if isinstance(node.func, ast.Name) and name in DANGEROUS:
                found.append(name)
            allowed = [
                k.value.value for k in node.keywords if k.arg == "allow_pickle" and isinstance(k.value, ast.Constant)
            ]
            if name == "load" and getattr(node.func.value, "id", "") in {"np", "numpy"} and allowed != [False]:
                found.append("numpy.load")
            if True in allowed:
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-3:]))
def test_no_source_reads_pickles_or_runs_text(path):
    assert dangers(path.read_text(encoding="utf-8")) == (["pickle"] if path in PIPES else [])


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "np.load(path)", "np.load(f, allow_pickle=True)", "eval(text)"],
)
def test_a_danger_would_be_found(source):
    assert dangers(source)


# ---------------------------------------------------------------- nothing fills the memory

BOMB = 1 << 24


@pytest.mark.parametrize("read", [Sequences.from_npz, load_checkpoint, load_model])
def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, read):
    monkeypatch.setattr(archives, "HARMLESS_BYTES", BOMB - 1)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((BOMB // 16, 1, 2)))
    with pytest.raises(REFUSED, match=r"bomb\.npz.* bytes would unpack to 1677\d{4}, more than 100 times as much"):
        read(path)
    np.savez(path, x=np.zeros((BOMB // 16, 1, 2)))  # as large as it says
    assert len(Sequences.from_npz(path)) == BOMB // 16


def test_an_entry_that_a_flipped_bit_hides_is_missed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=X, y=np.arange(3))
    content = bytearray(path.read_bytes())
    first = content.index(b"PK\1\2")
    content[first + 32] ^= 0x80  # the length of the comment of x: it swallows the entry of y
    path.write_bytes(content)
    assert np.load(path).files == ["x"]  # unseen by zipfile
    for read in (Sequences.from_npz, load_checkpoint):
        with pytest.raises(REFUSED, match=r"a\.npz.*damaged: its directory has 1 of 2 entries"):
            read(path)


def test_images_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 1 << 20)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + (10**7).to_bytes(4, "big") + bytes(10**7)))
    with pytest.raises(ValueError, match=r"images\.gz: expected a file .* unpacks to more than 10\d{5} bytes"):
        read_idx(path)
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 1 << 24)
    assert read_idx(path).shape == (10**7,)


@pytest.mark.parametrize("rank", [0, 33, 64, 70, 255])
def test_an_idx_file_of_absurd_rank_is_refused_with_its_path(tmp_path, rank):
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 8, rank]) + (1).to_bytes(4, "big") * rank + b"\1")
    with pytest.raises(ValueError, match=rf"{path}: expected an IDX file of uint8, .* rank from 1 to 32"):
        read_idx(path)


def test_a_member_of_the_archive_of_cifar10_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(f"{FOLDER}/{TRAIN_NAMES[0]}")
        member.size = 10_000 * 3073 + 1
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(ValueError, match=r"data_batch_1\.bin must hold 30730000 bytes, got 30730001"):
        _unpack(path)
    assert [one.name for one in tmp_path.iterdir()] == ["archive.tar.gz"]


@pytest.mark.parametrize("read", [*READERS, training_seconds])
@pytest.mark.parametrize("path", [3, None, b"bytes", ["list"], "", "a\0b"])
def test_what_is_no_path_is_refused_by_name(read, path):
    with pytest.raises((TypeError, ValueError), match="path must be a path, got"):
        read(path)


# ---------------------------------------------------------------- masks, matrices, objects

X = np.ones((3, 4, 2))


def arguments_with(odd):
    """Return calls of `Sequences` with a changed array in each place, by the name that the error must give."""
    every = np.zeros((3, 4), np.int64)
    return {
        "x": lambda: Sequences(odd(X)),
        "x[1]": lambda: Sequences([X[0], odd(X[1])]),
        "y": lambda: Sequences(X, odd(np.zeros(3, np.int64))),
        "y[1]": lambda: Sequences([X[0], X[1]], [every[0], odd(every[1])]),
        "lengths": lambda: Sequences(X, lengths=odd(np.array([1, 2, 3]))),
        "mask": lambda: Sequences(X, every, mask=odd(np.ones((3, 4), bool))),
        "images": lambda: check_data((odd(X), np.zeros(3, np.int64)), 2),
        "labels": lambda: check_data((X, odd(np.zeros(3, np.int64))), 2),
    }


PLACES = tuple(arguments_with(np.asarray))


@pytest.mark.parametrize("place", PLACES)
def test_a_masked_array_is_refused_by_name_and_told_what_to_do(place):
    with pytest.raises(TypeError, match=rf"{re.escape(place)} must not be a masked array.*fill them, or pass lengths="):
        arguments_with(np.ma.masked_invalid)[place]()


@pytest.mark.parametrize("place", PLACES)
def test_an_array_of_objects_is_refused_by_name(place):
    with pytest.raises(TypeError, match=rf"{re.escape(place.partition('[')[0])}.* (hold|must be)"):
        arguments_with(lambda array: array.astype(object))[place]()


def test_images_of_objects_are_refused_where_their_pointers_would_be_hashed():
    with pytest.raises(TypeError, match="images must hold numbers, got dtype object"):
        check_data((X.astype(object), np.zeros(3, np.int64)), 2)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrices_and_masked_arrays_are_refused_by_forward(rng):
    cell = numrnn.ElmanCell(2, 4)
    params, x = cell.init_params(rng, dtype=np.float64), np.ones((4, 3, 2))
    hidden = np.ma.masked_invalid(np.where(x > 0, np.nan, x))
    for bad in (hidden, np.ma.asarray(x)):
        with pytest.raises(TypeError, match=r"x must not be a masked array"):
            numrnn.forward(cell, params, bad)
    with pytest.raises(TypeError, match=r"params\['W'\] must not be a numpy.matrix"):
        numrnn.forward(cell, {**params, "W": np.matrix(params["W"])}, x)
    with pytest.raises(TypeError, match="h0 must not be a masked array"):
        numrnn.forward(cell, params, x, np.ma.zeros((3, 4)))
