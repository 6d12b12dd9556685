"""Gradients through time: the number of steps at which a gradient starts to be wrong.

A backward pass that is right for one step and wrong for two has lost what flows from one step to the next; one that is
wrong from step 7 on fails at something that first happens there (a mask, a checkpoint, a change of sign). Checking the
same loss on longer and longer prefixes of the sequence distinguishes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradcheck.arguments import check_callables, check_integer
from gradcheck.check import check_gradient
from gradcheck.report import Report

__all__ = ["WrongStep", "first_wrong_step"]

Problem = Callable[[int], tuple[Callable[[Any], Any], Any]]


@dataclass(frozen=True)
class WrongStep:
    """Where a gradient through time starts to be wrong.

    Attributes
    ----------
    steps : int
        Length of the shortest prefix found on which the check fails.
    report : Report
        Of that prefix.
    checked : dict of int to str
        The verdict on every prefix checked.
    """

    steps: int
    report: Report
    checked: dict[int, str]

    def __str__(self) -> str:
        return f"wrong from {self.steps} step{'s' if self.steps > 1 else ''} on\n{self.report}"


def first_wrong_step(problem: Problem, steps: int, params: Any, **options: Any) -> WrongStep | None:
    """Return the shortest prefix of a sequence on which the gradient is wrong.

    Parameters
    ----------
    problem : callable
        ``problem(t)`` returns ``(loss, gradient)`` for the first t steps, as `check_gradient` takes them.
    steps : int
        Length of the whole sequence, at least 1.
    params : array, mapping, or nested mappings and sequences of arrays
        Where to check.
    **options
        As for `check_gradient`.

    Returns
    -------
    WrongStep or None
        None if no prefix failed.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`.

    Notes
    -----
    Lengths 1, 2, 4, ... and `steps` are checked until one fails, then the gap before it is halved: at most about
    2 log2(steps) checks. If a prefix fails, longer ones are assumed to fail too; a failure that appears and disappears
    between two checked lengths is missed.
    """
    check_callables(problem=problem)
    check_integer("steps", steps, at_least=1)
    reports: dict[int, Report] = {}

    def wrong(length: int) -> bool:
        loss, gradient = problem(length)
        cheap = {**options, "budget": 0}
        reports[length] = check_gradient(loss, gradient, params, **cheap)
        return reports[length].failed

    right, length = 0, 1
    while not wrong(length):
        if length == steps:
            return None
        right, length = length, min(2 * length, steps)
    while length - right > 1:
        middle = (right + length) // 2
        if wrong(middle):
            length = middle
        else:
            right = middle
    loss, gradient = problem(length)
    checked = {t: report.verdict for t, report in sorted(reports.items())}
    return WrongStep(length, check_gradient(loss, gradient, params, **options), checked)
