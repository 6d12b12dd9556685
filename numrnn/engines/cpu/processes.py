"""Worker processes of the CPU engine: they do the work of its threads without sharing an interpreter lock.

Every NumPy call releases the interpreter lock and takes it again. Two threads that each make a call every few
microseconds contend for it: the system puts them to sleep and wakes them some 10^4 times a second, which costs up to a
third of the time of a training step. Each process has its own lock.

Guarantees:

- A task writes only to memory that no task reads, so it can be run again. If a worker dies, this process waits for the
  others and then runs its task again: the same bits, and one RuntimeWarning. A later pass starts a new worker, at most
  RESTARTS times.
- This process waits for a stopped worker, since it cannot be told from a slow one. Ctrl-C ends the worker.
- No memory is reused while a worker may still write to it, even if a call is interrupted.
- A fork waits until the workers are idle. From then on each process has its own states and gradients; the child does
  not use its parent's workers and starts its own.
- Without workers the engine uses threads, and computes the same numbers bit for bit: on systems without shared memory,
  while a worker is still starting or busy for another thread, and for a tape from before a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numrnn.checks import check_switch
from numrnn.engines.cpu import shared_memory, threads, workspace
from numrnn.engines.cpu.floating_point import UnderSetting
from numrnn.engines.cpu.workers import Answer, Worker

VARIABLE = "NUMRNN_PROCESSES"  # "0": the engine uses threads only
# Starting a worker costs half a second, and part of a pass in which it dies is run twice. What ended workers four
# times (a memory limit, somebody's script) will end them again.
RESTARTS = 3
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # they may be over at the next pass


def usable() -> bool:
    """Tell whether this system, and the environment variable NUMRNN_PROCESSES, allow worker processes.

    Raises
    ------
    ValueError
        If the variable is neither "0" nor "1".
    """
    # In a frozen program sys.executable is the program, not a Python.
    python = bool(sys.executable) and not getattr(sys, "frozen", False)
    return check_switch(VARIABLE, default=True) and shared_memory.SUPPORTED and python


class Pool:
    """Workers, started at first use and lent to one caller at a time."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []
        self._lock = threading.RLock()  # re-entrant, since a signal handler may fork in the middle of a pass
        self._lent = self._parting = self._closed = False
        self._losses = 0

    @contextlib.contextmanager
    def borrow(self, count: int) -> Iterator[list[Worker] | None]:
        """Yield `count` workers, or None if they are not ready, are busy, or have died too often."""
        if not self._lock.acquire(blocking=False):
            yield None
            return
        try:
            if self._lent or self._closed:  # lent to this same thread, whose signal handler runs a pass
                yield None
                return
            self._lent = True
            try:
                yield self._ready(count)
            finally:
                self._lent = False
                if self._parting:
                    self._parting = False
                    self.part()
        finally:
            self._lock.release()

    def _ready(self, count: int) -> list[Worker] | None:
        self.settle()
        self._lose([worker for worker in self._workers if worker.ended()])
        if self._losses > RESTARTS:
            return None
        try:
            while len(self._workers) < count:
                self._workers.append(Worker())
        except OSError as error:
            if error.errno not in SHORTAGES:
                self._lose([], reason=str(error))
            return None
        workers = self._workers[:count]
        return workers if all(worker.ready() for worker in workers) else None

    def run(self, workers: Sequence[Worker], tasks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run all tasks concurrently, the last in this process, and return their results.

        If a worker dies, its task is run again here, after all others. Exceptions of tasks, and warnings of workers'
        tasks, are raised here after all tasks have ended.
        """
        try:
            for worker, task in zip(workers, tasks[:-1], strict=True):
                try:
                    worker.send(UnderSetting(task))
                except OSError:
                    worker.hang_up()  # part of a message may have been sent: expect no answer
            answers: list[Answer | None] = [_outcome(tasks[-1])]
            answers[:0] = [_answer(worker) for worker in workers]
        except BaseException:
            self.settle()
            raise
        self._lose([worker for worker, answer in zip(workers, answers, strict=False) if answer is None])
        missing = [i for i, answer in enumerate(answers) if answer is None or answer[0] is None]
        if missing:
            ended = threads.outcomes([tasks[i] for i in missing])
            while missing:
                answers[missing.pop()] = *ended.pop(), []
        return _results(answers)

    def settle(self) -> None:
        """End the workers that have not answered because a call was interrupted."""
        self._end([worker for worker in self._workers if worker.task is not None])

    def _lose(self, workers: Sequence[Worker], reason: str = "") -> None:
        """End workers that are no longer usable, with a warning."""
        if not workers and not reason:
            return
        if self._closed:  # this process is ending, and has ended them
            return
        reasons = [f"process {worker.pid}: {worker.last_words()}" for worker in workers] or [reason]
        self._end(workers)
        self._losses += 1
        further = "a later pass starts a new one"
        if self._losses > RESTARTS:
            self._end(self._workers)
            further = f"no more are started, since this happened {self._losses} times"
        warnings.warn(
            f"a worker process of the CPU engine ended ({'; '.join(reasons)}); threads take its place, and {further}",
            RuntimeWarning,
            stacklevel=2,
        )

    def _end(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            worker.end()
        self._workers = [worker for worker in self._workers if worker not in workers]

    def close(self) -> None:
        """End all workers, and start no new ones."""
        self._closed = True
        for worker in self._workers:
            worker.kill()
        if self._lock.acquire(blocking=False):  # else a daemon thread is waiting for them, and finds them ended
            self._end(self._workers)
            self._lock.release()

    def hold(self) -> None:
        """Wait until no other thread runs a pass on the workers, and let none start."""
        while True:
            # An exception before a fork is printed, and the fork goes on: it cannot be interrupted.
            with contextlib.suppress(KeyboardInterrupt):
                self._lock.acquire()
                return

    def release(self) -> None:
        """Let passes run again."""
        self._lock.release()

    def part(self) -> None:
        """Make this process's memory private, before a fork; call between `hold` and `release`."""
        if self._lent:
            self._parting = True  # this thread forks during a pass, which still needs the workers
            return
        self.settle()
        _make_private()

    def leave(self) -> None:
        """Leave all workers to the parent; call in the child of a fork.

        Closes the child's ends of the pipes, so that the workers notice when the parent ends.
        """
        self._closed = True
        for worker in self._workers:
            worker.leave()


def _outcome(task: Callable[[], Any]) -> Answer:
    try:
        return True, task(), []
    except Exception as error:
        return False, error, []


def _answer(worker: Worker) -> Answer | None:
    try:
        return worker.receive()
    except (OSError, EOFError):
        return None


def _results(answers: list[Answer | None]) -> list[Any]:
    results, result = [], None
    try:
        for good, result, notes in filter(None, answers):
            for note in notes:
                note.repeat()
            if not good:
                raise result
            results.append(result)
        return results
    finally:
        # An exception and a frame that refers to it would keep all arrays alive until garbage collection.
        answers.clear()
        del result


def _make_private() -> None:
    workspace.forget(shared_memory.array)
    shared_memory.make_private()


pool = Pool()
atexit.register(lambda: pool.close())
_held: list[Callable[[], None]] = []  # what the parent releases after a fork, in the order of the holds


def _before_fork() -> None:
    """Wait for the workers and take all locks of the engine; then make shared memory private."""
    held = (pool.hold, pool.release), (threads.hold, threads.release), (workspace.hold, workspace.release)
    for hold, release in held:  # the pool first: a pass on the workers takes and releases the other locks
        hold()
        _held.append(release)
    pool.part()


def _after_in_parent() -> None:
    while _held:
        _held.pop()()


def _after_in_child() -> None:
    """Reset to the state after a start: no workers, no threads, no lock held by a thread that does not exist here."""
    global pool
    _held.clear()
    threads.renew()
    workspace.renew()
    pool.leave()
    pool = Pool()
    _make_private()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
