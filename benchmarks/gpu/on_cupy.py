"""numrnn on CuPy arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.contenders.ours import Engine
from benchmarks.gpu.base import OnGpu
from benchmarks.workloads import Data
from numrnn.backend import backend_module, to_numpy, trusted_values
from numrnn.bptt import ReferenceLoopWarning

HOLD = """
extern "C" __global__ void hold(unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""


class OnCupy(OnGpu, Engine):
    """An engine of numrnn on CuPy arrays, called as `Trainer` calls it: without checks that read values and wait."""

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        return {"cupy": backend_module("cupy").__version__}

    def __init__(self, data: Data) -> None:
        self.cupy = backend_module("cupy")
        params = {name: self.cupy.asarray(value) for name, value in data.params.items()}
        arrays = (self.cupy.asarray(array) for array in (data.x, data.h0, data.d_final))
        super().__init__(Data(data.cell, params, *arrays))

    def launch(self) -> Any:
        """See `OnGpu.launch`."""
        with trusted_values():
            return Engine.run(self)

    def wait(self) -> None:
        """See `OnGpu.wait`."""
        self.cupy.cuda.get_current_stream().synchronize()

    def event(self) -> Any:
        """See `OnGpu.event`."""
        return self.cupy.cuda.Event()

    def milliseconds(self, start: Any, stop: Any) -> float:
        """See `OnGpu.milliseconds`."""
        return self.cupy.cuda.get_elapsed_time(start, stop)

    def passed(self, event: Any) -> bool:
        """See `OnGpu.passed`."""
        return event.done

    def hold(self, seconds: float) -> None:
        """See `OnGpu.hold`."""
        self.cupy.RawKernel(HOLD, "hold")((1,), (1,), (np.uint64(1e9 * seconds),))

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        return {name: to_numpy(value) for name, value in super().numbers(result).items()}


class Auto(OnCupy):
    """What a user gets who gives CuPy arrays; where that is the reference loop, there is nothing to time."""

    note, engine = "numrnn's default on CuPy arrays: the CUDA engine", "auto"

    def __init__(self, data: Data) -> None:
        warnings.simplefilter("error", ReferenceLoopWarning)
        super().__init__(data)


class Reference(OnCupy):
    """The reference loop, step by step. One call is a measurement: it takes long, and the host is never ahead."""

    note, engine = "numrnn's plain loops on CuPy arrays", "reference"

    def seconds(self, calls: int) -> float:
        """See `OnGpu.seconds`."""
        return super().seconds(1)

    def apart(self, calls: int) -> None:
        """Return None: a call has tens of thousands of launches, and a line holds about a thousand."""
        return
