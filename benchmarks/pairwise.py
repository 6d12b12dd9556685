"""Times this checkout's engine against another checkout's: `python -m benchmarks.pairwise PATH_OF_OTHER_CHECKOUT`.

Two runs of a benchmark an hour apart differ by more than the effect of most changes. Here both engines run at once, in
separate processes with the same settings, and take turns: A B, B A, A B, ... The two times of a pair are seconds apart,
so a slower machine slows both, and the ratio within a pair is reported.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import compare
from benchmarks.check import DifferentNumbersError, worst_error
from benchmarks.checkout import HERE, CheckoutWorker
from benchmarks.report import seconds_text, text_table
from benchmarks.worker import WorkerError
from benchmarks.workloads import WORKLOADS, Workload, select
from numrnn.commands import Parser

COLUMNS = ("workload", "this, s", "other, s", "times as fast", "quartiles", "this faster in")
Row = tuple[str, ...]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = Parser(
        prog="python -m benchmarks.pairwise",
        description="Time this checkout's engine against another checkout's, in pairs; run it from this one's root.",
    )
    parser.add_argument("checkout", type=Path, metavar="PATH_OF_OTHER_CHECKOUT", help="the folder with its numrnn")
    parser.add_argument("--pairs", type=int, default=9, help="pairs of measurements, >= 1 (default: 9)")
    names = ", ".join(workload.name for workload in WORKLOADS)
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help=f"of {names} (default: all)")
    parser.add_argument("--cores", type=int, nargs="+", help="numbers of cores, one table each (default: 1 2)")
    options = parser.parse_args(argv)
    if not hasattr(os, "sched_setaffinity"):
        parser.error("this system cannot bind a process to cores")
    there = len(os.sched_getaffinity(0))
    options.cores = [cores for cores in (1, 2) if cores <= there] if options.cores is None else options.cores
    if not all(1 <= cores <= there for cores in options.cores):
        parser.error(f"--cores must be from 1 to {there}, the process's cores, got {' '.join(map(str, options.cores))}")
    if options.pairs < 1:
        parser.error(f"--pairs must be >= 1, got {options.pairs}")
    if not (options.checkout / "numrnn" / "__init__.py").is_file():
        parser.error(f"PATH_OF_OTHER_CHECKOUT must hold numrnn/__init__.py, got {options.checkout}")
    try:
        options.workloads = select(options.workloads, option="--workloads")
    except ValueError as error:
        parser.error(str(error))
    return options


def time_pairs(workload: Workload, checkout: Path, cores: int, pairs: int) -> tuple[list[float], list[float]]:
    """Return the seconds of this checkout's engine and of the other's, pair by pair.

    Raises
    ------
    DifferentNumbersError
        If the two do not compute the same numbers, to `benchmarks.check.tolerance`.
    """
    name = workload.contenders[0]
    with (
        CheckoutWorker(HERE, name, workload, cores) as this,
        CheckoutWorker(checkout, name, workload, cores) as other,
    ):
        workers = (this, other)
        got, wanted = (worker.ask("first", timeout=compare.WITHIN)[1] for worker in workers)
        worst_error(got, wanted, workload)
        for worker in workers:
            worker.ask("warm_up", timeout=compare.WITHIN)
        seconds: tuple[list[float], list[float]] = ([], [])
        for pair in range(pairs):
            for side in (0, 1) if pair % 2 == 0 else (1, 0):
                time.sleep(compare.PAUSE)
                seconds[side].append(workers[side].ask("measure", timeout=compare.WITHIN))
    return seconds


def row(workload: Workload, this: list[float], other: list[float]) -> Row:
    """Return the results of the pairs of a workload; "times as fast" is the median of the ratios other / this."""
    ratios = np.array(other) / np.array(this)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    medians = (seconds_text(float(np.median(times))) for times in (this, other))
    wins = f"{np.count_nonzero(ratios > 1)} of {len(ratios)}"
    return (workload.name, *medians, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", wins)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 if a workload has no times, or 130 after Ctrl-C."""
    options = parse_arguments(argv)
    failed = False
    try:
        for cores in options.cores:
            rows: list[Row] = []
            for workload in options.workloads:
                print(f"{workload.name}, cores: {cores}", file=sys.stderr, flush=True)
                found: Any
                try:
                    found = row(workload, *time_pairs(workload, options.checkout, cores, options.pairs))
                except (DifferentNumbersError, WorkerError) as error:
                    failed = True
                    found = (workload.name, str(error).splitlines()[-1], *[""] * (len(COLUMNS) - 2))
                rows.append(found)
            print(f"\ncores: {cores}; this: {HERE}; other: {options.checkout.resolve()}")
            print(text_table(COLUMNS, rows), flush=True)
    except KeyboardInterrupt:
        return 130
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
