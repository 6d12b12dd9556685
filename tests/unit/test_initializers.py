"""Initial values: their variances, the gate's bias, and matrices of rotations."""

import numpy as np
import pytest

import numrnn
from numrnn.initializers import InitialValues, block_rotations
from numrnn.training import Classifier


def antisymmetric_part(cell, params):
    return cell.recurrent_matrix(params["W"]) + cell.diffusion * np.eye(cell.hidden_size)


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
        factor = 3.0 if name.startswith("V") else 1.0
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
