"""The classifier: published parameter counts, its gradient, reading of the last valid state."""

import json

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, draw_params, worst

import gradcheck
import numrnn
from numrnn import backend
from numrnn.training import Classifier, softmax_cross_entropy

LABELS = np.array([4, 0, 2])
LENGTHS = np.array([6, 1, 4])
DEVICE = xp.Device("device1")


@pytest.fixture
def model(cell):
    return Classifier(cell, n_classes=5)


@pytest.fixture
def params(model, rng):
    return draw_params(model, rng)


@pytest.fixture
def x(rng):
    return rng.standard_normal((6, 3, 3))


# Chang et al., 2019, tables 1 and 2: pixels of MNIST (m = 1) and of CIFAR-10 (m = 3), ten classes.
@pytest.mark.parametrize(
    ("cell", "published"),
    [
        (numrnn.AntisymmetricCell(1, 128), 9_674),
        (numrnn.GatedAntisymmetricCell(1, 128), 9_930),
        (numrnn.LSTMCell(1, 128), 67_850),
        (numrnn.AntisymmetricCell(3, 256), 36_234),
        (numrnn.GatedAntisymmetricCell(3, 256), 37_258),
        (numrnn.LSTMCell(3, 128), 68_874),
        (numrnn.GatedUnstructuredCell(3, 196, step_size=0.01), 41_954),
    ],
    ids=str,
)
def test_parameter_count_is_the_published_one(cell, published):
    assert Classifier(cell, n_classes=10).parameter_count() == published


def test_parameters_have_the_names_and_shapes_that_the_model_says(model, rng):
    params = model.init_params(rng)
    assert {name: p.shape for name, p in params.items()} == model.parameter_shapes
    assert params["W_out"].shape == (5, 4)


def test_the_readout_starts_with_variance_one_over_n_and_no_bias(rng):
    params = Classifier(numrnn.ElmanCell(1, 400), 100).init_params(rng)
    assert abs(params["W_out"].std() * 20 - 1) < 4 / np.sqrt(2 * 40_000)  # four standard errors
    assert not params["b_out"].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_initial_values_have_the_dtype_asked_for(model, rng, dtype):
    assert {p.dtype for p in model.init_params(rng, dtype=dtype).values()} == {np.dtype(dtype)}


def test_weight_std_reaches_the_cell_and_not_the_readout(model):
    one, four = (model.init_params(np.random.default_rng(3), weight_std=s) for s in (1.0, 4.0))
    recurrent = [name for name in model.cell.parameter_shapes if name.rpartition(".")[2] in ("W", "M_A", "M_W")]
    assert recurrent
    assert all(np.array_equal(four[name], 4 * one[name]) for name in recurrent)
    assert all(np.array_equal(four[name], one[name]) for name in set(one) - set(recurrent))


def test_logits_are_an_affine_function_of_the_hidden_part_of_the_last_state(model, params, x):
    core = {name: params[name] for name in model.cell.parameter_shapes}
    h = numrnn.forward(model.cell, core, x)[0][-1][:, :4]
    wanted = np.einsum("kn,bn->bk", params["W_out"], h) + params["b_out"]
    assert worst(model.logits(params, x), wanted) < 20 * EPS64


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full rows", "padded rows"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_is_that_of_the_loss(model, params, x, lengths, dtype):
    def at(p, call):
        return call(p, x.astype(p["W_out"].real.dtype), LABELS, lengths=lengths)

    gradcheck.assert_gradient(
        lambda p: at(p, model.loss),
        lambda p: at(p, model.loss_and_gradient)[1],
        {name: p.astype(dtype) for name, p in params.items()},
        sizes={"B": 3, "T": 6, "K": 5},
    )


@pytest.mark.parametrize("every", [2, "sqrt"])
def test_checkpoints_change_no_bit_of_loss_gradient_and_logits(model, params, x, every):
    loss, grads, logits = model.loss_and_gradient(params, x, LABELS)
    loss_, grads_, logits_ = model.loss_and_gradient(params, x, LABELS, recompute_every=every)
    assert loss_ == loss
    assert np.array_equal(logits_, logits)
    assert all(np.array_equal(grads_[name], grads[name]) for name in params)


def test_loss_and_logits_without_a_tape_are_those_with_one(model, params, x):
    loss, _, logits = model.loss_and_gradient(params, x, LABELS, lengths=LENGTHS)
    assert np.array_equal(model.logits(params, x, LENGTHS), logits)
    assert model.loss(params, x, LABELS, lengths=LENGTHS) == loss
    assert loss == softmax_cross_entropy(logits, LABELS)[0]


