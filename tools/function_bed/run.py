"""Run checkers on entries of the bed, and keep each verdict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck import check_gradient
from gradcheck.directions import rms
from gradcheck.mutants import Instance
from tools import foreign
from tools.function_bed.base import Function, Setting, settings

HIDDEN = 64  # units of rounding of the loss: a mistake that never changes it by more cannot be seen in it
BOUND = 1e-6  # what `gradcheck` states for real differences: a smaller error of a gradient may pass
EPS = float(np.finfo(np.float64).eps)
OURS = "gradcheck"
PASSED, FAILED, INCONCLUSIVE, ERROR = "passed", "failed", "inconclusive", "error"
Checker = Callable[[Any, Any, Any], str]


@dataclass(frozen=True)
class Result:
    """The verdicts on one gradient of one function at one setting.

    Attributes
    ----------
    function : str
        Name.
    setting : Setting
        Precision and scales.
    mistake : str or None
        None: the right gradient.
    size : float
        Of the mistake: see `size_of_error`.
    change : float
        Of the loss by the mistake: see `change_of_loss`.
    verdicts : mapping of str to str
        By checker: "passed", "failed", "inconclusive", or "error" if the checker raised.
    """

    function: str
    setting: Setting
    mistake: str | None
    size: float
    change: float
    verdicts: dict[str, str]

    @property
    def counts(self) -> bool:
        """Whether a checker must object: the mistake is larger than the bound, and rounding does not hide it."""
        return self.mistake is not None and self.size > BOUND and self.change > HIDDEN


def ours(loss: Any, gradient: Any, params: Any) -> str:
    """Return gradcheck's verdict."""
    return check_gradient(loss, gradient, params, budget=0).verdict


def peers() -> dict[str, Checker]:
    """Return the checkers of other libraries that are installed; they have no third verdict."""

    def checker(rule: Any) -> Checker:
        return lambda loss, gradient, params: FAILED if rule.objects(loss, gradient, params, 0)[0] else PASSED

    return {rule.name: checker(rule) for rule in foreign.installed() if rule.name != "numdifftools"}


def size_of_error(instance: Instance, wrong: Any) -> float:
    """Return norm(wrong - right)/norm(right) of the parameter where that is largest, both computed in float64.

    The float32 point is used exactly: rounding of a float32 gradient is not a mistake.
    """
    params = {name: value.astype(float) for name, value in instance.params.items()}
    right, found = instance.gradient(params), wrong(params)
    sizes = []
    for name, g in right.items():
        largest = float(np.max(np.abs(g))) or 1.0  # squares of small numbers would vanish
        error, norm = np.linalg.norm((found[name] - g) / largest), np.linalg.norm(g / largest)
        sizes.append(float(error / norm) if norm else float("inf" if error else 0.0))
    return max(sizes)


def change_of_loss(instance: Instance, wrong: Any) -> float:
    """Return the change of the loss by a mistake along a move as long as the parameters, in units of its rounding.

    That is the largest norm(wrong - right) rms(x) of a parameter x, over the rounding of the loss in float64. If it is
    small, right and wrong gradient explain all values of the loss at that distance equally well: for example, near x =
    0 for a loss of size 1 with a slope that is proportional to x.
    """
    params = {name: value.astype(float) for name, value in instance.params.items()}
    right, found = instance.gradient(params), wrong(params)
    loss = abs(float(instance.loss(params)))
    moves = [float(rms(found[name] - g) * g.size**0.5 * rms(params[name])) for name, g in right.items()]
    return max(moves) / (EPS * loss) if loss else float("inf")


def run(functions: Iterable[Function], checkers: dict[str, Checker]) -> Iterator[Result]:
    """Yield the results of every function, setting and gradient."""
    for function in functions:
        for setting in settings(function.scales):
            instance = function.at(setting)
            for mistake, gradient in [(None, instance.gradient), *instance.mutants.items()]:
                size = size_of_error(instance, gradient)
                verdicts = {name: _verdict(check, instance, gradient) for name, check in checkers.items()}
                change = change_of_loss(instance, gradient)
                yield Result(function.name, setting, mistake, size, change, verdicts)


def _verdict(check: Checker, instance: Instance, gradient: Any) -> str:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of SciPy on matrices that are almost singular, of peers on float32
        try:
            return check(instance.loss, gradient, instance.params)
        except Exception:
            return ERROR
