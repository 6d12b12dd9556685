"""One run, read from its logs, and its consistency."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "paper"
FILES = ("config.json", "metrics.jsonl", "result.json", "final.npz", "learning_curves.png")
CHECKPOINT_BYTES = 1_000_000


class LogError(Exception):
    """The logs of a run contradict each other, or lack something: the message names the folder."""


@dataclass(frozen=True)
class Run:
    """One run: its folder, and the contents of its logs; `result` is empty for an unfinished run."""

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]

    @property
    def preset(self) -> str:
        """The row of the tables that it belongs to."""
        return self.folder.parent.name

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return command(self.preset, self.config["seed"], self.config["backend"])

    def history(self, kind: str) -> list[dict[str, Any]]:
        """Return the lines of metrics of one kind."""
        return [record for record in self.metrics if record["kind"] == kind]

    @property
    def training_accuracy(self) -> float:
        """Mean over the last tenth of the updates, each on its batch before the update."""
        records = self.history("training")
        steps = [0] + [record["step"] for record in records]
        updates = [max(0, stop - max(start, 0.9 * steps[-1])) for start, stop in itertools.pairwise(steps)]
        return statistics.fmean((record["accuracy"] for record in records), weights=updates)


def command(preset: str, seed: int = 0, backend: str = "numpy") -> str:
    """Return the command of a run of a row."""
    experiment = "cifar10" if preset.startswith("cifar10-") else "mnist"
    device = "" if backend == "numpy" else f" --backend {backend}"
    return f"numrnn {experiment} --preset {preset} --seed {seed}{device} --out results/paper/{preset}/seed-{seed}"


def read_run(folder: Path) -> Run:
    """Read the logs of a run and check them against each other.

    Raises
    ------
    LogError
        If a log is missing, or two of them do not agree.
    """
    missing = [name for name in FILES[:2] if not (folder / name).exists()]
    if missing:
        raise LogError(f"{folder}: {' and '.join(missing)} missing")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    run = Run(folder, config, [json.loads(line) for line in lines], result)
    if (config["preset"], f"seed-{config['seed']}") != (run.preset, folder.name):
        raise LogError(f"{folder}: config.json is of preset {config['preset']} with seed {config['seed']}")
    if result:
        _check(run)
    return run


def _check(run: Run) -> None:
    """Check a finished run."""
    missing = [name for name in FILES if not (run.folder / name).exists()]
    if missing:
        raise LogError(f"{run.folder}: {' and '.join(missing)} missing")
    size = (run.folder / "final.npz").stat().st_size
    if size >= CHECKPOINT_BYTES:
        raise LogError(f"{run.folder}: final.npz must be less than {CHECKPOINT_BYTES} bytes, got {size}")
    accuracies = [record["accuracy"] for record in run.history("training")]
    if not accuracies or not all(map(math.isfinite, accuracies)):
        raise LogError(f"{run.folder}: metrics.jsonl must have lines of training, each with a finite accuracy")
    validation = run.history("validation")
    logged = {
        "iterations": run.metrics[-1]["step"],
        "validation_accuracy": validation[-1]["accuracy"] if validation else None,
        "seed": run.config["seed"],
        "preset": run.config["preset"],
    }
    for name, value in logged.items():
        if run.result[name] != value:
            raise LogError(f"{run.folder}: {name} is {run.result[name]} in result.json and {value} in the other logs")
    if run.config["iterations"] is not None and run.config["iterations"] != run.result["iterations"]:
        raise LogError(
            f"{run.folder}: {run.result['iterations']} iterations, {run.config['iterations']} in config.json"
        )


def read_runs(root: Path = FOLDER) -> dict[str, list[Run]]:
    """Return all runs by preset, in ascending order of the seed."""
    folders = sorted(root.glob("*/seed-*"), key=lambda folder: (folder.parent.name, int(folder.name[5:])))
    runs: dict[str, list[Run]] = {}
    for folder in folders:
        runs.setdefault(folder.parent.name, []).append(read_run(folder))
    return runs