def test_a_padded_row_gives_the_logits_of_its_valid_part(model, params, x):
    padded = model.logits(params, x, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = model.logits(params, x[:length, row : row + 1])
        assert worst(padded[row], alone[0]) < 20 * EPS64


def test_gradients_have_the_shapes_and_dtype_of_the_parameters(model, params, x):
    params = {name: p.astype(np.float32) for name, p in params.items()}
    loss, grads, logits = model.loss_and_gradient(params, x.astype(np.float32), LABELS)
    assert {name: g.shape for name, g in grads.items()} == model.parameter_shapes
    assert {a.dtype for a in (loss, logits, *grads.values())} == {np.dtype(np.float32)}


def test_state_gradients_are_those_of_the_loss_with_respect_to_the_first_state(model, params, x):
    got = model.state_gradients(params, x, LABELS)
    assert got.shape == (7, 3, model.cell.state_size)
    core = {name: params[name] for name in model.cell.parameter_shapes}

    def loss(h0):
        last = numrnn.forward(model.cell, core, x, h0)[0][-1][:, :4]
        return softmax_cross_entropy(last @ params["W_out"].T + params["b_out"], LABELS)[0]

    gradcheck.assert_gradient(loss, got[0], np.zeros(got[0].shape))


def test_predictions_are_the_places_of_the_largest_logits(model, params, x):
    logits = model.logits(params, x, LENGTHS)
    assert np.array_equal(model.predict(params, x, LENGTHS), np.argmax(logits, axis=1))


def test_accuracy_counts_the_rows_predicted_rightly(model, params, x):
    labels = model.predict(params, x)
    labels[1] = (labels[1] + 1) % 5
    assert model.accuracy(params, x, labels) == 2 / 3


def test_the_model_runs_on_another_librarys_device(model, params, x):
    moved = {name: xp.asarray(p, device=DEVICE) for name, p in params.items()}
    x_, labels_ = xp.asarray(x, device=DEVICE), xp.asarray(LABELS, device=DEVICE)
    loss, grads, logits = model.loss_and_gradient(params, x, LABELS)
    loss_, grads_, logits_ = model.loss_and_gradient(moved, x_, labels_)
    assert abs(float(loss_) - loss) < 20 * EPS64 * loss
    pairs = [(logits_, logits), (model.logits(moved, x_), logits), *((grads_[name], grads[name]) for name in params)]
    for got, wanted in pairs:
        assert got.device == DEVICE
        assert worst(backend.to_numpy(got), wanted) < 100 * EPS64


def test_config_survives_json_and_holds_the_cells(model):
    config = json.loads(json.dumps(model.config()))
    assert (config["n_classes"], config["cell"]) == (5, model.cell.config())


def test_a_loss_that_is_not_finite_is_refused_before_the_backward_pass(model, params, x):
    params["b_out"][:] = [1e308, -1e308, 0, 0, 0]
    params["b_out"] *= 1.7
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="loss must be finite"):
        model.loss_and_gradient(params, x, np.array([1, 1, 1]))


def test_a_missing_readout_is_refused(model, params, x):
    del params["b_out"]
    with pytest.raises(ValueError, match="params must have the names .*W_out, b_out, got"):
        model.logits(params, x)


def test_a_readout_of_another_width_is_refused(model, params, x):
    params["W_out"] = params["W_out"][:, :3]
    with pytest.raises(ValueError, match=r"params\['W_out'\] must be \(5, 4\), got \(5, 3\)"):
        model.logits(params, x)


def test_a_readout_of_another_precision_is_refused(model, params, x):
    params["W_out"] = params["W_out"].astype(np.float32)
    with pytest.raises(TypeError, match=r"one precision, got .*float64 and params\['W_out'\] of float32"):
        model.loss_and_gradient(params, x, LABELS)


def test_a_sequence_without_steps_is_refused(model, params, x):
    with pytest.raises(ValueError, match=r"x must be \(T, B, m=3\)"):
        model.logits(params, x[:0])


def test_a_label_of_k_is_refused(model, params, x):
    with pytest.raises(ValueError, match="labels must be from 0 to K - 1 = 4, got 5"):
        model.loss_and_gradient(params, x, LABELS + 1)


def test_something_that_is_no_cell_is_refused():
    with pytest.raises(TypeError, match="cell must be a Cell, got str"):
        Classifier("lstm", 10)


def test_no_classes_are_refused(cell):
    with pytest.raises(ValueError, match="n_classes must be an integer >= 1, got 0"):
        Classifier(cell, 0)
