"""The gradient check: `check_gradient`, which reports, and `assert_gradient`, which raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradcheck.arguments import check_arguments
from gradcheck.arrays import Host
from gradcheck.claim import Claim, make_claim
from gradcheck.complex_step import ComplexStep
from gradcheck.differences import Central, Richardson
from gradcheck.evaluate import FunctionError, NotAnalyticError
from gradcheck.explain import Budget, explain
from gradcheck.numeric import Method, is_exact
from gradcheck.precision import compare_precision
from gradcheck.report import FAILED, INCONCLUSIVE, Entry, GradientError, Report, Worst
from gradcheck.rules import Trial, unsteady
from gradcheck.tree import parameters
from gradcheck.trials import along_complex_steps, along_differences, along_elements, contradicted

BUDGET = 2000


def check_gradient(
    loss: Callable[[Any], Any],
    gradient: Any,
    params: Any,
    *,
    method: str = "auto",
    directions: int = 3,
    rtol: float | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    budget: int = BUDGET,
) -> Report:
    r"""Compare a gradient with numerical derivatives of the loss.

    Parameters
    ----------
    loss : callable
        ``loss(params)`` returns a real scalar; a complex one for complex128 parameters, if it can.
    gradient : callable, or same structure as `params`
        What is to be verified: arrays of the parameters' shapes and dtype, or ``gradient(params)`` returning them.
    params : array, mapping, or nested mappings and sequences of arrays
        Where to check: float32 or float64, of NumPy, CuPy or another array-API library. Zeros hide mistakes: draw them
        at random.
    method : {"auto", "complex", "elements", "richardson", "central"}
        ``"complex"``: complex step along random directions. ``"richardson"``, ``"central"``: real differences along
        them. ``"elements"``: complex step of every element, each compared relative to itself. ``"auto"``:
        ``"complex"``, or ``"richardson"`` and a note where the loss is not analytic (``"elements"`` falls back alike).
    directions : int
        Gaussian directions for each parameter, at least 1.
    rtol : float or None
        Allowed error relative to norm(gradient). None: about 1e-12 (complex step), 1e-9 (differences), 3e-5 (single).
    seed : int
        Of the directions, >= 0; printed in the report, and the same seed replays it.
    sizes : mapping of str to int or None
        Names by which a wrong factor may be called, as ``{"B": 8, "T": 5}``.
    budget : int
        Evaluations that may be spent, after a failure only, on the worst element and the name of the mistake.

    Returns
    -------
    Report
        A verdict for each parameter: passed, failed, or inconclusive (zero to rounding on both sides, a kink, a
        random loss).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong: the message names it.
    FunctionError
        A ValueError: if loss or gradient raise, change their input, or return no finite numbers of the right shape.

    Notes
    -----
    The rule, and what it does and does not guarantee, is in `gradcheck.rules`; the rounding floor in `gradcheck.floor`.
    float32 parameters: a callable gradient is verified in float64, and its float32 values are compared with those
    (`check_precision`); a gradient given as float32 arrays is compared with the loss's derivative in complex128.

    Cost for P parameters and K = 3, where all is well: 2 P + 2 evaluations of the loss (4 if P is 1) and one of the
    gradient, two if it is float32. A parameter that fails costs one direction less, and one evaluation for its
    rounding; all that fail together cost two real evaluations, which make sure that the loss is analytic: at most 3 P
    from P = 5 on, unless rounding makes a mismatch hard to judge. Differences take up to 18 K P.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> check_gradient(lambda p: np.sum(p**2), 2 * x, x).passed
    True
    >>> check_gradient(lambda p: np.sum(p**2), x, x)["params"].diagnosis
    'a constant factor is wrong: analytic = 1/2 x numeric'
    """
    check_arguments(method, directions, rtol, seed, budget, sizes)
    started = time.perf_counter()
    tree = parameters(params)
    claim = make_claim(loss, gradient, tree)
    settings = _Settings(method, directions, rtol, seed, sizes or {}, budget)
    found = _try(claim, settings)
    failed = any(trial.verdict(claim.single)[0] == FAILED for trial in found.trials)
    precision: list[Entry] = []
    if claim.source is not None and claim.loss.native == "float32" and not claim.single and not failed:
        precision = compare_precision(claim.source, claim.gradient)
    deciding = claim.count
    entries = tuple(_entry(claim, found, trial, settings) for trial in found.trials)
    if precision:
        entries = tuple(_worse(own, other) for own, other in zip(entries, precision, strict=True))
    if unsteady(claim):
        entries = tuple(replace(e, verdict=INCONCLUSIVE, note="the loss is random", diagnosis=None) for e in entries)
        change = f"{claim.loss.spread:.3g}"
        claim.notes.append(f"the loss changes by {change} between calls at the same parameters: fix its random numbers")
    return Report(
        "gradcheck",
        found.title,
        entries,
        seed,
        deciding,
        claim.count - deciding,
        time.perf_counter() - started,
        tuple(claim.notes),
    )


def assert_gradient(loss: Callable[[Any], Any], gradient: Any, params: Any, **options: Any) -> Report:
    """Raise `GradientError` unless `check_gradient`, with the same arguments, passes; return its report.

    Raises
    ------
    GradientError
        An AssertionError with the report as `.report`: if a parameter failed or was inconclusive.
    """
    report = check_gradient(loss, gradient, params, **options)
    if not report.passed:
        raise GradientError(report)
    return report


@dataclass(frozen=True)
class _Settings:
    method: str
    directions: int
    rtol: float | None
    seed: int
    sizes: Mapping[str, int]
    budget: int


@dataclass
class _Found:
    title: str
    method: Method
    trials: list[Trial]
    budget: Budget
    numeric: Mapping[str, Host]


def _try(claim: Claim, settings: _Settings) -> _Found:
    """Run the method asked for, and Richardson's where the loss turns out not to be analytic."""
    if settings.method in ("richardson", "central"):
        return _by_differences(claim, settings, settings.method)
    try:
        return _by_complex_step(claim, settings)
    except NotAnalyticError as error:
        doubt = error
    if settings.method == "complex":
        claim.loss.at()  # a loss that fails for real parameters too deserves its own error
        raise FunctionError(f"method='complex' does not apply to the loss: {doubt}; use 'auto'") from doubt
    claim.notes.append(f"the loss is not analytic ({doubt}), so real differences were used")
    return _by_differences(claim, settings, "richardson")


