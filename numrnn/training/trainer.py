"""The training loop: batches in an order fixed by the seed, metrics, checkpoints, and resuming bit for bit.

Everything that the loop needs to go on stands in its `_Run`, and a checkpoint stores just that. Metrics are written
before the checkpoint that counts on them, so that a process may be killed at any moment: a resumed run cuts the metrics
back to its checkpoint and writes the same lines again.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, asarray, backend_module, random_generators, to_numpy
from numrnn.checks import check_number
from numrnn.training.averaging import average_weight, move_average
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
from numrnn.training.config import TrainingConfig, check_resumable, walk
from numrnn.training.interrupt import deferred_interrupt
from numrnn.training.losses import count_correct, softmax_cross_entropy
from numrnn.training.metrics import JsonLines, cut_back
from numrnn.training.model import Classifier
from numrnn.training.optim import Optimizer, clip_by_global_norm, describe, global_norm
from numrnn.training.progress import Progress
from numrnn.training.results import DivergenceError, Evaluation, TrainingResult

Encoder = Callable[[np.ndarray, np.random.Generator], Array]

# Order matters: a generator belongs to its place in this list. New purposes go to the end.
PURPOSES = ("init", "batches", "noise", "split", "evaluation")


@dataclass
class _Interval:
    """Sums over the updates since the last line of metrics."""

    updates: int = 0
    images: int = 0
    correct: int = 0
    loss: float = 0.0
    norm: float = 0.0
    largest_norm: float = 0.0


@dataclass
class _Run:
    """The state of a run: what a checkpoint stores, and the order of the current epoch, which follows from it."""

    step: int
    params: dict[str, Array]
    optimizer: dict[str, Any]
    average: dict[str, Array]  # empty where none is asked for
    generators: dict[str, np.random.Generator]  # "batches" and "noise"
    epoch_start: dict[str, Any]  # state of "batches" before this epoch's permutation
    checkpoint: Path
    interval: _Interval = field(default_factory=_Interval)
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
        is compared on resuming, and otherwise its name.
    data : tuple of numpy.ndarray
        Training images (N, ...) of any dtype, usually uint8, and their labels (N,), integers from 0 to K - 1. They are
        never written to. The test set has no place here.
    config : TrainingConfig
        Everything else.
    out : path
        Directory of checkpoints, metrics.jsonl and timings.jsonl; made if it is not there.
    show_progress : bool
        Whether to show a progress bar on the standard error stream.

    Attributes
    ----------
    steps_per_epoch, total_steps : int
        Updates in an epoch and in the whole run.
    validation_rows, training_rows : numpy.ndarray
        Indices of the images held out for validation and of those trained on, rising; fixed by the seed.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, shapes do not fit, a label is out of range, or no image is left to train on.

    Notes
    -----
    metrics.jsonl holds one object a line, and only what is the same in every run with one seed on one machine. Every
    `log_interval` updates and at the end of an epoch: {"kind": "training", step, epoch, loss, accuracy, gradient_norm,
    largest_gradient_norm, learning_rate}, where loss, accuracy and gradient_norm are means over the updates since the
    line before, and norms are those before clipping. At the end of each epoch and of the run: {"kind": "validation",
    step, epoch, loss, accuracy}, of the average of the weights where one is kept. Wall-clock times go to timings.jsonl:
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
        self.images, self.labels = _check_data(data, model.n_classes)
        self.out, self.show_progress = Path(out), show_progress
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
            run would have given without a stop, bit for bit on a CPU.
        overwrite : bool
            Delete checkpoints and metrics of another run in `out` first.
        time_limit : float or None
            Seconds, > 0, after which to stop as Ctrl-C would: for jobs with a limit, and for comparing models in equal
            time.

        Returns
        -------
        TrainingResult
            After Ctrl-C or at the limit its `interrupted` is True; the current step was finished and a checkpoint
            written. A second Ctrl-C raises KeyboardInterrupt at once.

        Raises
        ------
        DivergenceError
            If a loss, gradient, parameter or a number of the optimiser becomes NaN or infinite.
        FileExistsError
            If `out` holds a run and neither `resume` nor `overwrite` is given.
        CheckpointError
            If there are checkpoints and none can be read, or metrics.jsonl lacks lines that the checkpoint counts on.
        ValueError
            If the checkpoint is of another configuration: the message names the field, what was expected and what
            came. Or if `resume` and `overwrite` are both given, or the time limit is not positive.
        """
        limit = math.inf if time_limit is None else check_number("time_limit", time_limit, above=0)
        run = self._start(resume, overwrite)
        started, since = time.monotonic(), run.step
        with ExitStack() as stack:
            metrics = stack.enter_context(closing(JsonLines(self.metrics_path)))
            timings = stack.enter_context(closing(JsonLines(self.timings_path)))
            progress = Progress(self.total_steps, run.step, show=self.show_progress)
            stack.enter_context(closing(progress))
            interrupt = stack.enter_context(deferred_interrupt())
            while run.step < self.total_steps and not (interrupt.pressed or time.monotonic() - started > limit):
                progress.update(self._update(run))
                at_end = run.step % self.steps_per_epoch == 0 or run.step == self.total_steps
                if at_end or run.step % self.config.log_interval == 0:
                    metrics.append(self._training_record(run))
                    seconds = round(time.monotonic() - started, 3)
                    timings.append({"step": run.step, "seconds": seconds, "since": since})
                if at_end and len(self.validation_rows):
                    record = self._validation_record(run)
                    metrics.append(record)
                    progress.message(f"epoch {record['epoch']}: validation accuracy {record['accuracy']:.4f}")
                if at_end or run.step % self.config.checkpoint_interval == 0:
                    self._save(run, metrics.sync())
            if run.checkpoint != checkpoint_path(self.out, run.step):  # stopped between two checkpoints
                self._save(run, metrics.sync())
            interrupted = run.step < self.total_steps
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
        return self._evaluate(params, *_check_data((images, labels), self.model.n_classes), np.arange(len(images)))

    def _evaluate(
        self, params: dict[str, Array], images: np.ndarray, labels: np.ndarray, rows: np.ndarray
    ) -> Evaluation:
        rng = random_generators(self.config.seed, PURPOSES)["evaluation"]
        loss, correct, predictions = 0.0, 0, []
        for first in range(0, len(rows), self.config.evaluation_batch_size):
            batch = rows[first : first + self.config.evaluation_batch_size]
            x, y = self._encode(params, images[batch], labels[batch], rng)
            logits = self.model.logits(params, x, engine=self.config.engine)
            loss += float(softmax_cross_entropy(logits, y)[0]) * len(batch)
            correct += count_correct(logits, y)
            predictions.append(np.argmax(to_numpy(logits), axis=1))
        return Evaluation(loss / len(rows), correct / len(rows), np.concatenate(predictions))

    def _encode(
        self, params: dict[str, Array], images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Return x (T, B, m) and labels (B,) beside the parameters."""
        like = params["W_out"]
        return asarray(self.encoder(images, rng), like=like, dtype=like.dtype), asarray(labels, like=like)

    def _next_batch(self, run: _Run) -> np.ndarray:
        """Return the rows of the next batch; at the start of an epoch, or of a resumed part of one, draw its order."""
        position = run.step % self.steps_per_epoch
        if position == 0:
            run.epoch_start, run.order = generator_state(run.generators["batches"]), None
        if run.order is None:
            run.order = run.generators["batches"].permutation(self.training_rows)
        size = self.config.batch_size
        return run.order[position * size : (position + 1) * size]

    def _update(self, run: _Run) -> dict[str, float]:
        """Make one update; return what the progress bar shows."""
        rows = self._next_batch(run)
        x, labels = self._encode(run.params, self.images[rows], self.labels[rows], run.generators["noise"])
        # Overflow is looked for below, in every result, and reported with its step.
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                loss, grads, logits = self.model.loss_and_gradient(
                    run.params, x, labels, engine=self.config.engine, checkpoint_every=self.config.recompute_every
                )
            except FloatingPointError:
                raise DivergenceError(run.step + 1, "loss", run.checkpoint) from None
            clip = self.config.clip
            grads, norm = (grads, global_norm(grads)) if clip is None else clip_by_global_norm(grads, clip)
            if not math.isfinite(norm):
                raise DivergenceError(run.step + 1, "the gradient's norm", run.checkpoint)
            params, optimizer = self.optimizer.update(run.params, grads, run.optimizer)
        for name, value in walk({"parameter": params, "optimizer": optimizer}):
            if not isinstance(value, int | float) and not _all_finite(value):
                raise DivergenceError(run.step + 1, name.replace(".", " ", 1), run.checkpoint)
        run.params, run.optimizer, run.step = params, optimizer, run.step + 1
        if self.config.average is not None:
            weight = average_weight(self.config.average, self.config.average_updates, run.step, self.total_steps)
            run.average = move_average(run.average, params, weight)
        return self._count(run.interval, float(loss), count_correct(logits, labels), len(rows), norm)

    def _count(self, interval: _Interval, loss: float, correct: int, images: int, norm: float) -> dict[str, float]:
        interval.updates += 1
        interval.images += images
        interval.correct += correct
        interval.loss += loss * images
        interval.norm += norm
        interval.largest_norm = max(interval.largest_norm, norm)
        return {"loss": loss, "accuracy": interval.correct / interval.images, "gradient norm": norm}

    def _training_record(self, run: _Run) -> dict[str, Any]:
        """Return the line of metrics for the updates since the last one, and begin to count anew."""
        done, run.interval = run.interval, _Interval()
        return {
            "kind": "training",
            "step": run.step,
            "epoch": -(-run.step // self.steps_per_epoch),
            "loss": done.loss / done.images,
            "accuracy": done.correct / done.images,
            "gradient_norm": done.norm / done.updates,
            "largest_gradient_norm": done.largest_norm,
            "learning_rate": self.optimizer.rate(run.step - 1),
        }

    def _validation_record(self, run: _Run) -> dict[str, Any]:
        result = self._evaluate(run.average or run.params, self.images, self.labels, self.validation_rows)
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
        run.checkpoint = save_checkpoint(
            checkpoint_path(self.out, run.step),
            Checkpoint(
                step=run.step,
                params=run.params,
                optimizer=run.optimizer,
                average=run.average,
                generators={"batches": batches, "noise": generator_state(run.generators["noise"])},
                config=self.describe(),
                progress={"metrics_size": metrics_size, "interval": vars(run.interval)},
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
        return _Run(
            step=checkpoint.step,
            params=checkpoint.params,
            optimizer=checkpoint.optimizer,
            average=checkpoint.average,
            generators={name: generator_from_state(state) for name, state in checkpoint.generators.items()},
            epoch_start=checkpoint.generators["batches"],
            checkpoint=checkpoint.path or checkpoint_path(self.out, checkpoint.step),
            interval=_Interval(**checkpoint.progress["interval"]),
        )


def _all_finite(array: Array) -> bool:
    xp = array_namespace(array)
    return bool(xp.all(xp.isfinite(array)))


def _check_data(data: tuple[np.ndarray, np.ndarray], n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels after a check of both; all labels are looked at now, not in the middle of an epoch."""
    if not isinstance(data, tuple) or len(data) != 2 or not all(isinstance(part, np.ndarray) for part in data):
        raise TypeError("data must be a tuple of two NumPy arrays, images and labels")
    images, labels = data
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if images.ndim < 1 or labels.shape != images.shape[:1] or len(images) == 0:
        raise ValueError(f"images must be (N, ...) and labels (N,) with N >= 1, got {images.shape} and {labels.shape}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels must be from 0 to K - 1 = {n_classes - 1}, got values from {labels.min()} to {labels.max()}"
        )
    return images, labels
