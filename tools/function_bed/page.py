"""The page docs/function_bed.md, from the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tools.function_bed.base import DTYPES, LARGE, ONE, SMALL, Setting, settings
from tools.function_bed.report import RIGHT, Tally
from tools.function_bed.run import BOUND, FAILED, HIDDEN, INCONCLUSIVE, OURS, PASSED

PARTS = {
    "x 1": (ONE, 1.0),
    "point x 1e-8": (SMALL, 1.0),
    "point x 1e8": (LARGE, 1.0),
    "loss x 1e-8": (ONE, SMALL),
    "loss x 1e8": (ONE, LARGE),
}


def page(results: Mapping[str, Any]) -> str:
    """Return the text of the page."""
    functions, runs = results["functions"], results["runs"]
    smooth = {name: entry for name, entry in functions.items() if entry["smooth"]}
    kinks = {name: entry for name, entry in functions.items() if not entry["smooth"]}
    ours, on_kinks = Tally(smooth, OURS), Tally(kinks, OURS)
    called_wrong = {key: places for key, places in on_kinks.places.items() if key[1:] == (RIGHT, FAILED)}
    return TEXT.format(
        functions=len(functions),
        smooth=len(smooth),
        kinks=len(kinks),
        bound=BOUND,
        rights=ours.right.total(),
        passed=ours.right[PASSED],
        inconclusive=ours.right[INCONCLUSIVE],
        share=100 * ours.right[INCONCLUSIVE] / max(1, ours.right.total()),
        objections=ours.objections,
        mistakes=ours.wrong.total(),
        caught=ours.wrong[FAILED],
        hidden_bound=HIDDEN,
        hidden=ours.hidden.total(),
        hidden_caught=ours.hidden[FAILED],
        hidden_inconclusive=ours.hidden[INCONCLUSIVE],
        hidden_passed=ours.hidden[PASSED],
        kink_objections=on_kinks.objections,
        kink_rights=on_kinks.right.total(),
        by_family=_by_family(smooth),
        by_kink=_by_family(kinks),
        undecided=_places(functions, {**ours.places, **called_wrong}),
        alarms=_by_setting(smooth, runs, lambda tally: f"{tally.objections} of {tally.right.total()}"),
        misses=_by_setting(smooth, runs, lambda tally: f"{tally.misses} of {tally.wrong.total()}"),
        catalogue="\n".join(_catalogue(functions)),
        runs=_table(["checker", "version", "date"], [[name, *run.values()] for name, run in runs.items()]),
        machine=results["machine"],
    )


def _families(functions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, entry in functions.items():
        found.setdefault(entry["family"], {})[name] = entry
    return found


def _counts(functions: Mapping[str, Any]) -> list[Any]:
    tally = Tally(functions, OURS)
    found = f"{tally.wrong[FAILED]} of {tally.wrong.total()}"
    return [tally.right[PASSED], tally.right[INCONCLUSIVE], tally.objections, found]


def _by_family(functions: Mapping[str, Any]) -> str:
    rows = [[heading, len(own), *_counts(own)] for heading, own in _families(functions).items()]
    head = ["family", "functions", "right gradients: passed", "inconclusive", "failed", "mistakes found"]
    return _table(head, [*rows, ["all", len(functions), *_counts(functions)]])


def _by_setting(functions: Mapping[str, Any], checkers: Iterable[str], tell: Callable[[Tally], str]) -> str:
    columns = {f"{dtype}, {text}": Setting(dtype, *pair) for dtype in DTYPES for text, pair in PARTS.items()}

    def cell(checker: str, wanted: Setting) -> str:
        return tell(Tally(functions, checker, lambda entry, setting: setting == wanted))

    rows = [[checker, *(cell(checker, wanted) for wanted in columns.values())] for checker in checkers]
    return _table(["checker", *columns], rows)


def _places(functions: Mapping[str, Any], places: Mapping[tuple[str, str, str], list[Setting]]) -> str:
    lines = []
    for (name, gradient, verdict), found in places.items():
        what = "right gradient" if gradient == RIGHT else f"mistake {gradient!r}"
        everywhere = len(found) == len(settings(functions[name]["scales"]))
        where = "everywhere" if everywhere else "at " + "; ".join(map(str, found))
        lines.append(f"* {name}, {what}: {verdict} {where}")
    return "\n".join(lines or ["Nothing."])


def _catalogue(functions: Mapping[str, Any]) -> Iterable[str]:
    head = ["function", "point x", "right: passed", "inconclusive", "failed", "mistakes found", "mistakes"]
    for heading, own in _families(functions).items():
        rows = []
        for name, entry in own.items():
            scales = ", ".join(f"{scale:g}" for scale in entry["scales"])
            rows.append([name, scales, *_counts({name: entry}), "; ".join(entry["gradients"][1:])])
        yield f"### {heading[0].upper()}{heading[1:]}\n\n{_table(head, rows)}\n"


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    return "\n".join(_row(cells) for cells in [head, ["---"] * len(head), *rows])


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


TEXT = """# A bed of functions for gradient checkers

