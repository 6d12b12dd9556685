"""The comparison: values first, then interleaved timings, then memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import contenders
from benchmarks.check import DifferentNumbersError, tolerance, worst_error
from benchmarks.worker import Worker, WorkerError, WorkerTimeoutError
from benchmarks.workloads import Workload
from numrnn.info import sgemm_rate

PAUSE = 0.2  # seconds before each measurement: threads of the one before spin on for a while and hold their cores
ORDER_SEED = 3
WITHIN = 600.0  # seconds that any step but the first call may take


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    threads : int
        Of every contender.
    repetitions : int
        Measurements of each.
    sgemm_size : int
        Rows and columns of the matrices that give the machine's rate.
    compile_limit : float
        Seconds that the first call may take.
    """

    threads: int
    repetitions: int = 7
    sgemm_size: int = 4096
    compile_limit: float = 120.0


def compare(workload: Workload, names: Sequence[str], settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the results of one workload, as they go into the JSON.

    Parameters
    ----------
    workload : Workload
        What to run.
    names : sequence of str
        Contenders; ratios are to the first of the workload's own list.
    settings : Settings
        How to measure.
    say : callable
        Receives lines on the progress.
    """
    rates: list[float] = []
    wanted = expected_numbers(workload, settings)
    largest = {name: float(np.max(np.abs(value))) for name, value in wanted.items()}
    outcomes = time_contenders(
        workload, names, settings, say, lambda: rates.append(_sgemm(settings)), wanted=wanted, peaks=True
    )
    return derive(workload, outcomes, max(rates), largest)


def time_contenders(
    workload: Workload,
    names: Sequence[str],
    settings: Settings,
    say: Callable[[str], None],
    each_round: Callable[[], None],
    *,
    wanted: Mapping[str, np.ndarray] | None = None,
    peaks: bool,
    apart: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return what is known of each contender after its values were checked and its time was taken.

    Parameters
    ----------
    workload, names, settings, say
        As for `compare`.
    each_round : callable
        Called before every round of measurements and after the last.
    wanted : mapping of str to numpy.ndarray, optional
        The `expected_numbers`, if they are there already.
    peaks : bool
        Whether to ask for the peak memory of the process too.
    apart : bool
        Whether to ask for the seconds of host and device apart too.
    """
    wanted = expected_numbers(workload, settings) if wanted is None else wanted
    outcomes: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for name in names:
            say(f"{workload.name}: {name}, first call and values")
            outcomes[name], worker = admit(name, workload, wanted, settings)
            if worker is not None:
                workers[name] = stack.enter_context(worker)
            if outcomes[name]["status"] != "ready":
                say(f"{workload.name}: {name}: {outcomes[name]['status']}: {outcomes[name]['reason']}")
        measured = interleaved(workers, settings.repetitions, say, each_round=each_round)
        for name, seconds in measured.items():
            outcomes[name] |= summary(seconds)
        for name, worker in workers.items() if apart else ():
            seconds = worker.ask("apart", timeout=WITHIN)
            if seconds is not None:
                outcomes[name] |= dict(zip(("host_seconds", "device_seconds"), seconds, strict=True))
        for name, worker in workers.items() if peaks else ():
            if outcomes[name]["status"] == "timed":
                outcomes[name]["peak_bytes"] = worker.ask("peak", timeout=WITHIN)
    return outcomes


def _sgemm(settings: Settings) -> float:
    """Return the machine's rate of large products; NumPy's BLAS is held to the threads already."""
    time.sleep(PAUSE)
    size = settings.sgemm_size
    return sgemm_rate(size, size, size, repetitions=1)


def expected_numbers(workload: Workload, settings: Settings) -> dict[str, np.ndarray]:
    """Return what all contenders of the same cell must show: numrnn's reference engine, in float64."""
    with Worker("expected", workload, settings.threads) as worker:
        return worker.ask("first", timeout=WITHIN)[1]


def admit(
    name: str, workload: Workload, wanted: Mapping[str, np.ndarray], settings: Settings
) -> tuple[dict[str, Any], Worker | None]:
    """Return what is known of a contender after its first call, and its worker if it may be timed."""
    known: dict[str, Any] = {"name": name}
    packages = contenders.missing(name)
    if packages:
        return {**known, "status": "missing", "reason": f"not installed: {', '.join(packages)}"}, None
    worker = Worker(name, workload, settings.threads)
    try:
        known |= worker.ask("start", timeout=WITHIN)
        known["first_call_seconds"], numbers = worker.ask("first", timeout=settings.compile_limit)
        if known["same_cell"]:
            known["worst_error"], known["worst_array"] = worst_error(numbers, wanted, workload)
        worker.ask("warm_up", timeout=WITHIN)
    except DifferentNumbersError as error:
        status, reason = "refused", str(error)
    except WorkerTimeoutError:
        status, reason = "gave up", f"the first call did not come to an end in {settings.compile_limit:.0f} s"
    except WorkerError as error:
        status, reason = "failed", str(error).splitlines()[-1]
    else:
        return {**known, "status": "ready"}, worker
    worker.close()
    return {**known, "status": status, "reason": reason}, None


def interleaved(
    workers: Mapping[Any, Worker],
    repetitions: int,
    say: Callable[[str], None],
    *,
    each_round: Callable[[], None] = lambda: None,
) -> dict[Any, list[float]]:
    """Return the seconds of each worker: rounds in which each has one turn, in an order drawn anew for each round.

    `each_round` is called before each round and after the last.
    """
    rng = np.random.default_rng(ORDER_SEED)
    seconds: dict[Any, list[float]] = {key: [] for key in workers}
    keys = list(workers)
    for index in range(repetitions):
        say(f"round {index + 1} of {repetitions}")
        each_round()
        for position in rng.permutation(len(keys)):
            time.sleep(PAUSE)
            key = keys[position]
            seconds[key].append(workers[key].ask("measure", timeout=WITHIN))
    each_round()
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Return median, minimum and spread, the distance of the quartiles, of measurements."""
    low, high = np.quantile(seconds, [0.25, 0.75])
    return {
        "status": "timed",
        "seconds": list(seconds),
        "median": statistics.median(seconds),
        "minimum": min(seconds),
        "spread": float(high - low),
    }


def used_versions(outcomes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the versions that contenders told."""
    return {name: version for one in outcomes for name, version in one.get("versions", {}).items()}


def derive(
    workload: Workload, outcomes: dict[str, dict[str, Any]], rate: float, largest: Mapping[str, float]
) -> dict[str, Any]:
    """Return the results of a workload with all that follows from the medians.

    "gflops" and "share" count the products with the recurrent matrices, "share_all" those with the input's too; the
    floors of the workload are the seconds of both at the machine's rate.

    Parameters
    ----------
    workload : Workload
        What was run.
    outcomes : dict
        Name to result of each contender.
    rate : float
        The machine's rate of large products, GFLOP/s.
    largest : mapping of str to float
        Of each array of the expected numbers, the magnitude of its largest element.
    """
    baseline = outcomes.get(workload.contenders[0], {}).get("median")
    for outcome in outcomes.values():
        if outcome["status"] != "timed":
            continue
        if baseline is not None:
            outcome["ratio"] = outcome["median"] / baseline
        recurrent, of_input = workload.recurrent_flops(outcome["cell"]), workload.input_flops(outcome["cell"])
        outcome["gflops"] = 1e-9 * recurrent / outcome["median"]
        outcome["share"] = outcome["gflops"] / rate
        outcome["share_all"] = 1e-9 * (recurrent + of_input) / outcome["median"] / rate
    return {
        **{key: value for key, value in asdict(workload).items() if key not in ("contenders", "calls")},
        "dtype": "float32",
        "flops": workload.flops,
        "input_flops": workload.input_flops(workload.cell),
        "sgemm_gflops": rate,
        "floor_seconds": 1e-9 * workload.flops / rate,
        "floor_all_seconds": 1e-9 * (workload.flops + workload.input_flops(workload.cell)) / rate,
        "tolerance": tolerance(workload),
        "largest": dict(largest),
        "baseline": workload.contenders[0],
        "contenders": list(outcomes.values()),
    }
