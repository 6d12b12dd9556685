"""A Dask scheduler in a process of its own, and workers that die and are replaced.

The workers are Dask's own, one thread each, in an event loop of this process; they talk to the scheduler by TCP, as
those of a cluster do. A worker dies as a process does: its socket closes, and it says nothing more. `Worker.close` with
a timeout of 0 is not such a death. It may leave the connection open without a message, so the scheduler waits for the
worker's tasks forever. Nor does `LocalCluster.scale` replace a dead worker: it does so only 15 s after the scheduler
saw it leave (``distributed.deploy.lost-worker-timeout``), which here would be hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import dask
import psutil

from numrnn.experiments.workers import require_dask

ROOT = Path(__file__).resolve().parents[2]  # Dask unpickles tasks in the scheduler, too, which must find this package
STARTED_AT_ONCE = 32
QUIET = {
    # Each looks at the process, once per worker and up to 50 times a second; here all workers share one process.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "1 hour",
    "distributed.admin.tick.interval": "1 hour",
}


@dataclass(frozen=True)
class Scheduler:
    """A scheduler's process and address."""

    process: psutil.Process
    address: str

    def memory(self) -> int:
        """Return the bytes of memory that it holds."""
        return int(self.process.memory_info().rss)

    def processor_seconds(self) -> float:
        """Return the seconds that a core has worked for it."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def scheduler(*, wait: float = 60.0) -> Iterator[Scheduler]:
    """Start ``dask scheduler`` with Dask's default settings, and end it afterwards.

    Raises
    ------
    RuntimeError
        If it has not started within `wait` seconds.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # several sockets per worker; the scheduler inherits it
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scheduler.json"
        options = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
            "--scheduler-file",
            str(path),
        ]
        options += ["--idle-timeout", "300 s"]  # it ends even if this process is killed
        with (Path(folder) / "log").open("w+") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
            try:
                deadline = time.monotonic() + wait
                while not path.exists() or not path.read_text(encoding="utf-8").endswith("}"):
                    if process.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise RuntimeError(f"the scheduler has not started within {wait:g} s: {log.read()}")
                    time.sleep(0.05)
                address = json.loads(path.read_text(encoding="utf-8"))["address"]
                yield Scheduler(psutil.Process(process.pid), address)
            finally:
                process.kill()
                process.wait()


@dataclass
class Fleet:
    """Workers of one scheduler that live for exponentially distributed times.

    Attributes
    ----------
    scheduler : Scheduler
        Whose workers they are.
    size : int
        How many workers there are at first, and after each replacement.
    mean_life : float
        Seconds; infinity for workers that never die.
    absence : float
        Seconds until a dead worker is replaced.
    seed : int
        Of the lives.
    deaths : int
        How many workers have died.
    """

    scheduler: Scheduler
    size: int
    mean_life: float = math.inf
    absence: float = 0.0
    seed: int = 0
    deaths: int = 0
    _started: int = 0
    _failure: BaseException | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the workers connect, and end them afterwards; they do not die before `begin`.

        Raises
        ------
        RuntimeError
            If a worker could not be started.
        """
        require_dask()  # its import adds Dask's defaults to the settings, which the end of `set` would take away again
        from distributed.utils import silence_logging_cmgr

        with dask.config.set(QUIET), silence_logging_cmgr(logging.CRITICAL), tempfile.TemporaryDirectory() as folder:
            thread = threading.Thread(target=self._run, args=(folder,))
            thread.start()
            try:
                while self._started < self.size and thread.is_alive():
                    time.sleep(0.01)
                if thread.is_alive():
                    yield
            finally:
                self._set(self._ended)
                thread.join()
                if self._failure is not None:
                    raise RuntimeError(f"a worker could not be started: {self._failure!r}") from self._failure

    def begin(self) -> None:
        """Let workers die from now on."""
        self._set(self._begun)

    def _set(self, event: asyncio.Event) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, by a failure
                self._loop.call_soon_threadsafe(event.set)

    def _run(self, folder: str) -> None:
        async def all_of_them() -> None:
            self._loop = asyncio.get_running_loop()
            starts = asyncio.Semaphore(STARTED_AT_ONCE)
            await asyncio.gather(*(self._place(number, folder, starts) for number in range(self.size)))

        try:
            asyncio.run(all_of_them())
        except BaseException as error:
            self._failure = error
            self.scheduler.process.kill()  # or the search would wait for workers forever

    async def _place(self, number: int, folder: str, starts: asyncio.Semaphore) -> None:
        """Run one worker after the other, until the end."""
        rng, closing = Random(f"{self.seed} {number}"), []
        own = f"{folder}/{number}"  # each worker looks through its folder for those of dead ones
        settings: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "local_directory": own}
        while not self._ended.is_set():
            async with starts:
                worker = await require_dask().Worker(self.scheduler.address, **settings)
            self._started += 1
            await _first(self._begun, self._ended)
            if await _within(self._ended, rng.expovariate(1 / self.mean_life) if self.mean_life < math.inf else None):
                await worker.close(executor_wait=False, nanny=False)
                break
            self.deaths += 1
            worker.died = time.monotonic()
            worker.batched_stream.abort()
            closing.append(asyncio.ensure_future(worker.close(executor_wait=False, nanny=False)))
            await _within(self._ended, self.absence)
        await asyncio.gather(*closing)


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()


async def _within(event: asyncio.Event, seconds: float | None) -> bool:
    """Return whether an event is set within a time, None for no limit."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
