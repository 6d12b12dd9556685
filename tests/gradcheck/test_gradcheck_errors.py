"""Bad input is met with an error that names what was wrong, and where."""

import numpy as np
import pytest

from gradcheck import FunctionError, GradientError, assert_gradient, check_gradient, numerical_gradient

X = np.array([1.0, 2.0])
P = {"W": np.ones((2, 3)), "b": np.ones(3)}


def loss(p):
    return np.sum(p["W"] ** 2) + np.sum(p["b"] ** 3)


GRADIENT = {"W": 2 * P["W"], "b": 3 * P["b"] ** 2}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda p: p, r"loss must return a scalar, got an array of shape \(2,\)"),
        (lambda p: p[:1], r"loss must return a scalar, got an array of shape \(1,\)"),
        (lambda p: None, "loss must return a scalar, got NoneType"),
        (lambda p: "1", "loss must return a scalar, got str"),
        (lambda p: True, "loss must return a scalar, got bool"),
        (lambda p: np.sum(p) * np.nan, "loss returned nan at params; a derivative needs a finite value there"),
        (lambda p: float(abs(p[0])) * np.inf, "loss returned inf at params; a derivative needs a finite value there"),
        (lambda p: np.sum(p) + 1j, r"loss must return a real number for real parameters, got \(3\+1j\)"),
    ],
)
@pytest.mark.parametrize("method", ["auto", "richardson"])
def test_bad_value_of_the_loss_is_told(bad, message, method):
    with pytest.raises(FunctionError, match=message):
        check_gradient(bad, np.ones(2), X, method=method)


def test_loss_that_raises_is_told_with_evaluation_and_place():
    def bad(p):
        raise KeyError("missing")

    message = r"loss raised KeyError: 'missing' \(evaluation \d+, at params\)"
    with pytest.raises(FunctionError, match=message) as caught:
        check_gradient(bad, X, X)
    assert isinstance(caught.value.__cause__, KeyError)


def test_loss_that_raises_away_from_the_parameters_is_told_where():
    def bad(p):
        if not np.array_equal(p["b"], P["b"]):
            raise RuntimeError("no")
        return loss(p)

    with pytest.raises(FunctionError, match=r"loss raised RuntimeError: no .*at params \+ .* x a direction in b"):
        check_gradient(bad, GRADIENT, P, method="richardson")


@pytest.mark.parametrize("method", ["auto", "richardson"])
def test_loss_that_changes_its_input_is_told(method):
    def bad(p):
        p["b"] += 1
        return loss(p)

    with pytest.raises(
        FunctionError, match=r"loss changes its input: the values of b \(evaluation 1, .*work on a copy"
    ):
        check_gradient(bad, GRADIENT, P, method=method)


def test_gradient_that_changes_its_input_is_told():
    def bad(p):
        p["W"] *= 2
        return GRADIENT

    with pytest.raises(FunctionError, match="gradient changes its input: the values of W"):
        check_gradient(loss, bad, P)


def test_loss_that_removes_a_parameter_is_told():
    with pytest.raises(FunctionError, match="loss changes its input: the names of the parameters"):
        check_gradient(lambda p: np.sum(p.pop("W")), GRADIENT, P)


def test_loss_that_replaces_a_parameter_is_told():
    def bad(p):
        p["b"] = None
        return np.sum(p["W"])

    with pytest.raises(FunctionError, match="loss changes its input: the structure of the parameters"):
        check_gradient(bad, GRADIENT, P)


def test_gradient_that_raises_is_told():
    def bad(p):
        raise ZeroDivisionError("oh")

    with pytest.raises(FunctionError, match=r"gradient raised ZeroDivisionError: oh \(evaluation 1, at float64 params"):
        check_gradient(loss, bad, P)


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        ({"W": P["W"]}, ValueError, "gradient lacks b; the parameters are W, b"),
        ({**GRADIENT, "c": X}, ValueError, "gradient has unexpected c; the parameters are W, b"),
        ({"W": P["W"], "c": X}, ValueError, "gradient lacks b and has unexpected c"),
        (
            {**GRADIENT, "W": P["W"].T},
            ValueError,
            r"gradient of W must have the parameter's shape \(2, 3\), got \(3, 2\)",
        ),
        ({**GRADIENT, "b": np.ones((1, 3))}, ValueError, r"gradient of b must have .* \(3,\), got \(1, 3\)"),
        ({**GRADIENT, "b": np.ones(3, np.float32)}, TypeError, "gradient of b must be float64 .* got float32"),
        ({**GRADIENT, "b": np.ones(3, int)}, TypeError, "gradient of b must be float64 .* got int"),
        ({**GRADIENT, "b": np.ones(3, complex)}, TypeError, "gradient of b must be float64 .* got complex128"),
        (
            {**GRADIENT, "b": np.array([1, np.nan, 2])},
            ValueError,
            r"gradient of b must be finite, got nan at index \(1,\)",
        ),
        (
            {**GRADIENT, "b": None},
            TypeError,
            "gradient at b must be an array, a float, a mapping, .*, got None",
        ),
        (None, TypeError, "gradient must be an array, a float, a mapping, .*, got NoneType"),
        (GRADIENT["b"], ValueError, "gradient lacks W, b and has unexpected params"),
    ],
)
@pytest.mark.parametrize("given_as", ["arrays", "function"])
def test_bad_gradient_is_told(gradient, error, message, given_as):
    with pytest.raises(error, match=message):
        check_gradient(loss, gradient if given_as == "arrays" else lambda p: gradient, P)