A command, given at the end, writes this page. It runs `gradcheck`, and the checkers of other libraries, on {functions}
functions with hand-written gradients: the functions on which the gradient checkers of torch, JAX and autograd are
tested, rewritten in NumPy and SciPy. They are in `tools/function_bed/`, one module per family, each gradient next to
its function.

Each function f gives a loss, the sum of w f with fixed random weights w of both signs. It is checked in float64 and in
float32, at a random point and, if domain and range of f allow it, at that point times 1e-8 and 1e8; at the point itself
also with the loss times 1e-8 and 1e8. Three mistakes are planted in each gradient. A mistake counts at a setting if it
changes the gradient of one of the parameters by more than {bound:g} of its norm, in float64; smaller ones may pass.
(The derivative of `exp` near zero is 1 up to rounding, with or without its factor.) Nor does it count where rounding
hides it: where it changes the loss by less than {hidden_bound} units of its rounding along a move as long as the
parameters. (The loss of `cos` near zero is 1 up to rounding, and its slope is proportional to x.)

The right gradients are verified without `gradcheck`, by `tests/gradcheck/test_function_bed.py`: against Ridders'
extrapolation of differences of every element, and by the complex step.

## gradcheck

{smooth} functions are smooth at their points. Of {rights} checks of a right gradient {passed} passed, {inconclusive}
({share:.2f} %) were inconclusive and {objections} failed; of {mistakes} checks of a mistake {caught} failed. Of
{hidden} more, of mistakes hidden by rounding, {hidden_caught} failed, {hidden_inconclusive} were inconclusive and
{hidden_passed} passed.

{by_family}

For {kinks} more functions the point is on a kink or a tie, on purpose. The gradient there is one of the subgradients,
and no checker can know which: any verdict but "failed" is right. {kink_objections} of {kink_rights} failed. A mistake,
which is not a subgradient, may be found or be inconclusive. "Differentiable once" are functions with a gradient at
their point and a second derivative that jumps there.

{by_kink}

### Wrong verdicts

Right gradients that did not pass and mistakes that were not found, at smooth points; subgradients that failed.

{undecided}

## Other checkers

The same losses and gradients, at the smooth points. Each checker gets NumPy functions wrapped as its library requires
for hand-written derivatives (a `torch.autograd.Function`, a `jax.custom_vjp` around pure callbacks, a primitive of
autograd), and runs with its own defaults; SciPy's `check_grad` returns a norm, and the limit used here is 1e-6. The
defaults are meant for float64 and for points and losses of size one; the columns show other cases. A checker that
objects to every gradient finds every mistake: compare the two tables. An inconclusive verdict, which only `gradcheck`
has, is not an objection and finds no mistake.

Right gradients to which a checker objected, or for which it raised an error:

{alarms}

Mistakes that a checker did not find:

{misses}

## The functions

Verdicts of `gradcheck` for each function, over all settings.

{catalogue}
Command: `python -m tools.function_bed`, in the root of the repository; `--only-ours` keeps the verdicts of the others.
The results, verdict by verdict, are in results/gradcheck/function_bed.json. Machine: {machine}.

{runs}
"""
