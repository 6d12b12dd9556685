"""The workers of a sweep: processes of a Dask scheduler, on this machine or on many."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from numrnn.blas import available_cores
from numrnn.experiments.trials import Trial, train
from numrnn.extras import import_extra


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


def results(client: Any, trials: Sequence[Trial], rung: int, out: str) -> Iterator[dict[str, Any]]:
    """Let the workers train, and yield each result as it comes; for a failed trial, the reason."""
    futures = {}
    for trial in trials:
        key = f"{trial.name}-{rung}-{uuid.uuid4().hex}"  # of this sweep only: a scheduler may have served others
        futures[client.submit(train, trial, rung, out, key=key)] = trial
    for future in require_dask().as_completed(list(futures)):
        error = future.exception()
        if error is None:
            yield future.result()
        else:
            trial = futures[future]
            common = {"kind": "result", "trial": trial.name, "rung": rung, "step": 0, **trial.searched}
            yield {
                **common,
                "status": "failed",
                "validation_accuracy": 0.0,
                "error": f"{type(error).__name__}: {error}",
            }
        future.release()
