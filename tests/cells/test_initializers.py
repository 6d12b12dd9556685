"""Initial values: their variances, the gate's bias, and matrices of rotations."""

import numpy as np
import pytest

import numrnn
from numrnn.initializers import InitialValues, block_rotations, gain_scales, input_gains
from numrnn.training import Classifier


def antisymmetric_part(cell, params):
    return cell.matrix.value(params["W"]) + cell.diffusion * np.eye(cell.hidden_size)


@pytest.mark.parametrize("triangular", [True, False])
@pytest.mark.parametrize("kind", [numrnn.AntisymmetricCell, numrnn.GatedAntisymmetricCell])
def test_rotations_are_the_eigenvalues_of_M_in_both_storages(kind, triangular, rng):
    cell = kind(3, 8, triangular=triangular)
    params = cell.init_params(rng, weight_std=0.0, rotations=(0.1, 15.0), dtype=np.float64)
    M = antisymmetric_part(cell, params)
    speeds = np.sort(np.linalg.eigvals(M).imag)[4:]
    np.testing.assert_allclose(speeds, np.geomspace(0.1, 15.0, 4), rtol=1e-13)
    assert M[0, 1] == pytest.approx(0.1)
    assert M[1, 0] == -M[0, 1]


def test_an_odd_unit_does_not_turn():
    M = block_rotations(5, 0.5, 2.0)
    assert np.count_nonzero(M) == 4
    assert not M[4].any()
    assert not M[:, 4].any()
    assert block_rotations(1, 0.5, 2.0).tolist() == [[0.0]]


def test_rotations_are_added_to_the_random_part():
    cell = numrnn.AntisymmetricCell(1, 6)
    plain, turned = (
        cell.init_params(np.random.default_rng(2), weight_std=3.0, rotations=r, dtype=np.float64)
        for r in (None, (0.25, 4.0))
    )
    np.testing.assert_allclose(turned["W"] - plain["W"], np.triu(block_rotations(6, 0.25, 4.0)), rtol=1e-13, atol=1e-15)
    assert all(np.array_equal(turned[name], plain[name]) for name in ("V", "b"))


def test_input_std_scales_input_weights_only(cell):
    one, three = (cell.init_params(np.random.default_rng(4), input_std=s, dtype=np.float64) for s in (1.0, 3.0))
    for name in one:
        factor = 3.0 if name.rpartition(".")[2].startswith("V") else 1.0
        np.testing.assert_allclose(three[name], factor * one[name], rtol=1e-15)


@pytest.mark.parametrize("kind", [numrnn.GatedAntisymmetricCell, numrnn.GatedUnstructuredCell])
def test_gate_bias_is_where_b_z_starts(kind, rng):
    params = kind(2, 5).init_params(rng, gate_bias=1.5)
    assert params["b_z"].tolist() == [1.5] * 5
    assert not params["b"].any()


@pytest.mark.parametrize("kind", [numrnn.GatedAntisymmetricCell, numrnn.GatedUnstructuredCell])
def test_gate_spread_is_how_far_b_z_lies_to_either_side(kind):
    even, spread = (
        kind(2, 5).init_params(np.random.default_rng(5), gate_bias=-3.0, gate_spread=s, dtype=np.float64)
        for s in (0.0, 2.0)
    )
    np.testing.assert_allclose(spread.pop("b_z"), [-5.0, -4.0, -3.0, -2.0, -1.0], rtol=1e-15)
    assert all(np.array_equal(spread[name], even[name]) for name in spread)
    assert kind(2, 1).init_params(np.random.default_rng(5), gate_bias=-3.0, gate_spread=2.0)["b_z"].tolist() == [-3.0]


@pytest.mark.parametrize("name", ["gate_bias", "gate_spread"])
@pytest.mark.parametrize("kind", [numrnn.AntisymmetricCell, numrnn.ElmanCell, numrnn.LSTMCell])
def test_biases_of_a_gate_without_a_gate_are_refused(kind, name, rng):
    with pytest.raises(ValueError, match=f"{name} must be 0 for the {kind.name} cell, got 1.0"):
        kind(2, 5).init_params(rng, **{name: 1.0})


@pytest.mark.parametrize("kind", [numrnn.UnstructuredCell, numrnn.GatedUnstructuredCell, numrnn.LSTMCell])
def test_rotations_of_another_cell_are_refused(kind, rng):
    with pytest.raises(ValueError, match=f"rotations must be None for the {kind.name} cell"):
        kind(2, 5).init_params(rng, rotations=(0.1, 1.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rotations": (2.0, 1.0)}, r"rotations must be \(w_min, w_max\) with w_min <= w_max, got \(2.0, 1.0\)"),
        ({"rotations": (0.0, 1.0)}, "rotations must be a finite number > 0, got 0.0"),
        ({"rotations": (1.0,)}, "rotations must be two angular speeds"),
        ({"rotations": 3.0}, "rotations must be two angular speeds"),
        ({"input_std": -1.0}, "input_std must be a finite number >= 0, got -1.0"),
        ({"gate_bias": float("nan")}, "gate_bias must be a finite number, got nan"),
        ({"gate_spread": -1.0}, "gate_spread must be a finite number >= 0, got -1.0"),
    ],
)
def test_initial_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        InitialValues(**values)


