"""The checker checked: planted mistakes against rules, as a table.

A `Problem` makes a loss, its correct gradient and a set of mutants, gradients with one small mistake each. A `Rule` is
any checker: it says whether it objects to a gradient, and what that cost. `kill_matrix` runs every rule on every mutant
at every scale of the loss, precision and seed, and on the correct gradient, where an objection is a false alarm.

``python -m gradcheck.mutants module:problems --output FILE`` writes the table for problems defined elsewhere;
``module:rules`` adds other checkers to ours.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.check import check_gradient
from gradcheck.tree import Tree

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
        How the table calls it.
    make : callable
        ``make(seed, dtype, scale)`` returns an `Instance`; the names of its mutants must not depend on the arguments.
    """

    name: str
    make: Callable[[int, str, float], Instance]


@dataclass(frozen=True)
class Rule:
    """A checker.

    Attributes
    ----------
    name : str
        How the table calls it.
    objects : callable
        ``objects(loss, gradient, params, seed)`` returns whether it calls the gradient wrong, and how many
        evaluations of loss and gradient that took.
    """

    name: str
    objects: Callable[[Callable[[Any], Any], Gradient, Any, int], tuple[bool, int]]


def _by_gradcheck(loss: Callable[[Any], Any], gradient: Gradient, params: Any, seed: int) -> tuple[bool, int]:
    report = check_gradient(loss, gradient, params, seed=seed, budget=0)
    return report.failed, report.n_evaluations


OURS = Rule("gradcheck", _by_gradcheck)


def edited(problem: Problem, edits: Mapping[str, Callable[[dict[str, Any]], Mapping[str, Any]]]) -> Problem:
    """Return the problem with mutants added that change a finished gradient.

    Parameters
    ----------
    problem : Problem
        Its gradients are mappings of name to array.
    edits : mapping of str to callable
        ``edit(gradient)`` takes a copy of the mapping and returns it with one mistake.
    """

    def make(seed: int, dtype: str, scale: float) -> Instance:
        drawn = problem.make(seed, dtype, scale)
        more = {name: _after(drawn.gradient, edit) for name, edit in edits.items()}
        return Instance(drawn.loss, drawn.gradient, drawn.params, {**drawn.mutants, **more})

    return Problem(problem.name, make)


def _after(gradient: Gradient, edit: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Gradient:
    return lambda params: edit(dict(gradient(params)))


@dataclass(frozen=True)
class Count:
    """Objections of one rule to one gradient over all seeds."""

    objections: int
    runs: int
    evaluations: int


@dataclass(frozen=True)
class KillMatrix:
    """Who objected to what.

    Attributes
    ----------
    counts : dict
        `Count` by (problem, mutant, rule, scale, dtype); the mutant of the correct gradient is None.
    """

    counts: dict[tuple[str, str | None, str, float, str], Count]

    @property
    def rules(self) -> list[str]:
        """Names of the rules."""
        return list(dict.fromkeys(rule for _, _, rule, _, _ in self.counts))

    def survivors(self, rule: str) -> list[tuple[str, str, float, str]]:
        """Return problem, mutant, scale and dtype wherever `rule` let a mistake pass on some seed."""
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

    def to_markdown(self) -> str:
        """Return a summary and, for each scale and precision, how often each mutant was killed."""
        settings = list(dict.fromkeys((scale, dtype) for _, _, _, scale, dtype in self.counts))
        lines = [_row("rule", *(f"{dtype}, x {scale:g}" for scale, dtype in settings), "false alarms", "evaluations")]
        lines.append(_row(*["---"] * (len(settings) + 3)))
        for rule in self.rules:
            caught = [self._caught(rule, *setting) for setting in settings]
            lines.append(_row(rule, *caught, self.false_alarms(rule), self.evaluations(rule)))
        lines += ["", _row("problem", "mistake", *self.rules), _row(*["---"] * (len(self.rules) + 2))]
        for problem, mutant in dict.fromkeys(key[:2] for key in self.counts if key[1] is not None):
            lines.append(_row(problem, mutant, *(self._killed(problem, mutant, rule) for rule in self.rules)))
        return "\n".join(lines) + "\n"

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
        Each draws a problem and is handed to the rules.

    Returns
    -------
    KillMatrix

    Raises
    ------
    ValueError
        If a problem has no mutants, or a mutant is equal to the correct gradient: it could not be killed.
    """
    counts: dict[tuple[str, str | None, str, float, str], Count] = {}
    for problem, dtype, scale, seed in itertools.product(list(problems), dtypes, scales, seeds):
        drawn = problem.make(seed, dtype, scale)
        if not drawn.mutants:
            raise ValueError(f"problem {problem.name!r} has no mutants")
        right = Tree.of(drawn.gradient(drawn.params)).host(np.float64)
        for name, gradient in [(None, drawn.gradient), *drawn.mutants.items()]:
            if name is not None:
                _require_difference(problem.name, name, right, gradient(drawn.params))
            for rule in rules:
                key = (problem.name, name, rule.name, scale, dtype)
                objects, evaluations = rule.objects(drawn.loss, gradient, drawn.params, seed)
                before = counts.get(key, Count(0, 0, 0))
                counts[key] = Count(
                    before.objections + bool(objects), before.runs + 1, max(before.evaluations, evaluations)
                )
    return KillMatrix(counts)


def _require_difference(problem: str, mutant: str, right: Mapping[str, np.ndarray], found: Any) -> None:
    wrong = Tree.of(found).host(np.float64)
    if all(name in wrong and np.array_equal(right[name], wrong[name]) for name in right):
        raise ValueError(f"mutant {mutant!r} of problem {problem!r} is equal to the correct gradient")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; exit with 1 if our rule let a mistake pass or raised a false alarm."""
    parser = argparse.ArgumentParser(prog="python -m gradcheck.mutants", description=__doc__)
    parser.add_argument("problems", help="module:name of a sequence of Problem, or of a function that returns it")
    parser.add_argument("--rules", help="module:name of further rules")
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--output", type=pathlib.Path, help="file to write; standard output without it")
    given = parser.parse_args(arguments)
    rules = [OURS, *(_load(given.rules) if given.rules else [])]
    matrix = kill_matrix(_load(given.problems), rules, seeds=range(given.seeds))
    text = matrix.to_markdown()
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return int(bool(matrix.survivors(OURS.name)) or matrix.false_alarms(OURS.name) > 0)


def _load(text: str) -> Sequence[Any]:
    module, _, name = text.partition(":")
    found = getattr(importlib.import_module(module), name)
    return found() if callable(found) else found


if __name__ == "__main__":
    sys.exit(main())
