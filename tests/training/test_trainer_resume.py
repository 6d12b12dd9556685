"""The training loop: it resumes bit for bit, whatever ended it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import training_run
from recorded_runs import STEPS, Recorder, assert_same_run, crash, crash_at
from training_run import encode, make_data, make_trainer

import numrnn
from numrnn.training import (
    SGD,
    Adam,
    CheckpointError,
    CosineSchedule,
    list_checkpoints,
    load_checkpoint,
    read_json_lines,
)
from numrnn.training.config import check_resumable
from numrnn.training.metrics import cut_back

SCRIPT = Path(training_run.__file__)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(numrnn.__file__).parents[1])}


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


@pytest.mark.parametrize("n", [1, 7, 13])
def test_more_iterations_than_one_within_an_epoch_keep_the_validation_of_the_former_end(tmp_path, n):
    settings = {"epochs": None, "keep_best": True}
    make_trainer(tmp_path / "a", iterations=n, **settings).run()
    longer = make_trainer(tmp_path / "a", iterations=15, **settings).run(resume=True)
    at_once = make_trainer(tmp_path / "b", iterations=15, **settings).run()
    assert all(np.array_equal(longer.params[name], value) for name, value in at_once.params.items())
    lines = longer.history("validation")
    assert [line for line in lines if line["step"] != n] == at_once.history("validation")
    assert load_checkpoint(longer.best).step == min(lines, key=lambda line: line["loss"])["step"]


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
        (
            {"encoder": lambda images, rng: encode(images, rng)},
            r"encoder must be 'encode' .*got 'test_trainer_resume\.",
        ),
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


def test_a_run_begun_by_an_older_numrnn_goes_on(tmp_path, reference):
    # Written by commit f661e5e, before there were averages, rotations, multipliers, and "since" in the timings.
    shutil.copytree(Path(__file__).parent / "data" / "run-of-0.1.0", tmp_path / "run")
    result = make_trainer(tmp_path / "run").run(resume=True)
    assert (result.step, result.average) == (STEPS, {})
    for name, array in reference.params.items():
        # Another processor or BLAS may round otherwise; six updates of 0.05 each amplify little.
        np.testing.assert_allclose(result.params[name], array, rtol=0, atol=1e-3)
    assert [r["step"] for r in result.history("training")] == [r["step"] for r in reference.history("training")]


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
