"""A failed check names the mistake and the worst element."""

import numpy as np
import pytest
from gated_problem import Gated

from gradcheck import check_gradient

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 4, 3))  # (T, B, m): "inputs" through time


def quadratic(p):
    """A loss in which every parameter matters differently."""
    return sum(np.sum((k + 2) * np.sin(value) * np.cos(k + value)) for k, value in enumerate(p.values()))


def quadratic_gradient(p):
    return {name: (k + 2) * np.cos(k + 2 * value) for k, (name, value) in enumerate(p.items())}


PARAMS = {"W": rng.normal(size=(4, 4)), "U": rng.normal(size=(4, 4)), "b": rng.normal(size=4), "x": X}


def diagnosis_of(change, budget=2000, **options):
    gradient = quadratic_gradient(PARAMS)
    name, value = change(gradient)
    report = check_gradient(quadratic, {**gradient, name: value}, PARAMS, budget=budget, **options)
    assert [entry.parameter for entry in report.entries if entry.verdict == "failed"] == [name]
    return report[name].diagnosis


def replaced(index, value):
    def change(g):
        wrong = g["x"].copy()
        wrong[index] = value
        return "x", wrong

    return change


@pytest.mark.parametrize("budget", [2000, 60])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda g: ("W", -g["W"]), "the sign is wrong: analytic = -numeric"),
        (lambda g: ("W", 2 * g["W"]), "a constant factor is wrong: analytic = 2 x numeric"),
        (lambda g: ("b", g["b"] / 3), "a constant factor is wrong: analytic = 1/3 x numeric"),
        (lambda g: ("b", -1.5 * g["b"]), "a constant factor is wrong: analytic = -3/2 x numeric"),
        (lambda g: ("b", 0.7123 * g["b"]), "a constant factor is wrong: analytic = 0.7123 x numeric"),
        (lambda g: ("W", g["W"].T.copy()), "the transpose is missing: numeric = analytic^T"),
        (lambda g: ("W", g["U"]), "swapped with another parameter: this is not the gradient of W, that of U is"),
        (lambda g: ("W", 0 * g["W"]), "the gradient is zero where the loss does depend on the parameter"),
    ],
)
def test_mistake_is_named_with_and_without_the_full_numeric_gradient(change, expected, budget):
    if "swapped" in expected:
        gradient = quadratic_gradient(PARAMS)
        gradient["W"], gradient["U"] = gradient["U"], gradient["W"]
        report = check_gradient(quadratic, gradient, PARAMS, budget=budget)
        assert report["W"].diagnosis == expected
    else:
        assert diagnosis_of(change, budget) == expected


@pytest.mark.parametrize(
    ("factor", "expected"), [(1 / 4, "1/B"), (6.0, "T"), (1 / 24, "1/(T B)"), (3.0, "T/2"), (-1 / 6, "-1/T")]
)
def test_factor_is_called_by_the_sizes_given(factor, expected):
    found = diagnosis_of(lambda g: ("b", factor * g["b"]), sizes={"T": 6, "B": 4})
    assert found == f"a constant factor is wrong: analytic = {expected} x numeric"


def test_factor_that_two_sizes_explain_names_both():
    found = diagnosis_of(lambda g: ("b", g["b"] / 4), sizes={"n": 4, "B": 4})
    assert found == "a constant factor is wrong: analytic = 1/n or 1/B x numeric"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replaced(3, 1.0), "only one time step, 3 of 0..5 (axis 0), is wrong"),
        (replaced(2, 0.0), "only one time step, 2 of 0..5 (axis 0), is wrong; the gradient is zero there"),
        (replaced((slice(None), 1), 1.0), "only index 1 of axis 1 is wrong"),
        (replaced((2, 1, 0), 9.0), "only one element is wrong"),
        (lambda g: ("x", np.roll(g["x"], 1, axis=0)), "off by one along axis 0: analytic[t + 1] = numeric[t]"),
        (lambda g: ("x", np.roll(g["x"], -1, axis=0)), "off by one along axis 0: analytic[t] = numeric[t + 1]"),
        (lambda g: ("x", g["x"][::-1].copy()), "reversed along axis 0: analytic[t] = numeric[-1 - t]"),
        (lambda g: ("W", g["W"] - np.diag(np.diag(g["W"]))), "only the diagonal is wrong; the gradient is zero there"),
        (lambda g: ("W", np.triu(g["W"])), "only elements below the diagonal are wrong; the gradient is zero there"),
        (lambda g: ("W", np.tril(g["W"])), "only elements above the diagonal are wrong; the gradient is zero there"),
        (lambda g: ("W", np.diag(np.diag(g["W"]))), "everything but the diagonal is wrong; the gradient is zero there"),
        (lambda g: ("W", g["W"] * np.array([[1], [1], [3], [1]])), "only row 2 is wrong"),
        (lambda g: ("W", g["W"] * np.array([1, 3, 1, 1])), "only column 1 is wrong"),
        (lambda g: ("W", g["W"] + np.outer(np.arange(4), np.ones(4)) ** 2 * np.eye(4)[1]), "only column 1 is wrong"),
        (lambda g: ("b", g["b"] + np.arange(4.0) ** 2 + 1), None),
    ],
)
def test_wrong_places_are_described(change, expected):
    assert diagnosis_of(change) == expected


