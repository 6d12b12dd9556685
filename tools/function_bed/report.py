"""Results as plain values for JSON, and counts of them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tools.function_bed.base import Function, Setting, settings
from tools.function_bed.run import BOUND, ERROR, FAILED, HIDDEN, INCONCLUSIVE, PASSED, Result

RIGHT = "right"
LETTERS = {PASSED: "p", FAILED: "f", INCONCLUSIVE: "i", ERROR: "e"}
WORDS = {letter: word for word, letter in LETTERS.items()}
Entry = Mapping[str, Any]


def collect(functions: Iterable[Function], results: Iterable[Result]) -> dict[str, Any]:
    """Return the results by function.

    "gradients" are "right" and the names of the mistakes. In their order, each has the sizes of the mistakes by
    setting, the change of the loss in units of rounding, and for each checker a string of verdicts, one letter per
    setting.
    """
    found: dict[str, Any] = {}
    for f in functions:
        names = [RIGHT, *f.wrong()]
        head = {"family": f.family, "smooth": f.smooth, "scales": list(f.scales), "gradients": names}
        found[f.name] = {**head, "sizes": [[] for _ in names], "changes": [[] for _ in names], "verdicts": {}}
    for result in results:
        entry = found[result.function]
        k = entry["gradients"].index(result.mistake or RIGHT)
        entry["sizes"][k].append(f"{result.size:.0e}")
        entry["changes"][k].append(f"{result.change:.0e}")
        for checker, verdict in result.verdicts.items():
            strings = entry["verdicts"].setdefault(checker, [""] * len(entry["gradients"]))
            strings[k] += LETTERS[verdict]
    return found


def merged(known: Mapping[str, Any], fresh: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """Return `known` results updated with `fresh` ones, in this order of functions.

    Verdicts of checkers that were not run are kept if the function has the same gradients and scales as before.
    """
    result: dict[str, Any] = {}
    for name in order:
        old, new = known.get(name), fresh.get(name)
        if old and new and all(old[key] == new[key] for key in ("gradients", "scales")):
            result[name] = {**new, "verdicts": {**old["verdicts"], **new["verdicts"]}}
        elif old or new:
            result[name] = new or old
    return result


class Tally:
    """Verdicts of one checker on right gradients, and on mistakes above the bound.

    Parameters
    ----------
    functions : mapping of str to mapping
        What `collect` returned.
    checker : str
        Name.
    keep : callable
        ``keep(entry, setting)``: whether it counts.

    Attributes
    ----------
    right, wrong, hidden : Counter
        Verdicts on right gradients, on mistakes, and on those that rounding hides.
    places : dict
        The settings of every verdict that is not "passed" on a right gradient, or not "failed" on a mistake, by
        function, gradient and verdict.
    """

    def __init__(
        self,
        functions: Mapping[str, Entry],
        checker: str,
        keep: Callable[[Entry, Setting], bool] = lambda entry, setting: True,
    ) -> None:
        self.right: collections.Counter[str] = collections.Counter()
        self.wrong: collections.Counter[str] = collections.Counter()
        self.hidden: collections.Counter[str] = collections.Counter()
        self.places: dict[tuple[str, str, str], list[Setting]] = {}
        for name, entry in functions.items():
            tried = settings(entry["scales"])
            rows = zip(entry["gradients"], entry["sizes"], entry["changes"], entry["verdicts"][checker], strict=True)
            for gradient, sizes, changes, letters in rows:
                for setting, size, change, letter in zip(tried, sizes, changes, letters, strict=True):
                    if not keep(entry, setting) or (gradient != RIGHT and float(size) <= BOUND):
                        continue
                    if gradient != RIGHT and float(change) <= HIDDEN:
                        self.hidden[WORDS[letter]] += 1
                    else:
                        self._add(name, gradient, setting, WORDS[letter])

    def _add(self, name: str, gradient: str, setting: Setting, verdict: str) -> None:
        counter, due = (self.right, PASSED) if gradient == RIGHT else (self.wrong, FAILED)
        counter[verdict] += 1
        if verdict != due:
            self.places.setdefault((name, gradient, verdict), []).append(setting)

    @property
    def objections(self) -> int:
        """How often the checker objected to a right gradient, or raised an error at it."""
        return self.right[FAILED] + self.right[ERROR]

    @property
    def misses(self) -> int:
        """How many mistakes it did not find."""
        return self.wrong.total() - self.wrong[FAILED]
