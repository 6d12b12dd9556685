"""Hand-written tangents, adjoints and Hessian products: right ones pass, wrong ones are named by input."""

import functools
import re

import numpy as np
import pytest

from gradcheck import (
    FunctionError,
    adjoint_test,
    check_hessian_vector_product,
    check_jvp,
    check_linearity,
    check_vjp,
)

rng = np.random.default_rng(0)
A = rng.normal(size=(4, 3))
PARAMS = {"W": rng.normal(size=(3, 3)), "b": rng.normal(size=3)}
H = rng.normal(size=(5, 3))
EPS = 0.3


def step(params, h):
    """h + eps tanh(h W^T + b), with a second output to have a structure."""
    a = np.tanh(h @ params["W"].T + params["b"])
    return {"h": h + EPS * a, "energy": np.sum(a * a, axis=1)}


def step_jvp(params, h, params_dot, h_dot):
    a = np.tanh(h @ params["W"].T + params["b"])
    u_dot = h_dot @ params["W"].T + h @ params_dot["W"].T + params_dot["b"]
    a_dot = (1 - a * a) * u_dot
    return {"h": h_dot + EPS * a_dot, "energy": np.sum(2 * a * a_dot, axis=1)}


def step_vjp(params, h, cotangent):
    a = np.tanh(h @ params["W"].T + params["b"])
    du = (EPS * cotangent["h"] + 2 * a * cotangent["energy"][:, None]) * (1 - a * a)
    return {"W": du.T @ h, "b": du.sum(0)}, cotangent["h"] + du @ params["W"]


def spoilt(function, change):
    """Return the operator with its result changed."""

    @functools.wraps(function)
    def operator(*arguments):
        return change(*function(*arguments))

    return operator


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_correct_vjp_passes(dtype):
    params = {name: value.astype(dtype) for name, value in PARAMS.items()}
    report = check_vjp(step, step_vjp, (params, H.astype(dtype)))
    assert report.passed, str(report)
    assert [entry.parameter for entry in report.entries] == ["params.W", "params.b", "h"]


def test_wrong_vjp_is_named_by_its_input():
    bad = spoilt(step_vjp, lambda d, dh: (d, -dh))
    report = check_vjp(step, bad, (PARAMS, H))
    assert [entry.verdict for entry in report.entries] == ["passed", "passed", "failed"]
    assert report["h"].diagnosis == "the sign is wrong: analytic = -numeric"


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
def test_vjp_that_forgets_one_output_is_found_at_every_scale(scale):
    def bad(params, h, cotangent):
        d, dh = step_vjp(params, h, {**cotangent, "energy": 0 * cotangent["energy"]})
        return {name: scale * value for name, value in d.items()}, scale * dh

    def scaled(params, h):
        return {name: scale * value for name, value in step(params, h).items()}

    assert check_vjp(scaled, bad, (PARAMS, H)).failed


def test_vjp_of_a_single_input_returns_the_array_itself():
    assert check_vjp(lambda x: A @ np.sin(x), lambda x, w: (A.T @ w) * np.cos(x), H[0]).passed
    assert check_vjp(lambda x: A @ np.sin(x), lambda x, w: ((A.T @ w) * np.cos(x),), (H[0],)).passed


def test_vjp_with_too_few_results_is_told():
    with pytest.raises(ValueError, match=r"vjp must return 2 values \(params, h\), got 1"):
        check_vjp(step, lambda p, h, w: step_vjp(p, h, w)[0], (PARAMS, H))


def test_inputs_of_a_function_without_signature_are_numbered():
    def function(x, y):
        return x * y

    function.__signature__ = "none that Python understands"
    report = check_vjp(function, lambda x, y, w: (w * y, w * x), (H, 2 * H))
    assert report.passed
    assert [entry.parameter for entry in report.entries] == ["input0", "input1"]