def _by_complex_step(claim: Claim, settings: _Settings) -> _Found:
    method = ComplexStep(claim.loss)
    numeric: Mapping[str, Host] = {}
    if settings.method == "elements":
        trials, numeric = along_elements(claim, method, rtol=settings.rtol, seed=settings.seed)
        title = "complex step of every element"
    else:
        k = settings.directions
        trials = along_complex_steps(claim, directions=k, rtol=settings.rtol, seed=settings.seed)
        title = f"complex step along {_directions(k)}"
    doubtful = contradicted(claim, trials)
    if doubtful is not None:
        raise NotAnalyticError(f"real differences in {doubtful} disagree with its complex derivative")
    return _Found(title, method, trials, Budget(settings.budget), numeric)


def _by_differences(claim: Claim, settings: _Settings, name: str) -> _Found:
    _settle_dtype(claim)
    method = Central(claim.loss) if name == "central" else Richardson(claim.loss)
    numeric: Mapping[str, Host] = {}
    if settings.method == "elements":
        trials, numeric = along_elements(claim, method, rtol=settings.rtol, seed=settings.seed)
        title = f"{method.title} of every element"
    else:
        k = settings.directions
        trials = along_differences(claim, method, directions=k, rtol=settings.rtol, seed=settings.seed)
        title = f"{method.title} along {_directions(k)}"
    return _Found(title, method, trials, Budget(settings.budget), numeric)


def _directions(k: int) -> str:
    return f"{k} random direction{'s' if k > 1 else ''} a parameter"


def _settle_dtype(claim: Claim) -> None:
    """Fall back to float32 parameters for a loss that refuses float64 ones."""
    try:
        claim.loss.loss()
    except FunctionError as error:
        if error.__cause__ is None or claim.loss.native != "float32":
            raise
        claim.loss.dtype = "float32"
        claim.loss.loss()
        claim.notes.append(f"the loss refused float64 parameters ({error.__cause__}): float32 differences show little")


def _entry(claim: Claim, found: _Found, trial: Trial, settings: _Settings) -> Entry:
    verdict, note = trial.verdict(claim.single)
    sample, diagnosis = trial.worst, None
    worst = Worst(trial.name, sample.index, sample.analytic, sample.slope.value, sample.relative)
    if verdict == FAILED:
        position = found.trials.index(trial)
        numeric = found.numeric.get(trial.name)
        worst, diagnosis = explain(
            claim,
            found.method,
            trial,
            found.budget,
            position=position,
            seed=settings.seed,
            sizes=settings.sizes,
            numeric=numeric,
        )
    if verdict != FAILED and claim.loss.single and is_exact(found.method):
        note = note or "the loss computes in single precision: nothing finer can be seen"
    random_directions = 0 if settings.method == "elements" else len(trial.samples)
    return Entry(trial.name, verdict, worst, trial.tolerance, random_directions, diagnosis, note)


def _worse(own: Entry, precision: Entry) -> Entry:
    """Return the entry of the float64 check, or that of the float32 one if only that failed."""
    return precision if precision.verdict == FAILED and own.verdict != FAILED else own
