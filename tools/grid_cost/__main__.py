"""Measure and simulate what the paper's grid search costs, and write docs/grid_cost.md.

python -m tools.grid_cost                 measure, simulate, write (about 12 minutes)
python -m tools.grid_cost --quick         a trial of the command, to standard output; its figures mean nothing
python -m tools.grid_cost --page-only     write the page again from results/grid_cost.json
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

from numrnn.experiments.trials import EXPERIMENTS, Space, rung_lengths
from numrnn.info import processor_of
from results.tables import presets
from tools.grid_cost import page
from tools.grid_cost.measure import on_cards, seconds_per_update
from tools.grid_cost.simulation import REDUCTION, Plan, ideal, simulate, training

RESULTS = Path("results/grid_cost.json")
PAGE = Path("docs/grid_cost.md")
COMMAND = "python -m tools.grid_cost"
ROW = "mnist-antisymmetric"
RUNGS = 3
WORKERS = (1, 10, 100, 1000)
HOURS_BETWEEN_DEATHS = 24.0
WALL = 40.0  # seconds of a simulation's sleep


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return 0."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a trial of the command, to standard output")
    parser.add_argument("--page-only", action="store_true", help=f"write the page again from {RESULTS}")
    given = parser.parse_args(arguments)
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if given.page_only else measure(quick=given.quick)
    if given.quick:
        print(page.write(found))
        return 0
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page.write(found), encoding="utf-8")
    return 0


def measure(*, quick: bool) -> dict[str, Any]:
    """Return everything that the page says."""
    import distributed

    trials = len(Space(optimizers=("sgd", "adagrad")).grid())
    updates = 2 if quick else 12
    cards = on_cards()
    rows: dict[str, Any] = {}
    for preset in [ROW] if quick else presets():
        name = "cifar10" if preset.startswith("cifar10-") else "mnist"
        config = EXPERIMENTS[name].make_config(preset=preset)
        card = asdict(cards[preset]) if preset in cards else None
        rows[preset] = {
            "updates": config.iterations,
            "seconds": seconds_per_update(preset, updates),
            "card": card,
        }
        print(preset, rows[preset], file=sys.stderr)
    lengths = tuple(rung_lengths(rows[ROW]["updates"], RUNGS, REDUCTION))
    plan = Plan(12 if quick else trials, lengths, rows[ROW]["seconds"], 1, math.inf, 1.0)
    searches = []
    for n_workers in (2,) if quick else WORKERS:
        one = replace(plan, workers=n_workers)
        one = replace(one, scale=ideal(one) / (1.0 if quick else WALL))
        calm = simulate(one)
        deadly = simulate(replace(one, hours_between_deaths=HOURS_BETWEEN_DEATHS))
        searches.append(
            {
                "workers": n_workers,
                "scale": one.scale,
                "ideal": ideal(one),
                "calm": asdict(calm),
                "deadly": asdict(deadly),
            }
        )
        print(searches[-1], file=sys.stderr)
    going = trials
    for _ in range(RUNGS - 1):
        going = -(-going // REDUCTION)
    return {
        "command": COMMAND,
        "date": datetime.date.today().isoformat(),
        "processor": processor_of(Path("/proc/cpuinfo").read_text(encoding="utf-8"))[0],
        "version": f"Dask {distributed.__version__}",
        "trials": trials,
        "timed_updates": updates,
        "rows": rows,
        "search": {
            "row": ROW,
            "lengths": lengths,
            "seconds": rows[ROW]["seconds"],
            "training": training(plan),
            "hours_between_deaths": HOURS_BETWEEN_DEATHS,
            "last": going,
        },
        "searches": searches,
    }


if __name__ == "__main__":
    sys.exit(main())
