"""The training loop: what it computes, what it writes, how it stops, and that it resumes bit for bit."""

import dataclasses
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import training_run
from helpers import EPS64
from training_run import CONFIG, encode, make_data, make_model, make_trainer

import numrnn
from numrnn.backend import random_generators
from numrnn.training import (
    SGD,
    Adam,
    CheckpointError,
    Classifier,
    CosineSchedule,
    DivergenceError,
    TrainingConfig,
    clip_by_global_norm,
    list_checkpoints,
    load_checkpoint,
    read_json_lines,
    softmax_cross_entropy,
    training_seconds,
)
from numrnn.training.config import check_resumable
from numrnn.training.metrics import cut_back
from numrnn.training.trainer import PURPOSES

SCRIPT = Path(training_run.__file__)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(numrnn.__file__).parents[1])}
STEPS = 15


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An uninterrupted run."""
    return make_trainer(tmp_path_factory.mktemp("reference")).run()


def assert_same_run(result, reference):
    assert result.step == reference.step == STEPS
    assert result.metrics.read_bytes() == reference.metrics.read_bytes()
    assert result.checkpoint.read_bytes() == reference.checkpoint.read_bytes()
    for name, array in reference.params.items():
        assert np.array_equal(result.params[name], array)
    timed, wanted = (read_json_lines(run.metrics.with_name("timings.jsonl")) for run in (result, reference))
    assert [record["step"] for record in timed] == [record["step"] for record in wanted]


class Recorder:
    """Encodes like `encode`, keeps what it was shown, and does something at one call."""

    def __init__(self, at=None, action=None):
        self.batches, self.at, self.action = [], at, action

    def __call__(self, images, rng):
        self.batches.append(images)
        if len(self.batches) == self.at:
            self.action()
        return encode(images, rng)

    def config(self):
        return "encode"


def crash():
    raise RuntimeError("power cut")


def crash_at(out, call, **changes):
    """Run until the encoder's call of this number raises. An epoch has 5 calls to train and 2 to validate."""
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(out, encoder=Recorder(call, crash), **changes).run()


def rows_of(images):
    """Return the number of each image in the data."""
    return [int(np.flatnonzero((make_data()[0] == image).all(axis=1))[0]) for image in images]


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
    first = [make_trainer(tmp_path, validation_size=size)._begin().params for size in (4, 20)]
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


# ---------------------------------------------------------------- what a run writes


def test_metrics_come_every_interval_and_at_the_end_of_an_epoch(reference):
    assert [record["step"] for record in reference.history("training")] == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    assert [record["step"] for record in reference.history("validation")] == [5, 10, 15]
    assert [record["epoch"] for record in reference.history("validation")] == [1, 2, 3]


def test_a_line_of_metrics_holds_means_over_the_updates_since_the_last(tmp_path, reference):
    single = make_trainer(tmp_path, log_interval=1).run().history("training")
    pair, weights = single[3:5], np.array([9, 6])  # updates 4 and 5; the second batch is short
    merged = make_trainer(tmp_path, log_interval=3).run(overwrite=True).history("training")[1]
    assert merged["step"] == 5
    for name in ("loss", "accuracy"):
        wanted = np.average([record[name] for record in pair], weights=weights)
        assert merged[name] == pytest.approx(wanted, rel=10 * EPS64)
    norms = [record["gradient_norm"] for record in pair]
    assert merged["gradient_norm"] == pytest.approx(np.mean(norms), rel=4 * EPS64)
    assert merged["largest_gradient_norm"] == max(norms)


def test_metrics_hold_norms_before_clipping(tmp_path):
    result = make_trainer(tmp_path, clip=1e-3, epochs=1).run()
    assert result.history("training")[0]["gradient_norm"] > 1e-2


def test_metrics_hold_the_learning_rate_of_the_last_update(tmp_path):
    schedule = CosineSchedule(learning_rate=0.1, total_steps=STEPS)
    records = make_trainer(tmp_path, optimizer=Adam(schedule)).run().history("training")
    assert [record["learning_rate"] for record in records] == [schedule(record["step"] - 1) for record in records]


