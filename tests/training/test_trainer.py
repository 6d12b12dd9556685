"""The training loop: what a run computes, and what it refuses."""

import dataclasses
import json
import math

import numpy as np
import pytest
from helpers import EPS64
from recorded_runs import STEPS, Recorder, assert_same_run, rows_of
from training_run import CONFIG, encode, make_data, make_model, make_trainer

from numrnn.backend import random_generators
from numrnn.training import (
    Adam,
    TrainingConfig,
    clip_by_global_norm,
    load_checkpoint,
    softmax_cross_entropy,
)
from numrnn.training.plan import PURPOSES
from numrnn.training.store import begin_run

# ---------------------------------------------------------------- what a run computes


def test_a_run_does_what_a_plain_loop_does(tmp_path):
    """The loop written out, with nothing but the parts that have tests of their own."""
    result = make_trainer(tmp_path, log_interval=1).run()
    generators, model, optimizer = random_generators(5, PURPOSES), make_model(), Adam(0.05)
    images, labels = make_data()
    training = np.sort(generators["split"].permutation(50)[8:])
    params = model.init_params(generators["init"])
    state, step = optimizer.init(params), 0
    records = result.history("training")
    for _ in range(3):
        order = generators["batches"].permutation(training)
        for first in range(0, 42, 9):
            rows = order[first : first + 9]
            x = encode(images[rows], generators["noise"]).astype(np.float32)
            loss, grads, logits = model.loss_and_gradient(params, x, labels[rows])
            grads, norm = clip_by_global_norm(grads, 0.5)
            params, state = optimizer.update(params, grads, state)
            step += 1
            share = np.mean(np.argmax(logits, axis=1) == labels[rows])
            assert records[step - 1]["step"] == step
            assert records[step - 1]["loss"] == pytest.approx(float(loss), rel=4 * EPS64)
            assert records[step - 1]["accuracy"] == pytest.approx(share, rel=4 * EPS64)
            assert records[step - 1]["gradient_norm"] == norm
            assert records[step - 1]["learning_rate"] == 0.05
    assert step == STEPS
    for name in params:
        assert np.array_equal(result.params[name], params[name])


def test_a_run_learns(tmp_path):
    result = make_trainer(tmp_path, epochs=40).run()
    records = result.history("training")
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    assert records[-1]["accuracy"] > 0.8


def test_one_seed_gives_one_run_bit_for_bit(tmp_path, reference):
    assert_same_run(make_trainer(tmp_path).run(), reference)


def test_another_seed_gives_another_run(tmp_path, reference):
    assert make_trainer(tmp_path, seed=6).run().metrics.read_bytes() != reference.metrics.read_bytes()


def test_an_epoch_shows_every_training_image_once_in_an_order_of_its_own(tmp_path):
    recorder = Recorder()
    trainer = make_trainer(tmp_path, encoder=recorder, epochs=2)
    trainer.run()
    epochs = [rows_of(np.concatenate(recorder.batches[first : first + 5])) for first in (0, 7)]
    assert [sorted(rows) for rows in epochs] == [trainer.training_rows.tolist()] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])


def test_the_last_batch_of_an_epoch_holds_what_is_left(tmp_path):
    recorder = Recorder()
    make_trainer(tmp_path, encoder=recorder, epochs=1, validation_size=0, batch_size=16).run()
    assert [len(batch) for batch in recorder.batches] == [16, 16, 16, 2]


def test_validation_images_are_never_trained_on(tmp_path):
    recorder = Recorder()
    trainer = make_trainer(tmp_path, encoder=recorder)
    trainer.run()
    trained = {row for first in (0, 7, 14) for row in rows_of(np.concatenate(recorder.batches[first : first + 5]))}
    validated = {row for first in (5, 12, 19) for row in rows_of(np.concatenate(recorder.batches[first : first + 2]))}
    assert validated == set(trainer.validation_rows.tolist())
    assert len(validated) == 8
    assert trained == set(range(50)) - validated


