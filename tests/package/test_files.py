"""Files are written whole or not at all."""

import errno
import os

import pytest

from numrnn import files
from numrnn.files import remove_leftovers, replacing, sync_directory, write_text


def failing_with(number):
    def fail(*arguments, **named):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_there_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails_leaves_the_old_file_and_is_named_with_it(tmp_path, monkeypatch, call, number):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    target = (files, "open") if call == "open" else (os, call)
    monkeypatch.setattr(*target, failing_with(number), raising=False)
    with pytest.raises(OSError, match=str(path)) as caught, replacing(path) as file:
        file.write(b"new")
    assert caught.value.errno == number
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_an_error_of_the_writer_is_its_own(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a"):
        {}["half"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    before = {path.name: path.lstat() for path in tmp_path.iterdir()}
    for name, error, match in (
        ("pipe", FileExistsError, "Is no regular file"),
        ("link", FileExistsError, "Is no regular file"),
        ("folder", IsADirectoryError, "Is a directory"),
    ):
        with pytest.raises(error, match=f"{match}: '{tmp_path / name}'"), replacing(tmp_path / name) as file:
            file.write(b"new")
    assert {path.name: path.lstat() for path in tmp_path.iterdir()} == before


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_bytes(b"old")
    for name in ("a", "not there yet"):
        link = tmp_path / f"link to {name}"
        try:
            link.symlink_to(os.path.join("disk", name))
        except OSError:
            pytest.skip("this user may make no links")
        with replacing(link) as file:
            file.write(b"new")
        assert link.is_symlink()
        assert (tmp_path / "disk" / name).read_bytes() == b"new"
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["a", "not there yet"]


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_text(tmp_path / "new" / "a", "text")
    assert (tmp_path / "new" / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_directory_that_cannot_be_synchronised_is_no_error(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing_with(number))
    sync_directory(tmp_path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_another_error_of_a_directory_is_one(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing_with(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_directory(tmp_path)


def test_only_what_killed_writers_of_these_files_left_is_removed(tmp_path):
    left = [".a.npz.tmp", ".a.npz.0123abcd.tmp"]
    kept = ["a.npz", ".b.npz.tmp", ".a.npz.0123abc.tmp", ".a.npz", ".aXnpz.tmp", "a.npz.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, [r"a\.npz"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
