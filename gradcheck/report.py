"""Results of a check: verdicts, the worst disagreement, its cost, and its confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from gradcheck.directions import confidence

__all__ = ["Entry", "GradientError", "Report", "Worst"]

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass(frozen=True)
class Worst:
    """Where analytic and numeric values differ most.

    Attributes
    ----------
    parameter : str
        Name of the parameter.
    index : tuple of int or None
        Index of the element; None if the values are derivatives along a direction.
    analytic, numeric : float
        The value under check, and the reference.
    relative_error : float
        Their distance, relative: see `Entry`.
    """

    parameter: str
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    relative_error: float

    @property
    def ratio(self) -> float:
        """Analytic over numeric: NaN for 0/0, infinite where only the numeric value is zero."""
        if self.numeric == 0:
            return math.nan if self.analytic == 0 else math.copysign(math.inf, self.analytic)
        return self.analytic / self.numeric

    def __str__(self) -> str:
        place = f"along a direction in {self.parameter}"
        if self.index is not None:
            place = f"worst element {self.parameter}{list(self.index) if self.index else ''}"
        return f"{place}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g}, ratio {self.ratio:.6g}"


@dataclass(frozen=True)
class Entry:
    """The verdict on one parameter (or one output, or one identity).

    Attributes
    ----------
    parameter : str
        Name.
    verdict : {"passed", "failed", "inconclusive"}
        What was found.
    worst : Worst
        Largest disagreement. Along directions, relative to norm(gradient) * rms(v); of an element, to the larger of
        the two values.
    tolerance : float
        The relative error that was allowed, the rounding floor or the error estimate of the differences included.
    directions : int
        Number of random directions behind the verdict, 0 if every element was checked.
    diagnosis : str or None
        The mistake that explains the difference, if one does.
    note : str or None
        Why it is inconclusive and what to do, or what widened the tolerance.
    reason : str or None
        Why it is inconclusive, in one word: zero, rounding, noise, kink, steps, domain or random.
    agreement : float
        Relative distance to which the values agreed, including rounding and errors of differences; at most `tolerance`
        if it passed.
    """

    parameter: str
    verdict: str
    worst: Worst
    tolerance: float
    directions: int = 0
    diagnosis: str | None = None
    note: str | None = None
    reason: str | None = None
    agreement: float = 0.0

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the text of this entry."""
        error = f"relative error {self.worst.relative_error:.1e}, allowed {self.tolerance:.1e}"
        why = f" ({self.reason})" if self.reason else ""
        lines = [f"  {self.parameter}: {self.verdict}{why}, {error}"]
        if self.verdict == FAILED:
            if not math.isnan(self.worst.analytic) or not math.isnan(self.worst.numeric):
                lines.append(f"      {self.worst}")
            lines.append(f"      diagnosis: {self.diagnosis or 'none of the usual mistakes fits'}")
        if self.note:
            lines.append(f"      {self.note}")
        return lines


@dataclass(frozen=True)
class Report:
    """The outcome of a check, complete in its text, ``str(report)``.

    Attributes
    ----------
    title : str
        Which check.
    method : str
        How the reference values were found.
    entries : tuple of Entry
        One per parameter.
    seed : int
        Seed that reproduces the check.
    n_evaluations : int
        Calls of the loss and of the gradient that the verdict took.
    n_explaining : int
        Further calls, made only after a failure, to find the worst element and the name of the mistake.
    seconds : float
        Time spent.
    notes : tuple of str
        Further remarks for the user.
    """

    title: str
    method: str
    entries: tuple[Entry, ...]
    seed: int = 0
    n_evaluations: int = 0
    n_explaining: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """Failed if one entry failed, else inconclusive if one is, else passed."""
        verdicts = {entry.verdict for entry in self.entries}
        return next((word for word in (FAILED, INCONCLUSIVE) if word in verdicts), PASSED)

    @property
    def passed(self) -> bool:
        """Whether every parameter passed."""
        return self.verdict == PASSED

    @property
    def failed(self) -> bool:
        """Whether some parameter failed."""
        return self.verdict == FAILED

    @property
    def inconclusive(self) -> bool:
        """Whether none failed, and some are inconclusive."""
        return self.verdict == INCONCLUSIVE

    @property
    def worst(self) -> Worst:
        """The largest relative disagreement, of the failed parameters if there are any."""
        entries = [entry for entry in self.entries if entry.verdict == self.verdict]
        return max(entries, key=lambda entry: entry.worst.relative_error).worst

    def __bool__(self) -> bool:
        """Be true only if every parameter passed, so that ``assert check_gradient(...)`` works as it reads."""
        return self.passed

    def __getitem__(self, parameter: str) -> Entry:
        """Return the entry of one parameter."""
        for entry in self.entries:
            if entry.parameter == parameter:
                return entry
        raise KeyError(f"no entry {parameter!r}; there are {', '.join(entry.parameter for entry in self.entries)}")

    def __str__(self) -> str:
        counted = sum(entry.verdict == self.verdict for entry in self.entries)
        lines = [
            f"{self.title}: {self.verdict.upper()} ({counted} of {len(self.entries)}), "
            f"by {self.method}, seed {self.seed}"
        ]
        for entry in self.entries:
            lines += entry.lines()
        lines += [f"  note: {note}" for note in self.notes]
        lines += self._confidence()
        more = f", and {self.n_explaining} more to explain the failure" if self.n_explaining else ""
        lines.append(f"  {self.n_evaluations} evaluations{more}")
        return "\n".join(lines)

    def _confidence(self) -> list[str]:
        sure = [entry for entry in self.entries if entry.verdict == PASSED and entry.directions]
        if not sure:
            return []
        loosest = max(entry.agreement or entry.tolerance for entry in sure)
        fewest = min(entry.directions for entry in sure)
        return [f"  confidence, each parameter that passed: {confidence(loosest, fewest)}"]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON (numbers that JSON lacks become text)."""
        worst = self.worst
        return {
            "title": self.title,
            "verdict": self.verdict,
            "method": self.method,
            "seed": self.seed,
            "worst": {
                "parameter": worst.parameter,
                "index": None if worst.index is None else list(worst.index),
                **{key: _plain(getattr(worst, key)) for key in ("analytic", "numeric", "ratio", "relative_error")},
            },
            "parameters": {
                entry.parameter: {
                    "verdict": entry.verdict,
                    "relative_error": _plain(entry.worst.relative_error),
                    "tolerance": _plain(entry.tolerance),
                    "diagnosis": entry.diagnosis,
                    "reason": entry.reason,
                    "note": entry.note,
                }
                for entry in self.entries
            },
            "n_evaluations": self.n_evaluations,
            "n_explaining": self.n_explaining,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def _plain(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


class GradientError(AssertionError):
    """A check did not pass; `.report` holds what it found."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[type[GradientError], tuple[Report]]:
        """Pickle with the report: parallel test runners send errors between processes."""
        return type(self), (self.report,)