def test_a_classifier_hands_initial_values_to_its_cell(rng):
    model = Classifier(numrnn.GatedAntisymmetricCell(1, 4), 3)
    params = model.init_params(rng, weight_std=0.0, gate_bias=-1.0, gate_spread=3.0, rotations=(2.0, 2.0))
    np.testing.assert_allclose(params["b_z"], [-4.0, -2.0, 0.0, 2.0], rtol=0, atol=1e-6)
    assert params["W"][0, 1] == 2.0


@pytest.mark.parametrize("kind", [kind for kind in numrnn.CELLS.values() if kind is not numrnn.LSTMCell])
def test_input_gains_multiply_the_rows_of_V_and_nothing_else(kind):
    plain, gained = (
        kind(2, 5).init_params(np.random.default_rng(6), input_gains=gains, dtype=np.float64)
        for gains in (None, (0.1, 1000.0))
    )
    np.testing.assert_allclose(gained.pop("V"), plain["V"] * [[0.1], [1], [10], [100], [1000]], rtol=1e-14)
    assert all(np.array_equal(gained[name], plain[name]) for name in gained)


def test_the_gain_of_a_lone_unit_is_in_the_middle():
    np.testing.assert_allclose(input_gains(1, 0.5, 8.0), [2.0], rtol=1e-15)
    np.testing.assert_allclose(input_gains(4, 3.0, 3.0), [3.0] * 4, rtol=1e-15)


def test_the_scales_of_gains_are_one_for_each_row_of_V_and_element_of_b():
    scales = gain_scales(5, 0.3, 30.0)
    assert {name: scale.shape for name, scale in scales.items()} == {"V": (5, 1), "b": (5,)}
    assert all(np.array_equal(scale.ravel(), input_gains(5, 0.3, 30.0)) for scale in scales.values())


def test_bias_std_is_that_of_b_and_leaves_the_gate_alone():
    cell = numrnn.GatedAntisymmetricCell(3, 20_000 // 8)
    params = cell.init_params(np.random.default_rng(7), bias_std=4.0, gate_bias=1.5, weight_std=0.0)
    assert params["b"].std() == pytest.approx(4.0, rel=0.05)  # the standard error is 1.4 %
    assert set(params["b_z"].tolist()) == {1.5}


def test_chrono_spreads_the_time_scales_of_an_lstm_up_to_t_max():
    n, t_max = 4000, 100
    cell = numrnn.LSTMCell(2, n)
    params = cell.init_params(np.random.default_rng(8), forget_bias="chrono", t_max=t_max, dtype=np.float64)
    b_i, b_f, b_g, b_o = params["b"].reshape(4, n)
    scales = np.exp(b_f)
    assert (b_i == -b_f).all()
    assert not b_g.any()
    assert not b_o.any()
    assert scales.min() >= 1
    assert scales.max() <= t_max - 1
    assert scales.mean() == pytest.approx(t_max / 2, rel=0.05)  # uniform; the standard error is 0.9 %
    plain = cell.init_params(np.random.default_rng(8), dtype=np.float64)
    assert all(np.array_equal(params[name], plain[name]) for name in ("W", "V"))
    assert set(plain["b"][n : 2 * n]) == {1.0}


def test_a_forget_bias_may_be_any_number(rng):
    params = numrnn.LSTMCell(2, 3).init_params(rng, forget_bias=-2.5)
    assert params["b"].reshape(4, 3)[1].tolist() == [-2.5] * 3
    assert not params["b"].reshape(4, 3)[[0, 2, 3]].any()


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (numrnn.LSTMCell, {"input_gains": (1.0, 2.0)}, "input_gains must be None for the lstm cell, got"),
        (numrnn.LSTMCell, {"bias_std": 1.0}, "bias_std must be 0 for the lstm cell, got 1.0"),
        (numrnn.LSTMCell, {"t_max": 5}, "t_max must be None unless forget_bias is 'chrono', got 5"),
        (numrnn.LSTMCell, {"forget_bias": "chrono"}, "t_max must be an integer >= 3 with forget_bias='chrono'"),
        (numrnn.LSTMCell, {"forget_bias": "chrono", "t_max": 2}, "t_max must be an integer >= 3, got 2"),
        (numrnn.LSTMCell, {"forget_bias": "chrone"}, "forget_bias must be a finite number, 'chrono' or None"),
        (numrnn.LSTMCell, {"forget_bias": np.inf}, "forget_bias must be a finite number, got inf"),
        (numrnn.ElmanCell, {"forget_bias": 1.0}, "forget_bias must be None for the elman cell, got 1.0"),
        (numrnn.ElmanCell, {"forget_bias": "chrono", "t_max": 9}, "forget_bias must be None for the elman cell"),
        (numrnn.ElmanCell, {"input_gains": (2.0, 1.0)}, r"input_gains must be \(low, high\) with low <= high"),
        (numrnn.ElmanCell, {"bias_std": -1.0}, "bias_std must be a finite number >= 0, got -1.0"),
    ],
)
def test_values_that_a_cell_has_no_use_for_are_refused(kind, values, message, rng):
    with pytest.raises(ValueError, match=message):
        kind(2, 5).init_params(rng, **values)
