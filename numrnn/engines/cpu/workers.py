"""One worker process of the CPU engine: its start, the messages through its pipe, and its end.

A worker waits at a pipe, a pair of sockets, for tasks: pickled functions without arguments, whose large arrays are
references to shared memory. Descriptors of memory that is new to it come through the same sockets. It answers with the
task's result or exception, and with the warnings. It ends when the pipe is closed: when the caller ends, for any
reason. It prints nothing; the last error message of its Python is in the caller's warning.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing.connection
import os
import pathlib
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from numrnn.engines.cpu import shared_memory
from numrnn.engines.cpu.floating_point import Note, with_notes

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LAST_WORDS = 4096  # bytes at the end of a worker's stderr to search for the last line
PACKAGE = pathlib.Path(__file__).absolute().parents[2]
FAREWELL = 1.0  # seconds that a process may take to end after closing its pipe
Answer = tuple[bool | None, Any, list[Note]]
UNSEEN: Answer = (None, None, [])  # answer of a worker that could not map the memory of its task


def identity() -> tuple[str, str]:
    """Return the paths of this process's numrnn and NumPy: a worker must have the same."""
    return str(PACKAGE), os.path.abspath(np.__file__)


class Worker:
    """A process that calls functions for this one.

    Attributes
    ----------
    task : callable or None
        What it was sent and has not answered yet. The worker may write to the memory of the task; this reference keeps
        that memory from being reused before the answer has come or the process has ended, even if a call is
        interrupted.
    """

    def __init__(self) -> None:
        self.task: Callable[[], Any] | None = None
        self._seen: set[int] = set()  # regions that it has mapped
        self._ready, self._failed = False, False
        ours, theirs = socket.socketpair()
        self._pipe: Any = multiprocessing.connection.Connection(ours.detach())
        self._said = -1
        try:
            self._said = os.memfd_create("stderr-of-numrnn")
            self._process = subprocess.Popen(
                [sys.executable, "-c", _command(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=os.environ | ONE_THREAD,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,  # the caller handles Ctrl-C
            )
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ready(self) -> bool:
        """Tell whether it has started."""
        with contextlib.suppress(OSError, EOFError):
            if not self._ready and self._pipe.poll():
                self._ready = self._pipe.recv() == identity()
                self._failed = not self._ready
        return self._ready

    def ended(self) -> bool:
        """Tell whether it has ended or is unusable."""
        return self._failed or self._process.poll() is not None

    def send(self, task: Callable[[], Any]) -> None:
        """Make it call a picklable function without arguments.

        Raises
        ------
        OSError
            If it has ended.
        """
        data = io.BytesIO()
        pickler = shared_memory.Pickler(data)
        pickler.dump(task)
        gone = self._seen - shared_memory.numbers()
        new = [region for number, region in pickler.regions.items() if number not in self._seen]
        self.task = task
        self._pipe.send((gone, [(region.number, region.size) for region in new], data.getvalue()))
        if new:
            _send_descriptors(self._pipe, [region.descriptor for region in new])
        self._seen = (self._seen - gone).union(region.number for region in new)

    def receive(self) -> Answer:
        """Wait for its answer: (True, result, warnings), or (False, exception, warnings).

        UNSEEN if it lacked memory or descriptors to run the task.

        Raises
        ------
        OSError, EOFError
            If it has ended.
        """
        data = self._pipe.recv_bytes()
        self.task = None
        try:
            answer: Answer = pickle.loads(data)
        except Exception as error:
            return False, error, []
        if answer[0] is None:
            self._seen.clear()
        return answer

    def hang_up(self) -> None:
        """Close this process's end of the pipe."""
        self._pipe.close()

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(PermissionError):  # after setuid: it then ends when the pipe is closed
            self._process.kill()

    def end(self) -> None:
        """Kill it, and wait for its end: from then on it writes to no memory."""
        self.hang_up()
        self.kill()
        self._process.wait()
        self._close()

    def last_words(self) -> str:
        """Return why it ended by itself, and the last line of its stderr."""
        if self._failed:
            return "it loaded another numrnn or NumPy than this process"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)
        status = self._process.returncode
        if status is None:
            return "it closed its pipe"
        how = f"status {status}" if status >= 0 else f"signal {-status}, {signal.strsignal(-status)}"
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, LAST_WORDS, max(0, size - LAST_WORDS)).decode(errors="replace").split("\n")
        return ": ".join([how, *[line for line in said if line.strip()][-1:]])

    def leave(self) -> None:
        """Leave it to the parent; call in the child of a fork."""
        self._process.returncode = 0  # nothing to wait for or to kill in this process
        self._close()

    def _close(self) -> None:
        self.hang_up()
        said, self._said = self._said, -1
        if said >= 0:
            os.close(said)
        self.task = None


def _command(descriptor: int) -> str:
    # Python uses only str entries; escaped, because the encoding may lack their characters.
    path = [str.__str__(entry) for entry in sys.path if isinstance(entry, str)]
    # A relative entry points elsewhere after a change of directory, so numrnn is found by its absolute path; NumPy is
    # imported before, since other modules in that folder need not be those of this process.
    found = f"sys.path[:] = {path!a}; import numpy; sys.path.insert(0, {str(PACKAGE.parent)!a})"
    return f"import sys; {found}; from numrnn.engines.cpu.workers import serve; serve({descriptor})"


def serve(descriptor: int) -> None:
    """Run as a worker: call each task from the pipe and send its answer back, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe: Any = multiprocessing.connection.Connection(descriptor)
    regions: dict[int, np.ndarray] = {}
    with contextlib.suppress(EOFError, ConnectionError):
        pipe.send(identity())
        while True:
            gone, new, data = pipe.recv()
            for number in gone:
                regions.pop(number, None)
            try:
                _map_all(pipe, new, regions)
            except OSError:
                regions.clear()
                answer = UNSEEN
            else:
                answer = with_notes(functools.partial(_run, data, regions))
            pipe.send_bytes(_pickled(answer))


def _run(data: bytes, regions: dict[int, np.ndarray]) -> Any:
    return shared_memory.Unpickler(data, regions).load()()


def _pickled(answer: Answer) -> bytes:
    try:
        return pickle.dumps(answer)
    except Exception as error:
        text = f"a task's answer cannot be sent to another process: {error!r}, of {answer[1]!r}"
        return pickle.dumps((False, RuntimeError(text), answer[2]))


def _send_descriptors(pipe: Any, descriptors: list[int]) -> None:
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, pipe.fileno())
    try:
        socket.send_fds(ours, [b"."], descriptors)
    finally:
        ours.detach()  # the pipe owns it


def _map_all(pipe: Any, new: list[tuple[int, int]], regions: dict[int, np.ndarray]) -> None:
    """Map the regions whose descriptors follow in the pipe."""
    if not new:
        return
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, pipe.fileno())
    try:
        descriptors = socket.recv_fds(ours, 1, len(new))[1]
    finally:
        ours.detach()
    try:
        for number, size in new:
            if not descriptors:
                raise OSError("this process may have no more descriptors")
            regions[number] = shared_memory.map_for_another(descriptors.pop(0), size)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
