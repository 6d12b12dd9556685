"""Simulate the search of the paper's grid on 1 to 1,000 workers, and write its table in docs/grid_cost.md.

python -m tools.grid_cost                      all numbers of workers, written to results/grid_cost.json and the page
python -m tools.grid_cost --workers 1 10 100   some of them; the others are kept as they are in results/grid_cost.json
python -m tools.grid_cost --quick              a trial of the command, to standard output; its figures mean nothing
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from numrnn.experiments.trials import rung_lengths
from numrnn.info import processor_of
from results import cost
from results.__main__ import main as rewrite_pages
from results.runs import read_runs
from tools.grid_cost.fleet import scheduler
from tools.grid_cost.simulation import REDUCTION, Plan, ideal, simulate, training

ROW = "pmnist-gated"  # the row with the most runs on one core
RUNGS = 3
WORKERS = (1, 10, 100, 1000)
HOURS_BETWEEN_DEATHS = 24.0
WALL = 60.0  # seconds of a simulation's sleep


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and write; return 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.grid_cost", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS), help="how many, of each simulation")
    parser.add_argument("--quick", action="store_true", help="a trial of the command, to standard output")
    given = parser.parse_args(arguments)
    if min(given.workers) < 1:
        parser.error(f"--workers must be >= 1, got {min(given.workers)}")
    found = simulated([2] if given.quick else given.workers, quick=given.quick)
    if given.quick:
        print(json.dumps(found, indent=1))
        return 0
    if cost.SIMULATION.exists():
        before = json.loads(cost.SIMULATION.read_text(encoding="utf-8"))["searches"]
        kept = [one for one in before if one["workers"] not in given.workers]
        found["searches"] = sorted(kept + found["searches"], key=lambda one: int(one["workers"]))
    cost.SIMULATION.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return rewrite_pages([])


def simulated(numbers: Sequence[int], *, quick: bool) -> dict[str, Any]:
    """Return what was simulated, and with which assumptions."""
    import distributed

    runs = [run for run in read_runs()[ROW] if run.result and run.config["backend"] == "numpy"]
    seconds = sum(map(cost.seconds_per_update, runs)) / len(runs)
    trials, length = 12 if quick else cost.settings(ROW), cost.updates(ROW)
    plan = Plan(trials, tuple(rung_lengths(length, RUNGS, REDUCTION)), seconds, 1, math.inf, 1.0)
    searches = []
    for number in numbers:
        one = replace(plan, workers=number)
        one = replace(one, scale=ideal(one) / (1.0 if quick else WALL))
        outcomes = []
        for hours in (math.inf, HOURS_BETWEEN_DEATHS):
            with scheduler() as process:  # a new one each time, for its memory
                outcomes.append(asdict(simulate(replace(one, hours_between_deaths=hours), process)))
            print(f"{number} workers, a death in {hours:g} h: {outcomes[-1]}", file=sys.stderr, flush=True)
        calm, deadly = outcomes
        searches.append({"workers": number, "scale": one.scale, "ideal": ideal(one), "calm": calm, "deadly": deadly})
    return {
        "command": "python -m tools.grid_cost",
        "date": datetime.date.today().isoformat(),
        "processor": processor_of(Path("/proc/cpuinfo").read_text(encoding="utf-8"))[0],
        "version": f"Dask {distributed.__version__}",
        "row": ROW,
        "trials": trials,
        "lengths": plan.lengths,
        "seconds_per_update": seconds,
        "hours_between_deaths": HOURS_BETWEEN_DEATHS,
        "training": training(plan),
        "full": trials * length * seconds,
        "searches": searches,
    }


if __name__ == "__main__":
    sys.exit(main())
