"""Where data files are looked for, in which order, and what a failure says."""

import hashlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from numrnn import locks
from numrnn.datasets.locate import DataFiles, Download, cache_folder, locate

CONTENT = b"the true content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DATA = DataFiles(
    title="Toy data",
    folder="toy",
    names={"a": ("a.bin.gz", "a.bin"), "b": ("b.bin",)},
    downloads=(
        Download(
            "a.bin", hashlib.sha256(CONTENT).hexdigest(), ("https://first.invalid/a", "https://second.invalid/a"), 16
        ),
        Download("b.bin", hashlib.sha256(CONTENT).hexdigest(), ("https://first.invalid/b",), 16),
    ),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test sees the user's home, cache or data, nor reaches the network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NUMRNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)  # import pooch raises ImportError
    return tmp_path / "xdg" / "numrnn"


def fill(folder: Path, names=("a.bin", "b.bin")) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(CONTENT)
    return folder


def failure(**arguments) -> str:
    with pytest.raises(FileNotFoundError) as caught:
        locate(DATA, **arguments)
    return str(caught.value)


class FakePooch(SimpleNamespace):
    """Stands for pooch: an address in `broken` fails, any other gives the right file."""

    def __init__(self, *broken, error=None):
        super().__init__(calls=[], broken=broken, error=error or OSError("no route to host"))

    def retrieve(self, url, *, known_hash, fname, path, **_):
        self.calls.append((url, known_hash, fname))
        if url in self.broken:
            raise self.error
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(CONTENT)
        return str(path / fname)


def test_files_lying_in_root_are_found(tmp_path):
    root = fill(tmp_path / "data")
    assert locate(DATA, root) == {"a": root / "a.bin", "b": root / "b.bin"}


def test_files_lying_in_the_named_folder_of_root_are_found(tmp_path):
    folder = fill(tmp_path / "data" / "toy")
    assert locate(DATA, tmp_path / "data") == {"a": folder / "a.bin", "b": folder / "b.bin"}


def test_root_may_be_a_string(tmp_path):
    root = fill(tmp_path / "data")
    assert locate(DATA, str(root))["a"] == root / "a.bin"


def test_a_tilde_in_root_is_the_home_folder(tmp_path):
    folder = fill(tmp_path / "home" / "data")
    assert locate(DATA, "~/data")["a"] == folder / "a.bin"


def test_the_first_spelling_of_a_name_wins(tmp_path):
    root = fill(tmp_path / "data", ["a.bin", "a.bin.gz", "b.bin"])
    assert locate(DATA, root)["a"] == root / "a.bin.gz"


def test_the_environment_variable_is_looked_at(tmp_path, monkeypatch):
    folder = fill(tmp_path / "data" / "toy")
    monkeypatch.setenv("NUMRNN_DATA", str(tmp_path / "data"))
    assert locate(DATA)["b"] == folder / "b.bin"


def test_the_cache_is_looked_at(cache):
    folder = fill(cache / "toy")
    assert locate(DATA)["b"] == folder / "b.bin"


def test_root_comes_before_the_environment_variable(tmp_path, monkeypatch):
    fill(tmp_path / "env")
    monkeypatch.setenv("NUMRNN_DATA", str(tmp_path / "env"))
    root = fill(tmp_path / "root")
    assert locate(DATA, root)["a"].parent == root


def test_the_environment_variable_comes_before_the_cache(tmp_path, monkeypatch, cache):
    fill(cache)
    env = fill(tmp_path / "env")
    monkeypatch.setenv("NUMRNN_DATA", str(env))
    assert locate(DATA)["a"].parent == env


def test_the_cache_is_used_where_the_environment_variable_names_a_folder_without_the_data(tmp_path, monkeypatch, cache):
    fill(cache)
    monkeypatch.setenv("NUMRNN_DATA", str(tmp_path / "elsewhere"))
    assert locate(DATA)["a"].parent == cache


def test_an_empty_environment_variable_counts_as_unset(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "here"))
    monkeypatch.setenv("NUMRNN_DATA", "")
    assert "NUMRNN_DATA)" not in failure()