def test_metrics_hold_no_times(reference):
    names = {name for record in read_json_lines(reference.metrics) for name in record}
    assert names == {
        *("kind", "step", "epoch", "loss", "accuracy"),
        *("gradient_norm", "largest_gradient_norm", "learning_rate"),
    }


def test_times_go_to_a_file_of_their_own(reference):
    records = read_json_lines(reference.metrics.with_name("timings.jsonl"))
    assert [record["step"] for record in records] == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


def test_the_last_two_checkpoints_are_kept(reference):
    assert [load_checkpoint(path).step for path in list_checkpoints(reference.metrics.parent)] == [12, 15]
    assert load_checkpoint(reference.checkpoint).step == 15


def test_nothing_but_checkpoints_metrics_and_timings_is_left(reference):
    names = {path.name for path in reference.metrics.parent.iterdir()}
    assert names == {"checkpoint_00000012.npz", "checkpoint_00000015.npz", "metrics.jsonl", "timings.jsonl"}


def test_the_checkpoint_holds_all_that_decides_the_run(reference):
    config = load_checkpoint(reference.checkpoint).config
    assert config["model"] == make_model().config()
    assert config["optimizer"] == Adam(0.05).config()
    assert {name: config["training"][name] for name in CONFIG} == CONFIG
    assert config["encoder"] == "encode"
    assert config["data"]["images_shape"] == [50, 6]


def test_an_encoder_without_a_config_is_known_by_its_name(tmp_path):
    trainer = make_trainer(tmp_path, encoder=lambda images, rng: encode(images, rng))
    assert trainer.describe()["encoder"].startswith("test_trainer.test_an_encoder_without")


def test_validation_accuracy_is_that_of_the_last_validation(reference):
    assert reference.validation_accuracy == reference.history("validation")[-1]["accuracy"]


def test_without_validation_there_is_no_validation_accuracy(tmp_path):
    assert make_trainer(tmp_path, validation_size=0, epochs=1).run().validation_accuracy is None


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


# ---------------------------------------------------------------- resuming


@pytest.mark.parametrize("call", [1, 4, 6, 8, 13, 15, 21])
def test_a_run_that_crashed_resumes_bit_for_bit(tmp_path, reference, call):
    crash_at(tmp_path, call)
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


def test_a_run_may_crash_again_and_again(tmp_path, reference):
    for call in (3, 5, 4, 2, 6):
        with pytest.raises(RuntimeError, match="power cut"):
            make_trainer(tmp_path, encoder=Recorder(call, crash)).run(resume=True)
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


@pytest.mark.parametrize("checkpoint_interval", [1, 2, 4, 1000])
def test_the_interval_of_checkpoints_may_change_on_resuming(tmp_path, reference, checkpoint_interval):
    crash_at(tmp_path, 11)
    result = make_trainer(tmp_path, checkpoint_interval=checkpoint_interval).run(resume=True)
    assert result.metrics.read_bytes() == reference.metrics.read_bytes()
    assert all(np.array_equal(result.params[name], reference.params[name]) for name in reference.params)


def test_resuming_a_finished_run_changes_nothing(tmp_path, reference):
    make_trainer(tmp_path).run()
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


def test_resuming_where_nothing_is_starts_a_run(tmp_path, reference):
    assert_same_run(make_trainer(tmp_path / "new").run(resume=True), reference)


def test_lines_after_the_checkpoint_are_cut_off(tmp_path, reference):
    crash_at(tmp_path, 11)
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'{"kind": "training", "step": 13, "loss": 1}\n{"kind": "train')
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


def test_missing_lines_of_metrics_are_noticed(tmp_path):
    crash_at(tmp_path, 11)
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines[:2]))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: holds \d+ bytes up to step 6, but .*counts on \d+"):
        make_trainer(tmp_path).run(resume=True)


