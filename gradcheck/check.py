"""The gradient check: `check_gradient`, which reports, and `assert_gradient`, which raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gradcheck.arguments import check_arguments, check_bool
from gradcheck.claim import Claim, make_claim
from gradcheck.directions import norm
from gradcheck.explain import CHANGES, changing_gradients, explain
from gradcheck.methods import Found, Settings, run
from gradcheck.numeric import is_exact
from gradcheck.precision import compare_precision
from gradcheck.report import FAILED, INCONCLUSIVE, Entry, GradientError, Report, Worst
from gradcheck.rules import ADVICE, RANDOM, Trial, default_rtol, merge, unsteady
from gradcheck.tree import parameters

__all__ = ["assert_gradient", "check_gradient", "require"]

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
    subgradient: bool = False,
) -> Report:
    r"""Compare a gradient with numerical derivatives of the loss.

    Parameters
    ----------
    loss : callable
        ``loss(params)`` returns a real scalar; a complex one for complex128 parameters, if it can. If `params` is a
        tuple and the loss requires as many positional arguments, it is called with its parts.
    gradient : callable, or same structure as `params`
        What is to be verified: arrays of the parameters' shapes and dtype, or ``gradient(params)`` returning them.
    params : array, float, or nested mappings, dataclasses, named tuples and sequences of them
        Where to check: float32 or float64, of NumPy, CuPy, torch or another array-API library, passed in their own
        memory layout. Zeros hide mistakes: draw random parameters.
    method : {"auto", "complex", "elements", "richardson", "central"}
        ``"complex"``: complex step along random directions. ``"richardson"``, ``"central"``: real differences along
        them. ``"elements"``: complex step of every element, each compared relative to itself. ``"auto"``:
        ``"complex"``, or ``"richardson"`` with a note if the loss is not analytic (``"elements"`` falls back in the
        same way).
    directions : int
        Gaussian directions for each parameter, at least 1.
    rtol : float or None
        Allowed error relative to norm(gradient). None: about 1e-12 (complex step), 1e-9 (differences), 3e-5 (single).
        A larger value lets more pass, and makes no other verdict inconclusive.
    seed : int
        Seed of the directions, >= 0; the report prints it, and the same seed reproduces the check.
    sizes : mapping of str to int or None
        Names for wrong factors, such as ``{"B": 8, "T": 5}``.
    budget : int
        Evaluations allowed for finding the elements on a kink and, after a failure, the worst element and the name of
        the mistake.
    subgradient : bool
        Whether a value between the slopes to the two sides of a kink passes. By default it is inconclusive.

    Returns
    -------
    Report
        A verdict for each parameter: passed, failed, or inconclusive, with the reason in one word (zero, rounding,
        noise, kink, steps, domain, random) and advice.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong: the message names it.
    FunctionError
        A ValueError: if loss or gradient raise at the parameters, change their input, or return no finite numbers of
        the right shape there. Where the loss raises an ArithmeticError, a ValueError or a warning at a point of the
        check's own choosing, that point counts as outside its domain.

    Notes
    -----
    The rule, and what it does and does not guarantee, is in `gradcheck.rules`; the rounding floor in `gradcheck.floor`.
    float32 parameters: a callable gradient is verified in float64, and its float32 values are compared with those
    (`check_precision`); a gradient given as float32 arrays is compared with the loss's derivative in complex128.

    Cost for P parameters and K = 3, if all is right: P + 6 evaluations of the loss (7 if P is 1) and one of the
    gradient, two if it is float32: at most 3 P from P = 4 on. Parameters that fail cost four evaluations more, for all
    of them together: at most 3 P from P = 5 on, unless a mismatch is close to its own rounding. A parameter whose
    elements differ by more than a factor of 1,000 in size counts once per group of similar size. Differences take 8 to
    18 evaluations for each of K P directions, up to 56 if elements are almost zero or differ in size, and 28 to 84 more
    for each direction along which the values do not agree.

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
    check_bool("subgradient", subgradient)
    started = time.perf_counter()
    claim = make_claim(loss, gradient, parameters(params))
    settings = Settings(method, directions, rtol, seed, sizes or {}, budget, subgradient)
    found = run(claim, settings)
    decisive = {
        name: merge([trial for trial in found.trials if trial.name == name], claim.single, norm(g))
        for name, g in claim.gradient.items()
    }
    failed = any(trial.failed for trial in decisive.values())
    precision: list[Entry] = []
    if claim.source is not None and claim.loss.tree.dtype == "float32" and not claim.single and not failed:
        precision = compare_precision(claim.source, claim.gradient)
    deciding = claim.count
    entries = tuple(_entry(claim, found, trial, settings) for trial in decisive.values())
    if precision:
        entries = tuple(_worse(own, other) for own, other in zip(entries, precision, strict=True))
    if any(entry.verdict == FAILED for entry in entries):
        changing = changing_gradients(claim, found.budget)
        entries = tuple(
            replace(entry, diagnosis=CHANGES) if entry.verdict == FAILED and entry.parameter in changing else entry
            for entry in entries
        )
    if unsteady(claim):
        entries = tuple(
            replace(e, verdict=INCONCLUSIVE, reason=RANDOM, note=ADVICE[RANDOM], diagnosis=None) for e in entries
        )
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
        An AssertionError with the report as `.report`: if a parameter failed or was inconclusive. Its traceback in
        pytest ends at the test.
    """
    __tracebackhide__ = True
    return require(check_gradient(loss, gradient, params, **options))


def require(report: Report) -> Report:
    """Raise `GradientError` unless `report`, of any check, passed; return it."""
    __tracebackhide__ = True
    if not report.passed:
        raise GradientError(report)
    return report


def _entry(claim: Claim, found: Found, trial: Trial, settings: Settings) -> Entry:
    verdict, reason, note = trial.verdict(claim.single)
    sample, diagnosis = trial.worst, None
    worst = Worst(trial.name, sample.index, sample.analytic, sample.slope.value, sample.relative)
    if verdict == FAILED:
        worst, diagnosis = explain(
            claim,
            found.method,
            trial,
            found.budget,
            seed=settings.seed,
            sizes=settings.sizes,
            numeric=found.numeric.get(trial.name),
        )
    if verdict != FAILED and claim.loss.single and is_exact(found.method):
        note = note or "the loss computes in single precision: finer differences are invisible"
    agreement = max(trial.agreement, default_rtol(claim, is_exact(found.method)))
    random_directions = 0 if settings.method == "elements" else len(trial.samples)
    return Entry(trial.name, verdict, worst, trial.tolerance, random_directions, diagnosis, note, reason, agreement)


def _worse(own: Entry, precision: Entry) -> Entry:
    """Return the entry of the float64 check, or that of the float32 one if only that failed."""
    return precision if precision.verdict == FAILED and own.verdict != FAILED else own