def test_without_xdg_cache_home_the_cache_is_in_home(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "numrnn"


def test_a_relative_xdg_cache_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "numrnn"


def test_one_set_is_not_put_together_from_two_folders(tmp_path):
    fill(tmp_path / "data", ["a.bin"])
    fill(tmp_path / "data" / "toy", ["b.bin"])
    message = failure(root=tmp_path / "data")
    assert f"{tmp_path / 'data'} (root): missing b.bin" in message
    assert f"{tmp_path / 'data' / 'toy'} (root): missing a.bin.gz" in message


def test_a_folder_that_bears_the_name_of_a_file_is_not_that_file(tmp_path):
    root = fill(tmp_path / "data", ["b.bin"])
    (root / "a.bin").mkdir()
    assert f"{root} (root): missing a.bin.gz" in failure(root=root)


def test_a_root_that_does_not_exist_is_named(tmp_path):
    assert f"{tmp_path / 'nowhere'} (root): no such folder" in failure(root=tmp_path / "nowhere")


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert f"{tmp_path / 'file'} (root): not a folder" in failure(root=tmp_path / "file")


def test_a_failure_lists_every_place_in_order(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("NUMRNN_DATA", str(tmp_path / "env"))
    lines = failure(download=False).splitlines()
    assert lines[0] == "Toy data was not found. Looked for a.bin.gz, b.bin in"
    assert lines[1:5] == [
        f"  {tmp_path / 'env'} (NUMRNN_DATA): no such folder",
        f"  {tmp_path / 'env' / 'toy'} (NUMRNN_DATA): no such folder",
        f"  {cache} (the user's cache): no such folder",
        f"  {cache / 'toy'} (the user's cache): no such folder",
    ]


def test_a_failure_says_how_to_get_the_data():
    message = failure(download=False)
    assert "name it by root= or by the environment variable NUMRNN_DATA" in message
    assert "they come from https://first.invalid/a, https://first.invalid/b" in message
    assert "download=True" in message


def test_an_explicit_root_looks_nowhere_else_and_downloads_nothing(tmp_path, monkeypatch, cache):
    fill(cache)
    pooch = FakePooch()
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    message = failure(root=tmp_path)
    assert str(cache) not in message
    assert pooch.calls == []


def test_download_false_downloads_nothing(monkeypatch):
    pooch = FakePooch()
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    failure(download=False)
    assert pooch.calls == []


def test_found_data_are_not_downloaded(monkeypatch, cache):
    fill(cache)
    pooch = FakePooch()
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    locate(DATA)
    assert pooch.calls == []


def test_a_missing_pooch_is_named_with_its_remedy(cache):
    message = failure()
    assert "pip install numrnn[examples]" in message
    assert "found: import of pooch halted" in message
    assert f"{cache} (the user's cache): no such folder" in message


def test_a_download_lands_in_the_cache(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, "pooch", FakePooch())
    assert locate(DATA) == {"a": cache / "toy" / "a.bin", "b": cache / "toy" / "b.bin"}


def test_a_download_is_checked_against_its_sha256(monkeypatch):
    pooch = FakePooch()
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    locate(DATA)
    known = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert pooch.calls == [("https://first.invalid/a", known, "a.bin"), ("https://first.invalid/b", known, "b.bin")]


def test_the_next_mirror_is_tried_where_one_fails(monkeypatch):
    pooch = FakePooch("https://first.invalid/a")
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    locate(DATA)
    assert [url for url, _, fname in pooch.calls if fname == "a.bin"] == list(DATA.downloads[0].urls)


def test_a_download_that_fails_everywhere_names_every_address_and_error(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, "pooch", FakePooch(*DATA.downloads[0].urls))
    message = failure()
    assert "https://first.invalid/a: no route to host" in message
    assert "https://second.invalid/a: no route to host" in message
    assert f"{cache} (the user's cache): no such folder" in message


def test_a_file_that_a_download_did_not_bring_is_named(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, "pooch", FakePooch())
    incomplete = DataFiles("Toy data", "toy", DATA.names, DATA.downloads[:1])
    with pytest.raises(FileNotFoundError) as caught:
        locate(incomplete)
    assert f"{cache / 'toy'} (downloaded): missing b.bin" in str(caught.value)


def test_a_downloaded_file_is_unpacked(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, "pooch", FakePooch())
    packed = DataFiles(
        "Toy data", "toy", {"c": ("c.bin",)}, DATA.downloads[:1], lambda path: path.rename(path.with_name("c.bin"))
    )
    assert locate(packed) == {"c": cache / "toy" / "c.bin"}


def test_pooch_itself_refuses_a_file_with_another_sha256(monkeypatch, cache):
    monkeypatch.delitem(sys.modules, "pooch")
    pooch = pytest.importorskip("pooch")
    # The mirror answers, with something else: no network is touched.
    served = {"https://first.invalid/a": b"<html>no</html>"}

    def answer(downloader, url, output_file, *arguments, **options):
        output_file.write(served.get(url, CONTENT))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", answer)
    found = locate(DATA)
    assert found["a"].read_bytes() == CONTENT
    assert sorted(path.name for path in (cache / "toy").iterdir()) == ["a.bin", "b.bin"]


@pytest.mark.parametrize("root", [3, b"bytes", ["list"]])
def test_a_root_that_is_no_path_is_refused(root):
    with pytest.raises(TypeError, match="root must be the path of a folder, got"):
        locate(DATA, root)


def test_an_empty_root_is_refused():
    with pytest.raises(ValueError, match="root must be the path of a folder, got ''"):
        locate(DATA, "")


# ---------------------------------------------------------------- bounds, several processes, no home


def test_no_more_bytes_than_the_file_has_are_received(monkeypatch, cache):
    monkeypatch.delitem(sys.modules, "pooch")
    pooch = pytest.importorskip("pooch")
    received = []

    def endless(downloader, url, output_file, *arguments, **options):
        for _ in range(1000):
            output_file.write(b"0123456789")
            received.append(10)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", endless)
    assert "the server sends more than the 16 bytes of the file" in failure()
    assert received == [10, 10]  # of both mirrors, before the first block too many
    assert [path.name for path in (cache / "toy").iterdir()] == []


class SlowPooch(FakePooch):
    """Takes its time, and fails as pooch does where another process moves its file away meanwhile."""

    def retrieve(self, url, *, known_hash, fname, path, **_):
        self.calls.append((url, known_hash, fname))
        time.sleep(0.05)
        (path / fname).write_bytes(CONTENT)
        return str(path / fname)


def unpack(archive):
    content = archive.read_bytes()
    time.sleep(0.05)
    archive.with_name("c.bin").write_bytes(content)
    archive.unlink()


PACKED = DataFiles("Toy data", "toy", {"c": ("c.bin",)}, DATA.downloads[:1], unpack)


def test_processes_that_come_for_the_first_time_at_once_download_once(monkeypatch, cache):
    pooch = SlowPooch()
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    with ThreadPoolExecutor(4) as pool:
        found = [one.result() for one in [pool.submit(locate, PACKED) for _ in range(4)]]
    assert found == [{"c": cache / "toy" / "c.bin"}] * 4
    assert len(pooch.calls) == 1
    assert [path.name for path in (cache / "toy").iterdir()] == ["c.bin"]


@pytest.mark.filterwarnings("ignore:.* has no locks of this kind:RuntimeWarning")
def test_without_locks_all_of_them_find_the_files_too(monkeypatch, cache):
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "pooch", SlowPooch())
    with ThreadPoolExecutor(4) as pool:
        found = [one.result() for one in [pool.submit(locate, PACKED) for _ in range(4)]]
    assert found == [{"c": cache / "toy" / "c.bin"}] * 4


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, cache):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"a file")
    monkeypatch.setitem(sys.modules, "pooch", FakePooch())
    assert str(cache) in failure().splitlines()[-1]


@pytest.fixture
def homeless(monkeypatch):
    """A process without HOME, and without an entry in the list of users."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def nobody(*arguments):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("pwd.getpwnam", nobody)


def test_without_a_home_the_message_names_where_was_looked_and_what_to_do(homeless, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMRNN_DATA", str(tmp_path / "elsewhere"))
    message = failure()
    assert f"{tmp_path / 'elsewhere'} (NUMRNN_DATA): no such folder" in message
    assert "the user's cache: ~ needs a home folder, and none is known: HOME is not set" in message
    assert "Set HOME or XDG_CACHE_HOME for a download, or give root=" in message


def test_without_a_home_root_is_still_looked_at(homeless, tmp_path):
    root = fill(tmp_path / "data")
    assert locate(DATA, root)["a"] == root / "a.bin"


@pytest.mark.parametrize("root", ["~/data", "~nobody/data"])
def test_a_root_in_a_home_that_is_not_there_is_named(homeless, root):
    assert f"{root} needs a home folder, and none is known" in failure(root=root)
