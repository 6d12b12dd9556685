"""What a contender must do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from benchmarks.workloads import Data


class Contender(ABC):
    """One way to compute a workload.

    What does not depend on the parameters (the input in the framework's own arrays, compiled code) may be made once;
    what does depend on them, A and the projection of the input too, is part of every call: training changes them.

    Attributes
    ----------
    note : str
        What sets it apart, for the table's legend.
    ours : bool
        Whether it is numrnn.
    takes : tuple of str
        The cells of workloads that it can be given.
    same_cell : bool
        Whether it computes the cell of any workload that it is given. What does not is timed where it is given another
        cell than its own, but its numbers cannot be checked there.
    cell : str, optional
        Of what is not `same_cell`, the cell that it always computes.
    dtype : str
        What it computes in.
    """

    note: ClassVar[str]
    ours: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("ungated", "gated")
    same_cell: ClassVar[bool] = True
    cell: ClassVar[str | None] = None
    dtype: ClassVar[str] = "float32"

    @classmethod
    def set_threads(cls, threads: int) -> None:
        """Make the framework use so many threads; BLAS and the process's affinity are set already."""
        return

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Return the versions of the packages that it uses."""
        return {}

    @abstractmethod
    def __init__(self, data: Data) -> None: ...

    @abstractmethod
    def run(self) -> Any:
        """Run one forward and one full backward pass, and return when all of it is done."""

    def seconds(self, calls: int) -> float:
        """Return the mean seconds of `calls` calls in a row."""
        start = time.perf_counter()
        for _ in range(calls):
            self.run()
        return (time.perf_counter() - start) / calls

    def apart(self, calls: int) -> tuple[float, float] | None:
        """Return the mean seconds of host and of device per call, or None where they cannot be told apart."""
        return None

    @abstractmethod
    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """Return what `run` returned as {"final": h_T, "h0": dL/dh_0, name of a parameter: its gradient}."""
