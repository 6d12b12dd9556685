"""The lock of a folder: held by one process at a time, and released however that ends."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from numrnn import locks
from numrnn.locks import FolderInUseError, locked

HOLDER = """
import sys, time
from numrnn.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def in_another_thread(folder):
    """Try to take the lock there, where it is not held already."""

    def take():
        with locked(folder):
            pass

    with ThreadPoolExecutor() as pool:
        pool.submit(take).result()


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_folder(holder, tmp_path):
    since = time.strftime("%Y-%m-%d")
    with pytest.raises(FolderInUseError) as caught, locked(tmp_path):
        pass
    text = str(caught.value)
    assert text.startswith(f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()}, since {since[:4]}")
    assert "\n" not in text


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_any_death_of_the_holder_releases_the_lock(holder, tmp_path, how):
    holder.send_signal(how)
    holder.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_the_file_goes_with_the_lock(tmp_path):
    with locked(tmp_path):
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_same_thread_may_take_it_again_and_another_may_not(tmp_path):
    with locked(tmp_path):
        with locked(tmp_path / "." / ""):
            pass
        with pytest.raises(FolderInUseError, match=f"in use by process {os.getpid()} on"):
            in_another_thread(tmp_path)
    in_another_thread(tmp_path)


def test_an_error_releases_the_lock(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    in_another_thread(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_neither_holds_nor_releases_the_lock(tmp_path):
    here, there = os.pipe()
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            try:
                with locked(tmp_path):
                    os.write(there, b"held")
            except FolderInUseError:
                os.write(there, b"refused")
            time.sleep(600)
        try:
            assert os.read(here, 10) == b"refused"
            assert (tmp_path / "lock").exists()
            in_a_new_context = pytest.raises(FolderInUseError)
            with in_a_new_context:
                in_another_thread(tmp_path)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
    try:
        in_another_thread(tmp_path)  # while the child lives
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(here)
        os.close(there)


def test_a_file_that_a_killed_holder_left_is_taken_over(tmp_path):
    (tmp_path / "lock").write_text("half a li")
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_many_threads_one_after_the_other_are_never_inside_together(tmp_path):
    inside, most = [], []

    def work(number):
        with locked(tmp_path, wait=True):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.001)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert most == [1] * 40


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_once_and_the_work_goes_on(tmp_path, monkeypatch, number):
    def without(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", without)
    monkeypatch.setattr(locks, "_warned", False)
    with pytest.warns(RuntimeWarning, match=f"the file system of {tmp_path} has no locks") as said, locked(tmp_path):
        pass
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with locked(tmp_path):
            pass


def test_another_error_of_the_file_system_is_no_missing_lock(tmp_path, monkeypatch):
    def failing(descriptor, how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(locks.fcntl, "flock", failing)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(tmp_path):
        pass
    if before:
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_platform_without_locks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "_warned", False)
    with pytest.warns(RuntimeWarning, match="has no locks of this kind"), locked(tmp_path):
        pass
