"""Softmax cross-entropy, mean squared error and accuracy."""

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, worst
from scipy.special import logsumexp, softmax

import gradcheck
from numrnn import backend
from numrnn.training import accuracy, mean_squared_error, softmax_cross_entropy

DEVICE = xp.Device("device1")
EPS32 = np.finfo(np.float32).eps


@pytest.fixture
def batch(rng):
    return 3 * rng.standard_normal((5, 4)), np.array([2, 0, 3, 1, 2])


def move(array):
    return xp.asarray(array, device=DEVICE)


def test_cross_entropy_is_minus_the_mean_log_probability_of_the_labels(batch):
    logits, labels = batch
    wanted = np.mean(logsumexp(logits, axis=1) - logits[np.arange(5), labels])
    loss, _ = softmax_cross_entropy(logits, labels)
    assert abs(loss - wanted) < 10 * EPS64 * np.abs(logits).max()


def cross_entropy_of(labels):
    """Return loss and gradient as functions of the logits."""
    return lambda z: softmax_cross_entropy(z, labels)[0], lambda z: softmax_cross_entropy(z, labels)[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_of_cross_entropy_is_right(batch, dtype):
    logits, labels = batch
    gradcheck.assert_gradient(*cross_entropy_of(labels), logits.astype(dtype), directions=10)


def test_every_element_of_the_gradient_of_cross_entropy_is_right(batch):
    logits, labels = batch
    gradcheck.assert_gradient(*cross_entropy_of(labels), logits, method="elements")


def test_cross_entropy_is_analytic_where_two_logits_share_the_maximum():
    logits, labels = np.array([[1.5, 1.5, -0.5], [2.0, 0.25, 2.0]]), np.array([0, 1])
    report = gradcheck.assert_gradient(*cross_entropy_of(labels), logits)
    assert report.method.startswith("complex step")


def test_gradient_of_cross_entropy_itself_has_a_complex_step(batch, rng):
    logits, labels = batch
    direction = rng.standard_normal(logits.shape)
    moved = softmax_cross_entropy(logits + 1e-30j * direction, labels)[1].imag / 1e-30
    p = softmax(logits, axis=1)
    wanted = p * (direction - np.sum(p * direction, axis=1, keepdims=True)) / 5
    assert worst(moved, wanted) < 1e-12


def test_rows_of_the_gradient_sum_to_zero(batch):
    logits, labels = batch
    _, d_logits = softmax_cross_entropy(logits, labels)
    assert np.abs(d_logits).max() > 0.05
    assert np.abs(d_logits.sum(axis=1)).max() < 4 * EPS64


def test_logits_of_plus_and_minus_ten_thousand_do_not_overflow_float32():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        loss, d_logits = softmax_cross_entropy(logits, np.array([1, 2]))
    assert abs(loss - (2e4 + np.log(2)) / 2) < 4 * EPS32 * 1e4
    assert np.array_equal(d_logits, np.array([[0.5, -0.5, 0], [0, 0.25, -0.25]], np.float32))


def test_adding_a_constant_to_a_row_changes_nothing(batch):
    logits, labels = batch
    shifted = logits + np.array([[1024.0], [-1024.0], [2.0], [-4.0], [512.0]])
    loss, d_logits = softmax_cross_entropy(logits, labels)
    loss_, d_logits_ = softmax_cross_entropy(shifted, labels)
    assert abs(loss_ - loss) < 2048 * EPS64
    assert worst(d_logits_, d_logits) < 4096 * EPS64


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_loss_and_gradient_keep_the_dtype(batch, dtype):
    logits, labels = batch
    loss, d_logits = softmax_cross_entropy(logits.astype(dtype), labels)
    assert (loss.dtype, d_logits.dtype) == (dtype, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_labels_of_any_integer_dtype_give_one_loss(batch, dtype):
    logits, labels = batch
    assert softmax_cross_entropy(logits, labels.astype(dtype))[0] == softmax_cross_entropy(logits, labels)[0]


def test_float32_agrees_with_float64_to_float32_rounding(batch):
    logits, labels = batch
    loss, d_logits = softmax_cross_entropy(logits.astype(np.float32), labels)
    loss64, d_logits64 = softmax_cross_entropy(logits.astype(np.float32).astype(np.float64), labels)
    assert abs(loss - loss64) < 10 * EPS32 * loss64
    assert worst(d_logits, d_logits64) < 10 * EPS32


def test_cross_entropy_runs_on_another_librarys_device(batch):
    logits, labels = batch
    loss, d_logits = softmax_cross_entropy(logits, labels)
    loss_, d_logits_ = softmax_cross_entropy(move(logits), move(labels))
    assert d_logits_.device == DEVICE
    assert abs(float(loss_) - loss) < 4 * EPS64 * loss
    assert worst(backend.to_numpy(d_logits_), d_logits) < 4 * EPS64


def test_complex_cross_entropy_runs_on_another_librarys_device(batch):
    logits, labels = batch
    logits = logits + 1e-30j
    loss, _ = softmax_cross_entropy(move(logits), move(labels))
    assert abs(complex(loss) - softmax_cross_entropy(logits, labels)[0]) < 4 * EPS64


def test_the_logits_are_left_as_they_are(batch):
    logits, labels = batch
    before = logits.copy()
    softmax_cross_entropy(logits, labels)
    assert np.array_equal(logits, before)


def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_at_the_label(batch):
    logits, _ = batch
    labels = np.argmax(logits, axis=1)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 4
    assert accuracy(logits, labels) == 3 / 5


def test_accuracy_runs_on_another_librarys_device(batch):
    logits, labels = batch
    labels = np.where(np.arange(5) < 2, np.argmax(logits, axis=1), (np.argmax(logits, axis=1) + 1) % 4)
    assert accuracy(move(logits), move(labels)) == 2 / 5


def test_mean_squared_error_is_the_mean_over_batch_and_columns(rng):
    outputs, targets = rng.standard_normal((2, 3, 4))
    loss, _ = mean_squared_error(outputs, targets)
    assert abs(loss - np.mean((outputs - targets) ** 2)) < 10 * EPS64 * loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_of_mean_squared_error_is_right(rng, dtype):
    outputs, targets = rng.standard_normal((2, 3, 4)).astype(dtype)

    def at(outputs):
        return mean_squared_error(outputs, targets.astype(outputs.real.dtype))

    gradcheck.assert_gradient(lambda p: at(p)[0], lambda p: at(p)[1], outputs)


def test_mean_squared_error_keeps_float32_and_runs_on_another_librarys_device(rng):
    outputs, targets = rng.standard_normal((2, 3, 4)).astype(np.float32)
    loss, d_outputs = mean_squared_error(move(outputs), move(targets))
    assert (loss.dtype, d_outputs.dtype, d_outputs.device) == (xp.float32, xp.float32, DEVICE)


def test_targets_of_another_shape_are_refused(rng):
    with pytest.raises(ValueError, match=r"targets must be \(B=3, K=4\), got \(3, 1\)"):
        mean_squared_error(rng.standard_normal((3, 4)), rng.standard_normal((3, 1)))


def test_a_label_of_k_is_refused(batch):
    logits, labels = batch
    labels[3] = 4
    with pytest.raises(ValueError, match="labels must be from 0 to K - 1 = 3, got 4"):
        softmax_cross_entropy(logits, labels)


def test_a_negative_label_is_refused(batch):
    logits, labels = batch
    labels[3] = -1
    with pytest.raises(ValueError, match="labels must be from 0 to K - 1 = 3, got -1"):
        softmax_cross_entropy(logits, labels)


def test_labels_that_are_floats_are_refused(batch):
    logits, labels = batch
    with pytest.raises(TypeError, match="labels must be integers, got float64"):
        softmax_cross_entropy(logits, labels.astype(float))


def test_labels_that_are_truth_values_are_refused(batch):
    logits, labels = batch
    with pytest.raises(TypeError, match="labels must be integers, got bool"):
        softmax_cross_entropy(logits, labels > 1)


def test_too_few_labels_are_refused(batch):
    logits, labels = batch
    with pytest.raises(ValueError, match=r"labels must be \(B=5,\), got \(4,\)"):
        softmax_cross_entropy(logits, labels[:4])


def test_one_hot_labels_are_refused(batch):
    logits, labels = batch
    with pytest.raises(ValueError, match=r"labels must be \(B=5,\), got \(5, 4\)"):
        softmax_cross_entropy(logits, np.eye(4, dtype=int)[labels])


def test_integer_logits_are_refused(batch):
    _, labels = batch
    with pytest.raises(TypeError, match="logits must be of dtype .* got int64"):
        softmax_cross_entropy(np.ones((5, 4), np.int64), labels)


def test_logits_of_wrong_rank_are_refused(batch):
    logits, labels = batch
    with pytest.raises(ValueError, match=r"logits must be \(B, K\).*, got \(4,\)"):
        softmax_cross_entropy(logits[0], labels)


def test_labels_on_another_device_are_refused(batch):
    logits, labels = batch
    with pytest.raises(ValueError, match="labels must be on"):
        softmax_cross_entropy(move(logits), xp.asarray(labels))


def test_labels_of_another_library_are_refused(batch):
    logits, labels = batch
    with pytest.raises(TypeError, match="of the library of logits"):
        softmax_cross_entropy(move(logits), labels)


def test_accuracy_refuses_labels_out_of_range(batch):
    logits, labels = batch
    with pytest.raises(ValueError, match="labels must be from 0 to"):
        accuracy(logits, labels + 2)