def test_the_validation_split_follows_the_seed(tmp_path):
    one, two, three = (make_trainer(tmp_path, seed=seed).validation_rows for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_more_validation_leaves_the_initial_values_alone(tmp_path):
    few = make_trainer(tmp_path / "a", validation_size=4).run().checkpoint.parent
    many = make_trainer(tmp_path / "b", validation_size=20, epochs=1).run().checkpoint.parent
    assert few != many
    first = [begin_run(make_trainer(tmp_path, validation_size=size)).params for size in (4, 20)]
    assert all(np.array_equal(first[0][name], first[1][name]) for name in first[0])


def test_iterations_end_a_run_in_the_middle_of_an_epoch(tmp_path):
    result = make_trainer(tmp_path, epochs=None, iterations=7).run()
    assert (result.step, result.total_steps) == (7, 7)
    assert [record["step"] for record in result.history("validation")] == [5, 7]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_and_optimizer_keep_the_dtype_asked_for(tmp_path, dtype):
    result = make_trainer(tmp_path, dtype=dtype, epochs=1).run()
    state = load_checkpoint(result.checkpoint).optimizer
    assert {array.dtype for array in [*result.params.values(), *state["mean"].values()]} == {np.dtype(dtype)}


def test_recomputed_states_change_nothing(tmp_path, reference):
    result = make_trainer(tmp_path, recompute_every="sqrt").run()
    assert result.metrics.read_bytes() == reference.metrics.read_bytes()


def test_the_images_and_labels_are_left_as_they_are(tmp_path):
    data = make_data()
    for array in data:
        array.flags.writeable = False
    make_trainer(tmp_path, data=data, epochs=1).run()


# ---------------------------------------------------------------- evaluation


def test_evaluation_is_the_mean_over_all_images_whatever_the_batches(tmp_path, reference):
    trainer = make_trainer(tmp_path, encoder=lambda images, rng: images.T[:, :, None] / 255)
    images, labels = make_data()
    got = trainer.evaluate(reference.params, images, labels)
    x = (images.T[:, :, None] / 255).astype(np.float32)
    logits = make_model().logits(reference.params, x)
    loss, _ = softmax_cross_entropy(logits, labels)
    assert got.loss == pytest.approx(float(loss), rel=20 * float(np.finfo(np.float32).eps))
    assert np.array_equal(got.predictions, np.argmax(logits, axis=1))
    assert got.accuracy == np.mean(got.predictions == labels)


def test_evaluation_draws_the_same_noise_at_each_call(tmp_path, reference):
    trainer, data = make_trainer(tmp_path), make_data()
    first, second = (trainer.evaluate(reference.params, *data) for _ in range(2))
    assert first.loss == second.loss


def test_validation_is_evaluation_of_the_images_held_out(tmp_path, reference):
    trainer = make_trainer(tmp_path)
    rows = trainer.validation_rows
    got = trainer.evaluate(reference.params, *(part[rows] for part in make_data()))
    last = reference.history("validation")[-1]
    assert (got.loss, got.accuracy) == (last["loss"], last["accuracy"])


def test_evaluation_refuses_labels_out_of_range(tmp_path, reference):
    images, labels = make_data()
    with pytest.raises(ValueError, match="labels must be from 0 to K - 1 = 2, got values from 1 to 3"):
        make_trainer(tmp_path).evaluate(reference.params, images, labels + 1)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"epochs": None},
            ValueError,
            "exactly one of epochs, iterations and seconds .* got epochs None, iterations None, seconds None",
        ),
        (
            {"iterations": 5},
            ValueError,
            "exactly one of epochs, iterations and seconds .* got epochs 3, iterations 5, seconds None",
        ),
        ({"epochs": 0}, ValueError, "epochs must be an integer >= 1, got 0"),
        ({"epochs": 2.0}, TypeError, r"epochs must be an integer >= 1, got 2\.0"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer >= 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"clip": 0}, ValueError, "clip must be a finite number > 0, got 0"),
        ({"clip": math.nan}, ValueError, "clip must be a finite number > 0, got nan"),
        ({"weight_std": -1}, ValueError, "weight_std must be a finite number >= 0, got -1"),
        ({"validation_size": -1}, ValueError, "validation_size must be an integer >= 0, got -1"),
        ({"log_interval": 0}, ValueError, "log_interval must be an integer >= 1, got 0"),
        ({"checkpoint_interval": 0}, ValueError, "checkpoint_interval must be an integer >= 1, got 0"),
        ({"evaluation_batch_size": 0}, ValueError, "evaluation_batch_size must be an integer >= 1, got 0"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of 'float32', 'float64', got 'float16'"),
        ({"backend": "torch"}, ValueError, "backend must be one of 'numpy', 'cupy', got 'torch'"),
        ({"validation_size": 50}, ValueError, "validation_size must be less than the 50 sequences, got 50"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be of type Optimizer, got str"),
        ({"model": "lstm"}, TypeError, "model must be of type Model, got str"),
        ({"encoder": 3}, TypeError, "encoder must be callable, or None for Sequences, got int"),
    ],
    ids=lambda value: f"{value}" if isinstance(value, dict) else "",
)
def test_a_bad_setting_is_refused_before_any_work(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        make_trainer(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda i, y: (i, y + 1), ValueError, "labels must be from 0 to K - 1 = 2, got values from 1 to 3"),
        (lambda i, y: (i, y - 1), ValueError, "labels must be from 0 to K - 1 = 2, got values from -1 to 1"),
        (lambda i, y: (i, y.astype(float)), TypeError, "labels must be integers, got float64"),
        (lambda i, y: (i, y[:-1]), ValueError, r"images must be \(N, ...\) and labels \(N,\).*\(50, 6\) and \(49,\)"),
        (lambda i, y: (i[:0], y[:0]), ValueError, r"with N >= 1, got \(0, 6\) and \(0,\)"),
        (lambda i, y: [i, y], TypeError, "data must be Sequences, or a tuple of two NumPy arrays"),
        (lambda i, y: (i, y.tolist()), TypeError, "data must be Sequences, or a tuple of two NumPy arrays"),
    ],
)
def test_bad_data_are_refused_before_any_work(tmp_path, spoil, error, message):
    with pytest.raises(error, match=message):
        make_trainer(tmp_path / "out", data=spoil(*make_data()))
    assert not (tmp_path / "out").exists()


def test_a_config_that_is_no_config_is_refused(tmp_path):
    trainer = make_trainer(tmp_path)
    with pytest.raises(TypeError, match="config must be of type TrainingConfig, got dict"):
        type(trainer)(trainer.model, trainer.optimizer, encode, make_data(), CONFIG, tmp_path)


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig(epochs=1).epochs = 2


def test_a_config_survives_json():
    config = TrainingConfig(**CONFIG, recompute_every="sqrt")
    assert TrainingConfig(**json.loads(json.dumps(config.config()))) == config


@pytest.mark.parametrize(
    ("changes", "per_epoch", "total"),
    [({"epochs": 4}, 469, 1876), ({"iterations": 1000}, 469, 1000), ({"epochs": 1, "validation_size": 96}, 468, 468)],
)
def test_a_config_tells_a_schedule_the_number_of_steps(changes, per_epoch, total):
    config = TrainingConfig(batch_size=128, **changes)
    assert (config.steps_per_epoch(60_000), config.total_steps(60_000)) == (per_epoch, total)
