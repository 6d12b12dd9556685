"""docs/kill_matrix.md: its text, and the counts behind it, which may come from several runs of the command.

A run of every checker takes many hours, and that of one checker does not depend on the others. So the counts
of each rule are kept in a file with their date, the versions of the libraries and the processor time that they took,
and a run replaces those of the rules that it ran.
"""

from __future__ import annotations

import datetime
import json
import pathlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradcheck.mutants import Count, KillMatrix

PAGE_TEXT = """# Planted bugs, and which checkers find them

A command, given at the end, writes this page. {mutants} bugs are planted in the source of `numrnn`, one at a time. Each
mutant is a copy of the package with a small edit of one function (`tests/mutants/slips.py`). The loss is computed by
the real package, the gradient by the mutant, in {problems} problems: all cells and a stack, through time, with lengths
and recomputation, the fused engine, losses and read-out, clipping and updates, tangents and Jacobians. No parameter,
input or first state is zero.

Each checker gets the same loss and gradient, as NumPy functions wrapped as its library requires for hand-written
derivatives, and runs with its own defaults. Two leave a choice to the user: SciPy's `check_grad` returns a norm, and
the limit used here is 1e-6; numdifftools has no checker, and `numpy.allclose` compared its gradient with ours. The
checkers of JAX and autograd run in reverse mode and first order, which is what a hand-written gradient provides.

The first table counts the mutants that a checker killed **on every seed** on which it was run, at each scale of the
loss and in each precision. A false alarm is an objection to the correct gradient. A checker that objects to every
float32 gradient, right or wrong, has found nothing: compare its float32 columns with its false alarms. "Evaluations"
are calls of loss and gradient together, the most in any one check; a "parameter" is an array. gradcheck takes four more
for a wrong gradient than for a correct one, before it looks for the element and the cause, and one more for an array
whose elements differ more than a thousandfold. The second table counts, over all scales, precisions and seeds, how
often each mutant was killed.

{tables}
Processor time per seed, for all problems, slips, scales and precisions: {costs}.{few} The mutants of a problem share
its loss, so for the checkers of other libraries its values are computed once for all of them.

Command: `{command}`, in the root of the repository{last}. Machine: {machine}. Runs: {runs}.
"""

FEW = 5  # seeds


@dataclass(frozen=True)
class Record:
    """The record of one rule's run.

    Attributes
    ----------
    date : str
        When it was run.
    libraries : mapping of str to str
        Versions by name.
    seconds : float
        Processor time.
    counts : dict
        `(objections, runs, evaluations, share)` by (problem, mutant or None, scale, dtype).
    """

    date: str
    libraries: Mapping[str, str]
    seconds: float
    counts: dict[tuple[str, str | None, float, str], tuple[int, int, int, float]] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """Number of seeds on which it was run."""
        return max(runs for _, runs, *_ in self.counts.values())


def records(
    matrix: KillMatrix, libraries: Mapping[str, Iterable[str]], versions: Mapping[str, str]
) -> dict[str, Record]:
    """Return a record of every rule of a run that ended now; `libraries` says whose versions matter to a rule."""
    found: dict[str, Record] = {}
    today = datetime.date.today().isoformat()
    for (problem, mutant, rule, scale, dtype), c in matrix.counts.items():
        if rule not in found:
            found[rule] = Record(today, {name: versions[name] for name in libraries[rule]}, matrix.seconds[rule])
        found[rule].counts[problem, mutant, scale, dtype] = (c.objections, c.runs, c.evaluations, c.share)
    return found


