"""The paper's grid with successive halving on N workers: the scheduler is real, and the training is sleep.

The tasks, their order and the rule of who continues are those of ``numrnn sweep`` (`workers.results`,
`trials.survivors`). A trial sleeps for its seconds divided by `scale`, and writes ten checkpoints in a rung. Workers
die at random moments and are replaced. The scheduler starts a trial again whose worker died, and the trial continues
from its last checkpoint, as a real one does.

What is scaled is the trials' seconds, the time between deaths and the time until a worker is replaced. The work of the
scheduler, of the client and of the workers themselves is not scaled: it is in the result as it is.
"""

from __future__ import annotations

import functools
import heapq
import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numrnn.experiments import workers
from numrnn.experiments.trials import CHECKPOINTS_A_RUNG, SEARCHED, Trial, survivors
from tools.grid_cost.fleet import Fleet, Scheduler

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
        Tasks that were begun again after a death.
    given_up : int
        Tasks that Dask gave up after four deaths, and that the sweep submitted again.
    repeated : float
        Seconds of training, of the search, that were lost in deaths.
    scheduler_seconds : float
        Seconds that a core worked for the scheduler during the search.
    memory : int
        Bytes that the scheduler held at the end of the search.
    """

    wall: float
    tasks: int
    deaths: int
    restarts: int
    given_up: int
    repeated: float
    scheduler_seconds: float
    memory: int


@dataclass
class Disk:
    """The checkpoints of all trials, as on the sweep's common disk, and what happened to them."""

    plan: Plan
    done: dict[str, float] = field(default_factory=dict)  # seconds of training that a checkpoint holds
    begun: set[tuple[str, int]] = field(default_factory=set)
    restarts: int = 0
    repeated: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def train(self, trial: Trial, rung: int) -> dict[str, Any]:
        """Sleep for what is left of a rung; stands in for `numrnn.experiments.trials.train`."""
        plan, name, worker = self.plan, trial.name, workers.require_dask().get_worker()
        end = plan.lengths[rung] * plan.seconds_per_update
        begin = (plan.lengths[rung - 1] if rung else 0) * plan.seconds_per_update
        with self.lock:
            self.restarts += (name, rung) in self.begun
            self.begun.add((name, rung))
            at = max(begin, self.done.get(name, 0.0))
        while at < end:
            step = min(end / CHECKPOINTS_A_RUNG, end - at)
            started = time.monotonic()
            time.sleep(step / plan.scale)
            with self.lock:
                died = getattr(worker, "died", None)
                if died is not None:  # a process that dies takes its thread with it; this one notices afterwards
                    self.repeated += max(0.0, died - started) * plan.scale
                    return {}
                at += step
                self.done[name] = at
        accuracy = random.Random(f"{plan.seed} {name}").random()
        return {"trial": name, "rung": rung, "status": "finished", "validation_accuracy": accuracy}


DISKS: dict[int, Disk] = {}  # Dask pickles what it submits, and a lock cannot be pickled: workers find the disk here


def train_on(disk: int, trial: Trial, rung: int, _out: str) -> dict[str, Any]:
    """Train with the checkpoints of a disk, by its number."""
    return DISKS[disk].train(trial, rung)


def simulate(plan: Plan, scheduler: Scheduler) -> Outcome:
    """Run the search of a plan on a scheduler without other workers, and return what came out."""
    disk, number, given_up = Disk(plan), len(DISKS), 0
    DISKS[number] = disk
    going = [
        Trial("mnist", dict.fromkeys(SEARCHED, "") | {"seed": seed}, None, plan.lengths) for seed in range(plan.trials)
    ]
    scaled = (plan.hours_between_deaths * 3600 / plan.scale, REPLACED_AFTER / plan.scale)
    fleet = Fleet(scheduler, plan.workers, *scaled, plan.seed)

    def reached(trial: Trial, _rung: int, _out: str) -> int:
        return math.floor(disk.done.get(trial.name, 0.0) / plan.seconds_per_update)

    def say(line: str) -> None:
        nonlocal given_up
        given_up += "workers died" in line

    with fleet.running(), workers.require_dask().Client(scheduler.address) as client:
        client.submit(ideal_seconds, [1.0], 1).result()  # the scheduler imports this package with the first task
        fleet.begin()
        started, before, tasks = time.monotonic(), scheduler.processor_seconds(), 0
        for rung in range(len(plan.lengths)):
            tasks += len(going)
            options: dict[str, Any] = {"work": functools.partial(train_on, number), "reached": reached, "say": say}
            results = list(workers.results(client, going, rung, "", **options))
            failed = [result["error"] for result in results if result["status"] == "failed"]
            if failed:
                raise RuntimeError(f"{len(failed)} trials failed, the first with: {failed[0]}")
            kept = set(survivors(results, REDUCTION))
            going = [trial for trial in going if trial.name in kept]
        wall, after = time.monotonic() - started, scheduler.processor_seconds()
        deaths, memory = fleet.deaths, scheduler.memory()
    return Outcome(wall, tasks, deaths, disk.restarts, given_up, disk.repeated, after - before, memory)


def ideal(plan: Plan) -> float:
    """Return the seconds of the search on workers that never die, with a scheduler that costs nothing."""
    return sum(ideal_seconds([seconds] * trials, plan.workers) for trials, seconds in rungs(plan))


def training(plan: Plan) -> float:
    """Return the seconds that one worker trains for all trials."""
    return sum(trials * seconds for trials, seconds in rungs(plan))


def ideal_seconds(durations: Sequence[float], n_workers: int) -> float:
    """Return how long tasks take in this order on workers that always take the next one."""
    free = [0.0] * min(n_workers, len(durations))
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def rungs(plan: Plan) -> list[tuple[int, float]]:
    """Return the trials of each rung, and the seconds that each of them trains."""
    going, before, found = plan.trials, 0, []
    for length in plan.lengths:
        found.append((going, (length - before) * plan.seconds_per_update))
        going, before = -(-going // REDUCTION), length
    return found
