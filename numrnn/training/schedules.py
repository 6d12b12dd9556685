"""Learning rates as functions of the step, or of the training time, each with a linear warm-up.

For update number k = 0, 1, 2, ..., with w = warmup_steps and the full learning rate r:

    k < w:   r (k + 1) / (w + 1)        the line that reaches r at k = w
    k >= w:  r times the shape of the schedule at j = k - w, which is 1 at j = 0

A schedule is an immutable value without state: resuming a run needs only the step. A `TimedCosineSchedule` also depends
on the seconds of training, so its rates depend on the speed of the machine.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from numrnn.checks import check_integer, check_number

__all__ = ["ConstantSchedule", "CosineSchedule", "Schedule", "StepSchedule", "TimedCosineSchedule"]


@dataclass(frozen=True, kw_only=True)
class _Warmed:
    """A full learning rate with a warm-up."""

    name: ClassVar[str]
    learning_rate: float
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        # A NumPy float64 here would turn float32 parameters into float64 at the first update.
        object.__setattr__(self, "learning_rate", check_number("learning_rate", self.learning_rate, above=0))
        object.__setattr__(self, "warmup_steps", check_integer("warmup_steps", self.warmup_steps, at_least=0))

    def config(self) -> dict[str, Any]:
        """Return the name of the schedule and its arguments, JSON-serialisable."""
        return {"schedule": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Schedule(_Warmed, ABC):
    """Base class of schedules by step: `schedule(step)` is the learning rate of update `step`, counted from 0.

    Parameters
    ----------
    learning_rate : float
        r > 0.
    warmup_steps : int
        w >= 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number `step` >= 0."""
        step = check_integer("step", step, at_least=0)
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        return self._after_warmup(step - self.warmup_steps)

    @abstractmethod
    def _after_warmup(self, j: int) -> float:
        """Return the learning rate j steps after the end of the warm-up."""


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule(Schedule):
    """The learning rate r at every step after the warm-up.

    Parameters
    ----------
    learning_rate : float
        r > 0.
    warmup_steps : int
        w >= 0.

    Examples
    --------
    >>> schedule = ConstantSchedule(learning_rate=0.5, warmup_steps=1)
    >>> [schedule(step) for step in range(3)]
    [0.25, 0.5, 0.5]
    """

    name: ClassVar[str] = "constant"

    def _after_warmup(self, j: int) -> float:
        return self.learning_rate


@dataclass(frozen=True, kw_only=True)
class StepSchedule(Schedule):
    """r factor^floor(j / period): after every `period` steps the learning rate is multiplied by `factor`.

    Parameters
    ----------
    learning_rate : float
        r > 0.
    period : int
        Steps, >= 1.
    factor : float
        > 0, usually less than 1.
    warmup_steps : int
        w >= 0.

    Examples
    --------
    >>> schedule = StepSchedule(learning_rate=1.0, period=2, factor=0.5)
    >>> [schedule(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    name: ClassVar[str] = "step"
    period: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "period", check_integer("period", self.period, at_least=1))
        object.__setattr__(self, "factor", check_number("factor", self.factor, above=0))

    def _after_warmup(self, j: int) -> float:
        return self.learning_rate * self.factor ** (j // self.period)


@dataclass(frozen=True, kw_only=True)
class CosineSchedule(Schedule):
    """e + (r - e) (1 + cos(pi min(j, N) / N)) / 2 with N = total_steps - w: half a cosine from r down to e.

    The end e = final_learning_rate is reached at step total_steps, one after the last update of a run of that length,
    and kept from there on.

    Parameters
    ----------
    learning_rate : float
        r > 0.
    total_steps : int
        Length of the run, warm-up included, > warmup_steps.
    final_learning_rate : float
        e, from 0 to r.
    warmup_steps : int
        w >= 0.

    Examples
    --------
    >>> schedule = CosineSchedule(learning_rate=1.0, total_steps=4)
    >>> [round(schedule(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    name: ClassVar[str] = "cosine"
    total_steps: int
    final_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        total = check_integer("total_steps", self.total_steps, at_least=self.warmup_steps + 1)
        object.__setattr__(self, "total_steps", total)
        object.__setattr__(self, "final_learning_rate", _check_final(self.final_learning_rate, self.learning_rate))

    def _after_warmup(self, j: int) -> float:
        length = self.total_steps - self.warmup_steps
        shape = (1 + math.cos(math.pi * min(j, length) / length)) / 2
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * shape


@dataclass(frozen=True, kw_only=True)
class TimedCosineSchedule(_Warmed):
    """min(1, (k + 1) / (w + 1)) (e + (r - e) (1 + cos(pi min(s / S, 1))) / 2): half a cosine by the clock.

    `schedule(step, seconds)` is the learning rate of update number k = `step`, counted from 0, that begins after
    s = `seconds` of training; S = total_seconds is the length of the run. So a run that the clock ends has reached
    small learning rates, whatever the speed of the machine and its changes.

    Parameters
    ----------
    learning_rate : float
        r > 0.
    total_seconds : float
        S > 0: the `seconds` of the run's `TrainingConfig`.
    final_learning_rate : float
        e, from 0 to r, reached after S seconds and kept from there on.
    warmup_steps : int
        w >= 0, in updates.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    A run with such a schedule is not reproducible: the number of updates and the learning rate of each depend on
    the clock. Its metrics record the rates that were used.

    Examples
    --------
    >>> schedule = TimedCosineSchedule(learning_rate=1.0, total_seconds=60, warmup_steps=1)
    >>> [round(schedule(step, seconds), 3) for step, seconds in [(0, 0.0), (1, 20.0), (2, 30.0), (3, 50.0), (4, 61.0)]]
    [0.5, 0.75, 0.5, 0.067, 0.0]
    """

    name: ClassVar[str] = "timed cosine"
    total_seconds: float
    final_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "total_seconds", check_number("total_seconds", self.total_seconds, above=0))
        object.__setattr__(self, "final_learning_rate", _check_final(self.final_learning_rate, self.learning_rate))

    def __call__(self, step: int, seconds: float) -> float:
        """Return the learning rate of update number `step` >= 0, which begins after `seconds` >= 0 of training."""
        step = check_integer("step", step, at_least=0)
        seconds = check_number("seconds", seconds, at_least=0)
        shape = (1 + math.cos(math.pi * min(seconds / self.total_seconds, 1.0))) / 2
        rate = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * shape
        return rate * min(1.0, (step + 1) / (self.warmup_steps + 1))


def _check_final(final_learning_rate: float, learning_rate: float) -> float:
    final = check_number("final_learning_rate", final_learning_rate, at_least=0)
    if final > learning_rate:
        raise ValueError(f"final_learning_rate must be at most learning_rate = {learning_rate:g}, got {final:g}")
    return final
