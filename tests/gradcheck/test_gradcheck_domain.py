"""Domains: values that are not finite at the point are errors; trial points outside the domain are left out."""

import math
import warnings

import numpy as np
import pytest

from gradcheck import FunctionError, check_gradient, check_vjp, numerical_gradient

SEEDS = range(12)
METHODS = ("auto", "complex", "elements", "richardson", "central")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("given_as", ["function", "arrays"])
def test_loss_that_is_not_finite_at_the_point_is_an_error(given_as, method):
    losses = {
        "nan": lambda p: np.sum(np.sqrt(p) ** 2),
        "inf": lambda p: np.sum(np.sqrt(p * p) ** 2) + np.sum(1 / (p - p[0])),
    }
    for seed in SEEDS:
        p = np.random.default_rng(seed).normal(size=4)
        p[1] = -abs(p[1])
        gradient = (lambda q: np.ones(4)) if given_as == "function" else np.ones(4)
        for loss in losses.values():
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                with pytest.raises(FunctionError, match="loss returned (nan|-?inf) at params"):
                    check_gradient(loss, gradient, p, method=method, seed=seed)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_in_the_parameters_is_named(bad):
    for seed in SEEDS:
        p = np.random.default_rng(seed).normal(size=(3, 2))
        p[1, 0] = bad
        with pytest.raises(ValueError, match=r"params must be finite, got -?(nan|inf) at index \(1, 0\)"):
            check_gradient(np.sum, np.ones((3, 2)), p)


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


@pytest.mark.parametrize("method", ["auto", "elements"])
def test_saturated_finite_loss_falls_back_to_real_differences_and_says_so(method):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        p = np.array([-rng.uniform(720, 5000), *rng.normal(size=3)])
        with np.errstate(over="ignore"):
            right = sigmoid(p) * (1 - sigmoid(p))
            report = check_gradient(lambda q: np.sum(sigmoid(q)), right, p, seed=seed, method=method)
            assert report.passed, f"{seed}: {report}"
            assert "Richardson" in report.method
            assert "not analytic" in report.notes[0]
            wrong = check_gradient(lambda q: np.sum(sigmoid(q)), right * 1.01, p, seed=seed, method=method)
            assert wrong.failed, f"{seed}: {wrong}"


def test_saturated_hyperbolic_cosine_is_no_error():
    for seed in SEEDS:
        p = np.array([np.random.default_rng(seed).uniform(750, 2000), 0.3])
        with np.errstate(over="ignore"):
            right = np.array([0.0, -np.sinh(0.3) / np.cosh(0.3) ** 2])
            report = check_gradient(lambda q: np.sum(1 / np.cosh(q)), right, p, seed=seed)
        assert report.passed, f"{seed}: {report}"


@pytest.mark.parametrize("method", ["auto", "elements", "richardson", "central"])
def test_trial_points_outside_the_domain_are_left_out_under_warnings_as_errors(method):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        p = np.array([10.0 ** rng.uniform(-4, -1), *rng.uniform(1, 6, 3)])

        def loss(q):
            return np.sum(np.abs(q) * np.log(q))

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            right = check_gradient(loss, np.log(p) + 1, p, seed=seed, method=method)
            # plain central differences have one step, which is coarse for the small element
            assert not right.failed if method == "central" else right.passed, f"{seed}: {right}"
            wrong = check_gradient(loss, np.log(p), p, seed=seed, method=method)
        assert wrong.failed, f"{seed}: {wrong}"


def test_trial_points_at_which_the_loss_raises_are_left_out():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        p = np.array([10.0 ** rng.uniform(-4, -1), *rng.uniform(1, 6, 2)])

        def loss(q):
            return sum(float(x) * math.log(x) for x in q)

        right = check_gradient(loss, np.log(p) + 1, p, seed=seed)
        assert right.passed, f"{seed}: {right}"
        assert check_gradient(loss, np.log(p), p, seed=seed).failed


def test_error_that_is_not_about_the_domain_is_raised():
    x = np.array([0.5, 1.5])

    def loss(p):
        if not np.array_equal(p.real, x):
            raise KeyError("gone")
        return float(np.sum(abs(p)))

    with pytest.raises(FunctionError, match="loss raised KeyError"):
        check_gradient(loss, np.ones(2), x)


def test_overflow_at_the_point_under_warnings_as_errors_is_the_users():
    with warnings.catch_warnings(), np.errstate(over="warn"):
        warnings.simplefilter("error")
        with pytest.raises(FunctionError, match="loss raised RuntimeWarning: overflow"):
            check_gradient(lambda p: np.sum(1 / np.cosh(p)), np.zeros(1), np.array([800.0]))


@pytest.mark.parametrize("method", METHODS)
def test_loss_in_longdouble_is_accepted(method):
    for seed in SEEDS:
        x = np.random.default_rng(seed).normal(size=4)

        def loss(p):
            return np.sum(np.sin(p.astype(np.clongdouble if p.dtype.kind == "c" else np.longdouble)))

        assert check_gradient(loss, np.cos(x), x, seed=seed, method=method).passed
        assert check_gradient(loss, 1.01 * np.cos(x), x, seed=seed, method=method).failed


def test_function_in_longdouble_has_a_numerical_gradient_and_a_reverse_pass():
    x = np.array([0.3, -0.7])
    found = numerical_gradient(lambda p: np.sum(p.astype(np.longdouble) ** 2), x, method="richardson")
    assert np.max(np.abs(found - 2 * x)) <= 1e-9
    assert check_vjp(lambda p: np.sin(p), lambda p, w: np.cos(p) * w, (x,)).passed


def test_no_warning_of_numpy_escapes_where_a_loss_in_single_precision_overflows_beside_the_point():
    rng = np.random.default_rng(5)
    for seed in range(60):
        n = int(rng.integers(2, 20))
        scale = 10.0 ** rng.uniform(-6, 6, n)
        p = scale * rng.normal(size=n)

        def loss(q, scale=scale):
            kind = np.complex64 if np.iscomplexobj(q) else np.float32
            return np.sum(np.sin((q / scale).astype(kind)))

        assert not check_gradient(loss, 1.001 * np.cos(p / scale) / scale, p, seed=seed, budget=0).passed
