"""Dropout of the input: its definition, that it meets training batches only, and that it resumes bit for bit."""

import numpy as np
import pytest
from scipy import stats
from training_run import Crash, crash_at, make_trainer

from numrnn.training import update
from numrnn.training.dropout import drop_inputs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_elements_are_dropped_with_the_probability_and_the_rest_scaled(probability, dtype, rng):
    x = 1 + rng.random((40, 50, 3)).astype(dtype)
    before = x.copy()
    dropped = drop_inputs(x, probability, np.random.default_rng(0))
    kept = dropped != 0
    assert dropped.dtype == dtype
    np.testing.assert_allclose(dropped[kept], x[kept] / (1 - probability), rtol=4 * float(np.finfo(dtype).eps))
    assert stats.binomtest(int(kept.sum()), kept.size, 1 - probability).pvalue > 0.01
    assert np.array_equal(x, before)


def test_each_element_is_dropped_on_its_own():
    kept = drop_inputs(np.ones((60, 50, 3)), 0.5, np.random.default_rng(0)) > 0
    centred = kept - 0.5
    for shifted in (centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1], centred[..., 1:] * centred[..., :-1]):
        assert abs(shifted.mean()) < 4 * 0.25 / np.sqrt(shifted.size)


def test_no_dropout_returns_the_input_and_draws_nothing(rng):
    x, generator = rng.standard_normal((4, 2, 1)), np.random.default_rng(0)
    assert drop_inputs(x, 0.0, generator) is x
    assert generator.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_the_trainer_drops_in_training_and_not_in_validation(tmp_path, monkeypatch):
    sizes = []

    def watched(x, probability, rng):
        sizes.append((x.shape[1], probability))
        return drop_inputs(x, probability, rng)

    monkeypatch.setattr(update, "drop_inputs", watched)
    run = make_trainer(tmp_path / "dropped", input_dropout=0.3).run()
    assert sizes == [(size, 0.3) for size in [9, 9, 9, 9, 6] * 3]  # the batches of training, of no evaluation
    plain = make_trainer(tmp_path / "plain").run()
    first, first_plain = run.history("training")[0], plain.history("training")[0]
    assert first["loss"] != first_plain["loss"]
    images, labels = np.zeros((4, 6), np.uint8), np.zeros(4, int)
    ours = make_trainer(tmp_path / "again", input_dropout=0.3).evaluate(run.params, images, labels)
    assert ours.loss == make_trainer(tmp_path / "once more").evaluate(run.params, images, labels).loss


@pytest.mark.parametrize("call", [2, 12, 20])
def test_a_run_that_crashed_resumes_its_dropout_bit_for_bit(call, tmp_path):
    whole = make_trainer(tmp_path / "whole", input_dropout=0.3).run()
    with pytest.raises(Crash):
        make_trainer(tmp_path / "parts", input_dropout=0.3, encoder=crash_at(call)).run()
    end = make_trainer(tmp_path / "parts", input_dropout=0.3).run(resume=True)
    assert end.metrics.read_bytes() == whole.metrics.read_bytes()
    assert all(np.array_equal(end.params[name], whole.params[name]) for name in whole.params)


def test_a_checkpoint_is_not_resumed_with_another_dropout(tmp_path):
    make_trainer(tmp_path, input_dropout=0.3).run()
    with pytest.raises(ValueError, match=r"training.input_dropout must be 0.3 as in the checkpoint, got 0.2"):
        make_trainer(tmp_path, input_dropout=0.2).run(resume=True)


@pytest.mark.parametrize("probability", [-0.1, 1.0, 2, float("nan"), float("inf")])
def test_a_probability_out_of_range_is_refused(probability, tmp_path):
    with pytest.raises(ValueError, match="input_dropout must be a finite number >= 0"):
        make_trainer(tmp_path, input_dropout=probability)


def test_a_probability_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(TypeError, match="input_dropout must be a finite number >= 0 and < 1, got 'half'"):
        make_trainer(tmp_path, input_dropout="half")
