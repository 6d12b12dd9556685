"""A contender in a process of its own, which runs when it is told to.

Each has its process because frameworks do not live well together: their pools of threads keep spinning after the work,
an allocator keeps what another needs, peak memory is that of the process, and a compiler that does not come to an end
can only be ended with its process. All processes of a comparison are alive at once and one at a time works, so that
repetitions can be interleaved as if all were in one.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.memory import peak_bytes, reset_peak, resident_bytes
from benchmarks.workloads import Workload

PATIENCE = 3  # seconds that a process may take to end
WARM_UPS = 2  # after the first call: a compiler may compile once more when it sees its own output


class WorkerError(RuntimeError):
    """What a contender raised, or that its process ended."""


class WorkerTimeoutError(WorkerError):
    """A contender took longer than it may."""


class Worker:
    """The process of a contender.

    Parameters
    ----------
    contender : str
        Its name.
    workload : Workload
        What it is to run.
    threads : int
        How many threads it may use.
    """

    def __init__(self, contender: str, workload: Workload, threads: int) -> None:
        self.contender, self.workload = contender, workload
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = self._start(theirs, threads)
        theirs.close()

    def _start(self, pipe: Connection, threads: int) -> Any:
        """Start the process, which is to answer at its end of the pipe, and return it."""
        arguments = (pipe, self.contender, self.workload, threads)
        process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
        process.start()
        return process

    def ask(self, command: str, *arguments: Any, timeout: float | None = None) -> Any:
        """Let the process run a command of `_Session`, and return what that returns.

        Raises
        ------
        WorkerTimeoutError
            If there is no answer within `timeout` seconds; the process is then ended.
        WorkerError
            If the command raised, or the process ended.
        """
        try:
            self._pipe.send((command, arguments))
            if not self._pipe.poll(timeout):
                self.close()
                raise WorkerTimeoutError(f"no answer within {timeout:.0f} s")
            good, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join(timeout=10)
            raise WorkerError(f"its process ended with code {self._process.exitcode}") from error
        if not good:
            raise WorkerError(answer)
        return answer

    def close(self) -> None:
        """End the process: politely, by closing its pipe, and by force if it still computes."""
        self._pipe.close()
        for end in (lambda: None, self._process.terminate, self._process.kill):
            end()
            self._process.join(timeout=PATIENCE)
            if not self._process.is_alive():
                return

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Session:
    """What a worker can be asked."""

    def __init__(self, name: str, workload: Workload, threads: int) -> None:
        from benchmarks.contenders import load
        from benchmarks.workloads import draw

        kind = load(name)
        if workload.cell not in kind.takes:
            raise ValueError(f"{name} computes {', '.join(kind.takes)}, not {workload.cell}")
        kind.set_threads(threads)
        self.workload = workload
        self.contender = kind(draw(workload))
        gc.collect()
        self.before = resident_bytes()

    def start(self) -> dict[str, Any]:
        """Return what the contender says of itself, and which cell it computes."""
        kind = type(self.contender)
        told = {name: getattr(kind, name) for name in ("note", "ours", "dtype")}
        cell = kind.cell or self.workload.cell
        same_cell = kind.same_cell or kind.cell == self.workload.cell
        return {"versions": kind.versions(), **told, "cell": cell, "same_cell": same_cell}

    def first(self) -> tuple[float, dict[str, np.ndarray]]:
        """Return the seconds of the first call, which compiles what there is to compile, and its numbers."""
        start = time.perf_counter()
        result = self.contender.run()
        seconds = time.perf_counter() - start
        return seconds, {name: np.asarray(value) for name, value in self.contender.numbers(result).items()}

    def warm_up(self) -> None:
        """Run without timing."""
        for _ in range(WARM_UPS):
            self.contender.run()

    def measure(self) -> float:
        """Return the mean seconds of as many calls as the workload says, after one that is not timed.

        Training calls again and again: what the first call after a rest costs, in caches and cores that have been
        somebody else's, is not what it pays.
        """
        gc.collect()
        self.contender.run()
        return self.contender.seconds(self.workload.calls)

    def apart(self) -> tuple[float, float] | None:
        """Return `Contender.apart`, for as many calls as the workload says."""
        gc.collect()
        self.contender.run()
        return self.contender.apart(self.workload.calls)

    def peak(self) -> int | None:
        """Return by how much memory peaks above what it was before the first call, in bytes."""
        gc.collect()
        reset_peak()
        self.contender.run()
        peak = peak_bytes()
        return None if peak is None or self.before is None else max(peak - self.before, 0)


@contextlib.contextmanager
def limited_blas(threads: int) -> Iterator[None]:
    """Limit every BLAS of the process."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield


def serve(pipe: Connection, name: str, workload: Workload, threads: int) -> None:
    """Answer the commands that come through a pipe until it is closed."""
    with limited_blas(threads):
        session: _Session | None = None
        while True:
            try:
                command, arguments = pipe.recv()
            except (EOFError, ConnectionError, KeyboardInterrupt):
                return
            try:
                if session is None:
                    session = _Session(name, workload, threads)
                answer = True, getattr(session, command)(*arguments)
            except KeyboardInterrupt:
                return
            except BaseException:
                answer = False, traceback.format_exc(limit=-3).strip()
            with contextlib.suppress(ConnectionError):  # whoever asked may have ended meanwhile
                pipe.send(answer)