def test_a_damaged_checkpoint_is_passed_over_and_the_run_is_the_same(tmp_path, reference):
    crash_at(tmp_path, 11)
    newest = list_checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-50])
    with pytest.warns(RuntimeWarning, match=rf"refused .*{newest.name}: truncated"):
        result = make_trainer(tmp_path).run(resume=True)
    assert_same_run(result, reference)


def test_a_run_without_one_sound_checkpoint_is_not_started_anew(tmp_path):
    crash_at(tmp_path, 11)
    for path in list_checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.warns(RuntimeWarning), pytest.raises(CheckpointError, match="no checkpoint in this directory can be"):
        make_trainer(tmp_path).run(resume=True)


def test_more_epochs_go_on_as_if_they_had_been_asked_for_at_once(tmp_path):
    make_trainer(tmp_path / "a", epochs=1).run()
    longer = make_trainer(tmp_path / "a", epochs=3).run(resume=True)
    at_once = make_trainer(tmp_path / "b", epochs=3).run()
    assert_same_run(longer, at_once)


def test_more_epochs_are_refused_where_the_learning_rate_depends_on_them(tmp_path):
    optimizer = Adam(CosineSchedule(learning_rate=0.1, total_steps=15))
    make_trainer(tmp_path, optimizer=optimizer).run()
    with pytest.raises(ValueError, match=r"training\.epochs must stay 3, for the learning rate .* got 4"):
        make_trainer(tmp_path, optimizer=optimizer, epochs=4).run(resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, r"training\.epochs must be 3 as in the checkpoint, got 2"),
        ({"epochs": None, "iterations": 20}, r"training\.epochs must be 3 .*got None"),
        ({"batch_size": 8}, r"training\.batch_size must be 9 .*got 8"),
        ({"seed": 6}, r"training\.seed must be 5 .*got 6"),
        ({"clip": None}, r"training\.clip must be 0\.5 .*got None"),
        ({"validation_size": 9}, r"training\.validation_size must be 8 .*got 9"),
        ({"log_interval": 3}, r"training\.log_interval must be 2 .*got 3"),
        ({"dtype": "float64"}, r"training\.dtype must be 'float32' .*got 'float64'"),
        ({"weight_std": 2.0}, r"training\.weight_std must be 1\.0 .*got 2\.0"),
        ({"optimizer": Adam(0.06)}, r"optimizer\.learning_rate must be 0\.05 .*got 0\.06"),
        ({"optimizer": SGD(0.05)}, r"optimizer\.optimizer must be 'adam' .*got 'sgd'"),
        ({"encoder": lambda images, rng: encode(images, rng)}, r"encoder must be 'encode' .*got 'test_trainer\."),
        ({"data": (make_data()[0], make_data()[1][::-1].copy())}, r"data\.labels_sha256 must be"),
        ({"data": (make_data()[0] ^ 1, make_data()[1])}, r"data\.images_sha256 must be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_resuming_with_another_configuration_is_refused_by_field(tmp_path, changes, message):
    crash_at(tmp_path, 8)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"cannot resume from .*checkpoint_00000005\.npz: {message}"):
        make_trainer(tmp_path, **changes).run(resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_field_that_a_newer_version_added_is_named():
    old = {"training": {"epochs": 1}, "optimizer": {}}
    new = {"training": {"epochs": 1, "beta": 2}, "optimizer": {}}
    assert check_resumable(old, new) == "training.beta must be None as in the checkpoint, got 2"
    assert check_resumable(old, old) is None


def test_starting_where_a_run_is_destroys_nothing(tmp_path, reference):
    result = make_trainer(tmp_path).run()
    with pytest.raises(FileExistsError, match=r"holds a run already \(checkpoint_00000012\.npz\): resume it"):
        make_trainer(tmp_path).run()
    assert_same_run(result, reference)


def test_starting_where_metrics_of_a_run_are_destroys_nothing(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(FileExistsError, match=r"holds a run already \(metrics\.jsonl\)"):
        make_trainer(tmp_path).run()
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"


def test_overwriting_starts_from_the_beginning_and_leaves_other_files(tmp_path, reference):
    make_trainer(tmp_path, seed=99, epochs=9).run()
    (tmp_path / "notes.txt").write_text("mine")
    assert_same_run(make_trainer(tmp_path).run(overwrite=True), reference)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resuming_and_overwriting_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="resume and overwrite must not both be True"):
        make_trainer(tmp_path).run(resume=True, overwrite=True)


def test_cutting_back_keeps_whole_lines_up_to_the_step(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 3}\n{"step": 3}\n{"step": 5}\n{"st')
    assert cut_back(path, 3) == 36
    assert [record["step"] for record in read_json_lines(path)] == [1, 3, 3]


def test_cutting_back_drops_a_whole_record_without_an_end_of_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 3}')
    assert cut_back(path, 3) == 12


def test_cutting_back_a_missing_file_gives_size_zero(tmp_path):
    assert cut_back(tmp_path / "none", 3) == 0


# ---------------------------------------------------------------- SIGKILL


def run_and_die(out, moment, n):
    """Start or resume the run in a process that kills itself; wait for its death."""
    command = [sys.executable, SCRIPT, out, moment, str(n)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, f"the moment never came: {done.returncode}, {done.stderr}"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("moment", "n"),
    [
        ("half a checkpoint", 1),
        ("replace", 1),
        ("training", 1),
        ("training", 9),
        ("half a line", 9),
        ("half a checkpoint", 4),
        ("fsync", 10),
        ("replace", 5),
        ("fsync", 12),
        ("unlink", 2),
    ],
)
def test_a_run_killed_at_any_moment_resumes_bit_for_bit(tmp_path, reference, moment, n):
    run_and_die(tmp_path, moment, n)
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_again_and_again_resumes_bit_for_bit(tmp_path, reference):
    for moment, n in [("training", 3), ("half a checkpoint", 2), ("half a line", 3), ("fsync", 5)]:
        run_and_die(tmp_path, moment, n)
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_from_outside_resumes_bit_for_bit(tmp_path, reference):
    for size in (0, 400):  # of the metrics when it is killed, wherever it is by then
        process = subprocess.Popen([sys.executable, SCRIPT, tmp_path, "slowly", "0"], env=ENVIRONMENT)
        metrics, deadline = tmp_path / "metrics.jsonl", time.monotonic() + 60
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size >= size):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


