"""The bed of functions: its right gradients verified without gradcheck, and gradcheck on a random sample of it."""

import collections
import json
import pathlib

import numpy as np
import pytest
import scipy.optimize
import threadpoolctl

from tools.function_bed import bed, run
from tools.function_bed.__main__ import PAGE, RESULTS
from tools.function_bed.base import ONE, Setting, settings
from tools.function_bed.page import page
from tools.function_bed.report import Tally, collect, merged

ROOT = pathlib.Path(__file__).resolve().parents[2]

EPS = np.finfo(float).eps
BED = {function.name: function for function in bed.functions()}
SMOOTH = {name: function for name, function in BED.items() if function.smooth}
KINKS = {name: function for name, function in BED.items() if not function.smooth}
FAMILIES = list(dict.fromkeys(function.family for function in BED.values()))
STEPS = (0.03, 3e-3, 1e-4)  # where extrapolation starts
GROWTH = 2**22  # units of rounding, relative to the norm: differences lose half of the digits
COARSE = 2**36  # the same, where the loss changes by one unit in 1e8 when the parameter doubles
SINGLE = 256  # units of float32 rounding


def extrapolated(f, step):
    """Return the derivative of f at 0 by Ridders' table of central differences, and an estimate of its error."""
    best, row = (np.nan, np.inf), []
    for level in range(9):
        h = step / 2**level
        ends = f(h), f(-h)
        fresh = [(ends[0] - ends[1]) / (2 * h)]
        rounding = 4 * EPS * max(map(abs, ends)) / h
        for m, above in enumerate(row, start=1):
            fresh.append(fresh[-1] + (fresh[-1] - above) / (4**m - 1))
            error = max(abs(fresh[m] - fresh[m - 1]), abs(fresh[m] - above)) + rounding
            best = min(best, (fresh[m], error), key=lambda entry: entry[1])
        row = fresh
    return best


def slopes(loss, params, unit):
    """Return the gradient by differences of every element, and estimates of their errors; `unit(x)` is the step."""
    found, errors = {}, {}
    for name, value in params.items():
        found[name], errors[name] = np.zeros(value.shape), np.zeros(value.shape)
        for index in np.ndindex(value.shape):

            def moved(h, name=name, index=index):
                x = params[name].copy()
                x[index] += h
                return float(loss({**params, name: x}))

            tables = [extrapolated(moved, step * unit(value[index])) for step in STEPS]
            found[name][index], errors[name][index] = min(tables, key=lambda table: table[1])
    return found, errors


def complex_slopes(loss, params):
    """Return the gradient by the complex step; NaN where the loss does not take complex numbers."""
    found = {name: np.full(value.shape, np.nan) for name, value in params.items()}
    base = {name: value.astype(complex) for name, value in params.items()}
    for name, value in base.items():
        for index in np.ndindex(value.shape):
            moved = value.copy()
            moved[index] += 1e-30j
            try:
                found[name][index] = np.imag(loss({**base, name: moved})) / 1e-30
            except (TypeError, np.linalg.LinAlgError):
                break
    return found


def distance(a, b):
    """Return norm(a - b), relative to norm(b)."""
    largest = np.max(np.abs(b))
    return np.linalg.norm((a - b) / largest) / np.linalg.norm(b / largest)


def of_family(family, smooth=True):
    return [function for function in BED.values() if function.family == family and function.smooth == smooth]


def outside(point, corners):
    """Return the distance of `point` from the convex hull of `corners`, relative to its norm."""
    size = np.linalg.norm(point)
    rows = np.vstack([corners.T / size, 10 * np.ones(len(corners))])  # the weights sum to 1
    return scipy.optimize.nnls(rows, np.append(point / size, 10.0))[1]


def flat(gradient):
    return np.concatenate([g.ravel() for g in gradient.values()])


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpoolctl.threadpool_limits(1):
        yield