def test_output_that_changes_its_structure_is_told():
    calls = []

    def function(x):
        calls.append(x)
        return {"first" if len(calls) == 1 else "later": x}

    with pytest.raises(FunctionError, match="loss raised ValueError: output must hold first, got later"):
        check_vjp(function, lambda x, w: w["first"], H)


def test_operator_that_changes_its_input_is_told():
    def bad(params, h):
        h *= 1.5
        return step(params, h)

    with pytest.raises(FunctionError, match="loss changes its input: the values of h"):
        check_vjp(bad, step_vjp, (PARAMS, H))


def test_correct_jvp_passes():
    report = check_jvp(step, step_jvp, (PARAMS, H))
    assert report.passed, str(report)
    assert [entry.parameter for entry in report.entries] == ["params.W", "params.b", "h"]


def test_wrong_jvp_is_named_by_its_input():
    def bad(params, h, params_dot, h_dot):
        return step_jvp(params, h, {**params_dot, "b": 2 * params_dot["b"]}, h_dot)

    report = check_jvp(step, bad, (PARAMS, H))
    assert [entry.verdict for entry in report.entries] == ["passed", "failed", "passed"]
    assert report["params.b"].diagnosis == "a constant factor is wrong: analytic = 2 x numeric"


def test_operator_that_is_not_analytic_is_checked_by_differences():
    report = check_jvp(np.abs, lambda x, v: np.sign(x) * v, (H,))
    assert report.passed, str(report)
    assert "Richardson" in report.method


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_adjoint_pair_passes(dtype):
    params = {name: value.astype(dtype) for name, value in PARAMS.items()}
    report = adjoint_test(step_jvp, step_vjp, (params, H.astype(dtype)))
    assert report.passed, str(report)
    assert report.n_evaluations == 3 * (1 + 3)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda d, dh: (d, dh * (1 + 1e-9)), "h"),
        (lambda d, dh: ({**d, "W": d["W"].T}, dh), "params.W"),
        (lambda d, dh: ({**d, "b": 0 * d["b"]}, dh), "params.b"),
    ],
)
def test_pair_that_is_not_adjoint_is_named_by_its_input(change, wrong):
    report = adjoint_test(step_jvp, spoilt(step_vjp, change), (PARAMS, H))
    assert [entry.parameter for entry in report.entries if entry.verdict == "failed"] == [wrong]


def test_adjoint_test_of_zeros_is_inconclusive():
    assert adjoint_test(lambda x, v: 0 * v, lambda x, w: 0 * w, (H,)).inconclusive


def test_linear_vjp_passes():
    assert check_linearity(step_vjp, (PARAMS, H), step(PARAMS, H)).passed


@pytest.mark.parametrize(
    "change",
    [
        lambda d, dh: (d, dh + 1e-6),
        lambda d, dh: (d, np.clip(dh, -1, 1)),
        lambda d, dh: (d, dh * dh),
        lambda d, dh: (d, np.ones_like(dh)),
    ],
)
def test_vjp_that_is_not_linear_in_its_cotangent_fails(change):
    report = check_linearity(spoilt(step_vjp, change), (PARAMS, H), step(PARAMS, H))
    assert [entry.parameter for entry in report.entries if entry.verdict == "failed"] == ["h"]
    assert report["h"].diagnosis == "not linear"


def test_linearity_of_zero_is_inconclusive():
    assert check_linearity(lambda x, w: 0 * w, (H,), H).inconclusive


C = rng.normal(size=(3, 3))


def cubic_gradient(p):
    return {"x": 3 * p["x"] ** 2 + p["y"] @ C.T, "y": p["x"] @ C}


def cubic_product(p, v):
    return {"x": 6 * p["x"] * v["x"] + v["y"] @ C.T, "y": v["x"] @ C}


POINT = {"x": rng.normal(size=3), "y": rng.normal(size=3)}


def test_correct_hessian_product_passes():
    assert check_hessian_vector_product(cubic_gradient, cubic_product, POINT).passed


