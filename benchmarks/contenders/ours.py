"""numrnn's engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import numrnn
from benchmarks.contenders.base import Contender
from benchmarks.workloads import Data


class Engine(Contender):
    """An engine of numrnn."""

    ours = True
    takes: ClassVar[tuple[str, ...]] = ("ungated", "gated", "elman", "lstm")
    engine: ClassVar[numrnn.typing.Engine]
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, data: Data) -> None:
        self.data = data

    def run(self) -> Any:
        """See `Contender.run`."""
        data = self.data
        states, tape = numrnn.forward(data.cell, data.params, data.x, data.h0, engine=self.engine, **self.options)
        return states[-1], numrnn.backward(tape, d_final=data.d_final, wrt=("params", "h0"))

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        final, grads = result
        return {"final": final, "h0": grads.h0, **grads.params}


class Reference(Engine):
    """The reference engine."""

    note, engine = "numrnn's plain loops", "reference"


class Fused(Engine):
    """The CPU engine."""

    note, engine = "numrnn's CPU engine", "fused"


class FusedLSTM(Engine):
    """The CPU engine with numrnn's own LSTM, beside torch's."""

    note = "another cell, with four times the products: numrnn's LSTM on its CPU engine"
    engine, takes, same_cell, cell = "fused", ("ungated", "gated"), False, "lstm"

    def __init__(self, data: Data) -> None:
        rng = np.random.default_rng(0)
        cell = numrnn.LSTMCell(data.cell.input_size, data.cell.hidden_size)
        state, d_state = (np.concatenate([array, np.zeros_like(array)], 1) for array in (data.h0, data.d_final))
        super().__init__(Data(cell, cell.init_params(rng), data.x, state, d_state))


class FusedCheckpointed(Engine):
    """The CPU engine with sqrt(T) checkpoints."""

    note, engine, options = "numrnn's CPU engine, recompute_every='sqrt'", "fused", {"recompute_every": "sqrt"}


class Auto(Engine):
    """What a user gets who asks for nothing."""

    note, engine = "numrnn's default", "auto"


class Expected(Reference):
    """The numbers that all must show: the reference engine in float64, on the same float32 arrays."""

    note = "numrnn's plain loops in float64"

    def __init__(self, data: Data) -> None:
        params = {name: value.astype(np.float64) for name, value in data.params.items()}
        arrays = (array.astype(np.float64) for array in (data.x, data.h0, data.d_final))
        super().__init__(Data(data.cell, params, *arrays))
