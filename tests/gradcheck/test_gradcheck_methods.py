"""Numerical gradients by every method, their error estimates, and losses that are not analytic."""

import numpy as np
import pytest
from gated_problem import Gated
from hypothesis import given
from hypothesis import strategies as st

from gradcheck import FunctionError, check_gradient, numerical_gradient

rng = np.random.default_rng(0)
EPS = np.finfo(np.float64).eps
ACCURACY = {"complex": 4 * EPS, "richardson": 1e-10, "central": 1e-8}


@pytest.mark.parametrize("method", ACCURACY)
def test_numerical_gradient_has_the_accuracy_of_its_method(method):
    x = rng.normal(size=(3, 4))
    found = numerical_gradient(lambda p: np.sum(np.exp(np.sin(p))), x, method=method)
    assert np.max(np.abs(found - np.exp(np.sin(x)) * np.cos(x))) <= ACCURACY[method] * 3


@pytest.mark.parametrize("method", ACCURACY)
def test_numerical_gradient_keeps_nested_structures(method):
    params = {"layers": [{"W": np.ones((2, 2))}, (np.ones(1), np.array(3.0))], "b": np.ones(2)}

    def loss(p):
        return np.sum(p["layers"][0]["W"] ** 2) + p["layers"][1][0][0] * p["layers"][1][1] + np.sum(p["b"])

    found = numerical_gradient(loss, params, method=method)
    assert list(found) == ["layers", "b"]
    assert isinstance(found["layers"], list)
    assert isinstance(found["layers"][1], tuple)
    np.testing.assert_allclose(found["layers"][0]["W"], 2 * np.ones((2, 2)), rtol=1e-7)
    np.testing.assert_allclose(found["layers"][1][0], [3.0], rtol=1e-7)
    assert found["layers"][1][1].shape == ()


@given(st.integers(0, 2**30), st.sampled_from([1.0, 1e-5, 1e5]), st.sampled_from(["richardson", "central"]))
def test_error_estimate_covers_the_error(seed, scale, method):
    x = np.random.default_rng(seed).normal(size=6)
    found, errors = numerical_gradient(lambda p: scale * np.sum(np.exp(p)), x, method=method, return_error=True)
    assert np.all(np.abs(found - scale * np.exp(x)) <= 10 * errors)


def test_complex_step_claims_no_error():
    _, errors = numerical_gradient(lambda p: np.sum(p["x"] ** 2), {"x": np.ones(2)}, return_error=True)
    assert np.array_equal(errors["x"], np.zeros(2))


def test_numerical_gradient_agrees_with_backpropagation_through_time():
    problem = Gated(T=4, n=3)
    params = problem.params()
    right, found = problem.gradient(params), numerical_gradient(problem.loss, params)
    for name in params:
        assert np.linalg.norm(found[name] - right[name]) <= 1e-14 * np.linalg.norm(right[name])


def test_float32_parameters_give_a_float64_gradient():
    x = np.array([0.1, 0.2], dtype=np.float32)
    found = numerical_gradient(lambda p: np.sum(np.sin(p)), x)
    assert found.dtype == np.float64
    assert np.max(np.abs(found - np.cos(x.astype(np.float64)))) <= EPS


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of 'complex', 'central', 'richardson', got 'magic'"):
        numerical_gradient(np.sum, np.ones(2), method="magic")


@pytest.mark.parametrize(
    "loss",
    [
        lambda p: np.sum(np.abs(p)),
        lambda p: np.sum(p.real**2),
        lambda p: np.sum(p * np.conj(p)),
        lambda p: np.sum(p.real * p),
        lambda p: float(np.sum(np.abs(p) ** 3)),
        lambda p: np.sum(np.clip(p.real, -1, 1) * p),
        lambda p: np.sum(np.sin(p) + 0.05 * np.abs(p)),
    ],
)
def test_complex_step_refuses_a_loss_that_is_not_analytic(loss):
    with pytest.raises(FunctionError, match="the complex step does not apply to the loss: .*use method='richardson'"):
        numerical_gradient(loss, rng.normal(size=5))