def test_every_entry_has_its_own_name_and_three_mistakes():
    assert len(BED) == len(bed.functions())
    assert len(SMOOTH) >= 200
    assert [name for name, function in BED.items() if len(function.wrong()) != 3] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_right_gradients_agree_with_differences(family):
    wrong = []
    for function in of_family(family):
        drawn = function.at(Setting("float64", ONE, 1.0))
        right = drawn.gradient(drawn.params)
        found, errors = slopes(drawn.loss, drawn.params, abs)
        for name, g in right.items():
            off, doubt = distance(found[name], g), distance(g + errors[name], g)
            if not (off <= GROWTH * EPS and doubt <= GROWTH * EPS):
                wrong.append(f"{function.name}, {name}: off by {off:.1e}, differences good to {doubt:.1e}")
    assert wrong == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_right_gradients_hold_at_other_scales(family):
    """Complex step, or differences with steps relative to the parameters, or of size one: what applies depends on f."""
    wrong = []
    for function, scale in [(f, scale) for f in of_family(family) for scale in f.scales if scale != ONE]:
        drawn = function.at(Setting("float64", scale, 1.0))
        right = drawn.gradient(drawn.params)
        methods = [
            lambda drawn=drawn: complex_slopes(drawn.loss, drawn.params),
            lambda drawn=drawn: slopes(drawn.loss, drawn.params, abs)[0],
            lambda drawn=drawn: slopes(drawn.loss, drawn.params, lambda x: 1)[0],
        ]
        left = dict.fromkeys(right, np.inf)
        for method in methods:
            found = method() if max(left.values()) > GROWTH * EPS else {}
            left = {name: min(off, distance(found.get(name, np.inf), right[name])) for name, off in left.items()}
        hardly = drawn.loss(drawn.params) and all(
            abs(np.sum(g * drawn.params[name])) < 1e-7 * abs(drawn.loss(drawn.params)) for name, g in right.items()
        )
        if not max(left.values()) <= (COARSE if hardly else GROWTH) * EPS:
            wrong.append(f"{function.name} x {scale:g}: {left}")
    assert wrong == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float32_in_gives_float32_out_and_nearly_the_float64_gradient(family):
    eps, wrong = np.finfo(np.float32).eps, []
    for function, scale in [(f, scale) for f in of_family(family) for scale in f.scales]:
        drawn = function.at(Setting("float32", scale, 1.0))
        single = drawn.gradient(drawn.params)
        double = drawn.gradient({name: value.astype(float) for name, value in drawn.params.items()})
        loss = drawn.loss(drawn.params)
        if not (loss.dtype == np.float32 and np.isfinite(loss)):
            wrong.append(f"{function.name} x {scale:g}: loss {loss!r}")
        for name, g in single.items():
            if g.dtype != np.float32 or not distance(g, double[name]) <= SINGLE * eps:
                wrong.append(f"{function.name} x {scale:g}, {name}: {g.dtype}, off by {distance(g, double[name]):.1e}")
    assert wrong == []


@pytest.mark.parametrize("name", KINKS)
def test_right_gradients_on_a_kink_are_subgradients_and_mistakes_are_not(name):
    """Subgradients (Clarke's) are the convex hull of the gradients at points close by, where the function is smooth."""
    drawn = KINKS[name].at(Setting("float64", ONE, 1.0))
    rng = np.random.default_rng(0)
    near = [{key: p + 1e-7 * rng.standard_normal(p.shape) for key, p in drawn.params.items()} for _ in range(400)]
    corners = np.array([flat(drawn.gradient(params)) for params in near])
    found = {mistake: outside(flat(wrong(drawn.params)), corners) for mistake, wrong in drawn.mutants.items()}
    assert outside(flat(drawn.gradient(drawn.params)), corners) < 1e-3
    assert {mistake: off for mistake, off in found.items() if not off > 0.01} == {}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_mistake_is_large_somewhere(family):
    sizes = collections.defaultdict(float)
    for function in of_family(family, True) + of_family(family, False):
        for scale in function.scales:
            drawn = function.at(Setting("float64", scale, 1.0))
            for mistake, gradient in drawn.mutants.items():
                key = f"{function.name}: {mistake}"
                sizes[key] = max(sizes[key], run.size_of_error(drawn, gradient))
    assert {key: size for key, size in sizes.items() if not size > 10 * run.BOUND} == {}


def results():
    return json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))


def sample(functions, count):
    """Return `count` functions, drawn once for all."""
    return [functions[k] for k in np.random.default_rng(0).choice(sorted(functions), count, replace=False)]


