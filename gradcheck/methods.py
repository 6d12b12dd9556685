"""Choice of the method, and what replaces it if it does not apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gradcheck.arrays import Host
from gradcheck.by_complex_steps import along_complex_steps, along_elements
from gradcheck.by_differences import by_differences
from gradcheck.claim import Claim
from gradcheck.complex_step import ComplexStep
from gradcheck.differences import Central, Richardson
from gradcheck.evaluate import Budget, FunctionError, NotAnalyticError
from gradcheck.numeric import Method
from gradcheck.rules import Trial


@dataclass(frozen=True)
class Settings:
    """The options of a check."""

    method: str
    directions: int
    rtol: float | None
    seed: int
    sizes: Mapping[str, int]
    budget: int
    subgradient: bool


@dataclass
class Found:
    """The results of the trials, and how they were made."""

    title: str
    method: Method
    trials: list[Trial]
    budget: Budget
    numeric: Mapping[str, Host]


def run(claim: Claim, settings: Settings) -> Found:
    """Run the requested method, or Richardson's if the loss turns out not to be analytic."""
    if settings.method in ("richardson", "central"):
        return _by_differences(claim, settings, settings.method)
    try:
        return _by_complex_step(claim, settings)
    except NotAnalyticError as error:
        doubt = error
    if settings.method == "complex":
        raise FunctionError(f"method='complex' does not apply to the loss: {doubt}; use 'auto'") from doubt
    claim.notes.append(f"the loss is not analytic ({doubt}), so real differences were used")
    return _by_differences(claim, settings, "richardson")


def _by_complex_step(claim: Claim, settings: Settings) -> Found:
    numeric: Mapping[str, Host] = {}
    if settings.method == "elements":
        trials, numeric = along_elements(claim, rtol=settings.rtol, seed=settings.seed)
        title = "complex step of every element"
    else:
        k = settings.directions
        trials = along_complex_steps(claim, directions=k, rtol=settings.rtol, seed=settings.seed)
        title = f"complex step along {_directions(k)}"
    return Found(title, ComplexStep(claim.loss), trials, Budget(settings.budget), numeric)


def _by_differences(claim: Claim, settings: Settings, name: str) -> Found:
    method = Central(claim.loss) if name == "central" else Richardson(claim.loss)
    budget = Budget(settings.budget)
    k = settings.directions
    differences = by_differences(
        claim,
        method,
        directions=k,
        rtol=settings.rtol,
        seed=settings.seed,
        budget=budget,
        subgradient=settings.subgradient,
    )
    if settings.method == "elements":
        trials, numeric = differences.along_elements()
        return Found(f"{method.title} of every element", method, trials, budget, numeric)
    return Found(f"{method.title} along {_directions(k)}", method, differences.along_directions(), budget, {})


def _directions(k: int) -> str:
    return f"{k} random direction{'s' if k > 1 else ''} a parameter"
