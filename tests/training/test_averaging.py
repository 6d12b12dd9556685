"""Averages of the weights: their definitions, that they leave the training alone, and that they resume bit for bit."""

import dataclasses
import json

import numpy as np
import pytest
from training_run import Crash, crash_at, make_trainer

from numrnn.training import Adam, CosineSchedule, load_checkpoint
from numrnn.training.averaging import average_weight, move_average
from numrnn.training.config import check_resumable

STEPS = 15  # of the run in training_run.py


def averaged(kind, updates, values):
    average = {"w": np.zeros(2)}
    for step, value in enumerate(values, start=1):
        average = move_average(average, {"w": value}, average_weight(kind, updates, step, len(values)))
    return average["w"]


def test_the_tail_average_is_the_mean_of_the_last_updates(rng):
    values = rng.standard_normal((20, 2))
    np.testing.assert_allclose(averaged("tail", 6, values), values[-6:].mean(axis=0), rtol=1e-14)
    assert np.array_equal(averaged("tail", 1, values), values[-1])
    np.testing.assert_allclose(averaged("tail", 50, values), values.mean(axis=0), rtol=1e-13)


def test_the_exponential_average_starts_as_the_mean_and_then_forgets(rng):
    values = rng.standard_normal((20, 2))
    np.testing.assert_allclose(averaged("exponential", 100, values), values.mean(axis=0), rtol=1e-14)
    expected = values[:4].mean(axis=0)
    for value in values[4:]:
        expected = expected + (value - expected) / 4
    np.testing.assert_allclose(averaged("exponential", 4, values), expected, rtol=1e-13)


@pytest.mark.parametrize("kind", ["exponential", "tail"])
def test_averaging_leaves_the_course_of_the_training_alone(kind, tmp_path):
    plain = make_trainer(tmp_path / "plain").run()
    run = make_trainer(tmp_path / kind, average=kind, average_updates=6).run()
    assert run.history("training") == plain.history("training")
    assert all(np.array_equal(run.params[name], plain.params[name]) for name in plain.params)
    assert plain.evaluated is plain.params
    assert run.evaluated is run.average
    assert any(not np.array_equal(run.average[name], run.params[name]) for name in run.params)


def test_validation_is_of_the_average(tmp_path):
    trainer = make_trainer(tmp_path, average="tail", average_updates=6)
    run = trainer.run()
    rows = trainer.validation_rows
    again = trainer.evaluate(run.average, trainer.images[rows], trainer.labels[rows])
    last = run.history("validation")[-1]
    assert (last["loss"], last["accuracy"]) == (again.loss, again.accuracy)
    assert last["loss"] != trainer.evaluate(run.params, trainer.images[rows], trainer.labels[rows]).loss


@pytest.mark.parametrize("kind", ["exponential", "tail"])
@pytest.mark.parametrize("call", [2, 12, 20])
def test_a_run_that_crashed_resumes_its_average_bit_for_bit(kind, call, tmp_path):
    whole = make_trainer(tmp_path / "whole", average=kind, average_updates=6).run()
    crashing = make_trainer(tmp_path / "parts", average=kind, average_updates=6, encoder=crash_at(call))
    with pytest.raises(Crash):
        crashing.run()
    end = make_trainer(tmp_path / "parts", average=kind, average_updates=6).run(resume=True)
    assert end.metrics.read_bytes() == whole.metrics.read_bytes()
    assert all(np.array_equal(end.average[name], whole.average[name]) for name in whole.average)
    stored = load_checkpoint(end.checkpoint).average
    assert all(np.array_equal(stored[name], whole.average[name]) for name in whole.average)


def test_a_run_with_a_tail_is_not_made_longer(tmp_path):
    make_trainer(tmp_path, average="tail").run()
    with pytest.raises(ValueError, match="epochs must stay 3, for the average of the weights depends on it, got 4"):
        make_trainer(tmp_path, average="tail", epochs=4).run(resume=True)


def test_a_checkpoint_older_than_a_setting_goes_on_with_its_default(tmp_path):
    trainer = make_trainer(tmp_path, optimizer=Adam(CosineSchedule(learning_rate=0.05, total_steps=STEPS)))
    old = json.loads(json.dumps(trainer.describe()))
    for name in ("input_std", "gate_bias", "gate_spread", "rotations", "average", "average_updates"):
        del old["training"][name]
    assert check_resumable(old, trainer.describe()) is None
    trainer.config = dataclasses.replace(trainer.config, gate_bias=1.0)
    trainer._description = None
    assert check_resumable(old, trainer.describe()) == "training.gate_bias must be 0.0 as in the checkpoint, got 1.0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": "median"}, "average must be one of 'exponential', 'tail', got 'median'"),
        ({"average_updates": 0}, "average_updates must be an integer >= 1, got 0"),
    ],
)
def test_an_average_that_there_is_not_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, **changes)
