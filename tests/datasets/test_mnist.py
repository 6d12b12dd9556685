"""The IDX reader, the MNIST loader, and the embedded part of MNIST."""

import gzip
import hashlib
import importlib.util
import os
import re
import sys
import zlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from numrnn.datasets import load_embedded_mnist, load_mnist, read_idx
from numrnn.datasets.mnist import FILES

DATA_FOLDER = os.environ.get("NUMRNN_DATA")
TOOL = Path(__file__).parents[2] / "tools" / "make_embedded_mnist.py"
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """No test sees the user's home, cache or data, nor reaches the network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NUMRNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file, written out by the definition of the format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
CONTENT = {NAMES[0]: idx(IMAGES), NAMES[1]: idx(LABELS), NAMES[2]: idx(IMAGES[:3]), NAMES[3]: idx(LABELS[:3])}


@pytest.fixture
def root(tmp_path):
    """A folder with a small, correct set of four uncompressed files."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def full_mnist():
    if not DATA_FOLDER:
        pytest.skip("needs the full MNIST: NUMRNN_DATA is not set")
    try:
        return load_mnist(DATA_FOLDER)
    except FileNotFoundError as error:
        pytest.skip(f"needs the full MNIST: {str(error).splitlines()[0]}")


def refusal(function, *arguments) -> str:
    with pytest.raises(ValueError) as caught:
        function(*arguments)
    return str(caught.value)


# --- read_idx


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (1, 2, 3, 4), (0, 28, 28)])
def test_an_idx_file_is_read_back_as_it_was_written(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "file").write_bytes(idx(array))
    read = read_idx(tmp_path / "file")
    assert read.dtype == np.uint8
    assert read.shape == shape
    assert np.array_equal(read, array)


def test_a_compressed_file_is_read_like_an_uncompressed_one(tmp_path):
    (tmp_path / "file.gz").write_bytes(gzip.compress(idx(IMAGES)))
    assert np.array_equal(read_idx(tmp_path / "file.gz"), IMAGES)


def test_the_first_bytes_and_not_the_name_tell_that_a_file_is_compressed(tmp_path):
    (tmp_path / "plain.gz").write_bytes(idx(IMAGES))
    (tmp_path / "packed").write_bytes(gzip.compress(idx(IMAGES)))
    assert np.array_equal(read_idx(tmp_path / "plain.gz"), IMAGES)
    assert np.array_equal(read_idx(tmp_path / "packed"), IMAGES)


@pytest.mark.parametrize("index", range(16))
def test_no_byte_of_the_header_can_change_unnoticed(tmp_path, index):
    content = bytearray(idx(IMAGES))
    content[index] ^= 1
    path = tmp_path / "file"
    path.write_bytes(content)
    assert refusal(read_idx, path).startswith(f"{path}: expected ")


def test_a_wrong_magic_number_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\x89PNG" + bytes(100))
    assert refusal(read_idx, path) == (
        f"{path}: expected an IDX file of uint8, which starts with 00 00 08 and its rank from 1 to 32, got 89 50 4e 47"
    )


def test_another_type_of_values_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 0x0D, 1, 0, 0, 0, 1]) + bytes(4))
    assert refusal(read_idx, path).endswith("got 00 00 0d 01")


def test_rank_zero_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 8, 0]) + bytes(1))
    assert refusal(read_idx, path).endswith("got 00 00 08 00")


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert refusal(read_idx, path).endswith("got an empty file")


@pytest.mark.parametrize("length", range(1, 8 + len(LABELS)))
def test_a_file_truncated_anywhere_is_refused(tmp_path, length):
    path = tmp_path / "file"
    path.write_bytes(idx(LABELS)[:length])
    assert refusal(read_idx, path).startswith(f"{path}: expected ")


def test_a_truncated_header_is_named_with_its_length(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(IMAGES)[:15])
    assert refusal(read_idx, path) == f"{path}: expected a header of 16 bytes for rank 3, got 15 bytes"


def test_truncated_values_are_named_with_both_lengths(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(IMAGES)[:-1])
    assert refusal(read_idx, path) == (
        f"{path}: expected 5504 bytes for sizes (7, 28, 28) (uncompressed), got 5503: the file is truncated"
    )