def load(path: pathlib.Path) -> dict[str, Record]:
    """Return the records in a file; empty if there is no file.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            rule: Record(
                one["date"],
                one["libraries"],
                one["seconds"],
                {
                    (problem, mutant or None, scale, dtype): tuple(count)
                    for problem, mutants in one["counts"].items()
                    for mutant, counts in mutants.items()
                    for (scale, dtype), count in zip(one["settings"], counts, strict=True)
                },
            )
            for rule, one in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no counts of a kill matrix: {error!r}; remove it and run again") from error


def save(path: pathlib.Path, found: Mapping[str, Record]) -> None:
    """Write records to a file: for each problem and mutant (the correct gradient is "") one row for all settings."""
    content: dict[str, Any] = {}
    for rule, record in found.items():
        settings = list(dict.fromkeys((scale, dtype) for _, _, scale, dtype in record.counts))
        counts: dict[str, dict[str, list[Any]]] = {}
        for problem, mutant in dict.fromkeys(key[:2] for key in record.counts):
            row = [record.counts[problem, mutant, *setting] for setting in settings]
            counts.setdefault(problem, {})[mutant or ""] = row
        content[rule] = {
            "date": record.date,
            "libraries": dict(record.libraries),
            "seconds": round(record.seconds, 1),
            "settings": settings,
            "counts": counts,
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(content), encoding="utf-8")


def _lines(content: dict[str, Any]) -> str:
    """Return JSON with one line for each gradient, so that a change of one count changes one line."""
    rules = []
    for rule, one in content.items():
        head = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in one.items() if key != "counts"]
        problems = [
            f"{json.dumps(problem)}: {{\n"
            + ",\n".join(f"{json.dumps(mutant)}: {json.dumps(counts)}" for mutant, counts in mutants.items())
            + "\n}"
            for problem, mutants in one["counts"].items()
        ]
        rules.append(
            f"{json.dumps(rule)}: {{\n" + ",\n".join([*head, '"counts": {\n' + ",\n".join(problems) + "\n}\n}"])
        )
    return "{\n" + ",\n".join(rules) + "\n}\n"


def merge(kept: Mapping[str, Record], fresh: Mapping[str, Record], order: Iterable[str]) -> dict[str, Record]:
    """Return the new records and the stored ones of other rules, in the given order of names.

    Raises
    ------
    ValueError
        If they are not counts of the same slips.
    """
    found = {**kept, **fresh}
    slips = {rule: {key[:2] for key in record.counts} for rule, record in found.items()}
    newest = slips[next(iter(fresh))]
    stale = [rule for rule, planted in slips.items() if planted != newest]
    if stale:
        raise ValueError(f"the counts kept of {', '.join(stale)} are those of other slips; run these rules again too")
    named = [name for name in order if name in found]
    return {name: found[name] for name in [*named, *(set(found) - set(named))]}


def matrix_of(found: Mapping[str, Record]) -> KillMatrix:
    """Return the table of all records."""
    counts = {
        (problem, mutant, rule, scale, dtype): Count(*count)
        for rule, record in found.items()
        for (problem, mutant, scale, dtype), count in record.counts.items()
    }
    return KillMatrix(counts, {rule: record.seconds for rule, record in found.items()})


def page(matrix: KillMatrix, found: Mapping[str, Record], command: str) -> str:
    """Return the page."""
    mutants = {key[:2] for key in matrix.counts if key[1] is not None}
    runs: dict[str, list[str]] = {}
    for rule, record in found.items():
        versions = ", ".join(f"{name} {version}" for name, version in record.libraries.items())
        runs.setdefault(record.date, []).append(f"{rule} ({versions})")
    few = [rule for rule, record in found.items() if record.seeds < FEW]
    return PAGE_TEXT.format(
        mutants=len(mutants),
        problems=len({problem for problem, _ in mutants}),
        tables=matrix.to_markdown(),
        costs=", ".join(f"{rule} {record.seconds / record.seeds:.3g} s" for rule, record in found.items()),
        few=f" Therefore only few seeds were run for {', '.join(few)}." if few and len(few) < len(found) else "",
        command=command,
        last=" (the last run; `make checkers` runs all)" if "--rules" in command else "",
        machine=f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}, CPU only",
        runs="; ".join(f"{date} {', '.join(rules)}" for date, rules in sorted(runs.items())),
    )