# ---------------------------------------------------------------- NaN and infinity


class Failing(Classifier):
    """Gives something not finite at its n-th gradient."""

    n = 8

    def loss_and_gradient(self, *arguments, **named):
        loss, grads, logits = super().loss_and_gradient(*arguments, **named)
        self.n -= 1
        return self.spoil(loss, grads, logits) if self.n == 0 else (loss, grads, logits)


class NoLoss(Failing):
    def spoil(self, loss, grads, logits):
        raise FloatingPointError("loss must be finite, got nan")


class NanGradient(Failing):
    def spoil(self, loss, grads, logits):
        grads["V_z"][2, 0] = np.nan
        return loss, grads, logits


class InfiniteGradient(Failing):
    def spoil(self, loss, grads, logits):
        grads["b_out"][1] = -np.inf
        return loss, grads, logits


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("kind", "quantity"),
    [(NoLoss, "loss"), (NanGradient, "the gradient's norm"), (InfiniteGradient, "the gradient's norm")],
)
def test_nan_and_infinity_stop_the_run_and_name_step_and_last_good_checkpoint(tmp_path, kind, quantity, clip):
    with pytest.raises(DivergenceError, match=rf"{quantity} is not finite at step 8; .*_00000006\.npz") as caught:
        make_trainer(tmp_path, model=make_model(kind), clip=clip).run()
    assert (caught.value.step, caught.value.quantity) == (8, quantity)
    good = load_checkpoint(caught.value.checkpoint)
    assert good.step == 6
    assert all(np.isfinite(array).all() for array in good.params.values())
    assert [record["step"] for record in read_json_lines(tmp_path / "metrics.jsonl")][-1] == 6


