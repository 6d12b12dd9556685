"""Arrays of other libraries: array-api-strict stands for them, on its default device and on another."""

import array_api_strict as xp
import numpy as np
import pytest

from gradcheck import (
    adjoint_test,
    check_determinism,
    check_gradient,
    check_hessian_vector_product,
    check_jvp,
    check_linearity,
    check_precision,
    check_purity,
    check_vjp,
    first_wrong_step,
    numerical_gradient,
    taylor_test,
)
from gradcheck.arrays import beside, dtype_name, is_array, to_host

DEVICES = [xp.Device("CPU_DEVICE"), xp.Device("device1")]
rng = np.random.default_rng(0)
W, X = rng.normal(size=(3, 4)), rng.normal(size=4)


def problem(device):
    x = xp.asarray(X, device=device)
    params = {"W": xp.asarray(W, device=device), "b": [xp.asarray(W[:, 0].copy(), device=device)]}

    def state(p):
        return xp.tanh(xp.matmul(p["W"], xp.astype(x, p["W"].dtype)) + p["b"][0])

    def loss(p):
        a = state(p)
        return xp.sum(a * a)

    def gradient(p):
        a = state(p)
        d = 2 * a * (1 - a * a)
        return {"W": d[:, None] * xp.astype(x, d.dtype)[None, :], "b": [d]}

    return loss, gradient, params


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_correct_gradient_passes_on_every_device(device):
    assert check_gradient(*problem(device)).passed


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("method", ["complex", "elements", "richardson", "central"])
def test_wrong_gradient_fails_by_every_method(device, method):
    loss, gradient, params = problem(device)
    wrong = gradient(params)
    wrong["b"][0] = 2 * wrong["b"][0]
    report = check_gradient(loss, wrong, params, method=method)
    assert [entry.verdict for entry in report.entries] == ["passed", "failed"]
    assert report["b[0]"].diagnosis == "a constant factor is wrong: analytic = 2 x numeric"


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_numerical_gradient_stays_in_library_and_on_device(device):
    loss, gradient, params = problem(device)
    found = numerical_gradient(loss, params)
    assert found["W"].device == device
    assert np.allclose(to_host(found["W"]), to_host(gradient(params)["W"]), rtol=1e-13)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_float32_gradient_is_checked(device):
    loss, gradient, params = problem(device)
    single = {"W": xp.astype(params["W"], xp.float32), "b": [xp.astype(params["b"][0], xp.float32)]}
    assert check_gradient(loss, gradient, single).passed
    assert check_precision(gradient, single).passed


def operator(device):
    """Return W sin(x), its tangent and its adjoint."""
    W_ = xp.asarray(W, device=device)

    def function(x):
        return xp.matmul(xp.astype(W_, x.dtype), xp.sin(x))

    def jvp(x, x_dot):
        return xp.matmul(xp.astype(W_, x.dtype), xp.cos(x) * x_dot)

    def vjp(x, w):
        return xp.matmul(xp.astype(W_, x.dtype).T, w) * xp.cos(x)

    return function, jvp, vjp, xp.asarray(X, device=device)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_operators_are_checked_on_every_device(device):
    function, jvp, vjp, x = operator(device)
    reports = [
        check_vjp(function, vjp, x),
        check_jvp(function, jvp, x),
        adjoint_test(jvp, vjp, x),
        check_linearity(vjp, x, function(x)),
        check_determinism(function, x),
        check_purity(function, x),
    ]
    assert all(report.passed for report in reports), "\n".join(map(str, reports))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_second_derivatives_rates_and_prefixes_are_checked_on_every_device(device):
    x = xp.asarray(X, device=device)
    assert check_hessian_vector_product(xp.cos, lambda p, v: -xp.sin(p) * v, x).passed
    assert taylor_test(lambda p: xp.sum(xp.sin(p)), xp.cos, x).passed
    assert first_wrong_step(lambda t: (lambda p: xp.sum(xp.sin(p) * t), lambda p: xp.cos(p) * t), 3, x) is None
    assert first_wrong_step(lambda t: (lambda p: xp.sum(xp.sin(p) * t), xp.cos), 3, x).steps == 2


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_values_move_to_the_device_and_back_unchanged(device):
    like = xp.asarray([1.0], device=device)
    moved = beside(W + 1j, like)
    assert moved.device == device
    assert dtype_name(moved) == "complex128"
    assert np.array_equal(to_host(moved), W + 1j)


def test_numpy_scalars_are_arrays():
    assert is_array(np.float64(1.0))
    assert not is_array(1.0)
    assert to_host(np.float32(2.0)).shape == ()


def test_moved_values_are_copies():
    values = np.ones(2)
    assert not np.shares_memory(beside(values, values), values)


def test_no_array_cannot_come_to_the_host():
    with pytest.raises(TypeError, match="expected an array, got list"):
        to_host([1.0])


class FakeCupy:
    """Enough of a CuPy array to follow the branch taken for it."""

    def __init__(self, values):
        self.values = values

    def get(self):
        return self.values


def test_cupy_arrays_are_known_by_their_module():
    FakeCupy.__module__ = "cupy._core.core"
    assert is_array(FakeCupy(W))
    assert to_host(FakeCupy(W)) is W


def test_cupy_arrays_are_checked_on_their_gpu():
    cupy = pytest.importorskip("cupy")
    x = cupy.asarray(X)
    assert check_gradient(lambda p: cupy.sum(cupy.sin(p)), cupy.cos, x).passed
    assert check_gradient(lambda p: cupy.sum(cupy.sin(p)), lambda p: 2 * cupy.cos(p), x).failed
    assert check_gradient(lambda p: cupy.sum(cupy.sin(p)), cupy.cos, x.astype(cupy.float32)).passed
    assert isinstance(numerical_gradient(lambda p: cupy.sum(cupy.sin(p)), x), cupy.ndarray)
    assert check_determinism(cupy.sin, (x,)).passed
    assert check_purity(cupy.sin, (x,)).passed