def test_trailing_bytes_are_refused_with_both_lengths(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(IMAGES) + b"\0")
    assert refusal(read_idx, path) == (
        f"{path}: expected 5504 bytes for sizes (7, 28, 28) (uncompressed), got 5505: the file is too long"
    )


def test_sizes_beyond_any_memory_are_refused_and_not_allocated(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    assert f"expected {16 + (2**32 - 1) ** 3} bytes" in refusal(read_idx, path)


@pytest.mark.parametrize("length", [2, 9, 15, 20, -9, -8, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path, length):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx(LABELS))[:length])
    assert refusal(read_idx, path).startswith(f"{path}: expected a whole gzip file, got a corrupt one (")


@pytest.mark.parametrize("index", [-8, -4], ids=["checksum", "length"])
def test_a_gzip_file_that_fails_its_own_check_is_refused(tmp_path, index):
    content = bytearray(gzip.compress(idx(LABELS)))
    content[index] ^= 1
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    assert refusal(read_idx, path).startswith(f"{path}: expected a whole gzip file, got a corrupt one (")


def test_corrupt_compressed_data_are_refused(tmp_path):
    content = bytearray(gzip.compress(idx(IMAGES)))
    content[10] = 0xFF  # block type 3 does not exist
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    assert refusal(read_idx, path).startswith(f"{path}: expected a whole gzip file, got a corrupt one (")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "nothing"))):
        read_idx(tmp_path / "nothing")


# --- load_mnist


def test_every_array_comes_from_its_own_file(root):
    data = load_mnist(root)
    assert np.array_equal(data.train_images, IMAGES)
    assert np.array_equal(data.train_labels, LABELS)
    assert np.array_equal(data.test_images, IMAGES[:3])
    assert np.array_equal(data.test_labels, LABELS[:3])


def test_classes_are_the_ten_digits(root):
    data = load_mnist(root)
    assert data.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert data.n_classes == 10


def test_loaded_arrays_are_read_only(root):
    data = load_mnist(root)
    for array in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        assert not array.flags.writeable


