"""Start, resumption and checkpoints of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from numrnn.backend import random_generators
from numrnn.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    generator_state,
    latest_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    save_checkpoint,
)
from numrnn.training.metrics import JsonLines
from numrnn.training.plan import PURPOSES, Plan
from numrnn.training.run import Run, progress_of, remove_results, resumed


def begin_run(plan: Plan[Any]) -> Run:
    """Return the state before the first update, after saving it."""
    generators = random_generators(plan.config.seed, PURPOSES)
    params = plan.model.init_params(
        generators["init"],
        **plan.config.initial_values(),
        dtype=np.dtype(plan.config.dtype),
        backend=plan.config.backend,
    )
    run = Run(
        step=0,
        params=params,
        optimizer=plan.optimizer.init(params),
        average={} if plan.config.average is None else dict(params),
        generators=generators,
        epoch_start=generator_state(generators["batches"]),
        checkpoint=checkpoint_path(plan.out, 0),
        last_step=plan.total_steps,
    )
    save_run(plan, run, None)
    return run


def resume_run(plan: Plan[Any]) -> Run | None:
    """Return the state of the newest checkpoint; None if there is no checkpoint.

    Raises
    ------
    CheckpointError
        If there are checkpoints, and none can be read.
    """
    checkpoint = latest_checkpoint(plan.out, backend=plan.config.backend)
    if checkpoint is None:
        if list_checkpoints(plan.out):
            raise CheckpointError(f"{plan.out}: no checkpoint in this directory can be read")
        return None
    run = resumed(checkpoint, plan.describe(), plan.config, plan.total_steps)
    if run.step != run.last_step:
        remove_results(plan.out)
    return run


def save_run(plan: Plan[Any], run: Run, metrics: JsonLines | None) -> None:
    """Write a checkpoint; only then delete older ones that are no longer needed."""
    at_epoch_end = run.step % plan.steps_per_epoch == 0
    batches = generator_state(run.generators["batches"]) if at_epoch_end else run.epoch_start
    run.checkpoint = save_checkpoint(
        checkpoint_path(plan.out, run.step),
        Checkpoint(
            step=run.step,
            params=run.params,
            optimizer=run.optimizer,
            average=run.average,
            generators={"batches": batches, "noise": generator_state(run.generators["noise"])},
            config=plan.describe(),
            progress=progress_of(run, plan.config, metrics),
        ),
    )
    prune_checkpoints(plan.out)


def save_best(plan: Plan[Any], run: Run) -> None:
    """Write best.npz: the validated parameters, from which no run can resume."""
    state = Checkpoint(
        step=run.step,
        params=run.average or run.params,
        optimizer={},
        average={},
        generators={},
        config=plan.describe(),
        progress={"validation": run.records["validation"]},
    )
    save_checkpoint(plan.best_path, state)
