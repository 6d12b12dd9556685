"""The trainer: batches in an order fixed by the seed, metrics, checkpoints, and resuming bit for bit.

`numrnn.training.run.Run` has everything that a run needs to continue, and a checkpoint stores just that. On a GPU
updates do not synchronise with the device: their statistics go into a `Ledger`, which is read once for up to 50
updates. A run holds the lock of its folder, so that no second process writes there.

A run whose length is in seconds is the exception to "bit for bit": the clock determines its last update.

The predictions are here; plan.py has the checked arguments, loop.py the loop over the updates, update.py one of them,
and store.py the start and the checkpoints of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from numrnn.backend import Array, random_generators
from numrnn.checks import check_arrays, check_bool, check_number, shown
from numrnn.datasets.collection import Sequences
from numrnn.kernels import has_kernel
from numrnn.locks import locked
from numrnn.training.batches import Batches, OwnSequences, source_of
from numrnn.training.capturing import CapturedUpdates
from numrnn.training.evaluation import outputs_of_rows
from numrnn.training.ledger import Ledger
from numrnn.training.loop import Loop
from numrnn.training.plan import PURPOSES, M, Plan, evaluation
from numrnn.training.results import Evaluation, TrainingResult
from numrnn.training.run import Run, remove_run, traces_of_a_run
from numrnn.training.store import begin_run, resume_run
from numrnn.training.update import draw, update_on

__all__ = ["Trainer"]


class Trainer(Plan[M]):
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
        Your own metrics: metric(predictions, targets) -> float, finite, for all validation sequences, as in
        `Evaluation.predictions`; the validation lines have them under these names.
    callbacks : sequence of callable
        callback(EpochEnd) at the end of each epoch and of the run, after its checkpoint is written. An exception ends
        the run, which can be resumed.
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
    >>> from numrnn.training import Adam, Classifier, TrainingConfig
    >>> rng = np.random.default_rng(0)
    >>> images, labels = rng.integers(0, 256, (20, 5), np.uint8), rng.integers(0, 3, 20)
    >>> model = Classifier(AntisymmetricCell(input_size=1, hidden_size=4), n_classes=3)
    >>> def encode(images, rng):
    ...     return images.T[:, :, None] / 255  # (T, B, 1)
    >>> with tempfile.TemporaryDirectory() as out:
    ...     config = TrainingConfig(epochs=2, batch_size=4)
    ...     result = Trainer(model, Adam(0.01), encode, (images, labels), config, out, show_progress=False).run()
    >>> result.step
    10
    """

    def run(self, *, resume: bool = False, overwrite: bool = False, time_limit: float | None = None) -> TrainingResult:
        """Train to the end, to Ctrl-C, or to the first number that is not finite.

        Parameters
        ----------
        resume : bool
            Continue from the newest complete checkpoint in `out`, or start if it holds no run. The result equals that
            of an uninterrupted run, bit for bit on a CPU; see the notes for a length in seconds, and for a run that
            ended and is made longer.
        overwrite : bool
            First delete everything that another run wrote in `out`, also its result and pictures, and nothing else.
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
            If a loss, gradient, parameter or a number of the optimiser becomes NaN or infinite, or the loss of a
            validation does. It names the first such update, or the last before that validation; on a GPU it is raised
            at most 50 updates later.
        FileExistsError
            If `out` holds a run and neither `resume` nor `overwrite` is given, or `resume` is and the run has no
            checkpoint.
        CheckpointError
            If there are checkpoints but none can be read or holds the state of a run, or if metrics.jsonl lacks lines
            that the checkpoint refers to, or they were changed.
        FolderInUseError
            If another run uses `out`: the message names its process, host and start.
        OSError
            If a file cannot be written. The newest checkpoint stays, and the run can be resumed.
        ValueError
            If the checkpoint has another configuration: the message names the field, what was expected and what was
            given. Or if `resume` and `overwrite` are both given, the time limit is not positive, or one of your own
            metrics returns NaN or infinity.

        Notes
        -----
        A run whose length is in seconds makes its last update when they have passed, and then a validation. On a GPU up
        to 50 updates are queued at that moment, and are completed. Such a run is not reproducible bit for bit: the
        clock determines the number of updates, and with a `TimedCosineSchedule` their learning rates. A checkpoint
        stores the seconds spent so far, and a resumed run has only the rest. Neither the updates that a kill lost nor
        their time count.

        A run that ended may continue to a larger number of epochs or iterations, by the same updates as a run that was
        as long from the start. If its former end was within an epoch, which `iterations` allow, the lines of metrics
        there stay, and its validation counts for `patience` and `keep_best`.
        """
        resume, overwrite = check_bool("resume", resume), check_bool("overwrite", overwrite)
        limit = math.inf if time_limit is None else check_number("time_limit", time_limit, above=0)
        if resume and overwrite:
            raise ValueError("resume and overwrite must not both be True")
        self.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(self.out))
            run = self._start(resume, overwrite)
            on_gpu = has_kernel(next(iter(run.params.values())))
            update = CapturedUpdates(self) if on_gpu else self._update
            interrupted = Loop(self, run, update, limit, stack).train()
        return TrainingResult(
            run.params,
            run.step,
            self.total_steps,
            interrupted,
            run.checkpoint,
            self.metrics_path,
            run.average,
            best=self.best_path if self.config.keeps_best and run.best.step else None,
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
            Labels of the images; None for sequences.

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
        if isinstance(data, Sequences) and labels is not None:
            raise ValueError(f"labels must be None for Sequences, which have targets, got {shown(labels)}")
        given: Any = data if isinstance(data, Sequences) else (data, labels)
        source = source_of(None if isinstance(data, Sequences) else self.encoder, given, self.model)
        batches = source.batches(next(iter(params.values())))
        return evaluation(self, params, batches, np.arange(len(source)))

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

    def _start(self, resume: bool, overwrite: bool) -> Run:
        """Return the initial state: that of the newest checkpoint, or a new one that is saved at once."""
        if resume and (run := resume_run(self)) is not None:
            return run
        if overwrite:
            remove_run(self.out)
        elif left := traces_of_a_run(self.out):
            advice = "it has no checkpoint to resume from: " if resume else "resume it, "
            raise FileExistsError(
                f"{self.out} holds a run already ({left[0].name}): {advice}overwrite it or go elsewhere"
            )
        return begin_run(self)

    def _update(self, run: Run, batches: Batches, ledger: Ledger) -> None:
        """Make one update and record it; on a GPU this only queues work."""
        update_on(self, draw(self, run, batches), run, ledger)
