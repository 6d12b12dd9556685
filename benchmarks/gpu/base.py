"""What a contender on a GPU must do."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any

from benchmarks.contenders.base import Contender

HOLDS = (0.02, 0.2)  # seconds for which the device is held, until the host is done before it is free


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

    @abstractmethod
    def passed(self, event: Any) -> bool:
        """Tell whether the device has passed an event."""

    @abstractmethod
    def hold(self, seconds: float) -> None:
        """Put work in line that keeps the device busy for about so long, whatever it computes."""

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

    def apart(self, calls: int) -> tuple[float, float] | None:
        """Return the mean seconds that the host takes to put a call in line, and that the device takes for it alone.

        The device is held until all calls are in line, so that it never waits for the host. None where it is free
        before: a call has more launches than the line holds, or takes the host longer than the longest hold.
        """
        for seconds in HOLDS:
            start, stop = self.event(), self.event()
            self.hold(seconds)
            start.record()
            begun = time.perf_counter()
            for _ in range(calls):
                self.launch()
            host = time.perf_counter() - begun
            held = not self.passed(start)
            stop.record()
            stop.synchronize()
            if held:
                return host / calls, 1e-3 * self.milliseconds(start, stop) / calls
        return None
