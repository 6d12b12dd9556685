"""Worker processes of the CPU engine: what its threads do, without an interpreter lock between them.

Every NumPy call gives up the interpreter lock and takes it again. Two threads that each make a call every few
microseconds find it taken so often that the system puts them to sleep and wakes them some 10^4 times a second, which
costs up to a third of the time of a training step. A process has a lock of its own.

A worker is started once and waits at a pipe. It is sent a function with its arguments, pickled; arrays made by
`shared_array` are sent as their place in memory that both see, and whatever the function writes there the caller finds.
Workers need memory without a name (memfd_create), which Linux has. Elsewhere, and while a worker is still starting or
busy for another thread, the engine uses threads, and gives the same numbers bit for bit.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import itertools
import math
import mmap
import multiprocessing.connection
import os
import pickle
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from numrnn.engines import workspace

VARIABLE = "NUMRNN_PROCESSES"  # "0" keeps the engine to threads
SUPPORTED = hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
GOODBYE = 5.0  # seconds that a worker has to end after its pipe was closed
_numbers = itertools.count()


class _Region:
    """Memory that other processes can map: its place here, and the descriptor that they find it by."""

    def __init__(self, size: int) -> None:
        self.number, self.size = next(_numbers), size
        self.descriptor = os.memfd_create("numrnn")
        os.ftruncate(self.descriptor, size)
        self.memory = mmap.mmap(self.descriptor, size)
        self.start = np.frombuffer(self.memory, np.uint8).ctypes.data


_regions: dict[int, _Region] = {}  # by number
_lock = threading.Lock()


def usable() -> bool:
    """Tell whether this system, and the environment variable NUMRNN_PROCESSES, allow worker processes."""
    return SUPPORTED and os.environ.get(VARIABLE, "1") != "0" and bool(sys.executable)


def shared_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a C-contiguous array in memory that workers can see, for as long as it or a view of it lives."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size == 0:  # there is nothing to see
        return np.empty(shape, dtype)
    region = _Region(size)
    array: np.ndarray = np.ndarray(shape, dtype, region.memory)
    with _lock:
        _regions[region.number] = region
    weakref.finalize(array, _release, region.number).atexit = False
    return array


def _release(number: int) -> None:
    with _lock:
        os.close(_regions.pop(number).descriptor)


class _Pickler(pickle.Pickler):
    """Pickles arrays in shared memory as their place there."""

    def persistent_id(self, obj: Any) -> Any:
        """Return the place of such an array, and None for all else."""
        if not isinstance(obj, np.ndarray):
            return None
        address = obj.ctypes.data
        for region in list(_regions.values()):
            if region.start <= address < region.start + region.size:
                place = (os.getpid(), region.descriptor, region.number, region.size)
                return place, obj.shape, obj.dtype.str, address - region.start, obj.strides
        return None


class _Unpickler(pickle.Unpickler):
    """Makes arrays again from their place in shared memory; maps a region once."""

    def __init__(self, data: bytes, mapped: dict[int, mmap.mmap]) -> None:
        super().__init__(io.BytesIO(data))
        self.mapped = mapped

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the array of a place."""
        (owner, descriptor, number, size), shape, dtype, offset, strides = pid
        if number not in self.mapped:
            opened = os.open(f"/proc/{owner}/fd/{descriptor}", os.O_RDWR)
            try:
                self.mapped[number] = mmap.mmap(opened, size)
            finally:
                os.close(opened)
        return np.ndarray(shape, dtype, self.mapped[number], offset, strides)


def serve(descriptor: int) -> None:
    """Be a worker: call what comes through the pipe and send back what it returns, until the pipe is closed."""
    pipe: Any = multiprocessing.connection.Connection(descriptor)
    mapped: dict[int, mmap.mmap] = {}
    pipe.send(None)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            live, data = pipe.recv()
            for number in mapped.keys() - live:  # nobody else holds that memory any more
                del mapped[number]
            try:
                answer = True, _Unpickler(data, mapped).load()()
            except BaseException as error:
                answer = False, error
            pipe.send(answer)


