"""The checker checked: planted mistakes against rules, as a table.

A `Problem` makes a loss, its correct gradient and a set of mutants, gradients with one small mistake each. A `Rule` is
any checker: it says whether it objects to a gradient, and what that cost. `kill_matrix` runs every rule on every mutant
at every scale of the loss, precision and seed, and on the correct gradient, where an objection is a false alarm.

>>> import numpy as np, gradcheck
>>> from gradcheck.mutants import Instance, Problem
>>> def make(seed, dtype, scale):
...     x = np.random.default_rng(seed).uniform(1, 2, 5).astype(dtype)
...     loss, gradient = (lambda p: p.dtype.type(scale) * np.sum(p**3)), (lambda p: p.dtype.type(3 * scale) * p**2)
...     return Instance(loss, gradient, x, {"factor 2 for 3": lambda p: gradient(p) * p.dtype.type(2 / 3)})
>>> matrix = gradcheck.kill_matrix([Problem("cubes", make)], seeds=range(2))
>>> matrix.survivors("gradcheck"), matrix.false_alarms("gradcheck")
([], 0)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradcheck.arguments import check_integer, check_positive, shown
from gradcheck.check import check_gradient
from gradcheck.tree import Tree

__all__ = ["DTYPES", "OURS", "SCALES", "Count", "Gradient", "Instance", "KillMatrix", "Problem", "Rule", "kill_matrix"]

Gradient = Callable[[Any], Any]
SCALES = (1.0, 1e-5, 1e5)
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Instance:
    """A problem drawn at one seed, precision and scale.

    Attributes
    ----------
    loss : callable
        ``loss(params)``.
    gradient : callable
        ``gradient(params)``, correct.
    params : structure of arrays
        Where to check.
    mutants : mapping of str to callable
        Wrong gradients by the name of their mistake.
    """

    loss: Callable[[Any], Any]
    gradient: Gradient
    params: Any
    mutants: Mapping[str, Gradient]


@dataclass(frozen=True)
class Problem:
    """A family of instances.

    Attributes
    ----------
    name : str
        Its name in the table. make : callable ``make(seed, dtype, scale)`` returns an `Instance`; the names of its
        mutants must not depend on the arguments.
    """

    name: str
    make: Callable[[int, str, float], Instance]


@dataclass(frozen=True)
class Rule:
    """A checker.

    Attributes
    ----------
    name : str
        Its name in the table. objects : callable ``objects(loss, gradient, params, seed)`` returns whether it calls the
        gradient wrong, and how many evaluations of loss and gradient that took.
    seeds : int or None
        Number of seeds on which it runs, from the first; None: all.
    remembers : bool
        Whether values of the loss may be kept from one mutant to the next. Many checkers try every mutant of a
        problem at the same points.
    """

    name: str
    objects: Callable[[Callable[[Any], Any], Gradient, Any, int], tuple[bool, int]]
    seeds: int | None = None
    remembers: bool = False


def _by_gradcheck(loss: Callable[[Any], Any], gradient: Gradient, params: Any, seed: int) -> tuple[bool, int]:
    report = check_gradient(loss, gradient, params, seed=seed, budget=0)
    return report.failed, report.n_evaluations


OURS = Rule("gradcheck", _by_gradcheck)


@dataclass(frozen=True)
class Count:
    """Objections of one rule to one gradient over all seeds.

    Attributes
    ----------
    objections, runs : int
        How often the rule objected, and how often it was run.
    evaluations : int
        The largest number of evaluations.
    share : float
        The same, divided by the number of parameters.
    """

    objections: int = 0
    runs: int = 0
    evaluations: int = 0
    share: float = 0.0

    def add(self, objects: bool, evaluations: int, parameters: int) -> Count:
        """Return the count after one more run."""
        most, share = max(self.evaluations, evaluations), max(self.share, evaluations / parameters)
        return Count(self.objections + bool(objects), self.runs + 1, most, share)


@dataclass(frozen=True)
class KillMatrix:
    """Who objected to what.

    Attributes
    ----------
    counts : dict
        `Count` by (problem, mutant, rule, scale, dtype); the mutant of the correct gradient is None.
    seconds : dict of str to float
        Processor time that each rule took.
    """

    counts: dict[tuple[str, str | None, str, float, str], Count]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def rules(self) -> list[str]:
        """Names of the rules."""
        return list(dict.fromkeys(rule for _, _, rule, _, _ in self.counts))

    def survivors(self, rule: str) -> list[tuple[str, str, float, str]]:
        """Return problem, mutant, scale and dtype of every mistake that `rule` missed on some seed."""
        return [
            (problem, mutant, scale, dtype)
            for (problem, mutant, name, scale, dtype), count in self.counts.items()
            if name == rule and mutant is not None and count.objections < count.runs
        ]

    def false_alarms(self, rule: str) -> int:
        """Return how often `rule` objected to a correct gradient."""
        return sum(
            c.objections for (_, mutant, name, _, _), c in self.counts.items() if name == rule and mutant is None
        )

    def evaluations(self, rule: str) -> int:
        """Return the most evaluations that `rule` took on one gradient."""
        return max(count.evaluations for (_, _, name, _, _), count in self.counts.items() if name == rule)

    def share(self, rule: str, *, only_correct: bool = False) -> float:
        """Return the most evaluations that `rule` took on one gradient, or on a correct one, per parameter."""
        return max(
            count.share
            for (_, mutant, name, _, _), count in self.counts.items()
            if name == rule and (mutant is None or not only_correct)
        )

    def seeds(self, rule: str) -> int:
        """Return the number of seeds on which `rule` was run."""
        return max(count.runs for (_, _, name, _, _), count in self.counts.items() if name == rule)

    def to_markdown(self) -> str:
        """Return a summary and, for each scale and precision, how often each mutant was killed."""
        settings = list(dict.fromkeys((scale, dtype) for _, _, _, scale, dtype in self.counts))
        named = [f"{dtype}, x {scale:g}" for scale, dtype in settings]
        cost = ("evaluations", "per parameter", "per parameter, correct")
        lines = [_row("rule", *named, "false alarms", "seeds", *cost)]
        lines.append(_row(*["---"] * (len(settings) + 3 + len(cost))))
        for rule in self.rules:
            caught = [self._caught(rule, *setting) for setting in settings]
            alarms = f"{self.false_alarms(rule)} of {self._runs_on_correct(rule)}"
            shares = (f"{self.share(rule, only_correct=only):.1f}" for only in (False, True))
            lines.append(_row(rule, *caught, alarms, self.seeds(rule), self.evaluations(rule), *shares))
        lines += ["", _row("problem", "mistake", *self.rules), _row(*["---"] * (len(self.rules) + 2))]
        for problem, mutant in dict.fromkeys(key[:2] for key in self.counts if key[1] is not None):
            lines.append(_row(problem, mutant, *(self._killed(problem, mutant, rule) for rule in self.rules)))
        return "\n".join(lines) + "\n"

    def _runs_on_correct(self, rule: str) -> int:
        return sum(c.runs for (_, mutant, name, _, _), c in self.counts.items() if name == rule and mutant is None)

    def _caught(self, rule: str, scale: float, dtype: str) -> str:
        """Return how many mutants were killed on every seed, of how many."""
        counts = [c for (_, m, *rest), c in self.counts.items() if m is not None and rest == [rule, scale, dtype]]
        return f"{sum(count.objections == count.runs for count in counts)} of {len(counts)}"

    def _killed(self, problem: str, mutant: str | None, rule: str) -> str:
        found = [c for key, c in self.counts.items() if key[:3] == (problem, mutant, rule)]
        killed, runs = sum(count.objections for count in found), sum(count.runs for count in found)
        return "all" if killed == runs else f"{killed} of {runs}"


def _row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _checked(name: str, values: Any, kind: Any) -> list[Any]:
    """Return an iterable as a list after checking that it holds objects of a class."""
    try:
        found = None if isinstance(values, str | bytes) else list(values)
    except TypeError:
        found = None
    if found is None or not all(isinstance(value, kind) for value in found):
        what = getattr(kind, "__name__", str(kind))
        raise TypeError(f"{name} must be a sequence of {what}, got {shown(values)}")
    return found


def kill_matrix(
    problems: Iterable[Problem],
    rules: Sequence[Rule] = (OURS,),
    scales: Sequence[float] = SCALES,
    dtypes: Sequence[str] = DTYPES,
    seeds: Sequence[int] = tuple(range(20)),
) -> KillMatrix:
    """Run every rule on every mutant and on the correct gradient.

    Parameters
    ----------
    problems : iterable of Problem
        With their mutants.
    rules : sequence of Rule
        Checkers to compare.
    scales : sequence of float
        Factors on the loss.
    dtypes : sequence of str
        Precisions of the parameters.
    seeds : sequence of int
        Each draws a problem and is passed to the rules.

    Returns
    -------
    KillMatrix

    Raises
    ------
    ValueError
        If a problem has no mutants, or a mutant is equal to the correct gradient: it could not be killed.
    """
    problems, rules = _checked("problems", problems, Problem), _checked("rules", rules, Rule)
    for scale in _checked("scales", scales, int | float):
        check_positive("scales", scale)
    for dtype in _checked("dtypes", dtypes, str):
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtypes must be of 'float32' and 'float64', got {shown(dtype)}")
    for seed in _checked("seeds", seeds, int):
        check_integer("seeds", seed, at_least=0)
    counts: dict[tuple[str, str | None, str, float, str], Count] = {}
    seconds = dict.fromkeys((rule.name for rule in rules), 0.0)
    for problem, dtype, scale, (position, seed) in itertools.product(problems, dtypes, scales, enumerate(seeds)):
        drawn = problem.make(seed, dtype, scale)
        if not drawn.mutants:
            raise ValueError(f"problem {problem.name!r} has no mutants")
        right = Tree.of(drawn.gradient(drawn.params)).host(np.float64)
        remembered = _Remembered(drawn.loss)
        for name, gradient in [(None, drawn.gradient), *drawn.mutants.items()]:
            if name is not None:
                _require_difference(problem.name, name, right, gradient(drawn.params))
            for rule in rules:
                if rule.seeds is not None and position >= rule.seeds:
                    continue
                key = (problem.name, name, rule.name, scale, dtype)
                started = time.process_time()
                loss = remembered if rule.remembers else drawn.loss
                found: tuple[bool, int] = rule.objects(loss, gradient, drawn.params, seed)
                seconds[rule.name] += time.process_time() - started
                counts[key] = counts.get(key, Count()).add(*found, len(right))
    return KillMatrix(counts, seconds)


class _Remembered:
    """A loss that computes its value only once for the same parameters."""

    def __init__(self, loss: Callable[[Any], Any]) -> None:
        self.loss, self.known = loss, dict[Any, Any]()

    def __call__(self, params: Any) -> Any:
        key = tuple((name, a.dtype.name, a.tobytes()) for name, a in Tree.of(params).host().items())
        if key not in self.known:
            self.known[key] = self.loss(params)
        return self.known[key]


def _require_difference(problem: str, mutant: str, right: Mapping[str, np.ndarray], found: Any) -> None:
    wrong = Tree.of(found).host(np.float64)
    if all(name in wrong and np.array_equal(right[name], wrong[name]) for name in right):
        raise ValueError(f"mutant {mutant!r} of problem {problem!r} is equal to the correct gradient")
