"""The default rule kills every planted mistake, at every scale and in both precisions; correct gradients pass."""

import numpy as np
import pytest
from gated_problem import BUGS, Gated
from hypothesis import given
from hypothesis import strategies as st

from gradcheck import check_gradient

SCALES = (1.0, 1e-5, 1e5)
SEEDS = (0, 1)
EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bug", BUGS)
def test_planted_mistake_is_found_at_every_scale(bug, dtype):
    for scale in SCALES:
        for seed in SEEDS:
            problem = Gated(scale=scale, seed=seed, dtype=dtype)
            report = check_gradient(
                problem.loss, lambda p, at=problem: at.gradient(p, bug), problem.params(), seed=seed, budget=0
            )
            assert report.failed, f"scale {scale}, seed {seed}\n{report}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bug", BUGS)
def test_planted_mistake_in_given_arrays_is_found_at_every_scale(bug, dtype):
    for scale in SCALES:
        problem = Gated(scale=scale, seed=3, dtype=dtype)
        params = problem.params()
        report = check_gradient(problem.loss, problem.gradient(params, bug), params, budget=0)
        assert report.failed, f"scale {scale}\n{report}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bug", BUGS)
def test_verdict_on_a_mistake_takes_at_most_three_evaluations_a_parameter(bug, dtype):
    problem = Gated(seed=4, dtype=dtype)
    params, calls = problem.params(), []

    def counted(function, *more):
        return lambda p: calls.append(p) or function(p, *more)

    report = check_gradient(counted(problem.loss), counted(problem.gradient, bug), params, budget=0)
    assert report.n_explaining == 0
    assert report.n_evaluations == len(calls) <= 3 * len(params)


def test_verdict_on_a_correct_gradient_takes_at_most_three_evaluations_a_parameter():
    problem = Gated()
    params = problem.params()
    assert check_gradient(problem.loss, problem.gradient, params).n_evaluations <= 3 * len(params)


@pytest.mark.parametrize("bug", BUGS)
def test_mistake_is_found_by_richardson_too(bug):
    problem = Gated(seed=5, scale=1e-5)
    report = check_gradient(
        problem.loss, lambda p: problem.gradient(p, bug), problem.params(), method="richardson", budget=0
    )
    assert report.failed, str(report)


@pytest.mark.parametrize("method", ["complex", "elements", "richardson", "central"])
@pytest.mark.parametrize("scale", SCALES)
def test_correct_gradient_passes_by_every_method(method, scale):
    problem = Gated(scale=scale, T=4, n=3)
    report = check_gradient(problem.loss, problem.gradient, problem.params(), method=method)
    assert report.passed, str(report)


@given(
    T=st.integers(1, 50),
    B=st.integers(1, 4),
    n=st.integers(2, 32),
    m=st.integers(1, 4),
    scale=st.sampled_from(SCALES),
    seed=st.integers(0, 2**30),
    eps=st.floats(0.01, 1.0),
    gamma=st.floats(0.01, 1.0),
    dtype=st.sampled_from(["float64", "float32"]),
    given_as=st.sampled_from(["function", "arrays"]),
)
def test_correct_gradient_is_never_called_wrong(T, B, n, m, scale, seed, eps, gamma, dtype, given_as):
    problem = Gated(T, B, n, m, scale, seed, eps, gamma, dtype)
    params = problem.params()
    gradient = problem.gradient if given_as == "function" else problem.gradient(params)
    report = check_gradient(problem.loss, gradient, params, seed=seed, budget=0)
    assert report.passed, str(report)


def test_sums_over_fifty_steps_and_thirty_two_units_stay_far_below_the_tolerance():
    for seed in range(10):
        problem = Gated(T=50, B=4, n=32, m=3, seed=seed, eps=0.1)
        report = check_gradient(problem.loss, problem.gradient, problem.params(), seed=seed)
        assert report.passed
        assert report.worst.relative_error < 64 * EPS


@given(st.integers(0, 2**30), st.sampled_from(SCALES))
def test_chaotic_network_is_not_called_wrong(seed, scale):
    problem = Gated(T=40, B=2, n=16, m=2, scale=scale, seed=seed, eps=0.9, gamma=0.1)
    params = {name: (5 * value if name != "h0" else value) for name, value in problem.params().items()}
    report = check_gradient(problem.loss, problem.gradient, params, seed=seed, budget=0)
    assert not report.failed, str(report)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_relative_error_down_to_a_billionth_is_found(size):
    problem = Gated()
    params = problem.params()
    gradient = problem.gradient(params)
    gradient["V"] = gradient["V"] * (1 + size)
    assert check_gradient(problem.loss, gradient, params, budget=0)["V"].verdict == "failed"


def test_error_in_one_element_of_a_large_parameter_is_found():
    x = np.random.default_rng(0).normal(size=(300, 300))
    gradient = np.cos(x)
    gradient[17, 230] *= 1 + 1e-6
    report = check_gradient(lambda p: np.sum(np.sin(p)), gradient, x)
    assert report.failed
    assert report.worst.index == (17, 230)


def test_error_below_the_norm_of_the_parameter_shows_only_element_by_element():
    x, weights = np.array([1.0, 1.5, 2.0]), np.array([1.0, 1e-12, 1.0])
    gradient = 2 * weights * x
    gradient[1] = 0.0

    def loss(p):
        return np.sum(weights * p**2)

    assert check_gradient(loss, gradient, x).passed
    assert check_gradient(loss, gradient, x, method="elements").failed


@pytest.mark.parametrize("size", [5e-5, 5e-9, 5e-13])
def test_error_in_elements_far_smaller_than_the_others_is_not_hidden_by_them(size):
    x = np.array([1.0, size, 2.0])
    gradient = 2 * x
    gradient[1] = 0.0
    assert check_gradient(lambda p: np.sum(p**2), gradient, x).failed
