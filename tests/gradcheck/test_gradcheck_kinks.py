"""Kinks and ties at the point: no subgradient is called wrong, and every value outside the one-sided slopes is."""

import numpy as np
import pytest

from gradcheck import assert_gradient, check_gradient, check_vjp

SCALES = (1.0, 1e-8, 1e8)
SEEDS = range(12)


def point(seed, scale=1.0):
    """Return numbers of which the second, and some others, are 0, and positive and negative weights."""
    rng = np.random.default_rng(seed)
    p = rng.normal(size=rng.integers(2, 12))
    p[rng.random(p.size) < 0.3] = 0
    p[:2] = rng.choice([-1, 1]) * rng.uniform(0.5, 1.5), 0
    return scale * p, rng.normal(size=p.size)


def hinge(seed, scale, share):
    """Weighted ReLU; `share` of the step at 0 is claimed."""
    p, w = point(seed, scale)
    return lambda q: np.sum(w * np.maximum(q, 0)), w * np.where(p == 0, share, p > 0), p


def absolute(seed, scale, share):
    """Weighted absolute values."""
    p, w = point(seed, scale)
    return lambda q: np.sum(w * np.abs(q)), w * np.where(p == 0, 2 * share - 1, np.sign(p)), p


def clipped(seed, scale, share):
    """A clip with elements on its upper bound, scale."""
    p, w = point(seed, scale)
    p[p == 0] = scale
    inside = np.where(p == scale, 1 - share, np.abs(p) < scale)
    return lambda q: np.sum(w * np.clip(q, -scale, scale)), w * inside, p


def largest(seed, scale, share):
    """The maximum of numbers of which the first and another one are the largest."""
    p, _ = point(seed, scale)
    p[0] = p[-1] = 2 * np.max(np.abs(p))
    g = np.zeros(p.size)
    g[0], g[-1] = share, 1 - share
    return np.max, g, p