def test_complex_step_refuses_a_cast_to_real_numbers():
    def loss(p):
        state = np.zeros(p.shape)
        state[:] = p
        return np.sum(state**2)

    with pytest.raises(FunctionError, match="raised ComplexWarning for complex parameters"):
        numerical_gradient(loss, np.ones(3))


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
@pytest.mark.parametrize(
    ("loss", "gradient"),
    [
        (lambda p: np.sum(np.abs(p)), np.sign),
        (lambda p: np.sum(p * np.conj(p)).real, lambda p: 2 * p),
        (lambda p: np.sum(p.real * p), lambda p: 2 * p),
        (lambda p: float(np.sum(np.abs(p) ** 3)), lambda p: 3 * p * np.abs(p)),
        (lambda p: np.linalg.norm(p), lambda p: p / np.linalg.norm(p)),
    ],
)
def test_loss_that_is_not_analytic_is_checked_by_differences_with_a_word_about_it(loss, gradient, scale, wrong):
    x = np.random.default_rng(7).normal(size=12)
    claimed = scale * gradient(x) * (1.001 if wrong else 1)
    report = check_gradient(lambda p: scale * loss(p), claimed, x)
    assert report.failed if wrong else report.passed, str(report)
    assert "Richardson" in report.method
    assert report.notes[0].startswith("the loss is not analytic (")


def test_piecewise_analytic_loss_keeps_the_complex_step():
    x, A = rng.normal(size=(5, 3)), rng.normal(size=(3, 4))
    hidden = np.maximum(x @ A, 0)
    report = check_gradient(lambda p: np.sum(np.maximum(p @ A, 0) ** 2), 2 * hidden @ A.T, x)
    assert report.passed
    assert report.method.startswith("complex step")


def test_explicit_complex_method_refuses_a_loss_that_is_not_analytic():
    with pytest.raises(FunctionError, match="method='complex' does not apply to the loss: .*; use 'auto'"):
        check_gradient(lambda p: np.sum(np.abs(p)), np.ones(3), np.ones(3), method="complex")


def test_elements_fall_back_to_differences():
    x = rng.normal(size=4)
    report = check_gradient(lambda p: np.sum(np.abs(p) ** 3), 3 * x * np.abs(x), x, method="elements")
    assert report.passed
    assert report.method == "Richardson-extrapolated central differences of every element"


def test_small_part_that_is_not_analytic_does_not_raise_a_false_alarm():
    x, y = rng.normal(size=5), rng.normal(size=5)

    def loss(p):
        return np.sum(np.sin(p["x"])) + 1e-7 * np.sum(np.abs(p["y"]))

    gradient = {"x": np.cos(x), "y": 1e-7 * np.sign(y)}
    report = check_gradient(loss, gradient, {"x": x, "y": y})
    assert report.passed, str(report)
    assert "real differences in y disagree with its complex derivative" in report.notes[0]


def test_wrong_parameter_does_not_vouch_for_the_complex_derivative_of_another():
    x, y = rng.normal(size=5), rng.normal(size=5)

    def loss(p):
        return np.sum(np.sin(p["x"])) + 1e-7 * np.sum(np.abs(p["y"]))

    gradient = {"x": 1.5 * np.cos(x), "y": 1e-7 * np.sign(y)}
    report = check_gradient(loss, gradient, {"x": x, "y": y})
    assert {entry.parameter: entry.verdict for entry in report.entries} == {"x": "failed", "y": "passed"}
    assert "real differences in y disagree with its complex derivative" in report.notes[0]


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-8])
def test_small_mistake_is_held_against_real_differences_too(size):
    x, y = rng.normal(size=5), rng.normal(size=5)
    gradient = {"x": np.cos(x) * (1 + size), "y": -np.sin(y) * (1 + 1e-3)}
    report = check_gradient(lambda p: np.sum(np.sin(p["x"])) + np.sum(np.cos(p["y"])), gradient, {"x": x, "y": y})
    assert [entry.verdict for entry in report.entries] == ["failed", "failed"]
    assert report.notes == ()


def test_kink_at_the_point_is_inconclusive_and_shows_both_slopes():
    report = check_gradient(lambda p: np.sum(np.abs(p)), np.zeros(1), np.zeros(1))
    assert report.inconclusive
    assert report["params"].reason == "kink"
    assert report["params"].note.startswith("a kink at params[0]: slope -1 to the left, 1 to the right, gradient 0;")


