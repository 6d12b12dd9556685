"""The loop of a run: update after update to the end or a stop, with metrics, validations and checkpoints between."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, trusted_values
from numrnn.checks import shown
from numrnn.training.batches import Batches
from numrnn.training.callbacks import EpochEnd
from numrnn.training.checkpoint import checkpoint_path
from numrnn.training.interrupt import deferred_interrupt
from numrnn.training.ledger import Interval, Ledger
from numrnn.training.metrics import JsonLines
from numrnn.training.plan import Plan, evaluation
from numrnn.training.progress import Progress
from numrnn.training.results import DivergenceError
from numrnn.training.run import Run
from numrnn.training.store import save_best, save_run

VALIDATION_LOSS = "the validation loss"


class Loop:
    """The loop of one call of `Trainer.run`.

    Parameters
    ----------
    plan : Plan
        What the run is to do.
    run : Run
        Its state, which the loop changes.
    update : callable
        update(run, batches, ledger) makes one update and records it; on a GPU it only queues work.
    limit : float
        Seconds after which to stop.
    stack : ExitStack
        Closes what the loop opens.
    """

    def __init__(
        self,
        plan: Plan[Any],
        run: Run,
        update: Callable[[Run, Batches, Ledger], None],
        limit: float,
        stack: ExitStack,
    ) -> None:
        self.plan, self.run, self.update, self.limit = plan, run, update, limit
        self.started, self.since, self.before = plan.clock(), run.step, run.seconds
        self.metrics = stack.enter_context(closing(JsonLines(plan.metrics_path)))
        self.timings = stack.enter_context(closing(JsonLines(plan.timings_path)))
        self.progress = stack.enter_context(closing(_progress(plan, run)))
        self.interrupt = stack.enter_context(deferred_interrupt())
        like = next(iter(run.params.values()))
        self.batches = plan.source.batches(like)
        self.held_out = self.batches if plan.held_out is plan.source else plan.held_out.batches(like)
        self.ledger = Ledger(run.params, run.optimizer)
        self.rates: list[float] = []  # of the updates that the ledger holds

    def train(self) -> bool:
        """Make updates until the end or a stop, and return whether the run was stopped."""
        plan, run = self.plan, self.run
        while self._may_go_on():
            rate = plan.optimizer.rate(run.step, run.seconds)
            self.rates.append(rate)
            self.update(run, self.batches, self.ledger)
            at_end = self._ends_epoch(run.step)
            at_checkpoint = at_end or run.step % plan.config.checkpoint_interval == 0
            if at_checkpoint or self.ledger.full:
                self._settle()
            if at_end:
                self._validate()
            run.seconds = self._elapsed()
            if plan.config.seconds is not None and run.seconds >= plan.config.seconds:
                # All lines of the last step come before its checkpoint, which refers to them.
                run.last_step = run.step
                self._settle()
                if run.interval.updates:  # not written before it was known to be the last
                    self._write(run.step, rate)
                if not at_end:
                    self._validate()
                at_end = at_checkpoint = True
            if at_checkpoint:
                save_run(plan, run, self.metrics)
            if at_end:
                self._call_back()
        self._settle()
        if run.checkpoint != checkpoint_path(plan.out, run.step):  # ended or stopped between two checkpoints
            save_run(plan, run, self.metrics)
        stopped = run.step != run.last_step
        if stopped:
            self.progress.message(
                f"stopped after step {run.step}; {run.checkpoint} holds the state to resume from", last=True
            )
        return stopped

    def _may_go_on(self) -> bool:
        # At least one update, so that a run that is resumed many times with tiny limits also ends.
        in_time = self.run.step == self.since or self.plan.clock() - self.started <= self.limit
        return self.run.step != self.run.last_step and in_time and not self.interrupt.pressed

    def _ends_epoch(self, step: int) -> bool:
        return step % self.plan.steps_per_epoch == 0 or step == self.run.last_step

    def _epoch(self, step: int) -> int:
        """Return the number of the epoch of an update, both counted from 1."""
        return -(-step // self.plan.steps_per_epoch)

    def _elapsed(self) -> float:
        """Return the seconds of training so far, by all processes of the run."""
        return self.before + self.plan.clock() - self.started

    def _settle(self) -> None:
        """Read the ledger, and write the lines that it fills."""
        run = self.run
        updates, failure = self.ledger.read()
        for update, rate in zip(updates, self.rates, strict=False):  # after a failure there are fewer updates
            values, run.scored = run.interval.add(update), update.correct is not None
            if self.plan.total_steps is None:
                self.progress.update(self._elapsed(), {"step": update.step, **values})
            else:
                self.progress.update(update.step, values)
            if self._ends_epoch(update.step) or update.step % self.plan.config.log_interval == 0:
                self._write(update.step, rate)
        self.rates.clear()
        if failure is not None:
            raise DivergenceError(*failure, run.checkpoint)

    def _write(self, step: int, rate: float) -> None:
        """Write the line of the updates since the last one, and reset the counts."""
        done, self.run.interval = self.run.interval, Interval()
        self.run.records["training"] = {
            "kind": "training",
            "step": step,
            "epoch": self._epoch(step),
            **done.means(scored=self.run.scored),
            "learning_rate": rate,
        }
        self.metrics.append(self.run.records["training"])
        seconds = round(self.plan.clock() - self.started, 3)
        self.timings.append({"step": step, "seconds": seconds, "since": self.since})

    def _validate(self) -> None:
        """Write the line of a validation, and remember the best one."""
        plan, run = self.plan, self.run
        if not len(plan.validation_rows):
            return
        record = run.records["validation"] = self._validation_record()
        self.metrics.append(record)
        word = "accuracy" if "accuracy" in record else "loss"
        self.progress.message(f"epoch {record['epoch']}: validation {word} {record[word]:.4f}")
        if run.best.note(record["loss"], run.step) and plan.config.keeps_best:
            save_best(plan, run)
        if run.best.waited == plan.config.patience:
            run.last_step = run.step

    def _validation_record(self) -> dict[str, Any]:
        plan, run = self.plan, self.run
        with np.errstate(over="ignore", invalid="ignore"), no_waits(run.params):
            try:
                result = evaluation(plan, run.average or run.params, self.held_out, plan.validation_rows)
            except FloatingPointError:
                raise DivergenceError(run.step, VALIDATION_LOSS, run.checkpoint) from None
        if not math.isfinite(result.loss):
            raise DivergenceError(run.step, VALIDATION_LOSS, run.checkpoint)
        targets = plan.held_out.targets(plan.validation_rows) if plan.own_metrics else None
        return {
            "kind": "validation",
            "step": run.step,
            "epoch": self._epoch(run.step),
            "loss": result.loss,
            **({} if result.accuracy is None else {"accuracy": result.accuracy}),
            **{name: _number_of(name, f(result.predictions, targets)) for name, f in plan.own_metrics.items()},
        }

    def _call_back(self) -> None:
        """Call the callbacks at the end of an epoch."""
        plan, run = self.plan, self.run
        training, validation = run.records.get("training", {}), run.records.get("validation", {})
        for callback in plan.callbacks:
            callback(
                EpochEnd(
                    epoch=self._epoch(run.step),
                    step=run.step,
                    params=run.average or run.params,
                    training=dict(training),
                    validation=dict(validation),
                    out=plan.out,
                )
            )


def _number_of(name: str, value: Any) -> float:
    """Return the value of one's own metric as a number that a line of metrics can hold."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"metrics[{name!r}] must return a number, got {shown(value)}") from None
    if not math.isfinite(number):
        raise ValueError(f"metrics[{name!r}] must return a finite number, got {number}")
    return number


def _progress(plan: Plan[Any], run: Run) -> Progress:
    """Return the display of steps, or of seconds if they are the length of the run."""
    if plan.total_steps is not None:
        return Progress(plan.total_steps, run.step, show=plan.show_progress)
    return Progress(plan.config.seconds or 0.0, run.seconds, unit="s", show=plan.show_progress)


def no_waits(params: dict[str, Array]) -> AbstractContextManager[None]:
    """Return a context without checks of values, unless reading them is free; data and labels are already checked."""
    return nullcontext() if array_namespace(next(iter(params.values()))) is np else trusted_values()