def test_a_parameter_that_overflows_stops_the_run(tmp_path):
    optimizer = SGD(lambda step: 1e38 if step == 4 else 0.1)
    with pytest.raises(DivergenceError, match=r"parameter .* is not finite at step 5; .*_00000003\.npz"):
        make_trainer(tmp_path, optimizer=optimizer, clip=None, model=make_model(HugeGradient)).run()


class HugeGradient(Classifier):
    """Gives gradients that are finite, but too large for a large learning rate."""

    n = 5

    def loss_and_gradient(self, *arguments, **named):
        loss, grads, logits = super().loss_and_gradient(*arguments, **named)
        self.n -= 1
        if self.n == 0:
            grads["W_out"][0, 0] = 3e38
        return loss, grads, logits


def test_a_square_that_overflows_in_the_optimizer_stops_the_run(tmp_path):
    with pytest.raises(DivergenceError, match=r"optimizer square_mean\.W_out is not finite at step 5"):
        make_trainer(tmp_path, clip=None, model=make_model(HugeGradient)).run()


def test_a_run_that_diverged_resumes_from_its_last_good_checkpoint(tmp_path, reference):
    with pytest.raises(DivergenceError):
        make_trainer(tmp_path, model=make_model(NanGradient)).run()
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


# ---------------------------------------------------------------- Ctrl-C


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_step_and_writes_a_checkpoint(tmp_path):
    result = make_trainer(tmp_path, encoder=Recorder(4, press_ctrl_c)).run()
    assert (result.interrupted, result.step, result.total_steps) == (True, 4, STEPS)
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint.step == 4
    assert all(np.array_equal(checkpoint.params[name], result.params[name]) for name in result.params)


@pytest.mark.parametrize("call", [1, 4, 5, 6, 10])
def test_a_run_ended_by_ctrl_c_resumes_bit_for_bit(tmp_path, reference, call):
    assert make_trainer(tmp_path, encoder=Recorder(call, press_ctrl_c)).run().interrupted
    result = make_trainer(tmp_path).run(resume=True)
    assert not result.interrupted
    assert_same_run(result, reference)


def test_ctrl_c_in_the_last_step_does_not_interrupt_anything(tmp_path, reference):
    result = make_trainer(tmp_path, encoder=Recorder(19, press_ctrl_c)).run()
    assert not result.interrupted
    assert_same_run(result, reference)


def test_a_second_ctrl_c_raises_at_once(tmp_path):
    def press_twice():
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, encoder=Recorder(5, press_twice)).run()
    assert load_checkpoint(list_checkpoints(tmp_path)[-1]).step == 3


@pytest.mark.parametrize("action", [press_ctrl_c, crash, lambda: None], ids=["Ctrl-C", "crash", "nothing"])
def test_the_previous_handler_comes_back(tmp_path, action):
    def mine(number, frame):
        raise AssertionError("the trainer's handler was not installed")

    previous = signal.signal(signal.SIGINT, mine)
    try:
        trainer = make_trainer(tmp_path, encoder=Recorder(4, action))
        if action is crash:
            with pytest.raises(RuntimeError, match="power cut"):
                trainer.run()
        else:
            trainer.run()
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, previous)


def test_outside_the_main_thread_no_handler_is_installed(tmp_path, reference):
    before, seen, results = signal.getsignal(signal.SIGINT), [], []
    recorder = Recorder(2, lambda: seen.append(signal.getsignal(signal.SIGINT)))
    thread = threading.Thread(target=lambda: results.append(make_trainer(tmp_path, encoder=recorder).run()))
    thread.start()
    thread.join()
    assert seen == [before]
    assert_same_run(results[0], reference)


# ---------------------------------------------------------------- time limit


