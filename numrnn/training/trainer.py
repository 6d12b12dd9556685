"""The training loop: batches in an order fixed by the seed, metrics, checkpoints, and resuming bit for bit.

Everything that the loop needs to go on stands in its `_Run`, and a checkpoint stores just that. On a GPU no update
waits for the device: what it has to tell goes into a `Ledger`, which is read once for up to 50 updates. Metrics are
written before the checkpoint that counts on them, so that a process may be killed at any moment: a resumed run cuts
the metrics back to its checkpoint and writes the same lines again.

A run whose length is in seconds is the exception to "bit for bit": which update is its last, the clock decides.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, backend_module, random_generators
from numrnn.checks import check_number, trusted_values
from numrnn.training.averaging import average_weight, move_average
from numrnn.training.batches import Batches, Encoder, batches_of, check_data
from numrnn.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    generator_from_state,
    generator_state,
    latest_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    save_checkpoint,
)
from numrnn.training.clipping import clip_on_device, norm_on_device
from numrnn.training.config import TrainingConfig, check_resumable
from numrnn.training.dropout import drop_inputs
from numrnn.training.evaluation import evaluate_rows
from numrnn.training.interrupt import deferred_interrupt
from numrnn.training.ledger import LOSS, Interval, Ledger
from numrnn.training.losses import correct_rows
from numrnn.training.metrics import JsonLines, cut_back
from numrnn.training.model import Classifier
from numrnn.training.optim import Optimizer, describe
from numrnn.training.progress import Progress
from numrnn.training.results import DivergenceError, Evaluation, TrainingResult
from numrnn.training.schedules import TimedCosineSchedule

__all__ = ["Trainer"]

# Order matters: a generator belongs to its place in this list. New purposes go to the end.
PURPOSES = ("init", "batches", "noise", "split", "evaluation")


@dataclass
class _Run:
    """The state of a run: what a checkpoint stores, and two things that follow from it.

    They are the order of the current epoch, and the last step: None while only the clock knows it.
    """

    step: int
    params: dict[str, Array]
    optimizer: dict[str, Any]
    average: dict[str, Array]  # empty where none is asked for
    generators: dict[str, np.random.Generator]  # "batches" and "noise"
    epoch_start: dict[str, Any]  # state of "batches" before this epoch's permutation
    checkpoint: Path
    interval: Interval = field(default_factory=Interval)
    seconds: float = 0.0  # of training; stored where they are the run's length
    last_step: int | None = None
    order: np.ndarray | None = None


class Trainer:
    """Trains a classifier of sequences on labelled images.

    Parameters
    ----------
    model : Classifier
        What is trained.
    optimizer : Optimizer
        SGD, Adagrad or Adam.
    encoder : callable
        encoder(images, rng) -> x: turns a batch of images (B, ...) into sequences (T, B, m), and takes randomness, if
        it needs any, from `rng` only. x is converted to the parameters' dtype and device. If it has a `config()`, that
        is compared on resuming, and otherwise its name. With `on_device`, as the encoders of `numrnn.datasets`, it
        makes its batches on a GPU from images that are copied there once (see `numrnn.datasets.resident`).
    data : tuple of numpy.ndarray
        Training images (N, ...) of any dtype, usually uint8, and their labels (N,), integers from 0 to K - 1. They are
        never written to. The test set has no place here.
    config : TrainingConfig
        Everything else.
    out : path
        Directory of checkpoints, metrics.jsonl and timings.jsonl; made if it is not there.
    show_progress : bool
        Whether to show a progress bar on the standard error stream.
    clock : callable
        clock() -> seconds since any moment, never falling; it decides time limits and lengths in seconds.

    Attributes
    ----------
    steps_per_epoch : int
        Updates in an epoch.
    total_steps : int or None
        Updates in the whole run; None if its length is in seconds.
    validation_rows, training_rows : numpy.ndarray
        Indices of the images held out for validation and of those trained on, rising; fixed by the seed.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, shapes do not fit, a label is out of range, no image is left to train on, or
        the learning rate is by the clock and the length of the run is not the same number of seconds.

    Notes
    -----
    metrics.jsonl holds one object a line, and only what is the same in every run with one seed on one machine, unless
    the length of the run is in seconds. Every `log_interval` updates and at the end of an epoch and of the run:
    {"kind": "training", step, epoch, loss, accuracy, gradient_norm, largest_gradient_norm, learning_rate}, where loss,
    accuracy and gradient_norm are means over the updates since the line before, norms are those before clipping, and
    learning_rate is that of the last update. At the end of each epoch and of the run: {"kind": "validation", step,
    epoch, loss, accuracy}, of the average of the weights where one is kept. Wall-clock times go to timings.jsonl:
    {step, seconds, since}, the seconds from the moment at which this process went on from step `since`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from numrnn.cells import AntisymmetricCell
    >>> rng = np.random.default_rng(0)
    >>> images, labels = rng.integers(0, 256, (20, 5), np.uint8), rng.integers(0, 3, 20)
    >>> model = Classifier(AntisymmetricCell(input_size=1, hidden_size=4), n_classes=3)
    >>> def encode(images, rng):
    ...     return images.T[:, :, None] / 255  # (T, B, 1)
    >>> from numrnn.training.optim import Adam
    >>> with tempfile.TemporaryDirectory() as out:
    ...     config = TrainingConfig(epochs=2, batch_size=4)
    ...     result = Trainer(model, Adam(0.01), encode, (images, labels), config, out, show_progress=False).run()
    >>> result.step
    10
    """

    def __init__(
        self,
        model: Classifier,
        optimizer: Optimizer,
        encoder: Encoder,
        data: tuple[np.ndarray, np.ndarray],
        config: TrainingConfig,
        out: str | os.PathLike[str],
        *,
        show_progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, kind in (
            ("model", model, Classifier),
            ("optimizer", optimizer, Optimizer),
            ("config", config, TrainingConfig),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")
        if not callable(encoder):
            raise TypeError(f"encoder must be callable, got {type(encoder).__name__}")
        self.model, self.optimizer, self.encoder, self.config = model, optimizer, encoder, config
        self.images, self.labels = check_data(data, model.n_classes)
        schedule = optimizer.learning_rate
        if isinstance(schedule, TimedCosineSchedule) and schedule.total_seconds != config.seconds:
            raise ValueError(
                f"total_seconds of the learning rate must be the seconds of config, {config.seconds}, "
                f"got {schedule.total_seconds}"
            )
        self.out, self.show_progress, self.clock = Path(out), show_progress, clock
        n_images = len(self.images)
        self.steps_per_epoch = config.steps_per_epoch(n_images)
        self.total_steps = config.total_steps(n_images)
        order = random_generators(config.seed, PURPOSES)["split"].permutation(n_images)
        self.validation_rows = np.sort(order[: config.validation_size])
        self.training_rows = np.sort(order[config.validation_size :])
        self._description: dict[str, Any] | None = None

    @property
    def metrics_path(self) -> Path:
        """Path of metrics.jsonl."""
        return self.out / "metrics.jsonl"

    @property
    def timings_path(self) -> Path:
        """Path of timings.jsonl."""
        return self.out / "timings.jsonl"

    def describe(self) -> dict[str, Any]:
        """Return all that decides the course of the run, as JSON can hold it; the data by their SHA-256."""
        if self._description is None:
            training = self.config.config() | {"backend": backend_module(self.config.backend).__name__}
            data = {
                "images_shape": list(self.images.shape),
                "images_sha256": hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest(),
                "labels_sha256": hashlib.sha256(np.ascontiguousarray(self.labels, np.int64).data).hexdigest(),
            }
            self._description = {
                "model": self.model.config(),
                "optimizer": self.optimizer.config(),
                "encoder": describe(self.encoder),
                "training": training,
                "data": data,
            }
        return self._description

    def run(self, *, resume: bool = False, overwrite: bool = False, time_limit: float | None = None) -> TrainingResult:
        """Train to the end, to Ctrl-C, or to the first number that is not finite.

        Parameters
        ----------
        resume : bool
            Go on from the newest whole checkpoint in `out`; where there is none yet, start. The result is what the
            run would have given without a stop, bit for bit on a CPU; see the notes for a length in seconds.
        overwrite : bool
            Delete checkpoints and metrics of another run in `out` first.
        time_limit : float or None
            Seconds, > 0, after which to stop as Ctrl-C would, but not before one update is done: for jobs with a limit,
            and for comparing models in equal time.

        Returns
        -------
        TrainingResult
            After Ctrl-C or at the limit its `interrupted` is True; the current step was finished and a checkpoint
            written. A second Ctrl-C raises KeyboardInterrupt at once.

        Raises
        ------
        DivergenceError
            If a loss, gradient, parameter or a number of the optimiser becomes NaN or infinite. It names the first
            update after which that was so; on a GPU it comes at most 50 updates later.
        FileExistsError
            If `out` holds a run and neither `resume` nor `overwrite` is given.
        CheckpointError
            If there are checkpoints and none can be read, or metrics.jsonl lacks lines that the checkpoint counts on.
        ValueError
            If the checkpoint is of another configuration: the message names the field, what was expected and what
            came. Or if `resume` and `overwrite` are both given, or the time limit is not positive.

        Notes
        -----
        A run whose length is in seconds makes its last update when they have passed, and then a validation. On a GPU up
        to 50 updates are in line at that moment, and are made. Such a run is not reproducible bit for bit: the clock
        decides how many updates it makes, and by a `TimedCosineSchedule` their learning rates. A checkpoint holds the
        seconds that it took to come there, and a resumed run has only the rest of them left. What a kill undid does not
        count, neither the updates nor their time.
        """
        limit = math.inf if time_limit is None else check_number("time_limit", time_limit, above=0)
        run = self._start(resume, overwrite)
        started, since, before = self.clock(), run.step, run.seconds
        with ExitStack() as stack:
            metrics = stack.enter_context(closing(JsonLines(self.metrics_path)))
            timings = stack.enter_context(closing(JsonLines(self.timings_path)))
            progress = self._progress(run)
            stack.enter_context(closing(progress))
            interrupt = stack.enter_context(deferred_interrupt())
            batches = batches_of(self.encoder, self.images, self.labels, run.params["W_out"])
            ledger = Ledger(run.params, run.optimizer)
            rates: list[float] = []  # of the updates that the ledger holds

            def elapsed() -> float:
                """Return the seconds of training so far, by all processes of the run."""
                return before + self.clock() - started

            def write(step: int, rate: float) -> None:
                """Write the line of the updates since the last one."""
                metrics.append(self._training_record(run, step, rate))
                timings.append({"step": step, "seconds": round(self.clock() - started, 3), "since": since})

            def settle() -> None:
                """Read the ledger, and write the lines that it fills."""
                updates, failure = ledger.read()
                for update, rate in zip(updates, rates, strict=False):  # after a failure there are fewer updates
                    values = run.interval.add(update)
                    if self.total_steps is None:
                        progress.update(elapsed(), {"step": update.step, **values})
                    else:
                        progress.update(update.step, values)
                    if self._ends_epoch(run, update.step) or update.step % self.config.log_interval == 0:
                        write(update.step, rate)
                rates.clear()
                if failure is not None:
                    raise DivergenceError(*failure, run.checkpoint)

            def validate() -> None:
                if len(self.validation_rows):
                    record = self._validation_record(run, batches)
                    metrics.append(record)
                    progress.message(f"epoch {record['epoch']}: validation accuracy {record['accuracy']:.4f}")

            def may_go_on() -> bool:
                # One update at least: a run that is resumed again and again, a moment each time, comes to its end too.
                in_time = run.step == since or self.clock() - started <= limit
                return run.step != run.last_step and in_time and not interrupt.pressed

            while may_go_on():
                rate = self.optimizer.rate(run.step, run.seconds)
                rates.append(rate)
                self._update(run, batches, ledger)
                at_end = self._ends_epoch(run, run.step)
                at_checkpoint = at_end or run.step % self.config.checkpoint_interval == 0
                if at_checkpoint or ledger.full:
                    settle()
                if at_end:
                    validate()
                run.seconds = elapsed()
                if self.config.seconds is not None and run.seconds >= self.config.seconds:
                    # All lines of the last step come before its checkpoint, which counts on them.
                    run.last_step = run.step
                    settle()
                    if run.interval.updates:  # settled before it was known to be the last
                        write(run.step, rate)
                    if not at_end:
                        validate()
                if at_checkpoint:
                    self._save(run, metrics.sync())
            settle()
            if run.checkpoint != checkpoint_path(self.out, run.step):  # ended or stopped between two checkpoints
                self._save(run, metrics.sync())
            interrupted = run.step != run.last_step
            if interrupted:
                progress.message(f"stopped after step {run.step}; {run.checkpoint} holds the state to resume from")
        return TrainingResult(
            run.params, run.step, self.total_steps, interrupted, run.checkpoint, self.metrics_path, run.average
        )

    def evaluate(self, params: dict[str, Array], images: np.ndarray, labels: np.ndarray) -> Evaluation:
        """Return loss, accuracy and predictions on labelled images, as the test set at the end.

        Parameters
        ----------
        params : dict of str to array
            Parameters of the model.
        images, labels : numpy.ndarray
            As `data` of the trainer.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError, ValueError
            If images and labels do not fit each other or the model.

        Notes
        -----
        Noise that the encoder draws comes from a generator of its own, the same at each call.
        """
        images, labels = check_data((images, labels), self.model.n_classes)
        batches = batches_of(self.encoder, images, labels, params["W_out"])
        return self._evaluation(params, batches, np.arange(len(images)))

    def _evaluation(self, params: dict[str, Array], batches: Batches, rows: np.ndarray) -> Evaluation:
        rng = random_generators(self.config.seed, PURPOSES)["evaluation"]
        size, engine = self.config.evaluation_batch_size, self.config.engine
        return evaluate_rows(self.model, params, batches, rows, rng, size=size, engine=engine)

    def _ends_epoch(self, run: _Run, step: int) -> bool:
        return step % self.steps_per_epoch == 0 or step == run.last_step

    def _progress(self, run: _Run) -> Progress:
        """Return the display of steps, or of seconds where they are the length of the run."""
        if self.total_steps is not None:
            return Progress(self.total_steps, run.step, show=self.show_progress)
        return Progress(self.config.seconds or 0.0, run.seconds, unit="s", show=self.show_progress)

    def _next_batch(self, run: _Run) -> np.ndarray:
        """Return the rows of the next batch; at the start of an epoch, or of a resumed part of one, draw its order."""
        position = run.step % self.steps_per_epoch
        if position == 0:
            run.epoch_start, run.order = generator_state(run.generators["batches"]), None
        if run.order is None:
            run.order = run.generators["batches"].permutation(self.training_rows)
        size = self.config.batch_size
        return run.order[position * size : (position + 1) * size]

    def _update(self, run: _Run, batches: Batches, ledger: Ledger) -> None:
        """Make one update and note it; on a GPU that only puts work in line."""
        rows = self._next_batch(run)
        x, labels = batches(rows, run.generators["noise"])
        x = drop_inputs(x, self.config.input_dropout, run.generators["noise"])
        clip = self.config.clip
        # Overflow is looked for by the ledger, in every result, and reported with its step.
        with np.errstate(over="ignore", invalid="ignore"), _no_waits(run.params):
            try:
                loss, grads, logits = self.model.loss_and_gradient(
                    run.params, x, labels, engine=self.config.engine, checkpoint_every=self.config.recompute_every
                )
            except FloatingPointError:
                raise DivergenceError(run.step + 1, LOSS, run.checkpoint) from None
            grads, norm = (grads, norm_on_device(grads)) if clip is None else clip_on_device(grads, clip)
            run.params, run.optimizer = self.optimizer.update(run.params, grads, run.optimizer, seconds=run.seconds)
            run.step += 1
            ledger.note(run.step, len(rows), loss, correct_rows(logits, labels), norm, run.params, run.optimizer)
            if self.config.average is not None:
                total = self.total_steps or 0  # None only where no tail is averaged, which alone asks for it
                weight = average_weight(self.config.average, self.config.average_updates, run.step, total)
                run.average = move_average(run.average, run.params, weight)

    def _training_record(self, run: _Run, step: int, rate: float) -> dict[str, Any]:
        """Return the line of metrics for the updates since the last one, and begin to count anew."""
        done, run.interval = run.interval, Interval()
        return {
            "kind": "training",
            "step": step,
            "epoch": -(-step // self.steps_per_epoch),
            **done.means(),
            "learning_rate": rate,
        }

    def _validation_record(self, run: _Run, batches: Batches) -> dict[str, Any]:
        with _no_waits(run.params):
            result = self._evaluation(run.average or run.params, batches, self.validation_rows)
        return {
            "kind": "validation",
            "step": run.step,
            "epoch": -(-run.step // self.steps_per_epoch),
            "loss": result.loss,
            "accuracy": result.accuracy,
        }

    def _save(self, run: _Run, metrics_size: int) -> None:
        """Write a checkpoint; only then delete those that it makes superfluous."""
        at_epoch_end = run.step % self.steps_per_epoch == 0
        batches = generator_state(run.generators["batches"]) if at_epoch_end else run.epoch_start
        # Times only where they count: elsewhere two runs with one seed are to write the same bytes.
        timed = {} if self.config.seconds is None else {"seconds": run.seconds}
        run.checkpoint = save_checkpoint(
            checkpoint_path(self.out, run.step),
            Checkpoint(
                step=run.step,
                params=run.params,
                optimizer=run.optimizer,
                average=run.average,
                generators={"batches": batches, "noise": generator_state(run.generators["noise"])},
                config=self.describe(),
                progress={"metrics_size": metrics_size, "interval": vars(run.interval), **timed},
            ),
        )
        prune_checkpoints(self.out)

    def _start(self, resume: bool, overwrite: bool) -> _Run:
        """Return the state to begin with: the newest checkpoint's, or a new one that is saved at once."""
        if resume and overwrite:
            raise ValueError("resume and overwrite must not both be True")
        self.out.mkdir(parents=True, exist_ok=True)
        if resume:
            checkpoint = latest_checkpoint(self.out, backend=self.config.backend)
            if checkpoint is not None:
                return self._resume(checkpoint)
            if list_checkpoints(self.out):
                raise CheckpointError(f"{self.out}: no checkpoint in this directory can be read")
        left = [*list_checkpoints(self.out), *(p for p in (self.metrics_path, self.timings_path) if p.exists())]
        if left and not overwrite:
            raise FileExistsError(
                f"{self.out} holds a run already ({left[0].name}): resume it, overwrite it or go elsewhere"
            )
        for path in left:
            path.unlink()
        return self._begin()

    def _begin(self) -> _Run:
        generators = random_generators(self.config.seed, PURPOSES)
        params = self.model.init_params(
            generators["init"],
            **self.config.initial_values(),
            dtype=np.dtype(self.config.dtype),
            backend=self.config.backend,
        )
        run = _Run(
            step=0,
            params=params,
            optimizer=self.optimizer.init(params),
            average={} if self.config.average is None else dict(params),
            generators=generators,
            epoch_start=generator_state(generators["batches"]),
            checkpoint=checkpoint_path(self.out, 0),
            last_step=self.total_steps,
        )
        self._save(run, metrics_size=0)
        return run

    def _resume(self, checkpoint: Checkpoint) -> _Run:
        problem = check_resumable(checkpoint.config, self.describe())
        if problem is not None:
            raise ValueError(f"cannot resume from {checkpoint.path}: {problem}")
        size, counted = cut_back(self.metrics_path, checkpoint.step), checkpoint.progress["metrics_size"]
        if size != counted:
            raise CheckpointError(
                f"{self.metrics_path}: holds {size} bytes up to step {checkpoint.step}, but {checkpoint.path} counts "
                f"on {counted}; put the file back as it was, or start a new run"
            )
        cut_back(self.timings_path, checkpoint.step)
        seconds = checkpoint.progress.get("seconds", 0.0)
        complete = self.config.seconds is not None and seconds >= self.config.seconds
        return _Run(
            step=checkpoint.step,
            params=checkpoint.params,
            optimizer=checkpoint.optimizer,
            average=checkpoint.average,
            generators={name: generator_from_state(state) for name, state in checkpoint.generators.items()},
            epoch_start=checkpoint.generators["batches"],
            checkpoint=checkpoint.path or checkpoint_path(self.out, checkpoint.step),
            interval=Interval(**checkpoint.progress["interval"]),
            seconds=seconds,
            last_step=checkpoint.step if complete else self.total_steps,
        )


def _no_waits(params: dict[str, Array]) -> AbstractContextManager[None]:
    """Return a context without checks of values, unless reading them is free; data and labels were checked at first."""
    return nullcontext() if array_namespace(params["W_out"]) is np else trusted_values()
