"""One update of a run: batch, gradient, clipping, optimiser, record, average."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from numrnn.backend import Array, Params
from numrnn.training.averaging import average_weight, move_average
from numrnn.training.batches import Batches, DeviceBatch, by_length
from numrnn.training.checkpoint import generator_state
from numrnn.training.clipping import clip_on_device, norm_on_device
from numrnn.training.dropout import drop_inputs
from numrnn.training.ledger import LOSS, Ledger
from numrnn.training.loop import no_waits
from numrnn.training.plan import Plan
from numrnn.training.results import DivergenceError
from numrnn.training.run import Run


def draw(plan: Plan[Any], run: Run, batches: Batches) -> DeviceBatch:
    """Return the next batch of a run, after dropout of its input: all that an update draws at random."""
    batch = batches(_next_rows(plan, run), run.generators["noise"])
    x = drop_inputs(batch.x, plan.config.input_dropout, run.generators["noise"])
    return batch if x is batch.x else replace(batch, x=x)


def _next_rows(plan: Plan[Any], run: Run) -> np.ndarray:
    """Return the rows of the next batch; at the start of an epoch, or of a resumed part of one, draw its order."""
    position = run.step % plan.steps_per_epoch
    if position == 0:
        run.epoch_start, run.order = generator_state(run.generators["batches"]), None
    if run.order is None:
        run.order = run.generators["batches"].permutation(plan.training_rows)
        if plan.config.group_lengths and plan.source.lengths is not None:
            lengths, rng = plan.source.lengths, run.generators["batches"]
            run.order = by_length(run.order, lengths, plan.config.batch_size, rng)
    size = plan.config.batch_size
    return run.order[position * size : (position + 1) * size]


def update_on(plan: Plan[Any], batch: DeviceBatch, run: Run, ledger: Ledger) -> None:
    """Make one update on a batch and record it; on a GPU this only queues work."""
    # The ledger checks every result for overflow, and reports it with its step.
    with np.errstate(over="ignore", invalid="ignore"), no_waits(run.params):
        try:
            loss, grads, outputs = gradient(plan, run.params, batch)
        except FloatingPointError:
            raise DivergenceError(run.step + 1, LOSS, run.checkpoint) from None
        grads, norm = clipped(plan, grads)
        run.params, run.optimizer = plan.optimizer.update(run.params, grads, run.optimizer, seconds=run.seconds)
        run.step += 1
        correct = plan.model.correct(outputs, batch.y, batch.mask)
        ledger.note(run.step, batch.count, loss, correct, norm, run.params, run.optimizer)
        if plan.config.average is not None:
            run.average = move_average(run.average, run.params, weight_in_average(plan, run.step))


def gradient(plan: Plan[Any], params: Params, batch: DeviceBatch) -> tuple[Array, dict[str, Array], Array]:
    """Return the loss of a batch, its gradient, and the outputs."""
    return plan.model.loss_and_gradient(
        params,
        batch.x,
        batch.y,
        lengths=batch.lengths,
        mask=batch.mask,
        engine=plan.config.engine,
        recompute_every=plan.config.recompute_every,
    )


def clipped(plan: Plan[Any], grads: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    """Return a gradient after clipping, if the run clips, and its norm before."""
    clip = plan.config.clip
    return (grads, norm_on_device(grads)) if clip is None else clip_on_device(grads, clip)


def weight_in_average(plan: Plan[Any], step: int) -> float:
    """Return the weight of the parameters after update number `step` in the average of the run."""
    assert plan.config.average is not None
    total = plan.total_steps or 0  # None only without a tail average, which alone needs it
    return average_weight(plan.config.average, plan.config.average_updates, step, total)
