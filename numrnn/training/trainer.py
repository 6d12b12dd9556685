"""The training loop: batches in an order fixed by the seed, metrics, checkpoints, and resuming bit for bit.

`numrnn.training.run.Run` has everything that the loop needs to continue, and a checkpoint stores just that. On a GPU
updates do not synchronise with the device: their statistics go into a `Ledger`, which is read once for up to 50
updates. While a run is at work it holds the lock of its folder, so that no second process writes there.

A run whose length is in seconds is the exception to "bit for bit": the clock decides which update is its last.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from numrnn.backend import Array, array_namespace, backend_module, random_generators
from numrnn.checks import (
    check_arrays,
    check_bool,
    check_callable,
    check_kind,
    check_number,
    check_path,
    shown,
    trusted_values,
)
from numrnn.datasets.collection import Sequences
from numrnn.locks import locked
from numrnn.training.averaging import average_weight, move_average
from numrnn.training.batches import Batches, Encoder, Images, OwnSequences, Source, by_length, encoder_config, source_of
from numrnn.training.callbacks import Callback, EpochEnd
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
from numrnn.training.clipping import clip_on_device, norm_on_device
from numrnn.training.config import TrainingConfig
from numrnn.training.dropout import drop_inputs
from numrnn.training.evaluation import evaluate_rows, outputs_of_rows
from numrnn.training.interrupt import deferred_interrupt
from numrnn.training.ledger import LOSS, Interval, Ledger
from numrnn.training.metrics import JsonLines
from numrnn.training.optim import Optimizer
from numrnn.training.progress import Progress
from numrnn.training.protocol import Model
from numrnn.training.results import DivergenceError, Evaluation, TrainingResult
from numrnn.training.run import (
    BEST_FILE,
    METRICS_FILE,
    TIMINGS_FILE,
    Run,
    progress_of,
    remove_results,
    remove_run,
    resumed,
    traces_of_a_run,
)
from numrnn.training.schedules import TimedCosineSchedule

__all__ = ["Trainer"]

# Order matters: a generator is identified by its position in this list. Append new purposes.
PURPOSES = ("init", "batches", "noise", "split", "evaluation")
RESERVED = ("kind", "step", "epoch", "loss", "accuracy")


M = TypeVar("M", bound=Model)


class Trainer(Generic[M]):
    """Trains a model on sequences: labelled images with an encoder, or your own sequences.

    Parameters
    ----------
    model : Model
        A `Classifier`, a `Regressor`, or your own model with the methods of `Model`.
    optimizer : Optimizer
        SGD, Adagrad or Adam.
    encoder : callable or None
        None if `data` are `Sequences`. encoder(images, rng) -> x turns a batch of images (B, ...) into sequences (T, B,
        m), and draws random numbers only from `rng`. x is converted to the parameters' dtype and device. On resuming,
        its `config()` is compared, or its name if it has none. With `on_device`, like the encoders of
        `numrnn.datasets`, it makes its batches on a GPU from images that are copied there once (see
        `numrnn.datasets.resident`).
    data : Sequences or tuple of numpy.ndarray
        Sequences with targets; or images (N, ...) of any dtype, usually uint8, and their labels (N,), integers from 0
        to K - 1. They are never written to. Do not include the test set.
    config : TrainingConfig
        Everything else.
    out : path
        Directory of checkpoints, metrics.jsonl and timings.jsonl; created if it is missing.
    validation : Sequences or tuple of numpy.ndarray, optional
        Your own validation set, instead of `validation_size` rows that are held out.
    metrics : mapping of str to callable, optional
        Your own metrics: metric(predictions, targets) -> float, for all validation sequences, as in
        `Evaluation.predictions`; the validation lines have them under these names.
    callbacks : sequence of callable
        callback(EpochEnd) at the end of each epoch, after its checkpoint is written. An exception ends the run, which
        can be resumed.
    show_progress : bool
        Whether to show a progress bar on the standard error stream.
    clock : callable
        clock() -> seconds since any moment, never decreasing; used for time limits and lengths in seconds.

    Attributes
    ----------
    steps_per_epoch : int
        Updates in an epoch.
    total_steps : int or None
        Updates in the whole run; None if its length is in seconds.
    validation_rows, training_rows : numpy.ndarray
        Row numbers of the sequences for validation (held out, or of your own validation set) and for training,
        ascending; fixed by the seed.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, shapes do not fit, a label is out of range, no sequence is left for training,
        `patience` or `keep_best` lacks validation data, or the length of the run differs from the `total_seconds` of a
        `TimedCosineSchedule`.

    Notes
    -----
    metrics.jsonl has one object per line. Its content is the same in every run with one seed on one machine, unless the
    length of the run is in seconds. Every `log_interval` updates and at the end of an epoch and of the run: {"kind":
    "training", step, epoch, loss, accuracy, gradient_norm, largest_gradient_norm, learning_rate}, where loss, accuracy
    and gradient_norm are means over the updates since the line before, norms are those before clipping, and
    learning_rate is that of the last update. At the end of each epoch and of the run: {"kind": "validation", step,
    epoch, loss, accuracy, and your own metrics}, for the average of the weights if one is kept. A regressor has no
    accuracy. Wall-clock times go to timings.jsonl: {step, seconds, since}, the seconds since this process continued
    from step `since`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from numrnn.cells import AntisymmetricCell
    >>> from numrnn.training import Classifier
    >>> rng = np.random.default_rng(0)
    >>> images, labels = rng.integers(0, 256, (20, 5), np.uint8), rng.integers(0, 3, 20)
    >>> from numrnn.training.model import Classifier
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
        model: M,
        optimizer: Optimizer,
        encoder: Encoder | None,
        data: Sequences | tuple[np.ndarray, np.ndarray],
        config: TrainingConfig,
        out: str | os.PathLike[str],
        *,
        validation: Sequences | tuple[np.ndarray, np.ndarray] | None = None,
        metrics: Mapping[str, Callable[[Any, Any], float]] | None = None,
        callbacks: Sequence[Callback] = (),
        show_progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, kind in (
            ("model", model, Model),
            ("optimizer", optimizer, Optimizer),
            ("config", config, TrainingConfig),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")
        self.model: M = model
        self.optimizer, self.encoder, self.config = optimizer, encoder, config
        self._source = source_of(encoder, data, model)
        self._held_out: Source = self._source
        if not isinstance(validation, Sequences | tuple | None):
            raise TypeError(f"validation must be Sequences, or images and labels, got {shown(validation)}")
        if metrics is not None:
            check_kind("metrics", metrics, Mapping, "a mapping of names to functions")
        check_kind("callbacks", callbacks, Sequence, "a sequence of functions")
        check_bool("show_progress", show_progress)
        check_callable("clock", clock)
        if validation is not None:
            if config.validation_size:
                raise ValueError("validation_size must be 0 where a validation set is given")
            self._held_out = source_of(encoder, validation, model)
        self._metrics, self._callbacks = dict(metrics or {}), tuple(callbacks)
        for name, metric in self._metrics.items():
            if name in RESERVED or not callable(metric):
                raise ValueError(
                    f"metrics must be callables under names other than {', '.join(RESERVED)}, got {name!r}"
                )
        if not all(callable(callback) for callback in self._callbacks):
            raise TypeError("callbacks must be callables")
        schedule = optimizer.learning_rate
        if isinstance(schedule, TimedCosineSchedule) and schedule.total_seconds != config.seconds:
            raise ValueError(
                f"total_seconds of the learning rate must be the seconds of config, {config.seconds}, "
                f"got {schedule.total_seconds}"
            )
        self.out, self.show_progress, self.clock = check_path("out", out), show_progress, clock
        n_sequences = len(self._source)
        self.steps_per_epoch = config.steps_per_epoch(n_sequences)
        self.total_steps = config.total_steps(n_sequences)
        order = random_generators(config.seed, PURPOSES)["split"].permutation(n_sequences)
        self.validation_rows = np.sort(order[: config.validation_size])
        self.training_rows = np.sort(order[config.validation_size :])
        if validation is not None:
            self.validation_rows = np.arange(len(self._held_out))
        if (config.patience is not None or config.keep_best or self._metrics) and not len(self.validation_rows):
            raise ValueError("patience, keep_best and metrics need a validation set: validation_size or validation")
        if config.group_lengths and self._source.lengths is None:
            raise ValueError("group_lengths must be False for images: their sequences are of one length")
        self._description: dict[str, Any] | None = None

    @property
    def metrics_path(self) -> Path:
        """Path of metrics.jsonl."""
        return self.out / METRICS_FILE

    @property
    def timings_path(self) -> Path:
        """Path of timings.jsonl."""
        return self.out / TIMINGS_FILE

    @property
    def best_path(self) -> Path:
        """Path of best.npz: a checkpoint with the parameters of the lowest validation loss."""
        return self.out / BEST_FILE

    @property
    def images(self) -> np.ndarray:
        """The training images, if the data are images."""
        assert isinstance(self._source, Images)
        return self._source.images

    @property
    def labels(self) -> np.ndarray:
        """The labels of the images."""
        assert isinstance(self._source, Images)
        return self._source.labels

    @property
    def _keeps_best(self) -> bool:
        return self.config.keep_best or self.config.patience is not None

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the run, JSON-serialisable; the data by their SHA-256."""
        if self._description is None:
            training = self.config.config() | {"backend": backend_module(self.config.backend).__name__}
            self._description = {
                "model": self.model.config(),
                "optimizer": self.optimizer.config(),
                "encoder": encoder_config(self._source),
                "training": training,
                "data": self._source.describe(),
            }
            if self._held_out is not self._source:
                self._description["validation"] = self._held_out.describe()
        return self._description

    def run(self, *, resume: bool = False, overwrite: bool = False, time_limit: float | None = None) -> TrainingResult:
        """Train to the end, to Ctrl-C, or to the first number that is not finite.

        Parameters
        ----------
        resume : bool
            Continue from the newest complete checkpoint in `out`, or start if there is none. The result is that of a
            run without a stop, bit for bit on a CPU; see the notes for a length in seconds.
        overwrite : bool
            First delete everything that another run wrote in `out`, its result and pictures too, and nothing else.
        time_limit : float or None
            Seconds, > 0, after which to stop like Ctrl-C, but not before the first update: for jobs with a limit, and
            for comparing models in equal time.

        Returns
        -------
        TrainingResult
            After Ctrl-C or at the limit its `interrupted` is True; the current step was finished and a checkpoint
            written. A second Ctrl-C raises KeyboardInterrupt at once.

        Raises
        ------
        DivergenceError
            If a loss, gradient, parameter or a number of the optimiser becomes NaN or infinite. It names the first such
            update; on a GPU it is raised at most 50 updates later.
        FileExistsError
            If `out` holds a run and neither `resume` nor `overwrite` is given.
        CheckpointError
            If there are checkpoints but none can be read or holds the state of a run, or if metrics.jsonl lacks lines
            that the checkpoint counts on, or they were changed.
        FolderInUseError
            If another run is at work in `out`: the message names its process, host and start.
        OSError
            If a file cannot be written. The newest checkpoint stays, and the run can be resumed.
        ValueError
            If the checkpoint has another configuration: the message names the field, what was expected and what was
            given. Or if `resume` and `overwrite` are both given, or the time limit is not positive.

        Notes
        -----
        A run whose length is in seconds makes its last update when they have passed, and then a validation. On a GPU up
        to 50 updates are queued at that moment, and are completed. Such a run is not reproducible bit for bit: the
        clock determines the number of updates, and with a `TimedCosineSchedule` their learning rates. A checkpoint
        holds the seconds that it took to come there, and a resumed run has only the rest of them left. What a kill
        undid does not count, neither the updates nor their time.
        """
        resume, overwrite = check_bool("resume", resume), check_bool("overwrite", overwrite)
        limit = math.inf if time_limit is None else check_number("time_limit", time_limit, above=0)
        if resume and overwrite:
            raise ValueError("resume and overwrite must not both be True")
        self.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(self.out))
            run = self._start(resume, overwrite)
            started, since, before = self.clock(), run.step, run.seconds
            metrics = stack.enter_context(closing(JsonLines(self.metrics_path)))
            timings = stack.enter_context(closing(JsonLines(self.timings_path)))
            progress = self._progress(run)
            stack.enter_context(closing(progress))
            interrupt = stack.enter_context(deferred_interrupt())
            like = next(iter(run.params.values()))
            batches = self._source.batches(like)
            held_out = batches if self._held_out is self._source else self._held_out.batches(like)
            ledger = Ledger(run.params, run.optimizer)
            rates: list[float] = []  # of the updates that the ledger holds

            def elapsed() -> float:
                """Return the seconds of training so far, by all processes of the run."""
                return before + self.clock() - started

            def write(step: int, rate: float) -> None:
                """Write the line of the updates since the last one."""
                run.records["training"] = self._training_record(run, step, rate)
                metrics.append(run.records["training"])
                timings.append({"step": step, "seconds": round(self.clock() - started, 3), "since": since})

            def settle() -> None:
                """Read the ledger, and write the lines that it fills."""
                updates, failure = ledger.read()
                for update, rate in zip(updates, rates, strict=False):  # after a failure there are fewer updates
                    values, run.scored = run.interval.add(update), update.correct is not None
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
                """Write the line of a validation, and remember the best one."""
                if not len(self.validation_rows):
                    return
                record = run.records["validation"] = self._validation_record(run, held_out)
                metrics.append(record)
                word = "accuracy" if "accuracy" in record else "loss"
                progress.message(f"epoch {record['epoch']}: validation {word} {record[word]:.4f}")
                if run.best.note(record["loss"], run.step) and self._keeps_best:
                    self._save_best(run)
                if run.best.waited == self.config.patience:
                    run.last_step = run.step

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
                    self._save(run, metrics)
                if at_end:
                    self._call_back(run)
            settle()
            if run.checkpoint != checkpoint_path(self.out, run.step):  # ended or stopped between two checkpoints
                self._save(run, metrics)
            interrupted = run.step != run.last_step
            if interrupted:
                progress.message(
                    f"stopped after step {run.step}; {run.checkpoint} holds the state to resume from", last=True
                )
        return TrainingResult(
            run.params,
            run.step,
            self.total_steps,
            interrupted,
            run.checkpoint,
            self.metrics_path,
            run.average,
            best=self.best_path if self._keeps_best and run.best.step else None,
        )

    def evaluate(
        self, params: dict[str, Array], data: Sequences | np.ndarray, labels: np.ndarray | None = None
    ) -> Evaluation:
        """Return loss, accuracy and predictions on sequences, or on images with labels, such as the test set.

        Parameters
        ----------
        params : dict of str to array
            Parameters of the model.
        data : Sequences or numpy.ndarray
            Sequences with targets; or images, with their labels.
        labels : numpy.ndarray, optional
            Labels of the images.

        Returns
        -------
        Evaluation

        Raises
        ------
        TypeError, ValueError
            If the data do not fit each other or the model.

        Notes
        -----
        Noise of the encoder comes from a separate generator, the same at each call.
        """
        check_arrays("params", params)
        if not isinstance(data, Sequences | np.ndarray):
            raise TypeError(f"data must be Sequences, or images with labels, got {shown(data)}")
        given: Any = data if isinstance(data, Sequences) else (data, labels)
        source = source_of(None if isinstance(data, Sequences) else self.encoder, given, self.model)
        batches = source.batches(next(iter(params.values())))
        return self._evaluation(params, batches, np.arange(len(source)))

    def predict(self, params: dict[str, Array], data: Sequences) -> Any:
        """Return the predictions for sequences, as in `Evaluation.predictions`; their targets are not used.

        Parameters
        ----------
        params : dict of str to array
            Parameters of the model.
        data : Sequences
            With as many features as the training data.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
        """
        return self._outputs(params, data, self.model.predictions)

    def predict_proba(self, params: dict[str, Array], data: Sequences) -> Any:
        """Return the probability of each class, (N, K), or a list of (T_i, K); arguments as for `predict`.

        Raises
        ------
        TypeError
            If the model is not a classifier.
        """
        take = getattr(self.model, "probabilities", None)
        if take is None:
            raise TypeError(f"model must be a classifier to give probabilities, got {type(self.model).__name__}")
        return self._outputs(params, data, take)

    def _outputs(self, params: dict[str, Array], data: Sequences, take: Callable[[Array], Array]) -> Any:
        if not isinstance(data, Sequences):
            raise TypeError(f"data must be Sequences, got {type(data).__name__}")
        check_arrays("params", params)
        if not params:
            raise ValueError("params must be the parameters of the model, got none")
        rng = random_generators(self.config.seed, PURPOSES)["evaluation"]
        batches, rows = OwnSequences(data).batches(next(iter(params.values()))), np.arange(len(data))
        size, engine = self.config.evaluation_batch_size, self.config.engine
        return outputs_of_rows(self.model, params, batches, rows, rng, take, size=size, engine=engine)

    def _evaluation(self, params: dict[str, Array], batches: Batches, rows: np.ndarray) -> Evaluation:
        rng = random_generators(self.config.seed, PURPOSES)["evaluation"]
        size, engine = self.config.evaluation_batch_size, self.config.engine
        return evaluate_rows(self.model, params, batches, rows, rng, size=size, engine=engine)

    def _ends_epoch(self, run: Run, step: int) -> bool:
        return step % self.steps_per_epoch == 0 or step == run.last_step

    def _progress(self, run: Run) -> Progress:
        """Return the display of steps, or of seconds if they are the length of the run."""
        if self.total_steps is not None:
            return Progress(self.total_steps, run.step, show=self.show_progress)
        return Progress(self.config.seconds or 0.0, run.seconds, unit="s", show=self.show_progress)

    def _next_batch(self, run: Run) -> np.ndarray:
        """Return the rows of the next batch; at the start of an epoch, or of a resumed part of one, draw its order."""
        position = run.step % self.steps_per_epoch
        if position == 0:
            run.epoch_start, run.order = generator_state(run.generators["batches"]), None
        if run.order is None:
            run.order = run.generators["batches"].permutation(self.training_rows)
            if self.config.group_lengths and self._source.lengths is not None:
                lengths, rng = self._source.lengths, run.generators["batches"]
                run.order = by_length(run.order, lengths, self.config.batch_size, rng)
        size = self.config.batch_size
        return run.order[position * size : (position + 1) * size]

    def _update(self, run: Run, batches: Batches, ledger: Ledger) -> None:
        """Make one update and record it; on a GPU this only queues work."""
        rows = self._next_batch(run)
        batch = batches(rows, run.generators["noise"])
        x = drop_inputs(batch.x, self.config.input_dropout, run.generators["noise"])
        clip = self.config.clip
        # The ledger checks every result for overflow, and reports it with its step.
        with np.errstate(over="ignore", invalid="ignore"), _no_waits(run.params):
            try:
                loss, grads, outputs = self.model.loss_and_gradient(
                    run.params,
                    x,
                    batch.y,
                    lengths=batch.lengths,
                    mask=batch.mask,
                    engine=self.config.engine,
                    recompute_every=self.config.recompute_every,
                )
            except FloatingPointError:
                raise DivergenceError(run.step + 1, LOSS, run.checkpoint) from None
            grads, norm = (grads, norm_on_device(grads)) if clip is None else clip_on_device(grads, clip)
            run.params, run.optimizer = self.optimizer.update(run.params, grads, run.optimizer, seconds=run.seconds)
            run.step += 1
            correct = self.model.correct(outputs, batch.y, batch.mask)
            ledger.note(run.step, batch.count, loss, correct, norm, run.params, run.optimizer)
            if self.config.average is not None:
                total = self.total_steps or 0  # None only without a tail average, which alone needs it
                weight = average_weight(self.config.average, self.config.average_updates, run.step, total)
                run.average = move_average(run.average, run.params, weight)

    def _training_record(self, run: Run, step: int, rate: float) -> dict[str, Any]:
        """Return the line of metrics for the updates since the last one, and reset the counts."""
        done, run.interval = run.interval, Interval()
        return {
            "kind": "training",
            "step": step,
            "epoch": -(-step // self.steps_per_epoch),
            **done.means(scored=run.scored),
            "learning_rate": rate,
        }

    def _validation_record(self, run: Run, batches: Batches) -> dict[str, Any]:
        with _no_waits(run.params):
            result = self._evaluation(run.average or run.params, batches, self.validation_rows)
        targets = self._held_out.targets(self.validation_rows) if self._metrics else None
        return {
            "kind": "validation",
            "step": run.step,
            "epoch": -(-run.step // self.steps_per_epoch),
            "loss": result.loss,
            **({} if result.accuracy is None else {"accuracy": result.accuracy}),
            **{name: float(f(result.predictions, targets)) for name, f in self._metrics.items()},
        }

    def _save(self, run: Run, metrics: JsonLines | None) -> None:
        """Write a checkpoint; only then delete older ones that are no longer needed."""
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
                progress=progress_of(run, self.config, metrics),
            ),
        )
        prune_checkpoints(self.out)

    def _save_best(self, run: Run) -> None:
        """Write best.npz: the validated parameters, from which no run can resume."""
        state = Checkpoint(
            step=run.step,
            params=run.average or run.params,
            optimizer={},
            average={},
            generators={},
            config=self.describe(),
            progress={"validation": run.records["validation"]},
        )
        save_checkpoint(self.best_path, state)

    def _call_back(self, run: Run) -> None:
        """Call the callbacks at the end of an epoch."""
        training, validation = run.records.get("training", {}), run.records.get("validation", {})
        for callback in self._callbacks:
            callback(
                EpochEnd(
                    epoch=-(-run.step // self.steps_per_epoch),
                    step=run.step,
                    params=run.average or run.params,
                    training=dict(training),
                    validation=dict(validation),
                    out=self.out,
                )
            )

    def _start(self, resume: bool, overwrite: bool) -> Run:
        """Return the initial state: that of the newest checkpoint, or a new one that is saved at once."""
        if resume:
            checkpoint = latest_checkpoint(self.out, backend=self.config.backend)
            if checkpoint is not None:
                run = resumed(checkpoint, self.describe(), self.config, self.total_steps)
                if run.step != run.last_step:
                    remove_results(self.out)
                return run
            if list_checkpoints(self.out):
                raise CheckpointError(f"{self.out}: no checkpoint in this directory can be read")
        if overwrite:
            remove_run(self.out)
        elif left := traces_of_a_run(self.out):
            raise FileExistsError(
                f"{self.out} holds a run already ({left[0].name}): resume it, overwrite it or go elsewhere"
            )
        return self._begin()

    def _begin(self) -> Run:
        generators = random_generators(self.config.seed, PURPOSES)
        params = self.model.init_params(
            generators["init"],
            **self.config.initial_values(),
            dtype=np.dtype(self.config.dtype),
            backend=self.config.backend,
        )
        run = Run(
            step=0,
            params=params,
            optimizer=self.optimizer.init(params),
            average={} if self.config.average is None else dict(params),
            generators=generators,
            epoch_start=generator_state(generators["batches"]),
            checkpoint=checkpoint_path(self.out, 0),
            last_step=self.total_steps,
        )
        self._save(run, None)
        return run


def _no_waits(params: dict[str, Array]) -> AbstractContextManager[None]:
    """Return a context without checks of values, unless reading them is free; data and labels are already checked."""
    return nullcontext() if array_namespace(next(iter(params.values()))) is np else trusted_values()
