"""Where a pass overflows, the engine has a NaN only where the reference has one, and infinities of the same sign.

n is no width of a layout, so that there are units of padding: their weights are zero, and zero times infinity is NaN.
"""

import numpy as np
import pytest
from ended_rows import assert_as_alone, draw_ended, rows_alone
from problems import KINDS, draw, make_cell, reference, results, standin_tape
from standin import KERNEL_TEXT, TEXTS, StandinLauncher, missing

from numrnn.engines.cuda.families import VARIABLE

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
CASES = [(n, dtype) for n in (5, 29, 130) for dtype in ("float32", "float64")]
PADDED = [
    ("own.exists(k) && t < end) h[k]", "t < end) h[k]"),
    ("runs = own.exists(k) && t < end", "runs = t < end"),
]


def reference_of(dtype, *case):
    """Return what the reference engine gives in the precision of the case."""
    with np.errstate(all="ignore"):
        return reference(*case, dtype=dtype)


def growing_states(kind, n, dtype, rng, m=2):
    """Return a pass in which one unit reaches infinity while the candidates of the others are +1 or -1."""
    largest = float(np.finfo(dtype).max)
    cell = make_cell(kind, m, n, step_size=largest / 4, diffusion=0.2, triangular=False)
    params = {
        "W": np.abs(rng.standard_normal((n, n))) / (100 * n),
        "V": rng.standard_normal((n, m)),
        "b": rng.standard_normal(n),
    }
    if "gated" in kind:
        params |= {"V_z": rng.standard_normal((n, m)), "b_z": rng.standard_normal(n)}
    h0 = rng.standard_normal((3, n))
    h0[:, 0] = 0.9 * largest
    for name in params.keys() & {"b", "b_z"}:
        params[name][0] = largest / 4  # against the diffusion of h0
    params = {name: value.astype(dtype) for name, value in params.items()}
    x = rng.standard_normal((3, 3, m)).astype(dtype)
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


def ended(kind, n, dtype, rng, text=None, every=None):
    """Return what the engine gives for rows that keep an infinite state, and what it should."""
    *case, d_states, lengths = draw_ended(kind, n, np.dtype(dtype), rng)
    with np.errstate(all="ignore"):
        tape = standin_tape(*case, lengths=lengths, every=every, launcher=StandinLauncher(text=text))
        return results(tape, d_states), rows_alone(*case, d_states, lengths)


@pytest.mark.parametrize("unproven", ["0", "1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_keeps_an_infinite_state_has_the_gradients_of_the_row_alone(kind, unproven, monkeypatch, rng):
    monkeypatch.setenv(VARIABLE, unproven)
    for n, dtype, every in ((5, "float32", None), (29, "float32", 2), (13, "float64", 1)):
        if unproven == "1" and dtype == "float64":  # the same text as in float32
            continue
        assert_as_alone(*ended(kind, n, dtype, rng, every=every))


@pytest.mark.parametrize(
    ("family", "old", "new"),
    [
        ("euler", "runs ? (1 - c * c) * dh : T(0)", "(1 - c * c) * (runs ? dh : T(0))"),
        ("lean", "runs ? (1 - c * c) * dh : T(0)", "(1 - c * c) * (runs ? dh : T(0))"),
        ("lean", "h[k] = runs ? inputs.at(round, STATE, k) : T(0)", "h[k] = inputs.at(round, STATE, k)"),
    ],
)
def test_a_product_with_zero_in_place_of_a_choice_is_found(family, old, new, monkeypatch, rng):
    monkeypatch.setenv(VARIABLE, "1" if family == "lean" else "0")
    assert TEXTS[family].count(old) == 1
    got, wanted = ended("antisymmetric", 29, "float32", rng, TEXTS[family].replace(old, new))
    with pytest.raises(AssertionError):
        assert_as_alone(got, wanted)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lstm", "activation[k] = shift[k] + scale[k] * tanh_of(scale[k] * u);  // (F13)"),
        ("elman", "h_next = c[k] = tanh_of(u);  // (F11)"),
    ],
)
def test_activations_that_are_nan_in_rows_that_have_ended_reach_no_gradient(kind, text, monkeypatch, rng):
    """Their states are at most 1, so that NaN is planted where a product of a larger W would make it."""
    monkeypatch.setenv(VARIABLE, "1")
    family = {"lstm": "lstm", "elman": "lean"}[kind]
    name = "activation[k]" if kind == "lstm" else "c[k]"
    assert TEXTS[family].count(text) == 1
    planted = TEXTS[family].replace(text, f"{text}\n if (t >= end) {name} = T(NAN);")
    cell = make_cell(kind, 2, 29)
    params, x, h0, d_states = draw(cell, rng, 5, 4, np.float32)
    options = {"lengths": [5, 1, 3, 4]}
    plain, got = (
        results(standin_tape(cell, params, x, h0, **options, launcher=StandinLauncher(text=one)), d_states)
        for one in (None, planted)
    )
    assert all(np.array_equal(got[name], plain[name]) for name in plain)