def test_a_time_limit_ends_the_run_as_ctrl_c_would(tmp_path, reference):
    recorder = Recorder(4, lambda: time.sleep(0.2))
    result = make_trainer(tmp_path, encoder=recorder).run(time_limit=0.2)
    assert result.interrupted
    assert result.step <= 4
    assert load_checkpoint(result.checkpoint).step == result.step
    assert_same_run(make_trainer(tmp_path).run(resume=True, time_limit=600), reference)


def test_a_run_resumed_for_a_moment_each_time_makes_an_update_each_time_and_comes_to_the_same_end(tmp_path, reference):
    steps, result = [], make_trainer(tmp_path).run(time_limit=1e-9)
    while result.interrupted and len(steps) < result.total_steps:
        steps.append(result.step)
        result = make_trainer(tmp_path).run(resume=True, time_limit=1e-9)
    assert steps == list(range(1, result.total_steps))
    assert_same_run(result, reference)


def test_a_time_limit_of_zero_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="time_limit must be a finite number > 0, got 0"):
        make_trainer(tmp_path / "out").run(time_limit=0)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- progress


def test_the_bar_shows_loss_accuracy_norm_and_time_left(tmp_path, capsys):
    pytest.importorskip("tqdm")
    make_trainer(tmp_path, show_progress=True).run()
    text = capsys.readouterr().err
    for part in ("15/15", "loss 0.", "accuracy 0.", "gradient norm 0.", "<", "epoch 3: validation accuracy 0."):
        assert part in text


def test_without_tqdm_there_are_plain_lines(tmp_path, capsys, monkeypatch):
    real = importlib.import_module

    def without_tqdm(name, *arguments):
        if name == "tqdm":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without_tqdm)
    monkeypatch.setattr("numrnn.training.progress.SECONDS_BETWEEN_LINES", -1.0)
    make_trainer(tmp_path, show_progress=True).run()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == STEPS + 3
    assert lines[0].startswith("step 1/15, loss ")
    assert all(part in lines[0] for part in ("accuracy", "gradient norm", "s left"))


def test_a_run_may_show_nothing(tmp_path, capfd):
    make_trainer(tmp_path).run()
    assert capfd.readouterr() == ("", "")


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
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"backend": "torch"}, ValueError, "backend must be None or one of 'numpy', 'cupy', got 'torch'"),
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


def test_a_run_begun_by_an_older_numrnn_goes_on(tmp_path, reference):
    # Written by commit f661e5e, before there were averages, rotations, multipliers, and "since" in the timings.
    shutil.copytree(Path(__file__).parent / "data" / "run-of-0.1.0", tmp_path / "run")
    result = make_trainer(tmp_path / "run").run(resume=True)
    assert (result.step, result.average) == (STEPS, {})
    for name, array in reference.params.items():
        # Another processor or BLAS may round otherwise; six updates of 0.05 each amplify little.
        np.testing.assert_allclose(result.params[name], array, rtol=0, atol=1e-3)
    assert [r["step"] for r in result.history("training")] == [r["step"] for r in reference.history("training")]


# ---------------------------------------------------------------- timings


def test_the_seconds_of_a_run_are_those_of_all_its_processes(tmp_path):
    lines = [(2, 1.5, 0), (4, 3.0, 0), (6, 7.0, 4), (8, 9.0, 4)]  # the second process starts late
    records = [{"step": step, "seconds": seconds, "since": since} for step, seconds, since in lines]
    path = tmp_path / "timings.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert training_seconds(path) == 3.0 + 9.0
    path.write_text('{"step": 2, "seconds": 1.5}\n{"step": 4, "seconds": 3.0}\n')  # written before there was "since"
    assert training_seconds(path) == 3.0


def test_timings_name_the_step_from_which_their_process_went_on(tmp_path):
    make_trainer(tmp_path, epochs=1).run()
    make_trainer(tmp_path, epochs=2).run(resume=True)
    since = {record["step"]: record["since"] for record in read_json_lines(tmp_path / "timings.jsonl")}
    assert since == {2: 0, 4: 0, 5: 0, 6: 5, 8: 5, 10: 5}
