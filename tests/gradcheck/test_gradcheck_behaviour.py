"""Rates of remainders, precision, determinism, purity, and the step at which a gradient goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
from gated_problem import Gated

from gradcheck import (
    check_determinism,
    check_precision,
    check_purity,
    first_wrong_step,
    numerical_gradient,
    taylor_test,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4))


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
def test_remainder_of_a_correct_gradient_falls_at_rate_two(scale):
    problem = Gated(scale=scale)
    report = taylor_test(problem.loss, problem.gradient, problem.params())
    assert report.passed, str(report)
    assert all(entry.note.startswith("rates ") for entry in report.entries)


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
@pytest.mark.parametrize("bug", ["sign of W", "factor 2 in V", "gate detached", "h0 zero", "factor 1.0005 in W"])
def test_remainder_of_a_wrong_gradient_falls_at_rate_one(bug, scale):
    problem = Gated(scale=scale)
    report = taylor_test(problem.loss, lambda p: problem.gradient(p, bug), problem.params())
    assert report.failed, str(report)


def test_remainder_of_a_linear_loss_passes():
    report = taylor_test(lambda p: np.sum(X * p), X, X)
    assert report.passed
    assert "linear" in report["params"].note


def test_remainder_of_a_constant_loss_is_inconclusive():
    report = taylor_test(lambda p: 1.0 + 0 * np.sum(p), np.zeros(2), np.ones(2))
    assert report.inconclusive
    assert report["params"].reason == "zero"


def test_taylor_test_needs_no_analytic_loss():
    assert taylor_test(lambda p: np.sum(np.abs(p) ** 3), 3 * X * np.abs(X), X).passed


def sines(draw):
    """A point, a sum of sines of comparable slopes there, and its gradient."""
    n = int(draw.integers(1, 6))
    point = draw.normal(size=n) * 10.0 ** draw.integers(-3, 3)
    A = draw.normal(size=(n, n)) / np.abs(point)
    return point, A, lambda p: np.sum(np.sin(A @ p)), A.T @ np.cos(A @ point)


def narrowed(draw, point, A, loss):
    return (lambda p: float(np.sum(np.sin((A @ p).astype(np.float32))))), 0.0


def random(draw, point, A, loss):
    size = 10.0 ** -draw.uniform(0, 8)
    return (lambda p: loss(p) + size * draw.standard_normal()), 0.0


def beside_a_kink(draw, point, A, loss):
    distance = 10.0 ** -draw.uniform(1, 9)
    return (lambda p: loss(p) + np.sum(np.abs((p - point) / np.abs(point) - distance))), -1 / np.abs(point)


@pytest.mark.parametrize("other_cause", [narrowed, random, beside_a_kink])
def test_rate_of_one_with_another_cause_never_accuses_a_correct_gradient(other_cause):
    verdicts = []
    for seed in range(30):
        draw = np.random.default_rng([seed, 0x7A])
        point, A, loss, gradient = sines(draw)
        changed, more = other_cause(draw, point, A, loss)
        report = taylor_test(changed, gradient + more, point, seed=seed)
        verdicts.append(report.verdict)
        assert not report.failed, str(report)
        if other_cause is not beside_a_kink:
            assert report["params"].reason is not None, str(report)
    assert verdicts.count("inconclusive") >= 5


def test_rounding_of_a_float32_gradient_is_never_called_wrong_by_its_rate():
    for seed in range(30):
        point, A, _, _ = sines(np.random.default_rng([seed, 0x7B]))
        A, point = A.astype(np.float32), point.astype(np.float32)
        gradient = A.T @ (20 * np.cos(A @ point) * np.exp(20 * np.sin(A @ point)))
        wide = A.astype(np.float64)
        report = taylor_test(lambda p, wide=wide: np.sum(np.exp(20 * np.sin(wide @ p))), gradient, point, seed=seed)
        assert not report.failed, str(report)


def test_remainder_that_could_hide_a_thousandth_does_not_pass():
    for seed in range(30):
        point, _, loss, gradient = sines(np.random.default_rng([seed, 0x7C]))
        for factor in (1.0, 1.01):
            report = taylor_test(lambda p, loss=loss: 1e9 + loss(p), factor * gradient, point, seed=seed)
            assert report.inconclusive, str(report)
            assert report["params"].reason in ("noise", "steps")
        assert taylor_test(loss, gradient, point, seed=seed).passed
        assert taylor_test(loss, 1.01 * gradient, point, seed=seed).failed


def test_float32_gradient_within_its_rounding_passes():
    problem = Gated(T=50, B=4, n=32, m=3, eps=0.1, dtype="float32")
    report = check_precision(problem.gradient, problem.params())
    assert report.passed, str(report)
    assert report.n_evaluations == 2


def test_float32_gradient_off_by_more_than_rounding_fails():
    def bad(p):
        return np.cos(p) * p.dtype.type(1.0005 if p.dtype == np.float32 else 1)

    report = check_precision(bad, X)
    assert report.failed
    assert report.worst.index is not None


def test_gradient_that_amplifies_rounding_is_given_room():
    x = np.array([1.0 + 1e-4, 2.0], dtype=np.float32)
    assert check_precision(lambda p: 1 / (p - 1) ** 2, x).passed


def test_gradient_of_zeros_is_inconclusive_in_float32():
    assert check_precision(np.zeros_like, X).inconclusive


def test_growth_must_be_positive():
    with pytest.raises(ValueError, match="growth must be a finite number > 0, got 0"):
        check_precision(np.cos, X, growth=0)


def test_deterministic_function_passes():
    assert check_determinism(lambda x, k: {"a": np.sin(x), "b": k}, (X, 3)).passed


def test_random_function_fails_and_shows_two_values():
    noise = np.random.default_rng(0)
    report = check_determinism(lambda x: x + np.eye(3, 4) * noise.normal(), X)
    assert report.failed
    assert report.worst.analytic != report.worst.numeric
    assert "two calls with the same input differ" in str(report)


def test_function_that_remembers_earlier_calls_fails():
    calls = []
    report = check_determinism(lambda x: calls.append(0) or float(len(calls)), X, repeats=3)
    assert report.failed


def test_one_call_cannot_show_determinism():
    with pytest.raises(ValueError, match="repeats must be an integer >= 2, got 1"):
        check_determinism(np.sin, X, repeats=1)


def test_result_without_numbers_is_told():
    with pytest.raises(TypeError, match="function must return numbers, arrays or structures of them, got none"):
        check_determinism(lambda x: "text", X)


def test_function_that_leaves_its_inputs_alone_passes():
    report = check_purity(lambda p, x: p["W"] @ x, ({"W": X}, X[0]))
    assert report.passed
    assert [entry.parameter for entry in report.entries] == ["inputs[0].W", "inputs[1]"]


def test_function_that_changes_an_input_fails_and_is_named():
    def bad(p, x):
        p["W"][1, 2] = 7.0
        return p["W"] @ x

    report = check_purity(bad, ({"W": X}, X[0]))
    assert [entry.verdict for entry in report.entries] == ["failed", "passed"]
    assert (report.worst.index, report.worst.analytic, report.worst.numeric) == ((1, 2), 7.0, X[1, 2])


def test_purity_check_leaves_the_users_arrays_alone():
    x = X.copy()
    check_purity(lambda x: x.fill(0), (x,))
    assert np.array_equal(x, X)


def test_function_that_drops_an_input_fails():
    assert check_purity(lambda p: p.clear(), ({"W": X},)).failed


def test_inputs_without_arrays_are_told():
    with pytest.raises(TypeError, match="inputs must hold arrays or numbers, got none"):
        check_purity(lambda text: None, ("text",))


def prefix_problem(wrong_from):
    """Prefixes of one sequence; the gradient loses a term from some length on."""
    whole = Gated(T=12, n=3)

    def problem(steps):
        part = replace(whole, T=steps)
        bug = "first step forgotten" if steps >= wrong_from else None
        return part.loss, lambda p: part.gradient(p, bug)

    return problem, whole.params()


@pytest.mark.parametrize("wrong_from", [1, 2, 3, 5, 8, 11, 12])
def test_first_wrong_step_is_found(wrong_from):
    problem, params = prefix_problem(wrong_from)
    found = first_wrong_step(problem, 12, params)
    assert found.steps == wrong_from
    assert found.report.failed
    assert f"wrong from {wrong_from} step" in str(found)
    assert len(found.checked) <= 8


def test_right_gradient_has_no_wrong_step():
    problem, params = prefix_problem(99)
    assert first_wrong_step(problem, 12, params) is None


def test_truncated_backward_pass_is_wrong_from_two_steps_on():
    whole = Gated(T=6, n=3)

    def problem(steps):
        part = replace(whole, T=steps)
        return part.loss, lambda p: part.gradient(p, "truncated after one step")

    params = {name: value for name, value in whole.params().items() if name != "h0"}

    def without_state(steps):
        loss, gradient = problem(steps)

        def full(p):
            return {**p, "h0": whole.params()["h0"]}

        return lambda p: loss(full(p)), lambda p: {k: v for k, v in gradient(full(p)).items() if k != "h0"}

    assert first_wrong_step(without_state, 6, params).steps == 2


def test_number_of_steps_must_be_positive():
    with pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"):
        first_wrong_step(lambda t: (np.sum, X), 0, X)


def test_reference_gradient_of_the_test_problem_is_right():
    problem = Gated(T=3, n=2)
    right, found = problem.gradient(problem.params()), numerical_gradient(problem.loss, problem.params())
    assert all(np.allclose(right[name], found[name], rtol=1e-13, atol=0) for name in right)


def values_of_every_kind(draw):
    """Arrays of all kinds, each with another that differs in one element, or in the sign of a zero."""
    reals = draw.normal(size=3)
    zeros = np.array([0.0, 1.0])
    return [
        (reals, reals + np.array([0, 1, 0])),
        (np.append(reals, np.nan), np.append(-reals, np.nan)),
        (zeros, zeros * [-1, 1]),
        (zeros.astype(np.float32), (zeros * [-1, 1]).astype(np.float32)),
        (zeros + 0j, np.conj(zeros + 0j)),
        (np.longdouble(zeros), np.longdouble(zeros * [-1, 1])),
        (draw.integers(0, 9, 4), draw.integers(10, 19, 4)),
        (np.array([True, False]), np.array([True, True])),
        (np.array(["a", "b"]), np.array(["a", "c"])),
        (np.array([b"a"]), np.array([b"b"])),
        (np.array(["2020-01-01"], "M8[D]"), np.array(["2020-01-02"], "M8[D]")),
        (np.array([3], "m8[s]"), np.array([4], "m8[s]")),
        (np.array([1, "a", None], object), np.array([1, "b", None], object)),
        (np.zeros(2, "i4,f8"), np.ones(2, "i4,f8")),
    ]


def test_values_of_every_kind_are_compared_bit_for_bit():
    for first, other in values_of_every_kind(np.random.default_rng(5)):
        assert check_determinism(lambda x, value=first: value.copy(), (X,)).passed, first.dtype
        results = iter([first, first, other])
        report = check_determinism(lambda x, given=results: next(given), (X,), repeats=3)
        assert report.failed, first.dtype
        assert "FAILED" in str(report)
        assert check_purity(lambda x: None, first).passed, first.dtype

        def change(x, value=other):
            x[...] = value

        assert check_purity(change, first).failed, first.dtype