class Worker:
    """A process that calls functions for this one."""

    def __init__(self) -> None:
        self._pipe, theirs = multiprocessing.connection.Pipe()
        call = f"from numrnn.engines.processes import serve; serve({theirs.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {call}"],
            pass_fds=(theirs.fileno(),),
            env=os.environ | ONE_THREAD,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )
        theirs.close()
        self._ready = False

    def ready(self) -> bool:
        """Tell whether it has started. Raises EOFError if it ended instead."""
        if not self._ready and self._pipe.poll():
            self._pipe.recv()
            self._ready = True
        return self._ready

    def send(self, task: Callable[[], Any]) -> None:
        """Let it call a function without arguments, which must be picklable."""
        data = io.BytesIO()
        _Pickler(data, pickle.HIGHEST_PROTOCOL).dump(task)
        self._pipe.send((set(_regions), data.getvalue()))

    def receive(self) -> tuple[bool, Any]:
        """Wait for (True, what the function returned) or (False, what it raised)."""
        return self._pipe.recv()

    def hang_up(self) -> None:
        """Close this process's end of the pipe."""
        self._pipe.close()

    def close(self) -> None:
        """End it."""
        self.hang_up()
        try:
            self._process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Pool:
    """Workers that are started when they are first wanted, and lent to one caller at a time."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []
        self._lent = threading.Lock()
        self._broken = False

    @contextlib.contextmanager
    def borrow(self, count: int) -> Iterator[list[Worker] | None]:
        """Yield so many workers, or None if they are not ready, busy, or broken."""
        if self._broken or not self._lent.acquire(blocking=False):
            yield None
            return
        try:
            while len(self._workers) < count:
                self._workers.append(Worker())
            ready = all(worker.ready() for worker in self._workers[:count])
        except (OSError, EOFError) as error:
            self._give_up(error)
            ready = False
        try:
            yield self._workers[:count] if ready else None
        finally:
            self._lent.release()

    def run(self, workers: Sequence[Worker], tasks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Call all tasks at the same time, the last in this process, and return their results.

        A task of a worker that died is called here: it must be one that can be called again. An exception of a task is
        raised here, after all have ended.
        """
        died: list[BaseException] = []
        try:
            for worker, task in zip(workers, tasks, strict=False):
                with _noting(died):
                    worker.send(task)
            last = tasks[-1]()
            answers = [self._answer(*pair, died) for pair in zip(workers, tasks, strict=False)]
        except BaseException:
            self.close()  # an answer may be on its way that nobody waits for
            raise
        if died:
            self._give_up(died[0])
        for good, result in answers:
            if not good:
                raise result
        return [result for _, result in answers] + [last]

    @staticmethod
    def _answer(worker: Worker, task: Callable[[], Any], died: list[BaseException]) -> tuple[bool, Any]:
        if not died:
            with _noting(died):
                return worker.receive()
        return True, task()

    def _give_up(self, error: BaseException) -> None:
        self.close()
        self._broken = True
        warnings.warn(
            f"a worker process of the CPU engine ended ({type(error).__name__}: {error}); it goes on with threads",
            RuntimeWarning,
            stacklevel=2,
        )

    def close(self) -> None:
        """End all workers."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()

    def abandon(self) -> None:
        """Close the pipes, and leave the workers to whoever else has them."""
        for worker in self._workers:
            worker.hang_up()


@contextlib.contextmanager
def _noting(died: list[BaseException]) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as error:
        died.append(error)


pool = Pool()
atexit.register(lambda: pool.close())


def _forget_in_parent() -> None:
    """Never write again to memory that a child sees too; arrays that somebody holds stay as they are."""
    workspace.forget(shared_array)


def _forget_in_child() -> None:
    """Leave the workers to the parent; without the child's end of the pipe they notice when the parent ends."""
    global pool
    _forget_in_parent()
    _of_the_parent.append(pool)  # for Popen objects warn when they go before their process
    pool.abandon()
    pool = Pool()


_of_the_parent: list[Pool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child, after_in_parent=_forget_in_parent)
