"""Growth of time and memory with T, B and n, and the saving and cost of sqrt(T) checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.compare import WITHIN, Settings, interleaved, summary
from benchmarks.worker import Worker
from benchmarks.workloads import Workload

FLOAT_BYTES = 4
LINEAR_FROM = 1000  # below it the fixed cost of a call is visible
STEPS_MEASURED = 3000  # a measurement of fewer steps repeats the call
ENGINES = ("fused", "reference")
CHECKPOINTED = "fused, sqrt checkpoints"


@dataclass(frozen=True, kw_only=True)
class Series:
    """Sizes of which one grows.

    Attributes
    ----------
    grows : {"T", "B", "n"}
        Which.
    values : tuple of int
        Its values.
    T, B, n : int
        The sizes that do not grow, and m = 1.
    """

    grows: str
    values: tuple[int, ...]
    T: int = 1000
    B: int = 128
    n: int = 128

    def workload(self, value: int) -> Workload:
        """Return the workload where the growing size is `value`."""
        sizes = {"T": self.T, "B": self.B, "n": self.n} | {self.grows: value}
        calls = max(1, STEPS_MEASURED // sizes["T"])
        return Workload(
            name=f"{self.grows}={value}", title="", T=sizes["T"], B=sizes["B"], m=1, n=sizes["n"], calls=calls
        )

    def engines(self, value: int) -> tuple[str, ...]:
        """Return the contenders at a value: checkpoints only at the two longest sequences."""
        return (*ENGINES, CHECKPOINTED) if self.grows == "T" and value in self.values[-2:] else ENGINES


FULL = (
    Series(grows="T", values=(100, 300, 1000, 3000, 10_000, 30_000, 100_000), B=32, n=64),
    Series(grows="B", values=(1, 8, 32, 128, 512)),
    Series(grows="n", values=(16, 32, 64, 128, 256, 512)),
)
QUICK = (
    Series(grows="T", values=(100, 1000, 2000), B=32, n=64),
    Series(grows="B", values=(1, 32), T=100),
    Series(grows="n", values=(16, 128), T=100),
)


def measure(series: Series, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the results of a series, in the form of the JSON file."""
    workers: dict[tuple[int, str], Worker] = {}
    peaks: dict[tuple[int, str], int | None] = {}
    with ExitStack() as stack:
        for value in series.values:
            for engine in series.engines(value):
                say(f"{series.grows} = {value}: {engine}")
                worker = stack.enter_context(Worker(engine, series.workload(value), settings.threads))
                # The first call creates what later ones reuse: threads, scratch memory, memory of the tape.
                peaks[value, engine] = worker.ask("peak", timeout=WITHIN)
                workers[value, engine] = worker
        seconds = interleaved(workers, settings.repetitions, say)
    points = []
    for (value, engine), measured in seconds.items():
        tape = FLOAT_BYTES * tape_floats(series.workload(value))
        peak = peaks[value, engine]
        point = {"value": value, "engine": engine, **summary(measured), "peak_bytes": peak, "tape_bytes": tape}
        points.append(point | {"tape_ratio": None if peak is None else peak / tape})
    fixed = {key: getattr(series, key) for key in "TBn" if key != series.grows}
    return {"grows": series.grows, "fixed": fixed, "points": points, **conclusions(series.grows, points)}


def tape_floats(workload: Workload) -> int:
    """Return 2 T B n: states and slopes of an ungated cell."""
    return 2 * workload.T * workload.B * workload.n


def conclusions(grows: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the linearity and the checkpoints of a series over T; empty for any other series.

    "linear" is, for each engine, the largest deviation of the time per step from its mean over the lengths from
    LINEAR_FROM on, as a fraction of that mean. "checkpoints" is, for the longest sequence, peak memory and time with
    checkpoints relative to those without.
    """
    if grows != "T":
        return {}
    linear = {}
    for engine in ENGINES:
        per_step = [p["median"] / p["value"] for p in points if p["engine"] == engine and p["value"] >= LINEAR_FROM]
        mean = sum(per_step) / len(per_step)
        linear[engine] = max(abs(x / mean - 1) for x in per_step)
    longest = max(p["value"] for p in points)
    plain, lean = (
        next(p for p in points if (p["value"], p["engine"]) == (longest, engine)) for engine in ("fused", CHECKPOINTED)
    )
    memory = lean["peak_bytes"] / plain["peak_bytes"] if plain["peak_bytes"] else None
    checkpoints = {"T": longest, "memory_ratio": memory, "time_ratio": lean["median"] / plain["median"]}
    return {"linear": linear, "checkpoints": checkpoints}
