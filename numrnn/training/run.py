"""The state of a run and the folder that holds it: start, resume, save, and what a run can write.

Metrics are written before the checkpoint that refers to them and contains their SHA-256, so a process may be killed at
any moment: a resumed run truncates the metrics to its checkpoint and writes the same lines again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.backend import Array
from numrnn.files import remove_leftovers
from numrnn.training.callbacks import Best
from numrnn.training.checkpoint import (
    CHECKPOINT_NAME,
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    generator_from_state,
    list_checkpoints,
)
from numrnn.training.config import TrainingConfig, check_resumable
from numrnn.training.ledger import Interval
from numrnn.training.metrics import JsonLines, cut_back, cut_to

__all__ = ["Run", "progress_of", "remove_results", "remove_run", "resumed", "traces_of_a_run"]

METRICS_FILE, TIMINGS_FILE, BEST_FILE = "metrics.jsonl", "timings.jsonl", "best.npz"
CONFIG_FILE, RESULT_FILE, FINAL_FILE = "config.json", "result.json", "final.npz"
PICTURES = ("learning_curves.png", "confusion_matrix.png", "gradient_flow.png")
# What the commands write at the end of a run.
RESULTS = (RESULT_FILE, FINAL_FILE, *PICTURES)
# What shows that a folder holds a run, besides checkpoints; the configuration is written before the run starts.
TRACES = (METRICS_FILE, TIMINGS_FILE, BEST_FILE, RESULT_FILE, FINAL_FILE)
NOTHING = hashlib.sha256().hexdigest()


@dataclass
class Run:
    """The state of a run: what a checkpoint stores, and two values derived from it.

    These are the order of the current epoch, and the last step, which is None while only the clock determines it.
    """

    step: int
    params: dict[str, Array]
    optimizer: dict[str, Any]
    average: dict[str, Array]  # empty if none is requested
    generators: dict[str, np.random.Generator]  # "batches" and "noise"
    epoch_start: dict[str, Any]  # state of "batches" before this epoch's permutation
    checkpoint: Path
    interval: Interval = field(default_factory=Interval)
    seconds: float = 0.0  # of training; stored if they are the run's length
    last_step: int | None = None
    order: np.ndarray | None = None
    scored: bool = True  # whether predictions can be right or wrong
    best: Best = field(default_factory=Best)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # the last line of metrics of each kind


def traces_of_a_run(folder: str | os.PathLike[str]) -> list[Path]:
    """Return what shows that a folder holds a run: checkpoints, metrics, times, results; empty if it holds none."""
    others = (Path(folder) / name for name in TRACES)
    return [*list_checkpoints(folder), *(path for path in others if path.exists())]


def remove_results(folder: str | os.PathLike[str]) -> None:
    """Delete what a run wrote at its end: it could be mistaken for the result of the training that follows."""
    for name in RESULTS:
        (Path(folder) / name).unlink(missing_ok=True)


def remove_run(folder: str | os.PathLike[str]) -> None:
    """Delete everything that a run can write into its folder, and nothing else.

    Results are deleted first and metrics last: if the process is killed meanwhile, the folder holds a run without a
    result, or remains of one that are refused.
    """
    folder = Path(folder)
    remove_results(folder)
    rest = (folder / name for name in (CONFIG_FILE, TIMINGS_FILE, BEST_FILE, METRICS_FILE))
    for path in (*list_checkpoints(folder), *rest):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        names = (METRICS_FILE, TIMINGS_FILE, BEST_FILE, CONFIG_FILE, *RESULTS)
        remove_leftovers(folder, [*map(re.escape, names), CHECKPOINT_NAME.pattern])


def progress_of(run: Run, config: TrainingConfig, metrics: JsonLines | None) -> dict[str, Any]:
    """Return the progress of a run for its checkpoint; `metrics` is None if there are none yet."""
    size, sha256 = (0, NOTHING) if metrics is None else (metrics.sync(), metrics.sha256)
    progress: dict[str, Any] = {"metrics_size": size, "metrics_sha256": sha256, "interval": vars(run.interval)}
    # Times only if they matter: otherwise two runs with one seed must write the same bytes.
    if config.seconds is not None:
        progress["seconds"] = run.seconds
    if config.keeps_best:
        progress["best"] = vars(run.best)
    return progress


def resumed(checkpoint: Checkpoint, description: Mapping[str, Any], config: TrainingConfig, total: int | None) -> Run:
    """Return the state that a checkpoint stores, after truncating the metrics of its folder to its step.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of the run.
    description : mapping
        Of the run that resumes, as `Trainer.describe` returns it.
    config : TrainingConfig
        Of the run that resumes.
    total : int or None
        Updates of the whole run; None if its length is in seconds.

    Raises
    ------
    CheckpointError
        If the checkpoint does not belong to a run, or metrics that it refers to are missing or changed.
    ValueError
        If the checkpoint belongs to a run with another configuration.
    """
    path = checkpoint.path or Path()
    missing = list(_missing(checkpoint))
    if missing:
        raise CheckpointError(
            f"{path}: holds no state to resume from: it lacks {', '.join(missing)}, as a file of parameters alone does"
        )
    problem = check_resumable(checkpoint.config, description)
    if problem is not None:
        raise ValueError(f"cannot resume from {path}: {problem}")
    progress, folder = checkpoint.progress, path.parent
    try:
        size, sha256 = progress["metrics_size"], progress.get("metrics_sha256")
        cut_to(folder / METRICS_FILE, checkpoint.step, size, sha256, counts=str(path))
    except ValueError as error:
        raise CheckpointError(f"{error}; put the file back as it was, or start a new run") from None
    cut_back(folder / TIMINGS_FILE, checkpoint.step)
    seconds = progress.get("seconds", 0.0)
    best = Best(**progress.get("best", {}))
    out_of_time = config.seconds is not None and seconds >= config.seconds
    complete = out_of_time or (config.patience is not None and best.waited >= config.patience)
    return Run(
        step=checkpoint.step,
        params=checkpoint.params,
        optimizer=checkpoint.optimizer,
        average=checkpoint.average,
        generators={name: generator_from_state(state) for name, state in checkpoint.generators.items()},
        epoch_start=checkpoint.generators["batches"],
        checkpoint=path if checkpoint.path else checkpoint_path(folder, checkpoint.step),
        interval=Interval(**progress["interval"]),
        seconds=seconds,
        last_step=checkpoint.step if complete else total,
        best=best,
    )


def _missing(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the parts that a checkpoint of a run must have and this one lacks."""
    for part, names in (
        ("progress", ("metrics_size", "interval")),
        ("generators", ("batches", "noise")),
        ("config", ("training", "model", "optimizer", "data")),
    ):
        yield from (f"{part}.{name}" for name in names if name not in getattr(checkpoint, part))
