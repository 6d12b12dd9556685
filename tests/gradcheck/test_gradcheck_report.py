"""What a report says, and that it is complete."""

import json
import math
import pickle

import numpy as np
import pytest

from gradcheck import GradientError, assert_gradient, check_gradient
from gradcheck.directions import chance_of_miss, gaussian
from gradcheck.report import Worst

P = {"W": np.array([[1.0, 2.0], [3.0, 5.0]]), "b": np.array([1.0, -1.0])}
GRADIENT = {"W": np.cos(P["W"]), "b": np.cos(P["b"])}


def loss(p):
    return np.sum(np.sin(p["W"])) + np.sum(np.sin(p["b"]))


PASS = check_gradient(loss, GRADIENT, P)
FAIL = check_gradient(loss, {**GRADIENT, "W": GRADIENT["W"].T.copy()}, P)


def test_passed_report_prints_verdicts_confidence_and_evaluations():
    text = str(PASS)
    assert text.startswith("gradcheck: PASSED (2 of 2), by complex step along 3 random directions a parameter, seed 0")
    assert "  W: passed, relative error" in text
    assert "norm(error) <= 1.0e-09 norm(gradient), unless an event of probability at most 5.1e-10 happened" in text
    assert text.endswith(f"{PASS.n_evaluations} evaluations")


def test_failed_report_prints_place_values_ratio_and_diagnosis():
    text = str(FAIL)
    assert text.startswith("gradcheck: FAILED (1 of 2)")
    assert "worst element W[0, 1]: analytic -0.9899924966, numeric -0.4161468365, ratio 2.37895" in text
    assert "diagnosis: the transpose is missing: numeric = analytic^T" in text
    assert f"{FAIL.n_evaluations} evaluations, and {FAIL.n_explaining} more to explain the failure" in text


def test_worst_of_a_failed_report_belongs_to_a_failed_parameter():
    assert FAIL.worst.parameter == "W"
    assert FAIL.worst.index == (0, 1)
    assert FAIL.worst.ratio == pytest.approx(math.cos(3) / math.cos(2))


def test_exactly_one_of_passed_failed_inconclusive_is_true():
    empty = check_gradient(lambda p: 0.0, {"W": np.zeros((2, 2)), "b": np.zeros(2)}, P)
    for report in (PASS, FAIL, empty):
        assert (report.passed, report.failed, report.inconclusive).count(True) == 1
    assert (PASS.passed, FAIL.failed, empty.inconclusive) == (True, True, True)


def test_report_is_true_only_if_passed():
    assert PASS
    assert not FAIL


def test_unknown_entry_is_told():
    with pytest.raises(KeyError, match="no entry 'V'; there are W, b"):
        PASS["V"]


def test_report_as_dict_is_json():
    record = json.loads(json.dumps(FAIL.to_dict(), allow_nan=False))
    assert record["verdict"] == "failed"
    assert record["worst"]["index"] == [0, 1]
    assert record["parameters"]["W"]["diagnosis"].startswith("the transpose")
    assert record["n_evaluations"] == FAIL.n_evaluations
    assert record["seconds"] > 0


def test_infinite_ratio_is_json_too():
    report = check_gradient(lambda p: 0.0 * np.sum(p), np.ones(2), np.ones(2))
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["worst"]["ratio"] == "inf"


@pytest.mark.parametrize(
    ("analytic", "numeric", "ratio"), [(1.0, 2.0, 0.5), (1.0, 0.0, math.inf), (-1.0, 0.0, -math.inf)]
)
def test_ratio_is_analytic_over_numeric(analytic, numeric, ratio):
    assert Worst("x", None, analytic, numeric, 0.0).ratio == ratio


def test_ratio_of_zeros_is_no_number():
    assert math.isnan(Worst("x", None, 0.0, 0.0, 0.0).ratio)


def test_error_survives_pickling_with_its_report():
    with pytest.raises(GradientError) as caught:
        assert_gradient(loss, {**GRADIENT, "b": -GRADIENT["b"]}, P)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value)
    assert copied.report["b"].diagnosis == caught.value.report["b"].diagnosis


def test_chance_of_a_miss_is_what_sampling_shows():
    e = gaussian((50,), 1)
    products = np.abs([e @ gaussian((50,), 2, k) for k in range(20_000)]) / np.linalg.norm(e)
    for d in (0.01, 0.1, 0.5):
        assert np.mean(products <= d) <= chance_of_miss(d, 1) * 1.1
    assert np.mean(products <= 0.1) >= chance_of_miss(0.1, 1) * 0.9


def test_chance_of_a_miss_falls_with_every_direction():
    assert chance_of_miss(1e-3, 3) == pytest.approx((1e-3 * math.sqrt(2 / math.pi)) ** 3)
    assert chance_of_miss(10.0, 3) == 1.0
