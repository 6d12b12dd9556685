"""The interface of a contender."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from benchmarks.workloads import Data


class Contender(ABC):
    """One way to compute a workload.

    Whatever does not depend on the parameters (the input in the framework's own arrays, compiled code) may be made
    once; whatever does, including A and the projection of the input, is part of every call, since training changes the
    parameters.

    Attributes
    ----------
    note : str
        Its description, for the table's legend.
    ours : bool
        Whether it is numrnn.
    takes : tuple of str
        The cells of the workloads that it accepts.
    same_cell : bool
        Whether it computes the cell of every workload that it is given. If not, it is also timed on workloads of
        another cell, where its numbers cannot be checked.
    cell : str, optional
        The cell that it always computes, if it is not `same_cell`.
    dtype : str
        The dtype of its computation.
    """

    note: ClassVar[str]
    ours: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("ungated", "gated")
    same_cell: ClassVar[bool] = True
    cell: ClassVar[str | None] = None
    dtype: ClassVar[str] = "float32"

    @classmethod
    def set_threads(cls, threads: int) -> None:
        """Limit the framework's threads; BLAS and the process's affinity are already set."""
        return

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Return the versions of the packages that it uses."""
        return {}

    @abstractmethod
    def __init__(self, data: Data) -> None: ...

    @abstractmethod
    def run(self) -> Any:
        """Run one forward and one full backward pass, and return when both are complete."""

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