def test_hessian_product_without_its_mixed_part_fails():
    def bad(p, v):
        return {**cubic_product(p, v), "x": 6 * p["x"] * v["x"]}

    report = check_hessian_vector_product(cubic_gradient, bad, POINT)
    assert [entry.verdict for entry in report.entries] == ["failed", "passed"]


def test_hessian_product_of_a_real_gradient_is_checked_by_differences():
    def real(x):
        return 3 * x * np.abs(x)

    report = check_hessian_vector_product(real, lambda x, v: 6 * np.abs(x) * v, POINT["x"])
    assert report.passed, str(report)
    assert "Richardson" in report.method


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1), (2, 3), ()])
def test_result_of_another_shape_is_told_by_every_check(shape):
    x = np.random.default_rng([7, *shape]).normal(size=shape)
    # Shapes to which an array of this shape broadcasts, or from which it does: a product would hide the difference.
    others = {(1, *shape), (*shape, 1), (x.size,), (1,), ()} - {shape}
    for other in others:
        expected = rf"must have shape {re.escape(str(shape))}, got {re.escape(str(other))}"
        with pytest.raises(ValueError, match=rf"^jvp {expected}"):
            check_jvp(np.sin, lambda a, v, s=other: np.resize(np.cos(a) * v, s), (x,))
        with pytest.raises(ValueError, match=rf"^vjp: a {expected}"):
            adjoint_test(lambda a, v: np.cos(a) * v, lambda a, w, s=other: np.resize(np.cos(a) * w, s), (x,))
        with pytest.raises(ValueError, match=rf"^vjp: a {expected}"):
            check_linearity(lambda a, w, s=other: np.resize(np.cos(a) * w, s), (x,), x)
        with pytest.raises(FunctionError, match=rf"ValueError: gradient {expected}"):
            check_hessian_vector_product(lambda a, s=other: np.resize(np.cos(a), s), lambda a, v: -np.sin(a) * v, x)


def test_result_with_other_names_is_told_and_their_order_is_free():
    def swapped(p, v):
        found = cubic_product(p, v)
        return {"y": found["y"], "x": found["x"]}

    inputs, renamed = ({"x": POINT["x"], "y": POINT["y"]},), {"x": "x", "y": "z"}
    assert check_jvp(cubic_gradient, swapped, inputs).passed
    assert adjoint_test(swapped, lambda p, w: (swapped(p, w),), inputs).passed

    def wrong(p, v):
        return {renamed[name]: value for name, value in cubic_product(p, v).items()}

    with pytest.raises(ValueError, match=r"^jvp must hold x, y, got x, z$"):
        check_jvp(cubic_gradient, wrong, inputs)
    with pytest.raises(ValueError, match=r"^vjp must hold p\.x, p\.y, got p\.x, p\.z$"):
        adjoint_test(cubic_product, lambda p, w: (wrong(p, w),), inputs)
    with pytest.raises(ValueError, match=r"^vjp must hold p\.x, p\.y, got p\.x, p\.z$"):
        check_linearity(lambda p, w: (wrong(p, w),), inputs, POINT)


@pytest.mark.parametrize(
    ("factor", "error", "message"),
    [
        (np.nan, ValueError, r"must be finite, got nan at index \(0, 0\)"),
        (np.inf, ValueError, r"must be finite, got -?inf at index \(0, 0\)"),
        (1 + 0j, TypeError, "must hold real numbers, got complex128"),
    ],
)
def test_result_that_is_not_finite_or_not_real_is_told(factor, error, message):
    def product(x, v):
        return np.cos(x) * v

    def bad(x, v):
        return factor * product(x, v)

    with pytest.raises(error, match=f"^jvp {message}"):
        check_jvp(np.sin, bad, (H,))
    with pytest.raises(error, match=f"^jvp {message}"):
        adjoint_test(bad, product, (H,))
    with pytest.raises(error, match=f"^vjp: x {message}"):
        adjoint_test(product, bad, (H,))
    with pytest.raises(error, match=f"^vjp: x {message}"):
        check_linearity(bad, (H,), H)
