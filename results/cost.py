"""What the paper's whole grid costs: the tables of docs/grid_cost.md, from logs of runs and from a simulation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numrnn.experiments.trials import Space
from results.runs import Run
from results.tables import beside, presets

SIMULATION = Path(__file__).parent / "grid_cost.json"
UPDATES = {"cifar10-noise-padded": 10_000}  # of a run in the paper; the other tasks have LONG
LONG = 50_000
SOURCE = "results/grid_cost.json"
NOT_OF_THE_LSTM = ("step_sizes", "diffusions")
NOT_SIMULATED = "Not simulated yet: `python -m tools.grid_cost` makes this table."


def settings(preset: str) -> int:
    """Return how many settings the paper's grid has for a row: those of the LSTM have no step size and no diffusion."""
    space = Space(optimizers=("sgd", "adagrad"))
    if preset.endswith(("-lstm", "-lstm-chrono")):
        space = Space(space.optimizers, **dict.fromkeys(NOT_OF_THE_LSTM, (1.0,)))
    return len(space.grid())


def updates(preset: str) -> int:
    """Return the updates of a run of a row in the paper."""
    return next((count for task, count in UPDATES.items() if preset.startswith(task)), LONG)


def seconds_per_update(run: Run) -> float:
    """Return the seconds of an update, validation between epochs included."""
    return float(run.result["seconds"]) / int(run.result["iterations"])


def rows(runs: Mapping[str, Sequence[Run]]) -> str:
    """Return a line for each row and machine: the mean over its finished runs, and what the whole grid would take."""
    lines = [
        "| row | machine | s per update | updates in the paper | hours per run | settings | days, whole grid |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for preset in presets() + [row for row in beside() if runs.get(row)]:
        on: dict[str, list[float]] = {}
        for run in runs.get(preset, ()):
            if run.result:
                on.setdefault(run.result["machine"], []).append(seconds_per_update(run))
        for machine, found in on.items():
            seconds, count = sum(found) / len(found), settings(preset)
            hours = seconds * updates(preset) / 3600
            cells = [preset, machine, f"{seconds:.4f}", f"{updates(preset):,}", f"{hours:.2f}", f"{count:,}"]
            lines.append(f"| {' | '.join(cells)} | {hours * count / 24:,.1f} |")
        if not on:
            lines.append(f"| {preset} | no finished run | | {updates(preset):,} | | {settings(preset):,} | |")
    return "\n".join(lines)


def searches(path: Path = SIMULATION) -> str:
    """Return the table of a simulation, with what it assumed; a sentence if there is none yet."""
    if not path.exists():
        return NOT_SIMULATED
    found = json.loads(path.read_text(encoding="utf-8"))
    head = (
        "workers",
        "ideal, h",
        "with deaths, h",
        "deaths",
        "restarts",
        "given up",
        "repeated, h",
        "added, s",
        "scheduler, ms per task",
        "its memory, MB",
    )
    ends = ", ".join(f"{length:,}" for length in found["lengths"])
    lines = [
        f"{found['trials']:,} trials of {found['row']}, {found['seconds_per_update']:.4f} s per update, rungs that end"
        f" after {ends} updates: {found['training'] / 3600:,.0f} hours of"
        f" training, in place of {found['full'] / 3600:,.0f} without halving. A worker dies once in"
        f" {found['hours_between_deaths']:g} hours. {found['version']}, {found['date']}, {found['processor']}.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---:|' * len(head)}",
    ]
    return "\n".join([*lines, *map(_search, found["searches"])])


def _search(one: Mapping[str, Any]) -> str:
    calm, deadly, scale = one["calm"], one["deadly"], one["scale"]
    added = max(0.0, calm["wall"] - one["ideal"] / scale)  # seconds that are not scaled
    cells = [
        f"{one['workers']:,}",
        f"{one['ideal'] / 3600:,.1f}",
        f"{(deadly['wall'] - added) * scale / 3600:,.1f}",
        f"{deadly['deaths']:,}",
        f"{deadly['restarts']:,}",
        f"{deadly['given_up']:,}",
        f"{deadly['repeated'] / 3600:.1f}",
        f"{added:.1f}",
        f"{1000 * calm['scheduler_seconds'] / calm['tasks']:.1f}",
        f"{calm['memory'] / 1e6:.0f}",
    ]
    return f"| {' | '.join(cells)} |"