def test_gradient_that_casts_float32_up_is_told():
    with pytest.raises(TypeError, match="gradient of params must be float32 like its parameter, got float64"):
        check_gradient(lambda p: np.sum(p**2), lambda p: 2 * p.astype(np.float64), X.astype(np.float32))


@pytest.mark.parametrize("function", [lambda p: check_gradient(np.sum, p, p), lambda p: numerical_gradient(np.sum, p)])
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (np.array([1, 2]), TypeError, "params: params must be float32 or float64, got int64"),
        ({"a": np.array([True])}, TypeError, "params: a must be float32 or float64, got bool"),
        ({"a": np.array([1j])}, TypeError, "params: a must be float32 or float64, got complex128"),
        ({"a": np.ones(1, np.float16)}, TypeError, "params: a must be float32 or float64, got float16"),
        ({"a": X, "b": X.astype(np.float32)}, TypeError, "params must all have one dtype, got a float64, b float32"),
        ({}, ValueError, "params must hold at least one array, got {}"),
        ([], ValueError, "params must hold at least one array"),
        ({"a": np.ones((0, 3))}, ValueError, r"params: a must have at least one element, got shape \(0, 3\)"),
        ({"a": np.array([1.0, np.inf])}, ValueError, r"params: a must be finite, got inf at index \(1,\)"),
        ({"a": 1}, TypeError, "params at a must be an array, a float, a mapping, .*, got int"),
        ({"a": [X, "x"]}, TypeError, r"params at a\[1\] must be an array, a float, a mapping, .*, got str"),
        ({"a": {"b": X}, "a.b": X}, ValueError, "params has two arrays named 'a.b': rename a key"),
        (None, TypeError, "params must be an array, a float, a mapping, .*, got NoneType"),
    ],
)
def test_bad_parameters_are_told(function, params, error, message):
    with pytest.raises(error, match=message):
        function(params)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "method must be one of 'auto', 'complex', 'elements'.*got 'magic'"),
        ({"directions": 0}, ValueError, "directions must be an integer >= 1, got 0"),
        ({"directions": -1}, ValueError, "directions must be an integer >= 1, got -1"),
        ({"directions": 2.0}, TypeError, "directions must be an integer >= 1, got 2.0"),
        ({"directions": True}, TypeError, "directions must be an integer >= 1, got True"),
        ({"rtol": 0.0}, ValueError, "rtol must be a finite number > 0, got 0.0"),
        ({"rtol": -1e-3}, ValueError, "rtol must be a finite number > 0, got -0.001"),
        ({"rtol": np.nan}, ValueError, "rtol must be a finite number > 0, got nan"),
        ({"rtol": "1"}, TypeError, "rtol must be a finite number > 0, got '1'"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"seed": 0.5}, TypeError, "seed must be an integer >= 0, got 0.5"),
        ({"budget": -5}, ValueError, "budget must be an integer >= 0, got -5"),
        ({"sizes": {"B": 0}}, ValueError, r"sizes\['B'\] must be an integer >= 1, got 0"),
        ({"sizes": {"B": 1.5}}, TypeError, r"sizes\['B'\] must be an integer >= 1, got 1.5"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        check_gradient(loss, GRADIENT, P, **options)


def test_loss_that_is_no_function_is_told():
    with pytest.raises(TypeError, match="loss must be callable, got float"):
        check_gradient(1.0, X, X)


def test_assert_gradient_returns_the_report_of_a_pass():
    assert assert_gradient(loss, GRADIENT, P).passed


def test_assert_gradient_raises_an_assertion_error_with_the_report():
    with pytest.raises(GradientError) as caught:
        assert_gradient(loss, {**GRADIENT, "b": P["b"]}, P)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report.failed
    assert str(caught.value) == str(caught.value.report)


def test_assert_gradient_does_not_let_the_inconclusive_pass():
    with pytest.raises(GradientError, match="zero to rounding on both sides"):
        assert_gradient(lambda p: 0.0 * np.sum(p), np.zeros(2), X)