@pytest.mark.parametrize("rename", [lambda n: n + ".gz", lambda n: n, lambda n: n.replace("-idx", ".idx")])
def test_every_usual_spelling_of_the_names_is_found(tmp_path, rename):
    (tmp_path / "mnist").mkdir()
    for name, content in CONTENT.items():
        (tmp_path / "mnist" / rename(name)).write_bytes(content)
    assert np.array_equal(load_mnist(tmp_path).train_labels, LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_each_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(root)
    assert f"{root} (root): missing {name}.gz\n" in str(caught.value)


def test_without_data_and_without_download_the_message_says_how_to_get_them():
    with pytest.raises(FileNotFoundError, match=r"^MNIST was not found(?s:.*)NUMRNN_DATA(?s:.*)numrnn\[examples\]"):
        load_mnist(download=False)


@pytest.mark.parametrize("shape", [(7, 27, 28), (7, 28, 29), (7, 784), (7, 28, 28, 1), (0, 28, 28)])
def test_images_of_other_sizes_are_refused(root, shape):
    (root / NAMES[0]).write_bytes(idx(np.zeros(shape, np.uint8)))
    assert refusal(load_mnist, root) == (
        f"{root / NAMES[0]}: expected images (N, 28, 28) with N >= 1, got sizes {shape}"
    )


def test_images_in_the_place_of_labels_are_refused(root):
    (root / NAMES[1]).write_bytes(idx(IMAGES))
    assert refusal(load_mnist, root) == f"{root / NAMES[1]}: expected labels (N,), got sizes (7, 28, 28)"


@pytest.mark.parametrize("count", [6, 8])
def test_another_number_of_labels_than_images_is_refused(root, count):
    (root / NAMES[1]).write_bytes(idx(np.zeros(count, np.uint8)))
    assert refusal(load_mnist, root) == (
        f"{root / NAMES[1]}: expected 7 labels, one for each image in {root / NAMES[0]}, got {count}"
    )


@pytest.mark.parametrize("name", [NAMES[1], NAMES[3]])
def test_a_label_above_nine_is_refused_with_its_index(root, name):
    content = bytearray(CONTENT[name])
    content[8 + 2] = 10
    (root / name).write_bytes(content)
    assert refusal(load_mnist, root) == f"{root / name}: expected labels 0 .. 9, got 10 at index 2"


def test_every_download_has_two_mirrors_and_brings_a_file_that_is_looked_for():
    accepted = {name for spellings in FILES.names.values() for name in spellings}
    for wanted in FILES.downloads:
        assert wanted.filename in accepted
        assert re.fullmatch("[0-9a-f]{64}", wanted.sha256)
        assert len(wanted.urls) == 2
        assert all(url.startswith("https://") and url.endswith("/" + wanted.filename) for url in wanted.urls)


# --- the full MNIST


def test_the_full_mnist_has_its_known_content(full_mnist):
    # SHA-256 of the uncompressed files, as published with many copies of them.
    digests = {
        "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    assert {name: hashlib.sha256(idx(getattr(full_mnist, name))).hexdigest() for name in digests} == digests


def test_the_full_mnist_has_sixty_and_ten_thousand_images(full_mnist):
    assert full_mnist.train_images.shape == (60_000, 28, 28)
    assert full_mnist.test_images.shape == (10_000, 28, 28)


# --- the embedded part


def load_tool():
    spec = importlib.util.spec_from_file_location("make_embedded_mnist", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def embedded_bytes() -> bytes:
    return resources.files("numrnn.datasets").joinpath("embedded", "mnist-subset.npz").read_bytes()


def test_the_embedded_part_needs_no_data_folder():
    data = load_embedded_mnist()
    assert data.train_images.shape == (5000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert data.train_images.dtype == data.train_labels.dtype == np.uint8


def test_the_embedded_part_is_balanced():
    data = load_embedded_mnist()
    assert np.bincount(data.train_labels, minlength=10).tolist() == [500] * 10
    assert np.bincount(data.test_labels, minlength=10).tolist() == [100] * 10


def test_no_embedded_test_image_is_a_training_image():
    data = load_embedded_mnist()
    train = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in train for image in data.test_images)


def test_embedded_arrays_are_read_only():
    data = load_embedded_mnist()
    for array in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        assert not array.flags.writeable


def test_the_embedded_file_is_small():
    assert len(embedded_bytes()) < 1_500_000


def test_the_readme_beside_the_embedded_file_gives_its_sha256():
    readme = resources.files("numrnn.datasets").joinpath("embedded", "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(embedded_bytes()).hexdigest() in readme


def test_the_embedded_images_are_the_first_of_their_class_in_mnist(full_mnist):
    data = load_embedded_mnist()
    for digit in range(10):
        expected = full_mnist.train_images[full_mnist.train_labels == digit][:500]
        assert np.array_equal(data.train_images[data.train_labels == digit], expected)
        expected = full_mnist.test_images[full_mnist.test_labels == digit][:100]
        assert np.array_equal(data.test_images[data.test_labels == digit], expected)


@pytest.mark.skipif(not TOOL.exists(), reason="needs a checkout: tools/ is not part of the package")
def test_the_tool_makes_the_embedded_arrays_again(full_mnist):
    embedded = load_embedded_mnist()
    made = load_tool().subset(full_mnist)
    assert list(made) == ["train_images", "train_labels", "test_images", "test_labels"]
    for name, array in made.items():
        assert np.array_equal(array, getattr(embedded, name)), name


@pytest.mark.skipif(not TOOL.exists(), reason="needs a checkout: tools/ is not part of the package")
@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses the same arrays to other bytes")
@pytest.mark.usefixtures("full_mnist")
def test_the_tool_makes_the_embedded_file_byte_for_byte(tmp_path, capsys):
    load_tool().main(["--root", DATA_FOLDER, "--output", str(tmp_path / "made.npz")])
    assert (tmp_path / "made.npz").read_bytes() == embedded_bytes()
    assert hashlib.sha256(embedded_bytes()).hexdigest() in capsys.readouterr().out


@pytest.mark.skipif(not TOOL.exists(), reason="needs a checkout: tools/ is not part of the package")
def test_the_tool_refuses_a_set_with_too_few_images_of_a_class(root):
    message = refusal(load_tool().subset, load_mnist(root))
    assert message == "every class must have 500 images or more, got [0, 2, 1, 1, 1, 1, 0, 0, 0, 1]"