def test_steps_outside_the_domain_are_left_out():
    x, left_out = np.array([1e-2, 1.0]), []

    def loss(p):
        left_out.append(p[0] < 0)
        return np.log(p[0]) + np.log(p[1])

    with np.errstate(invalid="ignore"):
        assert not check_gradient(loss, 1 / x, x, method="richardson").failed
        assert check_gradient(loss, np.array([1.1, 1]) / x, x, method="richardson").failed
    assert any(left_out)


def test_nearly_zero_parameter_is_no_obstacle_to_differences():
    x = np.full(3, 1e-9)
    report = check_gradient(lambda p: np.sum(np.exp(p)), np.exp(x), x, method="richardson")
    assert report.passed, str(report)


def test_loss_in_single_precision_is_recognised():
    def loss(p):
        return np.sum(np.sin(p.astype(np.complex64 if np.iscomplexobj(p) else np.float32)))

    x = rng.normal(size=6)
    report = check_gradient(loss, np.cos(x), x)
    assert report.passed
    assert report["params"].note == "the loss computes in single precision: finer differences are invisible"
    assert check_gradient(loss, 1.01 * np.cos(x), x).failed


def test_loss_that_takes_float32_only_is_recognised():
    def loss(p):
        if p.dtype != np.float32:
            raise TypeError("float32 wanted")
        return np.sum(np.sin(p))

    x = rng.normal(size=6).astype(np.float32)
    report = check_gradient(loss, np.cos(x), x)
    assert not report.failed
    assert "the loss refused float64 parameters (float32 wanted)" in report.notes[0]
    assert check_gradient(loss, 2 * np.cos(x), x).failed


def test_gradient_that_takes_float32_only_is_compared_as_it_is():
    def gradient(p):
        if p.dtype != np.float32:
            raise TypeError("float32 wanted")
        return np.cos(p)

    x = rng.normal(size=6).astype(np.float32)
    report = check_gradient(lambda p: np.sum(np.sin(p)), gradient, x)
    assert report.passed
    assert "the gradient refused float64 parameters (float32 wanted)" in report.notes[0]


def test_gradient_wrong_in_float32_only_is_found():
    x = rng.normal(size=(4, 4)).astype(np.float32)

    def gradient(p):
        return np.cos(p) * p.dtype.type(1.001 if p.dtype == np.float32 else 1)

    report = check_gradient(lambda p: np.sum(np.sin(p)), gradient, x)
    assert report.failed
    assert "differs from the float64 one by more than rounding explains" in report["params"].diagnosis


def test_random_loss_is_inconclusive_and_told_so():
    noise = np.random.default_rng(0)
    report = check_gradient(lambda p: np.sum(p**2) * (1 + 0.1 * noise.normal()), np.ones(3), np.ones(3))
    assert report.inconclusive
    assert "fix its random numbers" in report.notes[-1]


@pytest.mark.parametrize("method", ["auto", "elements", "richardson", "central"])
def test_same_seed_gives_the_same_report_and_another_seed_another(method):
    problem = Gated(T=2, n=2)
    params = problem.params()
    texts = [str(check_gradient(problem.loss, problem.gradient, params, method=method, seed=s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


@pytest.mark.parametrize("directions", [1, 2, 3, 5])
def test_number_of_directions_is_what_was_asked_for(directions):
    problem = Gated(T=2, n=2)
    report = check_gradient(problem.loss, problem.gradient, problem.params(), directions=directions)
    assert {entry.directions for entry in report.entries} == {directions}
    assert report.n_evaluations == 1 + 1 + 6 + 2 + directions - 1


def test_own_tolerance_is_used():
    x = rng.normal(size=5)
    assert check_gradient(lambda p: np.sum(np.sin(p)), np.cos(x) * (1 + 1e-8), x, rtol=1e-6).passed
    assert check_gradient(lambda p: np.sum(np.sin(p)), np.cos(x) * (1 + 1e-8), x, rtol=1e-10).failed


def test_user_arrays_are_left_alone_and_never_handed_out():
    x = np.ones(3)
    seen = []

    def loss(p):
        seen.append(p)
        return np.sum(p**2)

    check_gradient(loss, 2 * x, x)
    assert all(p is not x and not np.shares_memory(p, x) for p in seen)
