"""What a contender on a GPU must do."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from benchmarks.contenders.base import Contender


class OnGpu(Contender):
    """A contender that puts work in line for a GPU, and is timed by events of CUDA in that line.

    An event is passed when all work before it is done. Calls follow each other without a wait, as in training.
    """

    @abstractmethod
    def launch(self) -> Any:
        """Put one forward and one full backward pass in line; return their results, perhaps before they are there."""

    @abstractmethod
    def wait(self) -> None:
        """Return when all work in line is done."""

    @abstractmethod
    def event(self) -> Any:
        """Return an event that can be recorded and waited for."""

    @abstractmethod
    def milliseconds(self, start: Any, stop: Any) -> float:
        """Return the time from one event to another."""

    def run(self) -> Any:
        """See `Contender.run`."""
        result = self.launch()
        self.wait()
        return result

    def seconds(self, calls: int) -> float:
        """Return the mean seconds of `calls` calls in a row."""
        start, stop = self.event(), self.event()
        start.record()
        for _ in range(calls):
            self.launch()
        stop.record()
        stop.synchronize()
        return 1e-3 * self.milliseconds(start, stop) / calls