def layer(seed, scale, share):
    """ReLU of a linear layer whose last row of inputs is padding: every weight is on the smooth part, the bias not."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    x[-1] = 0
    p = {"W": scale * rng.normal(size=(3, 2)), "b": np.zeros(2)}
    on = np.where(x @ p["W"] == 0, share, x @ p["W"] > 0) * w
    return lambda q: np.sum(w * np.maximum(x @ q["W"] + scale * q["b"], 0)), {"W": x.T @ on, "b": scale * on.sum(0)}, p


def norms(seed, scale, share):
    """The norm of each row, one of which is 0: between the slopes is the ball of radius 1."""
    rng = np.random.default_rng(seed)
    p = scale * rng.normal(size=(4, 3))
    p[2] = 0
    u = rng.normal(size=3)
    g = p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), scale * 1e-300)
    g[2] = share * u / np.linalg.norm(u)
    return lambda q: np.sum(np.linalg.norm(q, axis=-1)), g, p


CASES = [hinge, absolute, clipped, largest, layer, norms]


@pytest.mark.parametrize("method", ["auto", "richardson", "central", "elements"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_subgradient_is_never_called_wrong_and_the_kink_is_named(case, scale, method):
    for seed in SEEDS:
        share = np.random.default_rng(seed).choice([0.0, 0.5, 1.0])
        loss, gradient, p = case(seed, scale, share)
        report = check_gradient(loss, gradient, p, seed=seed, method=method)
        assert report.inconclusive, f"{seed}: {report}"
        doubtful = [entry for entry in report.entries if entry.verdict == "inconclusive"]
        assert {entry.reason for entry in doubtful} == {"kink"}, f"{seed}: {report}"
        assert any(f"a kink at {entry.parameter}[" in entry.note for entry in doubtful), f"{seed}: {report}"


@pytest.mark.parametrize("method", ["auto", "elements"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_subgradient_passes_on_request(case, scale, method):
    for seed in SEEDS:
        share = np.random.default_rng(seed).choice([0.0, 0.25, 1.0])
        loss, gradient, p = case(seed, scale, share)
        report = check_gradient(loss, gradient, p, seed=seed, method=method, subgradient=True)
        assert report.passed, f"{seed}: {report}"


@pytest.mark.parametrize("subgradient", [False, True])
@pytest.mark.parametrize("share", [-0.5, 1.01, 2.0])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", [hinge, absolute, clipped, layer], ids=lambda case: case.__name__)
def test_value_outside_the_slopes_fails(case, scale, share, subgradient):
    for seed in SEEDS:
        loss, gradient, p = case(seed, scale, share)
        report = check_gradient(loss, gradient, p, seed=seed, subgradient=subgradient)
        assert report.failed, f"{seed}: {report}"


@pytest.mark.parametrize("scale", [1.0, 1e8])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_wrong_gradient_beside_a_kink_fails(case, scale):
    for seed in SEEDS:
        loss, gradient, p = case(seed, scale, 0.5)
        if isinstance(gradient, dict):
            gradient["W"] = 1.01 * gradient["W"]
        elif case is largest:
            gradient[1] = 0.01
        else:
            gradient = np.where(p == (scale if case is clipped else 0), gradient, 1.01 * gradient + 0.01)
        report = check_gradient(loss, gradient, p, seed=seed)
        assert report.failed, f"{seed}: {report}"


def test_values_between_the_slopes_of_each_element_need_not_be_a_subgradient_of_all():
    for seed in SEEDS:
        p = np.full(2, np.random.default_rng(seed).normal())
        found = {}
        for name, gradient in (("one", [1.0, 0.0]), ("both", [1.0, 1.0]), ("none", [0.0, 0.0])):
            found[name] = check_gradient(np.max, np.array(gradient), p, seed=seed, subgradient=True).verdict
        assert found["one"] == "passed"
        assert found["both"] != "passed"
        assert found["none"] != "passed"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, -1.0, 2.0])
def test_reverse_pass_at_a_kink(share):
    for seed in SEEDS:
        p, _ = point(seed)

        def vjp(q, w):
            return w * np.where(q == 0, share, q > 0)

        report = check_vjp(lambda q: np.maximum(q, 0), vjp, (p,), seed=seed)
        assert report.inconclusive if 0 <= share <= 1 else report.failed, f"{seed}: {report}"
        if 0 <= share <= 1:
            assert check_vjp(lambda q: np.maximum(q, 0), vjp, (p,), seed=seed, subgradient=True).passed


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13])
def test_kink_near_the_point_accuses_no_right_gradient(distance):
    for seed in SEEDS:
        p, w = point(seed)
        p = np.where(p == 0, distance * np.random.default_rng(seed).choice([-1, 1]), p)
        right = check_gradient(lambda q, w=w: np.sum(w * np.abs(q)), w * np.sign(p), p, seed=seed)
        assert not right.failed, f"{seed}: {right}"
        wrong = check_gradient(lambda q, w=w: np.sum(w * np.abs(q)), 1.01 * w * np.sign(p), p, seed=seed)
        assert not wrong.passed, f"{seed}: {wrong}"


def test_smooth_parameter_passes_beside_one_with_a_kink():
    p = {"smooth": np.array([0.3, -0.7]), "kink": np.array([0.5, 0.0])}
    report = check_gradient(
        lambda q: np.sum(np.sin(q["smooth"])) + np.sum(np.abs(q["kink"])),
        {"smooth": np.cos(p["smooth"]), "kink": np.sign(p["kink"])},
        p,
    )
    assert (report["smooth"].verdict, report["kink"].verdict) == ("passed", "inconclusive")
    assert "kink[1]: slope -1 to the left, 1 to the right, gradient 0" in report["kink"].note


def test_budget_that_is_too_small_for_the_search_is_no_accusation():
    p = np.zeros(500)
    p[0] = 1
    report = check_gradient(lambda q: np.sum(np.abs(q)), np.sign(p), p, budget=100, subgradient=True)
    assert report.inconclusive
    assert "kink" in report["params"].note


def test_request_for_subgradients_changes_no_smooth_verdict():
    x = np.array([0.3, -0.7, 1.1])
    assert assert_gradient(lambda p: np.sum(np.sin(p)), np.cos(x), x, subgradient=True).passed
    assert check_gradient(lambda p: np.sum(np.sin(p)), 1.001 * np.cos(x), x, subgradient=True).failed
