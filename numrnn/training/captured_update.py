"""An update of a run as a CUDA graph, started by one call in place of one per kernel.

    on the host    draws the batch and computes the numbers of the update: learning rate, corrections of Adam, weight in
                   the average, place in the ledger
    copied in      batch, numbers, and parameters with the state of the optimiser and the average
    graph          forward pass, loss, backward pass, clipping, optimiser, ledger, average
    copied out     the new parameters, state and average

What has to hold, and how it does:

- A graph writes to the addresses that it was captured with. So all that it reads and writes is its own, apart from the
  ledger, which belongs to the same run. What the run has after a replay is a copy, which a later replay cannot change.
  What it has before one is copied in, wherever it comes from: the last replay, an update that was not captured, or a
  checkpoint.
- While a stream captures, nothing may be compiled, copied to the host or waited for, and memory that is freed may be
  used again only in the graph. So the update runs once before, on the same stream and with a memory pool of its own,
  from which nobody else takes memory.
- A number of the host would be captured as it is. So numbers that change are arrays on the device.
- The update that runs before the capture writes into the ledger. The replay that follows writes the same there.

All kernels are those of the update that is not captured, so that the bits are the same. capturing.py says when an
update is captured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, array_namespace, empty, on_device_of, trusted_values
from numrnn.training.averaging import weighted_mean
from numrnn.training.batches import DeviceBatch
from numrnn.training.ledger import Ledger
from numrnn.training.optim.base import apply, constants_of
from numrnn.training.plan import Plan
from numrnn.training.run import Run
from numrnn.training.static_arrays import Block, Numbers
from numrnn.training.update import clipped, gradient, weight_in_average


class CapturedUpdate:
    """An update of a run, captured for all batches with the form of `batch`.

    Its memory is a second copy of all that an update needs. It belongs to one stream, in which its copies and replays
    are in order.
    """

    def __init__(self, plan: Plan[Any], batch: DeviceBatch, run: Run, ledger: Ledger) -> None:
        self._plan, self._ledger = plan, ledger
        with on_device_of(batch.x), np.errstate(over="ignore", invalid="ignore"), trusted_values():
            cuda = array_namespace(batch.x).cuda
            self._stream = cuda.get_current_stream()  # held: another stream must not get its handle
            self._batch = replace(batch, x=_same_form(batch.x), y=_same_form(batch.y))
            self._block = Block(self._state_of(run))
            self._before, self._after = (empty((self._block.size,), like=batch.x) for _ in range(2))
            self._old, self._new = map(self._block.views, (self._before, self._after))
            self._handed_out: tuple[Array, Mapping[str, Params]] = self._after, {}
            constants, dtype = self._constants(run), batch.x.dtype
            # A constant is a number, or an array where the steps of elements are scaled.
            self._scales = [None if isinstance(one, float) else _same_form(one) for one in constants]
            self._numbers = Numbers([np.int64, np.float64, dtype, dtype, *(dtype for _ in constants)], batch.x)
            self._copy_in(batch, run)
            stream = cuda.Stream(non_blocking=True)  # a blocking one would keep other threads from the default stream
            self._pool = cuda.MemoryPool()
            _wait(cuda, stream, self._stream)
            try:
                with stream, cuda.using_allocator(self._pool.malloc):
                    self._work()
                    stream.begin_capture()
                    try:
                        self._work()
                    finally:
                        self._graph = stream.end_capture()
            finally:
                _wait(cuda, self._stream, stream)

    def replay(self, batch: DeviceBatch, run: Run) -> None:
        """Make the next update of the run, on a batch of this form."""
        with on_device_of(batch.x), np.errstate(over="ignore", invalid="ignore"), trusted_values():
            self._copy_in(batch, run)
            self._graph.launch(self._stream)
            after = self._after.copy()
        new = self._block.views(after)
        self._handed_out = after, new
        run.params, run.average = new["params"], new["average"]
        run.optimizer = {"step": run.optimizer["step"] + 1, **self._slots(new)}
        run.step += 1
        self._ledger.count(run.step, batch.count, scored=self._scored)

    def _work(self) -> None:
        """Compute an update as `update_on` does, from arrays of this object to arrays of this object."""
        plan, batch, old, new = self._plan, self._batch, self._old, self._new
        row, step, rest, weight, *numbers = self._numbers.arrays
        constants = [number if to is None else to for number, to in zip(numbers, self._scales, strict=True)]
        count = len(constants) // len(old["params"])
        by_name = {name: tuple(constants[k * count : (k + 1) * count]) for k, name in enumerate(old["params"])}
        loss, grads, outputs = gradient(plan, old["params"], batch)
        grads, norm = clipped(plan, grads)
        apply(plan.optimizer, old["params"], grads, old, 0, by_name, (new["params"], new))
        correct = plan.model.correct(outputs, batch.y, batch.mask)
        self._ledger.write(row, step, loss, correct, norm, new["params"], self._slots(new))
        self._scored = correct is not None
        for name, array in weighted_mean(old["average"], new["params"], rest, weight).items():
            new["average"][name][...] = array

    def _copy_in(self, batch: DeviceBatch, run: Run) -> None:
        """Copy all that an update reads to the arrays of this object."""
        self._batch.x[...], self._batch.y[...] = batch.x, batch.y
        block, handed_out = self._handed_out
        state = self._state_of(run)
        places = [(group, name) for group, arrays in state.items() for name in arrays]
        if all(handed_out.get(group, {}).get(name) is state[group][name] for group, name in places):
            self._before[...] = block
        else:
            for group, name in places:
                self._old[group][name][...] = state[group][name]
        weight = 0.0 if self._plan.config.average is None else weight_in_average(self._plan, run.step + 1)
        numbers = [self._ledger.row, run.step + 1, 1 - weight, weight]
        for to, constant in zip(self._scales, self._constants(run), strict=True):
            numbers.append(constant if to is None else 0.0)
            if to is not None:
                to[...] = constant
        self._numbers.fill(numbers)

    def _constants(self, run: Run) -> list[Any]:
        """Return what the optimiser takes besides arrays in the next update, for one parameter after the other."""
        by_name = constants_of(self._plan.optimizer, run.params, run.optimizer["step"] + 1, run.seconds)
        return [constant for name in self._old["params"] for constant in by_name[name]]

    def _state_of(self, run: Run) -> dict[str, Params]:
        """Return all arrays that an update replaces."""
        return {"params": run.params, **self._slots(run.optimizer), "average": run.average}

    def _slots(self, groups: Mapping[str, Any]) -> dict[str, Params]:
        return {slot: groups[slot] for slot in self._plan.optimizer.slots}


def _same_form(array: Array) -> Array:
    return empty(tuple(array.shape), like=array)


def _wait(cuda: Any, stream: Any, other: Any) -> None:
    """Let a stream wait for what another one has to do."""
    event = cuda.Event(disable_timing=True)
    other.record(event)
    stream.wait_event(event)
