"""Where a pass overflows, the engine has a NaN only where the reference has one, and infinities of the same sign.

n is no width of a layout, so that there are units of padding: their weights are zero, and zero times infinity is NaN.
"""

import numpy as np
import pytest
from problems import make_cell, reference, results, standin_tape
from standin import KERNEL_TEXT, StandinLauncher, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
CASES = [(n, dtype) for n in (5, 29, 130) for dtype in ("float32", "float64")]
PADDED = [
    ("own.exists(k) && t < end) h[k]", "t < end) h[k]"),
    ("own.exists(k) && t < end ? step_size", "t < end ? step_size"),
]


def reference_of(dtype, *case):
    """Return what the reference engine gives in the precision of the case."""
    with np.errstate(all="ignore"):
        return reference(*case, dtype=dtype)


def growing_states(kind, n, dtype, rng):
    """Return a pass in which one unit reaches infinity while the candidates of the others are +1 or -1."""
    largest = float(np.finfo(dtype).max)
    cell = make_cell(kind, 2, n, step_size=largest / 4, diffusion=0.2, triangular=False)
    params = {
        "W": np.abs(rng.standard_normal((n, n))) / (100 * n),
        "V": rng.standard_normal((n, 2)),
        "b": rng.standard_normal(n),
    }
    if "gated" in kind:
        params |= {"V_z": rng.standard_normal((n, 2)), "b_z": rng.standard_normal(n)}
    h0 = rng.standard_normal((3, n))
    h0[:, 0] = 0.9 * largest
    for name in params.keys() & {"b", "b_z"}:
        params[name][0] = largest / 4  # against the diffusion of h0
    params = {name: value.astype(dtype) for name, value in params.items()}
    x = rng.standard_normal((3, 3, 2)).astype(dtype)
    return cell, params, x, h0.astype(dtype), np.zeros((4, 3, n), dtype)


def growing_gradients(kind, n, dtype, rng):
    """Return a pass whose gradients reach infinity, all with one sign, as A has positive elements only."""
    largest = float(np.finfo(dtype).max)
    cell = make_cell(kind, 2, n, step_size=100.0, diffusion=0.0)
    params = {"W": np.abs(rng.standard_normal((n, n))), "V": rng.standard_normal((n, 2)), "b": rng.standard_normal(n)}
    params = {name: (value * 1e-6).astype(dtype) for name, value in params.items()}
    params["W"] = np.maximum(params["W"] * 1e4, np.finfo(dtype).eps)
    d_states = np.zeros((5, 3, n), dtype)
    d_states[-1] = 0.9 * largest
    return cell, params, np.zeros((4, 3, 2), dtype), np.zeros((3, n), dtype), d_states


def differing(got, wanted, names):
    """Return the names of the arrays that are NaN, infinite or finite elsewhere than wanted."""
    return [
        name
        for name in names
        if not np.array_equal(np.isnan(got[name]), np.isnan(wanted[name]))
        or not np.array_equal(np.isposinf(got[name]), np.isposinf(wanted[name]))
        or not np.array_equal(np.isneginf(got[name]), np.isneginf(wanted[name]))
    ]


def passes(draw, kind, n, dtype, rng, text=KERNEL_TEXT):
    case = draw(kind, n, np.dtype(dtype), rng)
    launcher = StandinLauncher(text=text)
    with np.errstate(all="ignore"):
        got = results(standin_tape(*case[:4], launcher=launcher), case[4])
    return got, reference_of(np.dtype(dtype), *case)


@pytest.mark.parametrize(("n", "dtype"), CASES)
@pytest.mark.parametrize("kind", ["antisymmetric", "gated", "unstructured", "gated-unstructured"])
def test_states_that_overflow_make_no_nan_that_the_reference_has_not(kind, n, dtype, rng):
    got, wanted = passes(growing_states, kind, n, dtype, rng)
    assert np.isinf(wanted["states"]).any()
    assert np.isfinite(wanted["states"][-1]).any()
    assert not differing(got, wanted, ["states"])
    finite = np.isfinite(wanted["states"])
    assert np.allclose(got["states"][finite], wanted["states"][finite], rtol=100 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(("n", "dtype"), CASES)
def test_gradients_that_overflow_make_no_nan_that_the_reference_has_not(n, dtype, rng):
    got, wanted = passes(growing_gradients, "unstructured", n, dtype, rng)
    assert np.isinf(wanted["dh"]).any()
    assert not np.isnan(wanted["dh"]).any()
    assert not differing(got, wanted, ["dh", "dh0"])


@pytest.mark.parametrize(("old", "new"), PADDED, ids=["forward", "backward"])
def test_without_care_of_the_padding_these_tests_fail(old, new, rng):
    assert KERNEL_TEXT.count(old) == 1
    forwards = "h[k]" in old
    draw, kind, name = (
        (growing_states, "antisymmetric", "states") if forwards else (growing_gradients, "unstructured", "dh")
    )
    got, wanted = passes(draw, kind, 29, "float32", rng, KERNEL_TEXT.replace(old, new))
    assert differing(got, wanted, [name]) == [name]
