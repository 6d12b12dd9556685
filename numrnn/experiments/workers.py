"""The workers of a sweep: processes of a Dask scheduler, on this machine or on many."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numrnn.blas import available_cores
from numrnn.experiments.trials import Trial, step_reached, train
from numrnn.extras import import_extra

SECONDS_BETWEEN_LOOKS = 10.0  # at the workers


def require_dask() -> Any:
    """Return Dask's module `distributed`.

    Raises
    ------
    numrnn.extras.MissingExtraError
        If it is not installed.
    """
    return import_extra("distributed", package="Dask", extra="sweep", user="numrnn sweep")


@contextlib.contextmanager
def local_cluster(workers: int | None = None) -> Iterator[Any]:
    """Yield a scheduler with workers on this machine: processes with one thread each, by default one per core."""
    before = dict(os.environ)
    with _children_ignore_interrupts():
        cluster = require_dask().LocalCluster(
            n_workers=available_cores() if workers is None else workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # Dask would stop a worker at a fraction of the memory that no trial comes near
            dashboard_address=None,
            # Without a dashboard too, the scheduler has a web page; on its usual port a second sweep would warn.
            scheduler_kwargs={"dashboard_address": "localhost:0"},
            silence_logs=logging.ERROR,  # Dask warns of a worker that dies; its trial continues on another
        )
    # Dask sets variables such as OPENBLAS_NUM_THREADS=1 in this process, for its workers to inherit. Processes started
    # after the sweep must not inherit them: the number of threads determines the last bits of a run.
    changed = [name for name, value in os.environ.items() if before.get(name) != value]
    try:
        with cluster:
            yield cluster
    finally:
        for name in changed:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Let processes started meanwhile ignore Ctrl-C, which a terminal sends to all: the sweep ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Yield a client of the scheduler at an address, or of a temporary one with workers on this machine."""
    with contextlib.ExitStack() as stack:
        address: Any = scheduler
        if address is None:
            address = stack.enter_context(local_cluster(workers))
        yield stack.enter_context(require_dask().Client(address))


def results(
    client: Any,
    trials: Sequence[Trial],
    rung: int,
    out: str,
    *,
    say: Callable[[str], Any] = lambda _: None,
    work: Callable[[Trial, int, str], dict[str, Any]] = train,
    reached: Callable[[Trial, int, str], int] = step_reached,
) -> Iterator[dict[str, Any]]:
    """Let the workers train, and yield each result as it comes; for a failed trial, the reason.

    Dask gives a task up if four workers died that had it, because the task itself may be what ends them. A trial is
    submitted again if it came nearer to its end in the meantime, so only one that makes no progress fails. No more
    trials are submitted at a time than workers have threads: Dask would distribute all of them at once, and blame a
    worker's death on every task that waited there.

    Parameters
    ----------
    client : distributed.Client
        As `connected` yields it.
    trials : sequence of Trial
        What to train.
    rung : int
        Number of the rung, from 0.
    out : str
        Folder of the sweep.
    say : callable
        Gets a line for each trial that is submitted again, and one when no worker or one again is there.
    work, reached : callable
        Train a trial, in a worker; return the update from which it would continue, here.

    Raises
    ------
    ConnectionError
        If the scheduler is lost.
    """
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    running: dict[Any, tuple[Trial, int]] = {}

    def submit(trial: Trial) -> None:
        before = reached(trial, rung, out)
        key = f"{trial.name}-{rung}-{uuid.uuid4().hex}"  # of this sweep only: a scheduler may have served others
        future = client.submit(work, trial, rung, out, key=key)
        running[future] = trial, before
        future.add_done_callback(ended.put)

    def fill() -> None:
        while waiting and len(running) < places:
            submit(waiting.popleft())

    waiting, places, alone, looked = deque(trials), 1, False, -math.inf
    while running or waiting:
        if time.monotonic() > looked + SECONDS_BETWEEN_LOOKS:
            threads = _threads(client)
            places, looked = max(places, threads), time.monotonic()
            if (not threads) != alone:
                alone = not threads
                there = "no worker is" if alone else "workers are again"
                say(f"{there} connected to the scheduler at {client.scheduler.address}")
        fill()
        try:
            future = ended.get(timeout=SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            continue
        trial, before = running.pop(future)
        if future.cancelled():
            address = client.scheduler.address
            raise ConnectionError(f"lost the scheduler at {address}; the same command continues the sweep")
        error = future.exception()
        fill()  # before the result is yielded: its reader may take long
        if error is None:
            yield future.result()
        elif isinstance(error, require_dask().KilledWorker) and (now := reached(trial, rung, out)) > before:
            say(f"rung {rung}: workers died during trial {trial.name}; it continues from update {now}")
            submit(trial)
        else:
            common = {"kind": "result", "trial": trial.name, "rung": rung, "step": 0, **trial.searched}
            yield {
                **common,
                "status": "failed",
                "validation_accuracy": 0.0,
                "error": f"{type(error).__name__}: {error}",
            }
        future.release()


def _threads(client: Any) -> int:
    """Return how many threads the workers have, after starting those of this machine that Dask did not replace.

    Dask gives a worker up whose process does not come back within 15 s, or fails to start, and starts no other.
    """
    if client.cluster is not None:
        client.cluster.scale(len(client.cluster.worker_spec))
    try:
        return sum(client.nthreads().values())
    except (OSError, TimeoutError):  # the client tries to connect again; if it cannot, it cancels all tasks
        return 0
