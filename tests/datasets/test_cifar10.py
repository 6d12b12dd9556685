"""The CIFAR-10 loader and the unpacking of its archive."""

import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest

from numrnn.datasets import load_cifar10, read_cifar10_batch
from numrnn.datasets.cifar10 import FILES, _unpack
from numrnn.datasets.locate import locate

DATA_FOLDER = os.environ.get("NUMRNN_DATA")
NAMES = (
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
)
FOLDER = "cifar-10-batches-bin"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test sees the user's home, cache or data, nor reaches the network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NUMRNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    return tmp_path / "xdg" / "numrnn"


def records(seed: int) -> np.ndarray:
    """10,000 records of one label and 3,072 values; random values in the first three, zeros after them."""
    rng = np.random.default_rng(seed)
    array = np.zeros((10_000, 3073), np.uint8)
    array[:, 0] = rng.integers(0, 10, 10_000)
    array[:3, 1:] = rng.integers(0, 256, (3, 3072))
    return array


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with six files of the right size, 184 MB: made once, changed by no test, and removed."""
    root = tmp_path_factory.mktemp("cifar10")
    (root / FOLDER).mkdir()
    for seed, name in enumerate(NAMES):
        records(seed).tofile(root / FOLDER / name)
    yield root
    shutil.rmtree(root)


def refusal(function, *arguments) -> str:
    with pytest.raises(ValueError) as caught:
        function(*arguments)
    return str(caught.value)


def write_archive(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_a_record_is_a_label_and_three_planes_row_by_row(root):
    array = records(0)
    images, labels = read_cifar10_batch(root / FOLDER / NAMES[0])
    assert np.array_equal(labels, array[:, 0])
    for channel, row, column in [(0, 0, 0), (0, 0, 31), (0, 31, 31), (1, 0, 0), (2, 5, 7), (2, 31, 31)]:
        position = 1 + 1024 * channel + 32 * row + column
        assert images[1, channel, row, column] == array[1, position], (channel, row, column)


@pytest.mark.parametrize(
    ("change", "word"), [(-1, "truncated"), (-3073, "truncated"), (1, "too long"), (3073, "too long")]
)
def test_a_file_of_another_length_is_refused(tmp_path, change, word):
    path = tmp_path / "batch.bin"
    with path.open("wb") as file:
        file.truncate(30_730_000 + change)  # a file of zeros that takes no space
    assert refusal(read_cifar10_batch, path) == (
        f"{path}: expected 30730000 bytes, 10000 records of 3073, got {30_730_000 + change}: the file is {word}"
    )


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "batch.bin"
    path.write_bytes(b"")
    assert refusal(read_cifar10_batch, path).startswith(f"{path}: expected 30730000 bytes")


def test_a_label_above_nine_is_refused_with_its_record(tmp_path):
    array = records(0)
    array[1234, 0] = 10
    path = tmp_path / "batch.bin"
    array.tofile(path)
    assert refusal(read_cifar10_batch, path) == f"{path}: expected labels 0 .. 9, got 10 in record 1234"


def test_training_files_are_joined_in_their_order_and_the_test_file_stays_apart(root):
    data = load_cifar10(root)
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert data.test_images.shape == (10_000, 3, 32, 32)
    expected = [records(seed) for seed in range(6)]
    assert np.array_equal(data.train_labels, np.concatenate([array[:, 0] for array in expected[:5]]))
    assert np.array_equal(data.test_labels, expected[5][:, 0])
    for seed in range(5):
        first = data.train_images[10_000 * seed : 10_000 * seed + 3].reshape(3, -1)
        assert np.array_equal(first, expected[seed][:3, 1:]), seed
    assert np.array_equal(data.test_images[:3].reshape(3, -1), expected[5][:3, 1:])


def test_loaded_arrays_are_uint8_and_read_only(root):
    data = load_cifar10(root / FOLDER)
    for array in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        assert array.dtype == np.uint8
        assert not array.flags.writeable


def test_classes_are_named_in_the_order_of_their_labels(root):
    data = load_cifar10(root)
    assert (data.class_names[0], data.class_names[3], data.class_names[9]) == ("airplane", "cat", "truck")
    assert data.n_classes == 10


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_checked_by_the_loader(root, tmp_path, name):
    for other in NAMES:
        (tmp_path / other).symlink_to(root / FOLDER / other)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(bytes(3073))
    assert refusal(load_cifar10, tmp_path).startswith(f"{tmp_path / name}: expected 30730000 bytes")


@pytest.mark.parametrize("name", NAMES)
def test_each_missing_file_is_named(tmp_path, name):
    for other in NAMES:
        if other != name:
            (tmp_path / other).write_bytes(b"")
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar10(tmp_path)
    assert f"{tmp_path} (root): missing {name}\n" in str(caught.value)


def test_an_archive_is_unpacked_beside_itself_and_removed(tmp_path):
    members = {f"{FOLDER}/{name}": name.encode() for name in NAMES}
    archive = write_archive(tmp_path / "archive.tar.gz", {f"{FOLDER}/readme.html": b"hello", **members})
    _unpack(archive)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: name.encode() for name in NAMES}


def test_no_path_in_an_archive_leads_out_of_the_folder(tmp_path):
    members = {f"{FOLDER}/{name}": name.encode() for name in NAMES}
    hostile = {"../data_batch_1.bin": b"evil", f"../{FOLDER}/data_batch_2.bin": b"evil", "/tmp/test_batch.bin": b"evil"}
    _unpack(write_archive(tmp_path / "inner" / "archive.tar.gz", {**hostile, **members}))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert (tmp_path / "inner" / "data_batch_2.bin").read_bytes() == b"data_batch_2.bin"


def test_a_link_in_an_archive_is_not_taken_for_a_file(tmp_path):
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(f"{FOLDER}/{NAMES[0]}")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    assert "data_batch_1.bin" in refusal(_unpack, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive.tar.gz"]


def test_an_archive_that_lacks_a_file_is_refused_and_kept(tmp_path):
    members = {f"{FOLDER}/{name}": b"" for name in NAMES if name != "data_batch_3.bin"}
    archive = write_archive(tmp_path / "archive.tar.gz", members)
    assert refusal(_unpack, archive) == f"{archive}: expected {FOLDER}/data_batch_3.bin in it, found no such file"
    assert archive.exists()


def test_an_archive_that_ends_early_leaves_no_half_a_file(tmp_path):
    noise = np.random.default_rng(0).bytes(100_000)
    archive = write_archive(tmp_path / "archive.tar.gz", {f"{FOLDER}/{name}": noise for name in NAMES})
    archive.write_bytes(archive.read_bytes()[:150_000])  # inside the second file
    with pytest.raises(ValueError, match="archive.tar.gz: expected a whole archive, got a damaged one"):
        _unpack(archive)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != archive}
    assert left == {"data_batch_1.bin": noise}


def test_an_archive_is_downloaded_into_the_cache_unpacked_and_found_there_the_next_time(monkeypatch, cache):
    calls = []

    def retrieve(url, *, known_hash, fname, path, **_):
        calls.append((url, known_hash))
        return str(write_archive(path / fname, {f"{FOLDER}/{name}": name.encode() for name in NAMES}))

    monkeypatch.setitem(sys.modules, "pooch", SimpleNamespace(retrieve=retrieve))
    expected = {name: cache / FOLDER / name for name in NAMES}
    assert locate(FILES) == expected
    assert locate(FILES) == expected
    assert calls == [(FILES.downloads[0].urls[0], f"sha256:{FILES.downloads[0].sha256}")]


def test_the_archive_has_two_mirrors_and_a_sha256():
    (archive,) = FILES.downloads
    assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
    assert len(archive.urls) == 2
    assert all(url.startswith("https://") and url.endswith("/" + archive.filename) for url in archive.urls)


def test_the_real_cifar10_has_its_known_content():
    if not DATA_FOLDER:
        pytest.skip("needs CIFAR-10: NUMRNN_DATA is not set")
    try:
        data = load_cifar10(DATA_FOLDER)
    except FileNotFoundError as error:
        pytest.skip(f"needs CIFAR-10: {str(error).splitlines()[0]}")
    flat = data.test_images.reshape(len(data.test_labels), -1)
    stored = np.concatenate([data.test_labels[:, None], flat], axis=1).tobytes()
    # SHA-256 of test_batch.bin as in the authors' archive.
    assert hashlib.sha256(stored).hexdigest() == "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
    assert np.bincount(data.train_labels).tolist() == [5000] * 10
