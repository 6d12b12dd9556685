"""Runs whose length is in seconds: they end with the time and with small learning rates, however slow the machine is.

The clock is that of `training_run.Ticking`, which the encoder moves and nothing else: so these runs are deterministic.
"""

import importlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import standin_cupy
import training_run
from helpers import EPS64
from training_run import Crash, encode, make_data, make_model, make_timed_trainer, make_trainer

import numrnn
from numrnn.backend import asarray
from numrnn.datasets import PixelEncoder
from numrnn.training import (
    SGD,
    Adam,
    Classifier,
    ConstantSchedule,
    TimedCosineSchedule,
    Trainer,
    TrainingConfig,
    list_checkpoints,
    load_checkpoint,
    read_json_lines,
    training_seconds,
)

LAST = 13  # of the run of make_timed_trainer


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An uninterrupted run."""
    trainer, _ = make_timed_trainer(tmp_path_factory.mktemp("timed"))
    return trainer.run()


def assert_same_run(result, reference):
    assert not result.interrupted
    assert result.step == reference.step == LAST
    assert result.metrics.read_bytes() == reference.metrics.read_bytes()
    assert result.checkpoint.read_bytes() == reference.checkpoint.read_bytes()
    assert all(np.array_equal(result.params[name], array) for name, array in reference.params.items())


class Acting:
    """Encodes like `encode`, and does something at its call of this number."""

    def __init__(self, call, action):
        self.left, self.action = call, action

    def __call__(self, images, rng):
        self.left -= 1
        if self.left == 0:
            self.action()
        return encode(images, rng)


def crash():
    raise Crash


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


# ---------------------------------------------------------------- the end


def slow_machine(rng):
    """Return durations of updates, random, and for a while in the middle of the run a hundred times as long."""
    durations = rng.uniform(0.5, 1.5, 1000) * 10 ** rng.uniform(-1, 0)
    first = rng.integers(1, 20)
    durations[first : first + rng.integers(1, 60)] *= 100
    return durations


@pytest.mark.parametrize("seed", range(25))
def test_a_run_on_a_machine_that_becomes_slow_ends_within_one_update_of_its_seconds(tmp_path, seed):
    durations = slow_machine(np.random.default_rng(seed))
    seconds = float(np.random.default_rng([seed, 1]).uniform(2, 30))
    trainer, ticking = make_timed_trainer(
        tmp_path, seconds=seconds, durations=durations, validation_size=0, log_interval=1, checkpoint_interval=1000
    )
    result = trainer.run()
    took = ticking.now - 1000
    assert not result.interrupted
    assert took - durations[result.step - 1] < seconds <= took * (1 + 10 * EPS64)
    # Each update has the rate of the moment at which it began; sums of durations round otherwise here.
    begins = np.concatenate([[0], np.cumsum(durations)])[: result.step]
    wanted = [0.05 * (1 + math.cos(math.pi * s / seconds)) / 2 for s in begins]
    got = [record["learning_rate"] for record in result.history("training")]
    assert [record["step"] for record in result.history("training")] == list(range(1, result.step + 1))
    assert np.abs(np.subtract(got, wanted)).max() <= 0.05 * 10 * (1000 / seconds + result.step) * EPS64


@pytest.mark.parametrize("seed", range(10))
def test_validation_counts_and_no_update_begins_after_the_seconds(tmp_path, seed):
    begins = []

    def noting(images, rng):
        begins.append((ticking.now - next_duration[0], len(images)))
        return encode(images, rng)

    durations, next_duration = slow_machine(np.random.default_rng(seed)), [0.0]

    def played():
        for duration in durations:
            next_duration[0] = duration
            yield duration

    trainer, ticking = make_timed_trainer(tmp_path, seconds=20.0, durations=played(), encoder=noting)
    result = trainer.run()
    updates = [begin - 1000 for begin, size in begins if size > 5]  # batches of validation have 5 images or 3
    assert len(updates) == result.step
    assert updates[-1] < 20.0 <= ticking.now - 1000
    validations = [record["step"] for record in result.history("validation")]
    assert validations == [*range(5, result.step, 5), result.step]


def test_the_end_of_a_run_in_seconds_is_complete(reference):
    assert (reference.step, reference.total_steps, reference.interrupted) == (LAST, None, False)
    assert [record["step"] for record in reference.history("training")] == [2, 4, 5, 6, 8, 10, 12, 13]
    assert [record["step"] for record in reference.history("validation")] == [5, 10, 13]
    timings = reference.metrics.with_name("timings.jsonl")
    assert [record["step"] for record in read_json_lines(timings)] == [2, 4, 5, 6, 8, 10, 12, 13]
    assert training_seconds(timings) == 8.5
    checkpoint = load_checkpoint(reference.checkpoint)
    assert (checkpoint.step, checkpoint.progress["seconds"]) == (LAST, 8.5)


@pytest.mark.parametrize("seed", range(10))
def test_callbacks_are_told_of_the_end_of_a_run_however_its_length_is_given(tmp_path, seed):
    rng, seen = np.random.default_rng(seed), []
    n, seconds = int(rng.integers(1, 16)), rng.integers(1, 20) / 2

    def note(end):
        held = load_checkpoint(list_checkpoints(end.out)[-1])
        assert all(np.array_equal(held.params[name], value) for name, value in end.params.items())
        assert held.step == end.step == end.validation["step"] == end.training["step"]
        seen.append(end.step)

    length = {"epochs": None, "iterations": n} if seed % 2 else {"seconds": seconds}
    trainer = make_trainer(tmp_path, **length) if seed % 2 else make_timed_trainer(tmp_path, **length)[0]
    trainer.callbacks = (note,)
    result = trainer.run()
    assert seen == [record["step"] for record in result.history("validation")]
    assert seen[-1] == result.step


def test_a_run_whose_seconds_end_during_a_validation_ends_with_that_one(tmp_path):
    trainer, _ = make_timed_trainer(tmp_path, seconds=3.0)  # 2.5 s of updates, then 1 s of validation
    result = trainer.run()
    assert (result.step, result.interrupted) == (5, False)
    assert [record["step"] for record in result.history("validation")] == [5]
    assert [record["step"] for record in result.history("training")] == [2, 4, 5]


def test_a_run_shorter_than_an_update_makes_one(tmp_path):
    trainer, _ = make_timed_trainer(tmp_path, seconds=1e-3)
    result = trainer.run()
    assert (result.step, result.interrupted) == (1, False)
    assert result.history("training")[0]["learning_rate"] == 0.05
    assert len(result.history("validation")) == 1


def test_a_run_ends_by_the_real_clock(tmp_path):
    optimizer = Adam(TimedCosineSchedule(learning_rate=0.05, total_seconds=0.5))
    start = time.monotonic()
    result = make_trainer(tmp_path, epochs=None, seconds=0.5, optimizer=optimizer).run()
    assert time.monotonic() - start >= 0.5
    assert not result.interrupted
    # The last line comes a moment before the clock is read again.
    assert training_seconds(tmp_path / "timings.jsonl") > 0.9 * 0.5


def test_the_learning_rate_of_a_run_in_seconds_may_be_any(tmp_path):
    trainer, _ = make_timed_trainer(tmp_path, optimizer=SGD(0.1))
    result = trainer.run()
    assert (result.step, result.interrupted) == (LAST, False)
    assert {record["learning_rate"] for record in result.history("training")} == {0.1}


def test_a_run_in_seconds_learns(tmp_path):
    trainer, _ = make_timed_trainer(tmp_path, seconds=140.0)
    records = trainer.run().history("training")
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    assert records[-1]["accuracy"] > 0.8


def test_an_exponential_average_goes_with_seconds(tmp_path):
    trainer, _ = make_timed_trainer(tmp_path, average="exponential", average_updates=4)
    result = trainer.run()
    assert not np.array_equal(result.evaluated["W_out"], result.params["W_out"])


def test_checkpoints_of_other_runs_hold_no_times(tmp_path):
    assert "seconds" not in load_checkpoint(make_trainer(tmp_path, epochs=1).run().checkpoint).progress


@pytest.mark.skipif(standin_cupy.COMPILER is None, reason="needs g++ or clang++ on the path")
def test_on_a_device_the_metrics_hold_the_rate_of_every_update(monkeypatch, tmp_path):
    """There the lines of up to 50 updates are written together, long after their learning rates were used."""
    standin_cupy.install(monkeypatch)
    begins = []

    def clock():
        begins.append(0.01 * len(begins))
        return begins[-1]

    images, seconds = make_data()[0].reshape(50, 2, 3), 2.0
    config = TrainingConfig(seconds=seconds, batch_size=1, log_interval=1, engine="reference", backend="cupy")
    schedule = TimedCosineSchedule(learning_rate=0.05, total_seconds=seconds)
    trainer = Trainer(
        Classifier(numrnn.GatedAntisymmetricCell(1, 4, step_size=0.5), 3),
        Adam(schedule),
        PixelEncoder((2, 3), mean=0.5, std=0.25),
        (images, make_data()[1]),
        config,
        tmp_path,
        show_progress=False,
        clock=clock,
    )
    result = trainer.run()
    records = result.history("training")
    assert not result.interrupted
    assert [record["step"] for record in records] == list(range(1, result.step + 1))
    rates = [record["learning_rate"] for record in records]
    assert rates[0] == 0.05
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))
    assert 50 < len(rates) < 100  # the end comes between two readings of the ledger
    assert 0 < rates[-1] < 0.001


# ---------------------------------------------------------------- resuming


@pytest.mark.parametrize("call", [1, 4, 6, 8, 13, 15, 17, 18])
def test_a_run_in_seconds_that_crashed_goes_on_with_the_seconds_that_were_left(tmp_path, reference, call):
    """This clock ticks alike in both parts: the result is that of the uninterrupted run, bit for bit."""
    trainer, _ = make_timed_trainer(tmp_path, encoder=Acting(call, crash))
    with pytest.raises(Crash):
        trainer.run()
    assert_same_run(make_timed_trainer(tmp_path)[0].run(resume=True), reference)


@pytest.mark.parametrize("call", [1, 5, 9, 11])
def test_ctrl_c_interrupts_a_run_in_seconds(tmp_path, reference, call):
    trainer, _ = make_timed_trainer(tmp_path, encoder=Acting(call, press_ctrl_c))
    result = trainer.run()
    assert (result.interrupted, result.total_steps) == (True, None)
    assert_same_run(make_timed_trainer(tmp_path)[0].run(resume=True), reference)


def test_ctrl_c_in_the_last_update_interrupts_nothing(tmp_path, reference):
    trainer, _ = make_timed_trainer(tmp_path, encoder=Acting(5 + 2 + 5 + 2 + 3, press_ctrl_c))
    assert_same_run(trainer.run(), reference)


def test_a_time_limit_interrupts_a_run_in_seconds_too(tmp_path, reference):
    result, parts = make_timed_trainer(tmp_path)[0].run(time_limit=0.75), 1
    while result.interrupted and parts < LAST:
        result, parts = make_timed_trainer(tmp_path)[0].run(resume=True, time_limit=0.75), parts + 1
    assert parts == 8  # two updates each, but one where an epoch or the run ended
    assert_same_run(result, reference)


def test_resuming_a_finished_run_in_seconds_changes_nothing(tmp_path, reference):
    make_timed_trainer(tmp_path)[0].run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    trainer, ticking = make_timed_trainer(tmp_path)
    assert_same_run(trainer.run(resume=True), reference)
    assert ticking.now == 1000
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    "moments",
    [
        [("training", 1)],
        [("training", 17)],  # the last update
        [("training", 18)],  # the validation of the end
        [("half a line", 11)],
        [("replace", 8)],  # the last checkpoint
        [("unlink", 2)],
        [("training", 9), ("half a checkpoint", 2), ("fsync", 5)],
    ],
    ids=lambda moments: ", ".join(f"{moment} {n}" for moment, n in moments),
)
def test_a_run_in_seconds_that_is_killed_goes_on_with_the_seconds_that_were_left(tmp_path, reference, moments):
    environment = os.environ | {"PYTHONPATH": str(Path(numrnn.__file__).parents[1])}
    for moment, n in moments:
        command = [sys.executable, training_run.__file__, tmp_path, moment, str(n), "timed"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, f"the moment never came: {done.returncode}, {done.stderr}"
    assert_same_run(make_timed_trainer(tmp_path)[0].run(resume=True), reference)


def test_more_seconds_are_refused_where_the_learning_rate_depends_on_them(tmp_path):
    make_timed_trainer(tmp_path)[0].run()
    with pytest.raises(ValueError, match=r"training\.seconds must stay 8\.5, for the learning rate .* got 9\.0"):
        make_timed_trainer(tmp_path, seconds=9.0)[0].run(resume=True)


@pytest.mark.parametrize("learning_rate", [0.05, ConstantSchedule(learning_rate=0.05, warmup_steps=2)])
def test_more_seconds_go_on_where_the_learning_rate_does_not_depend_on_them(tmp_path, learning_rate):
    optimizer = Adam(learning_rate)
    # At 9.5 seconds an epoch ends: a validation between would take time of its own.
    make_timed_trainer(tmp_path / "a", seconds=7.0, optimizer=optimizer)[0].run()
    longer = make_timed_trainer(tmp_path / "a", seconds=8.5, optimizer=optimizer)[0].run(resume=True)
    at_once = make_timed_trainer(tmp_path / "b", seconds=8.5, optimizer=optimizer)[0].run()
    assert_same_run(longer, at_once)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 8.0}, r"training\.seconds must be 8\.5 .*got 8\.0"),
        ({"epochs": 3, "seconds": None, "optimizer": Adam(0.05)}, r"training\.epochs must be None .*got 3"),
    ],
)
def test_a_run_in_seconds_is_not_resumed_as_another(tmp_path, changes, message):
    trainer, _ = make_timed_trainer(tmp_path, encoder=Acting(8, crash), optimizer=Adam(0.05))
    with pytest.raises(Crash):
        trainer.run()
    optimizer = {"optimizer": Adam(0.05)}
    with pytest.raises(ValueError, match=rf"cannot resume from .*checkpoint_00000005\.npz: {message}"):
        make_trainer(tmp_path, **{"epochs": None, **optimizer, **changes}).run(resume=True)


def test_a_checkpoint_before_the_first_update_counts_no_seconds(tmp_path):
    trainer, _ = make_timed_trainer(tmp_path, encoder=Acting(1, crash))
    with pytest.raises(Crash):
        trainer.run()
    (path,) = list_checkpoints(tmp_path)
    assert load_checkpoint(path).progress["seconds"] == 0


# ---------------------------------------------------------------- what it shows


def test_the_bar_of_a_run_in_seconds_shows_the_seconds(tmp_path, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("numrnn.training.progress._has_a_screen", lambda: True)
    make_timed_trainer(tmp_path, show_progress=True)[0].run()
    text = capsys.readouterr().err
    for part in ("100%", "8/8 s", "step 13, loss 0.", "accuracy 0.", "epoch 3: validation accuracy 0."):
        assert part in text


def test_without_tqdm_a_run_in_seconds_shows_plain_lines(tmp_path, capsys, monkeypatch):
    real = importlib.import_module

    def without_tqdm(name, *arguments):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without_tqdm)
    monkeypatch.setattr("numrnn.training.progress._has_a_screen", lambda: True)
    monkeypatch.setattr("numrnn.training.progress.SECONDS_BETWEEN_LINES", -1.0)
    make_timed_trainer(tmp_path, show_progress=True)[0].run()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == LAST + 3
    assert lines[1].startswith("1/8 s, step 2, loss ")
    assert lines[1].endswith(" 8 s left")  # 7.5


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seconds": 0}, ValueError, "seconds must be a finite number > 0, got 0"),
        ({"seconds": -1.0}, ValueError, r"seconds must be a finite number > 0, got -1"),
        ({"seconds": math.nan}, ValueError, "seconds must be a finite number > 0, got nan"),
        ({"seconds": math.inf}, ValueError, "seconds must be a finite number > 0, got inf"),
        ({"seconds": "60"}, TypeError, "seconds must be .*, got '60'"),
        ({"seconds": 60, "epochs": 1}, ValueError, "exactly one of .* got epochs 1, iterations None, seconds 60"),
        ({"seconds": 60, "iterations": 9}, ValueError, "exactly one of .* got epochs None, iterations 9, seconds 60"),
        ({"seconds": 60, "average": "tail"}, ValueError, "average must not be 'tail' if the length is in seconds"),
    ],
)
def test_a_bad_length_in_seconds_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        TrainingConfig(**changes)


@pytest.mark.parametrize("length", [{"seconds": 61}, {"epochs": 1}, {"iterations": 60}])
def test_a_learning_rate_by_the_clock_needs_a_run_of_its_seconds(tmp_path, length):
    optimizer = Adam(TimedCosineSchedule(learning_rate=0.05, total_seconds=60))
    with pytest.raises(ValueError, match=r"total_seconds of the learning rate must be .* got 60\.0"):
        make_trainer(tmp_path, optimizer=optimizer, **{"epochs": None, **length})


def test_an_optimiser_by_the_clock_asks_for_the_seconds():
    optimizer = SGD(TimedCosineSchedule(learning_rate=0.5, total_seconds=60))
    params = {"w": np.array([1.0])}
    state = optimizer.init(params)
    with pytest.raises(TypeError, match="seconds must be a number if the learning rate depends on time, got None"):
        optimizer.update(params, params, state)
    new, _ = optimizer.update(params, params, state, seconds=30)
    assert new["w"] == pytest.approx([0.75], rel=4 * EPS64)
    assert optimizer.rate(0, 60.0) == 0


def test_a_config_in_seconds_survives_json_and_knows_no_number_of_steps():
    config = TrainingConfig(seconds=np.float32(1.5))
    assert TrainingConfig(**json.loads(json.dumps(config.config()))) == config
    assert type(config.seconds) is float
    assert config.total_steps(1000) is None


def test_the_model_keeps_its_precision_by_the_clock():
    model, optimizer = make_model(), Adam(TimedCosineSchedule(learning_rate=np.float64(0.05), total_seconds=60))
    params = model.init_params(np.random.default_rng(0))
    grads = {name: asarray(np.ones(value.shape), like=value, dtype=value.dtype) for name, value in params.items()}
    params, _ = optimizer.update(params, grads, optimizer.init(params), seconds=np.float64(3))
    assert {value.dtype for value in params.values()} == {np.dtype(np.float32)}
