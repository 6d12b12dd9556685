"""Where a gradient cancels to rounding the verdict is inconclusive; all is relative, so that scale is no matter."""

import collections

import numpy as np
import pytest
from gated_problem import Gated

from gradcheck import check_gradient, check_precision, taylor_test

SCALES = (1.0, 1e-5, 1e5, 1e-100, 1e100)


def softmax_problem(seed, scale):
    """A classifier whose loss does not change when "c" is added to all logits."""
    rng = np.random.default_rng(seed)
    X, labels, rows = rng.normal(size=(8, 5)), rng.integers(0, 4, 8), np.arange(8)
    params = {"W": rng.normal(size=(5, 4)), "c": rng.normal(size=1)}

    def loss(p):
        logits = X @ p["W"] + p["c"]
        top = np.max(logits.real, axis=1, keepdims=True)
        return scale * np.mean(np.log(np.sum(np.exp(logits - top), axis=1)) + top[:, 0] - logits[rows, labels])

    def gradient(p):
        logits = X @ p["W"] + p["c"]
        share = np.exp(logits - np.max(logits, axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        share[rows, labels] -= 1
        share *= scale / 8
        return {"W": X.T @ share, "c": np.array([share.sum()])}

    return loss, gradient, params


def least_squares(seed, scale, distance):
    """A fit at, or at some distance from, its minimum."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(30, 6)), rng.normal(size=30)
    w = np.linalg.lstsq(X, y, rcond=None)[0] + distance * rng.normal(size=6)
    return lambda w: scale * np.sum((X @ w - y) ** 2) / 2, lambda w: scale * X.T @ (X @ w - y), w


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("given_as", ["function", "arrays"])
def test_gradient_that_cancels_to_rounding_is_inconclusive(scale, given_as):
    for seed in range(20):
        loss, gradient, params = softmax_problem(seed, scale)
        report = check_gradient(loss, gradient if given_as == "function" else gradient(params), params, seed=seed)
        assert [entry.verdict for entry in report.entries] == ["passed", "inconclusive"], str(report)


@pytest.mark.parametrize("scale", SCALES)
def test_gradient_at_a_minimum_is_inconclusive(scale):
    for seed in range(20):
        loss, gradient, w = least_squares(seed, scale, 0.0)
        assert check_gradient(loss, gradient, w, seed=seed).inconclusive


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
def test_gradient_near_a_minimum_is_not_called_wrong(distance):
    for seed in range(20):
        loss, gradient, w = least_squares(seed, 1.0, distance)
        assert not check_gradient(loss, gradient, w, seed=seed).failed


def test_wrong_gradient_near_a_minimum_is_found():
    for seed in range(20):
        loss, gradient, w = least_squares(seed, 1.0, 1e-6)
        assert check_gradient(loss, gradient(w) * 1.001, w, seed=seed).failed


def test_widened_tolerance_is_reported():
    loss, gradient, w = least_squares(0, 1.0, 1e-8)
    entry = check_gradient(loss, gradient, w)["params"]
    assert entry.verdict == "passed"
    assert entry.tolerance > 1e-10
    assert "rounding floor" in entry.note


def test_parameter_that_the_loss_ignores_is_inconclusive():
    params = {"used": np.ones(3), "ignored": np.ones(2)}
    report = check_gradient(lambda p: np.sum(p["used"] ** 2), {"used": 2 * np.ones(3), "ignored": np.zeros(2)}, params)
    assert report.inconclusive
    assert not report.passed
    assert report["ignored"].reason == "zero"
    assert report["ignored"].note.startswith("zero to rounding on both sides: nothing was tested")


def test_nonzero_gradient_of_an_ignored_parameter_fails():
    params = {"used": np.ones(3), "ignored": np.ones(2)}
    gradient = {"used": 2 * np.ones(3), "ignored": np.array([0.0, 1e-9])}
    report = check_gradient(lambda p: np.sum(p["used"] ** 2), gradient, params)
    assert report["ignored"].diagnosis == "the gradient is not zero, but the loss does not depend on the parameter"


def test_exact_zeros_in_half_of_a_parameter_are_no_obstacle():
    x = np.random.default_rng(0).normal(size=(5, 5))
    report = check_gradient(lambda p: np.sum(np.triu(p, 1) ** 2), np.triu(2 * x, 1), x)
    assert report.passed


def test_tiny_gradient_beside_a_large_one_passes_only_if_it_is_right():
    rng = np.random.default_rng(0)
    params = {"large": rng.normal(size=4), "tiny": rng.normal(size=4)}

    def loss(p):
        return np.sum(np.sin(p["large"])) + 1e-18 * np.sum(np.sin(p["tiny"]))

    gradient = {"large": np.cos(params["large"]), "tiny": 1e-18 * np.cos(params["tiny"])}
    assert check_gradient(loss, gradient, params).passed
    gradient["tiny"] *= 1.0001
    assert check_gradient(loss, gradient, params)["tiny"].verdict == "inconclusive"


def test_large_constant_in_the_loss_is_no_obstacle():
    x = np.array([0.3, -1.2, 0.7])
    assert check_gradient(lambda p: 1e8 + np.sum(p**3), 3 * x * x, x).passed


@pytest.mark.parametrize("scale", SCALES)
def test_report_is_the_same_at_every_power_of_two_of_the_scale(scale):
    scale = 2.0 ** round(np.log2(scale))
    x = np.random.default_rng(3).normal(size=(4, 4))
    plain = check_gradient(lambda p: np.sum(np.sin(p)), np.cos(x), x)
    scaled = check_gradient(lambda p: scale * np.sum(np.sin(p)), scale * np.cos(x), x)
    assert scaled.worst.relative_error == plain.worst.relative_error
    assert scaled.n_evaluations == plain.n_evaluations


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 1e6, 1e12])
def test_size_of_the_parameters_is_no_matter(size):
    x = size * np.random.default_rng(4).normal(size=(3, 4))

    def loss(p):
        return np.sum(np.sin(p / size))

    assert check_gradient(loss, np.cos(x / size) / size, x).passed
    assert check_gradient(loss, np.cos(x / size) / size * 1.001, x).failed


@pytest.mark.parametrize("u", [5.0, 10.0, 15.0, 18.0, 30.0])
@pytest.mark.parametrize("given_as", ["function", "arrays"])
def test_digits_lost_in_a_saturated_unit_are_not_called_wrong(u, given_as):
    params = {"u": np.array([u]), "free": np.array([0.3])}

    def gradient(p):
        a = np.tanh(p["u"])
        return {"u": 1 - a * a, "free": np.cos(p["free"])}

    claimed = gradient if given_as == "function" else gradient(params)
    report = check_gradient(lambda p: np.sum(np.tanh(p["u"])) + np.sum(np.sin(p["free"])), claimed, params)
    assert not report.failed, str(report)


def test_wrong_gradient_of_a_saturated_unit_is_not_passed():
    params = {"u": np.array([15.0]), "free": np.array([0.3])}
    gradient = {"u": 2 / np.cosh(params["u"]) ** 2, "free": np.cos(params["free"])}
    report = check_gradient(lambda p: np.sum(np.tanh(p["u"])) + np.sum(np.sin(p["free"])), gradient, params)
    assert not report.passed


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_saturated_networks_are_not_called_wrong(dtype):
    for seed in range(60):
        problem = Gated(T=3 + seed % 20, B=1, n=1, m=2, seed=seed, eps=0.6, dtype=dtype)
        params = {name: 5 * value for name, value in problem.params().items()}
        for gradient in (problem.gradient, problem.gradient(params)):
            report = check_gradient(problem.loss, gradient, params, seed=seed, budget=0)
            assert not report.failed, str(report)


def chaotic(rng, gain, steps):
    """Return the loss of a network whose states diverge, its gradient in the precision of the parameters, and these."""
    n = int(rng.integers(3, 12))
    params = {
        "W": gain * rng.standard_normal((n, n)) / n**0.5,
        "b": rng.standard_normal(n),
        "h": rng.standard_normal(n),
    }
    w = rng.standard_normal(n)

    def states(p):
        found = [p["h"]]
        for _ in range(steps):
            found.append(np.tanh(p["W"] @ found[-1] + p["b"]))
        return found

    def loss(p):
        return np.sum(w * states(p)[-1])

    def gradient(p):
        found, kind = states(p), p["W"].dtype
        dh, dW, db = w.astype(kind), np.zeros_like(p["W"]), np.zeros_like(p["b"])
        for before, after in zip(found[-2::-1], found[:0:-1], strict=True):
            delta = (1 - after * after) * dh
            dW, db, dh = dW + np.outer(delta, before), db + delta, p["W"].T @ delta
        return {"W": dW, "b": db, "h": dh}

    return loss, gradient, {name: value.astype(np.float32) for name, value in params.items()}


def test_a_float32_gradient_through_chaos_is_never_called_wrong():
    """Rounding of a float32 pass grows with the states: several parameters are then off by percents at once."""
    verdicts = collections.Counter()
    for seed in range(150):
        rng = np.random.default_rng([seed, 0xC4A05])
        loss, gradient, params = chaotic(rng, 10 ** rng.uniform(0.3, 1), int(rng.integers(10, 80)))
        report = check_gradient(loss, gradient(params), params, seed=seed, budget=0)
        assert not report.failed, f"seed {seed}\n{report}"
        verdicts[report.verdict] += 1
        fine = gradient({name: value.astype(float) for name, value in params.items()})
        coarse = gradient(params)
        off = [np.linalg.norm(coarse[name] - g) > 0.01 * np.linalg.norm(g) for name, g in fine.items()]
        verdicts["off by more than a percent"] += any(off)
    assert verdicts["off by more than a percent"] > 10  # or the test would show nothing
    assert verdicts["passed"] > 10


def test_a_wrong_float32_gradient_beside_it_is():
    for seed in range(20):
        rng = np.random.default_rng([seed, 0xC4A05])
        loss, gradient, params = chaotic(rng, 1.5, 10)
        wrong = gradient(params) | {"W": gradient(params)["W"].T.copy()}
        report = check_gradient(loss, wrong, params, seed=seed, budget=0)
        assert [entry.parameter for entry in report.entries if entry.verdict == "failed"] == ["W"], str(report)


def vanishing(draw, dtype):
    """A chain of tanh that multiplies its gradient by about 1e-45 to 1e-100, out of the range of float32."""
    n, weights = int(draw.integers(1, 5)), draw.normal(size=(60, 1)) * 10.0 ** draw.uniform(-1.7, -0.8)
    weights, start = weights.astype(np.float32), draw.normal(size=n).astype(dtype)

    def states(h):
        found = [h]
        for w in weights.astype(h.dtype):
            found.append(np.tanh(w * found[-1]))
        return found

    def gradient(h):
        found = states(h)
        d = np.ones_like(h)
        for w, after in zip(weights[::-1].astype(h.dtype), found[:0:-1], strict=True):
            d = w * (1 - after * after) * d
        return d

    return (lambda h: np.sum(states(h)[-1])), gradient, start


def test_float32_gradient_that_vanishes_is_never_called_wrong():
    inconclusive = 0
    for seed in range(15):
        loss, gradient, start = vanishing(np.random.default_rng([seed, 0xF2]), np.float32)
        for method in ("auto", "richardson", "elements"):
            report = check_gradient(loss, gradient(start), start, method=method, seed=seed)
            assert not report.failed, str(report)
            inconclusive += report.inconclusive
        assert not taylor_test(loss, gradient(start), start, seed=seed).failed
        assert not check_precision(gradient, start, seed=seed).failed
        report = check_gradient(loss, gradient, start, seed=seed)  # a function, which float64 verifies
        assert report.passed, str(report)
        assert check_gradient(loss, lambda h, g=gradient: g(h) * h.dtype.type(1.001), start, seed=seed).failed
    assert inconclusive > 15


def test_gradient_that_vanishes_in_float64_alone_is_judged():
    for seed in range(15):
        loss, gradient, start = vanishing(np.random.default_rng([seed, 0xF3]), np.float64)
        assert check_gradient(loss, gradient(start), start, seed=seed).passed
        assert check_gradient(loss, 1.001 * gradient(start), start, seed=seed).failed