@pytest.mark.parametrize(
    ("bug", "parameter", "expected"),
    [
        ("sign of W", "W", "the sign is wrong: analytic = -numeric"),
        ("transpose of W", "W", "the sign is wrong: analytic = -numeric"),  # W enters as W - W^T: the same thing
        ("transpose term of W forgotten", "W", "a transpose term is missing: numeric = analytic - analytic^T"),
        ("1/B forgotten", "V", "a constant factor is wrong: analytic = B x numeric"),
        ("1/T applied twice", "V", "a constant factor is wrong: analytic = 1/T x numeric"),
        ("V and Vz swapped", "V", "swapped with another parameter: this is not the gradient of V, that of Vz is"),
        ("b and bz swapped", "bz", "swapped with another parameter: this is not the gradient of bz, that of b is"),
        ("h0 zero", "h0", "the gradient is zero where the loss does depend on the parameter"),
        ("gate detached", "Vz", "the gradient is zero where the loss does depend on the parameter"),
        ("one element zero", "V", "only one element is wrong; the gradient is zero there"),
    ],
)
def test_mistake_in_a_network_is_named(bug, parameter, expected):
    problem = Gated()
    report = check_gradient(
        problem.loss, lambda p: problem.gradient(p, bug), problem.params(), sizes={"B": problem.B, "T": problem.T}
    )
    assert report[parameter].diagnosis == expected


def test_missing_plus_transpose_is_named():
    x, c = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    found = check_gradient(lambda p: np.sum(c * (p + p.T)), c, x)["params"].diagnosis
    assert found == "a transpose term is missing: numeric = analytic + analytic^T"


def test_worst_element_is_the_one_with_the_largest_difference():
    gradient = quadratic_gradient(PARAMS)
    gradient["U"][2, 3] += 0.5
    gradient["U"][1, 1] += 0.25
    worst = check_gradient(quadratic, gradient, PARAMS).worst
    assert (worst.parameter, worst.index) == ("U", (2, 3))
    assert worst.analytic - worst.numeric == pytest.approx(0.5)
    assert worst.relative_error == pytest.approx(0.5 / max(abs(worst.analytic), abs(worst.numeric)))


def test_wrong_element_is_found_by_halving_where_the_budget_is_small():
    x = rng.normal(size=(40, 50))
    wrong = np.cos(x)
    wrong[31, 7] += 1e-3
    report = check_gradient(lambda p: np.sum(np.sin(p)), wrong, x, budget=20)
    assert report.worst.index == (31, 7)
    assert report.n_explaining <= 20


def test_no_budget_leaves_the_direction_as_worst():
    report = check_gradient(lambda p: np.sum(p**2), np.ones(3), np.arange(3.0), budget=0)
    assert report.worst.index is None
    assert "along a direction in params" in str(report)


def test_scalar_parameter_is_located():
    report = check_gradient(lambda p: p["a"] ** 2, {"a": np.array(3.0)}, {"a": np.array(3.0)})
    assert report.worst.index == ()
    assert report["a"].diagnosis == "a constant factor is wrong: analytic = 1/2 x numeric"


def test_ratio_of_a_single_number_is_not_called_a_constant_factor():
    report = check_gradient(lambda p: p["a"] ** 2, {"a": np.array(2.7183)}, {"a": np.array(3.0)})
    assert report["a"].diagnosis is None


def test_mistake_is_named_by_differences_too():
    report = check_gradient(lambda p: np.sum(np.abs(p) ** 3), 3 * PARAMS["W"] ** 2, PARAMS["W"])
    assert report.failed
    assert report.worst.ratio == pytest.approx(-1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradient_that_is_random_is_named_as_that(dtype):
    for seed in range(10):
        draw = np.random.default_rng([seed, 0xD0])
        p = {name: draw.normal(size=(4, 3)).astype(dtype) for name in "ab"}
        size = 10.0 ** draw.uniform(-2, 0)

        def gradient(q, draw=draw, size=size):
            noisy = np.cos(q["a"]) * (1 + size * draw.normal(size=(4, 3)))
            return {"a": noisy.astype(q["a"].dtype), "b": 2 * np.cos(q["b"])}

        def loss(q):
            return np.sum(np.sin(q["a"])) + np.sum(np.sin(q["b"]))

        report = check_gradient(loss, gradient, p, seed=seed)
        assert [entry.verdict for entry in report.entries] == ["failed", "failed"]
        assert report["a"].diagnosis == (
            "the gradient changes between calls at the same parameters: fix its random numbers"
        )
        assert report["b"].diagnosis == "a constant factor is wrong: analytic = 2 x numeric"
