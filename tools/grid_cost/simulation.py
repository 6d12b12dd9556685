"""The paper's grid with successive halving on N workers: the scheduler is real, and the training is sleep.

The tasks, their order and the rule of who continues are those of ``numrnn sweep`` (`workers.results`,
`trials.survivors`), on Dask's scheduler with N real workers, threads of this process. A trial sleeps for its seconds
divided by `scale`, and writes ten checkpoints in a rung. Workers die at random moments and are replaced. The scheduler
starts a trial again whose worker died, and the trial continues from its last checkpoint, as a real one does.

What is scaled is the trials' seconds, the time between deaths and the time until a worker is replaced. The scheduler's
own work is not scaled: it is in the result as it is.
"""

from __future__ import annotations

import functools
import heapq
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dask

from numrnn.experiments import workers
from numrnn.experiments.trials import CHECKPOINTS_A_RUNG, Trial, survivors

REDUCTION = 3  # one trial of so many goes on to the next rung
REPLACED_AFTER = 120.0  # seconds until a dead worker has a successor


@dataclass(frozen=True)
class Plan:
    """What is simulated.

    Attributes
    ----------
    trials : int
        Settings of the grid.
    lengths : tuple of int
        Updates at the end of each rung.
    seconds_per_update : float
        Of one worker.
    workers : int
        How many there are.
    hours_between_deaths : float
        Mean time after which a worker dies, of each; infinity for never.
    scale : float
        By how much the simulation is faster than the search.
    seed : int
        Of the deaths and the trials' accuracies.
    """

    trials: int
    lengths: tuple[int, ...]
    seconds_per_update: float
    workers: int
    hours_between_deaths: float
    scale: float
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a simulation gave.

    Attributes
    ----------
    wall : float
        Seconds that the simulation took.
    tasks : int
        Trials and rungs that were submitted.
    deaths : int
        Workers that died.
    restarts : int
        Tasks that were begun again.
    repeated : float
        Seconds of training, of the search, that were done twice.
    """

    wall: float
    tasks: int
    deaths: int
    restarts: int
    repeated: float


@dataclass
class Disk:
    """The checkpoints of all trials, as on the sweep's common disk, and what happened to them."""

    plan: Plan
    done: dict[str, float] = field(default_factory=dict)  # seconds of training that a checkpoint holds
    owner: dict[str, object] = field(default_factory=dict)
    restarts: int = 0
    repeated: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def train(self, trial: Trial, rung: int, _out: str) -> dict[str, Any]:
        """Sleep for what is left of a rung; stands in for `numrnn.experiments.trials.train`."""
        plan, me, name = self.plan, object(), trial.name
        end = plan.lengths[rung] * plan.seconds_per_update
        begin = (plan.lengths[rung - 1] if rung else 0) * plan.seconds_per_update
        piece = end / CHECKPOINTS_A_RUNG
        with self.lock:
            if f"{name}-{rung}" in self.owner:
                self.restarts += 1
            self.owner[f"{name}-{rung}"] = me
            at = max(begin, self.done.get(name, 0.0))
        while at < end:
            step = min(piece, end - at)
            started = time.monotonic()
            time.sleep(step / plan.scale)
            with self.lock:
                if self.owner[f"{name}-{rung}"] is not me:  # this worker was declared dead: nobody reads its work
                    self.repeated += (time.monotonic() - started) * plan.scale
                    return {}
                at += step
                self.done[name] = at
        accuracy = random.Random(f"{plan.seed} {name}").random()
        return {"trial": name, "rung": rung, "status": "finished", "validation_accuracy": accuracy}


DISKS: dict[int, Disk] = {}  # Dask pickles what it submits, and a lock cannot be pickled: workers find the disk here


def train_on(disk: int, trial: Trial, rung: int, out: str) -> dict[str, Any]:
    """Train with the checkpoints of a disk, by its number."""
    return DISKS[disk].train(trial, rung, out)


def ideal_seconds(durations: Sequence[float], n_workers: int) -> float:
    """Return how long tasks take in this order on workers that always take the next one."""
    free = [0.0] * min(n_workers, len(durations))
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def simulate(plan: Plan) -> Outcome:
    """Run the search of a plan on a scheduler with its number of workers, and return what came out."""
    distributed = workers.require_dask()
    disk = Disk(plan)
    number = len(DISKS)
    DISKS[number] = disk
    rng = random.Random(plan.seed)
    names = [Trial("mnist", {"seed": seed}, None, plan.lengths) for seed in range(plan.trials)]
    deaths, ended = 0, threading.Event()
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    config = {"distributed.scheduler.allowed-failures": 100, "distributed.worker.profile.enabled": False}
    with (
        dask.config.set(config),
        distributed.LocalCluster(n_workers=plan.workers, silence_logs=50, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(plan.workers)

        def kill() -> None:
            """Let workers die at exponentially distributed times, until the search is over."""
            nonlocal deaths
            mean = plan.hours_between_deaths * 3600 / plan.scale / plan.workers
            while not ended.wait(rng.expovariate(1 / mean)):
                victims = list(cluster.workers)
                if not victims:
                    continue
                deaths += 1
                worker = cluster.workers[rng.choice(victims)]
                cluster.sync(worker.close, timeout=0, executor_wait=False, nanny=False)
                threading.Timer(REPLACED_AFTER / plan.scale, replace).start()

        def replace() -> None:
            if not ended.is_set():
                cluster.scale(plan.workers)

        killer = threading.Thread(target=kill)
        if plan.hours_between_deaths < float("inf"):
            killer.start()
        started, tasks, going = time.monotonic(), 0, names
        try:
            for rung in range(len(plan.lengths)):
                tasks += len(going)
                results = list(workers.results(client, going, rung, "", work=functools.partial(train_on, number)))
                kept = set(survivors(results, REDUCTION))
                going = [trial for trial in going if trial.name in kept]
            wall = time.monotonic() - started
        finally:
            ended.set()
            if killer.is_alive():
                killer.join()
    return Outcome(wall, tasks, deaths, disk.restarts, disk.repeated)


def ideal(plan: Plan) -> float:
    """Return the seconds of the search on workers that never die, with a scheduler that costs nothing."""
    return sum(ideal_seconds([seconds] * trials, plan.workers) for trials, seconds in _rungs(plan))


def training(plan: Plan) -> float:
    """Return the seconds that one worker trains for all trials."""
    return sum(trials * seconds for trials, seconds in _rungs(plan))


def _rungs(plan: Plan) -> list[tuple[int, float]]:
    """Return the trials of each rung, and the seconds that each of them trains."""
    going, before, rungs = plan.trials, 0, []
    for length in plan.lengths:
        rungs.append((going, (length - before) * plan.seconds_per_update))
        going, before = -(-going // REDUCTION), length
    return rungs
