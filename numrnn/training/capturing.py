"""When the updates of a run are captured as a CUDA graph (captured_update.py), and why they are not.

An update is captured when a batch of its form comes for the third time. Kernels are compiled before, and the form of a
single batch is not worth a capture.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.backend import Params, array_namespace, on_device_of, random_generators, trusted_values
from numrnn.checks import check_kind, dtype_name
from numrnn.engines.cuda.trace.capture import warn_of_refusal
from numrnn.engines.cuda.update import captures_are_wanted, uncaptured_reason
from numrnn.kernels import has_kernel
from numrnn.problem import check_problem
from numrnn.training.batches import Batches, DeviceBatch
from numrnn.training.captured_update import CapturedUpdate
from numrnn.training.ledger import Ledger
from numrnn.training.model import Classifier, Regressor
from numrnn.training.optim import SGD, Adagrad, Adam, AdamW
from numrnn.training.plan import PURPOSES, Plan
from numrnn.training.readout import READOUT
from numrnn.training.run import Run
from numrnn.training.update import draw, update_on

__all__ = ["CapturedUpdates", "Form", "why_not_captured"]

PLAIN = 2  # updates of a form before one is captured
MOST_FORMS = 2  # captured in a run: whole batches, and the last one of an epoch


def why_not_captured(trainer: Plan[Any]) -> str | None:
    """Return why the updates of a trainer are not captured as a CUDA graph, or None if they are, from the third one on.

    Parameters
    ----------
    trainer : Trainer
        Not changed, and nothing is written to its folder.

    Returns
    -------
    str or None
        What is in the way. It is no fault: such updates are launched kernel by kernel, with the same result.

    Raises
    ------
    TypeError
        If `trainer` is not a trainer.
    RuntimeError
        If it trains on a GPU and there is none.

    Notes
    -----
    Makes initial parameters and one batch. Of batches of another size, such as the last one of an epoch, something else
    may be true, as the kernels' layout depends on it. See "An update as a CUDA graph" in docs/cuda_engine.md.
    """
    check_kind("trainer", trainer, Plan, "a Trainer")
    plan = trainer
    generators = random_generators(plan.config.seed, PURPOSES)
    initial = plan.config.initial_values()
    dtype, backend = np.dtype(plan.config.dtype), plan.config.backend
    params = plan.model.init_params(generators["init"], **initial, dtype=dtype, backend=backend)
    batches = plan.source.batches(next(iter(params.values())))
    return _reason(plan, params, batches(plan.training_rows[: plan.config.batch_size], generators["noise"]))


def _reason(plan: Plan[Any], params: Params, batch: DeviceBatch) -> str | None:
    """Return why an update on a batch is not captured, or None."""
    if not has_kernel(batch.x):
        return f"arrays of {array_namespace(batch.x).__name__}"
    if (reason := _reason_of_plan(plan)) is not None:
        return reason
    if batch.lengths is not None:
        return "sequences of different lengths"
    with on_device_of(batch.x), trusted_values():
        core = {name: array for name, array in params.items() if name not in READOUT}
        problem = check_problem(plan.model.cell, core, batch.x, None, None, plan.config.recompute_every)
        return uncaptured_reason(problem, plan.config.engine)


def _reason_of_plan(plan: Plan[Any]) -> str | None:
    """Return why no update of a run is captured, whatever its batches, or None; other people's code may do anything."""
    if not _is_own(plan.model, (Classifier, Regressor)):
        return f"the model {type(plan.model).__name__}"
    if not _is_own(plan.optimizer, (SGD, Adagrad, Adam, AdamW)):
        return f"the optimiser {type(plan.optimizer).__name__}"
    return "products by cuBLAS: a read-out of every step" if plan.model.output == "every" else None


def _is_own(one: object, types: tuple[type, ...]) -> bool:
    """Tell whether an object is of one of these types, not of a subclass, and overrides none of their methods."""
    return type(one) in types and not any(inspect.isroutine(getattr(type(one), name, None)) for name in vars(one))


@dataclass
class Form:
    """What is known of the batches of a form: how many came, and their captured update."""

    seen: int = 0
    update: CapturedUpdate | None = None


class CapturedUpdates:
    """The updates of a run on a GPU: `update_on`, or the captured update of a batch's form.

    Parameters
    ----------
    plan : Trainer
    """

    def __init__(self, plan: Plan[Any]) -> None:
        self._plan, self._may_capture = plan, _reason_of_plan(plan) is None
        self._setting: Hashable = None
        self._forms: dict[Hashable, Form] = {}

    def __call__(self, run: Run, batches: Batches, ledger: Ledger) -> None:
        """Make the next update of a run and record it, without synchronising."""
        batch = draw(self._plan, run, batches)
        captured = self._captured(batch, run, ledger)
        if captured is None:
            update_on(self._plan, batch, run, ledger)
        else:
            captured.replay(batch, run)

    def _captured(self, batch: DeviceBatch, run: Run, ledger: Ledger) -> CapturedUpdate | None:
        """Return the captured update for a batch, captured now if its form comes for the third time, or None."""
        if not self._may_capture or not captures_are_wanted(batch.x, self._plan.model.cell.hidden_size):
            return None
        setting = self._setting_of(batch, ledger)
        if setting != self._setting:
            self._setting, self._forms = setting, {}
        shapes = [(tuple(array.shape), dtype_name(array)) for array in (batch.x, batch.y)]
        form = self._forms.setdefault((*shapes, batch.lengths is None), Form())
        form.seen += 1
        if form.seen == PLAIN + 1 and self._has_room() and _reason(self._plan, run.params, batch) is None:
            try:
                form.update = CapturedUpdate(self._plan, batch, run, ledger)
            except (RuntimeError, MemoryError) as error:  # CuPy's errors of CUDA and of its memory are such
                warn_of_refusal("an update of a run", f"{type(error).__name__}: {error}")
        return form.update

    def _has_room(self) -> bool:
        return sum(form.update is not None for form in self._forms.values()) < MOST_FORMS

    def _setting_of(self, batch: DeviceBatch, ledger: Ledger) -> Hashable:
        """Return what a graph has that is not in an array of its own: numbers of the cell, the ledger, the stream."""
        cell = self._plan.model.cell
        parts = [vars(one) for one in (cell, getattr(cell, "matrix", None)) if one is not None]
        numbers = [(name, value) for part in parts for name, value in part.items() if isinstance(value, int | float)]
        with on_device_of(batch.x):
            return *numbers, ledger, array_namespace(batch.x).cuda.get_current_stream().ptr