@pytest.mark.parametrize("function", sample(SMOOTH, 25) + sample(KINKS, 5), ids=lambda function: function.name)
def test_gradcheck_does_at_every_scale_as_well_as_the_results_say(function):
    found = Tally(collect([function], run.run([function], {run.OURS: run.ours})), run.OURS)
    told = Tally({function.name: results()["functions"][function.name]}, run.OURS)
    assert {
        key: places for key, places in found.places.items() if not set(places) <= set(told.places.get(key, []))
    } == {}


def test_results_at_smooth_points_are_what_gradcheck_promises():
    """No right gradient failed, every mistake that shows was found, and hardly a check says nothing."""
    told = Tally({name: entry for name, entry in results()["functions"].items() if entry["smooth"]}, run.OURS)
    assert told.objections == told.misses == told.hidden[run.PASSED] == 0
    assert told.right[run.INCONCLUSIVE] <= told.right.total() / 100
    assert told.hidden.total() <= told.wrong.total() / 100


def test_a_checker_that_passes_everything_misses_every_mistake_that_counts():
    function = SMOOTH["exp"]
    blind = {"blind": lambda loss, gradient, params: run.PASSED}
    tally = Tally(collect([function], run.run([function], blind)), "blind")
    assert tally.right == {run.PASSED: 8}
    # Near zero, x exp(x - 1) and exp(x) - 1 are wrong by their whole size, and so is the sign.
    assert tally.misses == tally.wrong.total() == 24


def test_a_mistake_below_the_bound_does_not_count():
    function = SMOOTH["tan"]  # 1 + tan^2: of its mistakes only "1 forgotten" shows near zero
    found = collect([function], run.run([function], {"blind": lambda loss, gradient, params: run.PASSED}))
    near = [k for k, setting in enumerate(settings(function.scales)) if setting.scale < ONE]
    sizes = dict(zip(function.wrong(), found["tan"]["sizes"][1:], strict=True))
    assert [mistake for mistake in sizes if float(sizes[mistake][near[0]]) > run.BOUND] == ["1 forgotten"]
    assert Tally(found, "blind").misses == len(settings(function.scales)) * 3 - 2 * len(near)


def test_a_mistake_hidden_by_rounding_is_counted_apart():
    function = SMOOTH["cos"]  # 1 - x^2/2 near zero: a wrong sign there moves the loss, of size 1, by x^2
    found = collect([function], run.run([function], {"blind": lambda loss, gradient, params: run.PASSED}))
    tally = Tally(found, "blind")
    near = [setting for setting in settings(function.scales) if setting.scale < ONE]
    assert tally.hidden.total() == len(near)
    assert ("cos", "wrong sign", run.PASSED) in tally.places
    assert not set(tally.places["cos", "wrong sign", run.PASSED]) & set(near)
    drawn = function.at(near[0])
    g = {name: value.astype(float) for name, value in drawn.gradient(drawn.params).items()}
    (x,) = (value.astype(float) for value in drawn.params.values())
    (slope,) = g.values()
    wanted = 2 * np.linalg.norm(slope) * np.sqrt(np.mean(x * x)) / (EPS * abs(drawn.loss(drawn.params)))
    assert abs(run.change_of_loss(drawn, lambda params: {name: -v for name, v in g.items()}) / wanted - 1) < 1e-6
    assert wanted < run.HIDDEN / 10


def test_results_of_others_are_kept_where_only_ours_run():
    head = {"gradients": ["right"], "scales": [1.0]}
    known = {"f": {**head, "verdicts": {"a": ["p"], "b": ["f"]}}, "g": {**head, "verdicts": {"a": ["p"]}}}
    fresh = {"f": {**head, "verdicts": {"a": ["f"]}}, "g": {**head, "scales": [1.0, 2.0], "verdicts": {}}}
    found = merged(known, fresh, ["g", "f", "gone"])
    assert list(found) == ["g", "f"]
    assert found["f"]["verdicts"] == {"a": ["f"], "b": ["f"]}
    assert found["g"]["verdicts"] == {}  # other settings: what was found at the old ones is void


def test_the_page_is_made_from_the_results_and_these_from_the_bed():
    told = results()
    known = {name: (entry["gradients"][1:], entry["scales"]) for name, entry in told["functions"].items()}
    assert known == {name: (list(function.wrong()), list(function.scales)) for name, function in BED.items()}
    assert page(told) == (ROOT / PAGE).read_text(encoding="utf-8")
