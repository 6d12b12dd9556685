"""The folder of a run: one process at a time, nothing lost, nothing left of an earlier run, nothing changed unseen."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import training_run
from recorded_runs import Recorder, assert_same_run, crash_at
from training_run import make_trainer

import numrnn
from numrnn.training import (
    Checkpoint,
    CheckpointError,
    FolderInUseError,
    list_checkpoints,
    load_checkpoint,
    read_json_lines,
    run,
    save_checkpoint,
)

SCRIPT = Path(training_run.__file__)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(numrnn.__file__).parents[1])}


# ---------------------------------------------------------------- two runs in one folder


def test_a_second_process_is_refused_and_the_first_ends_as_if_alone(tmp_path, reference):
    command = [sys.executable, str(SCRIPT), str(tmp_path), "slowly", "0"]
    first = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list_checkpoints(tmp_path) and time.monotonic() < end:
        time.sleep(0.01)
    refused = 0
    while first.poll() is None:
        try:
            make_trainer(tmp_path).run(resume=True)
        except FolderInUseError as error:
            refused += f"in use by process {first.pid} on " in str(error)
        time.sleep(0.05)
    assert first.returncode == 0, first.stderr.read()
    first.communicate()
    assert refused >= 3
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


def test_overwriting_a_run_at_work_is_refused_and_changes_nothing(tmp_path, reference):
    seen = []

    def overwrite():
        with ThreadPoolExecutor() as pool, pytest.raises(FolderInUseError):
            pool.submit(make_trainer(tmp_path).run, overwrite=True).result()
        seen.append(True)

    result = make_trainer(tmp_path, encoder=Recorder(7, overwrite)).run()
    assert seen == [True]
    assert_same_run(result, reference)


def test_a_killed_run_leaves_no_lock(tmp_path, reference):
    command = [sys.executable, str(SCRIPT), str(tmp_path), "training", "9"]
    assert subprocess.run(command, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "lock").exists()
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)
    assert not (tmp_path / "lock").exists()


# ---------------------------------------------------------------- overwriting

OF_A_COMMAND = (run.CONFIG_FILE, *run.RESULTS)
LEFT_BY_KILLS = (".checkpoint_00000006.npz.tmp", ".metrics.jsonl.0123abcd.tmp", ".result.json.0123abcd.tmp")
OF_OTHERS = ("notes.txt", "results.json", "checkpoint_6.npz", "my_picture.png", ".hidden.tmp", "final.npz.bak")


def test_overwriting_removes_all_that_a_run_can_write_and_nothing_else(tmp_path):
    make_trainer(tmp_path, seed=7, keep_best=True).run()
    for name in (*OF_A_COMMAND, *LEFT_BY_KILLS, *OF_OTHERS):
        (tmp_path / name).write_bytes(b"of the run before")
    (tmp_path / "deeper").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    assert {"best.npz", "metrics.jsonl", "timings.jsonl"} < before
    run.remove_run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*OF_OTHERS, "deeper"}


def test_a_run_that_overwrites_leaves_no_result_of_the_one_before_even_if_it_is_stopped(tmp_path):
    make_trainer(tmp_path, seed=7).run()
    for name in OF_A_COMMAND:
        (tmp_path / name).write_bytes(b"of the run before")
    with pytest.raises(training_run.Crash):
        make_trainer(tmp_path, encoder=training_run.crash_at(3)).run(overwrite=True)
    assert not [name for name in OF_A_COMMAND if (tmp_path / name).exists()]


def test_a_run_that_goes_on_leaves_no_result_of_the_shorter_one_and_a_complete_one_keeps_it(tmp_path):
    make_trainer(tmp_path, epochs=1).run()
    (tmp_path / "result.json").write_bytes(b"{}")
    make_trainer(tmp_path, epochs=1).run(resume=True)
    assert (tmp_path / "result.json").exists()
    with pytest.raises(training_run.Crash):
        make_trainer(tmp_path, epochs=2, encoder=training_run.crash_at(1)).run(resume=True)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl", "best.npz", "final.npz", "result.json"])
def test_the_rest_of_a_run_is_never_taken_for_an_empty_folder(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(FileExistsError, match=f"holds a run already \\({name}\\): resume it, overwrite it or go"):
        make_trainer(tmp_path).run()
    with pytest.raises(FileExistsError, match=f"\\({name}\\): it has no checkpoint to resume from: overwrite it or go"):
        make_trainer(tmp_path).run(resume=True)
    assert (tmp_path / name).read_bytes() == b"{}"


# ---------------------------------------------------------------- metrics that were changed


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that was stopped after some lines of metrics."""
    out = tmp_path_factory.mktemp("stopped")
    crash_at(out, 13)
    return out


def copy(folder, to):
    shutil.copytree(folder, to)
    return to


@pytest.mark.parametrize("seed", range(30))
def test_any_changed_bit_of_the_metrics_that_a_checkpoint_counts_on_is_seen(stopped, tmp_path, seed, reference):
    out, rng = copy(stopped, tmp_path / "out"), np.random.default_rng(seed)
    path = out / "metrics.jsonl"
    content = bytearray(path.read_bytes())
    counted = load_checkpoint(list_checkpoints(out)[-1]).progress["metrics_size"]
    position, bit = int(rng.integers(len(content))), int(rng.integers(8))
    content[position] ^= 1 << bit
    path.write_bytes(content)
    if position >= counted:  # which is written again
        assert_same_run(make_trainer(out).run(resume=True), reference)
        return
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: (its first|holds) .*put the file back as it was"):
        make_trainer(out).run(resume=True)
    assert path.read_bytes() == content  # nothing was cut off
    content[position] ^= 1 << bit
    path.write_bytes(content)
    assert_same_run(make_trainer(out).run(resume=True), reference)


def test_a_line_that_is_no_json_any_more_is_named(stopped, tmp_path):
    out = copy(stopped, tmp_path / "out")
    lines = (out / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (out / "metrics.jsonl").write_bytes(b"".join([lines[0], lines[1].replace(b"{", b"["), *lines[2:]]))
    with pytest.raises(CheckpointError, match="counts on; line 2 is damaged"):
        make_trainer(out).run(resume=True)


def rewritten(path, **changes):
    """Write a checkpoint again with other parts."""
    save_checkpoint(path, dataclasses.replace(load_checkpoint(path), **changes))


def test_a_checkpoint_of_a_version_without_the_checksum_resumes(stopped, tmp_path, reference):
    out = copy(stopped, tmp_path / "out")
    for path in list_checkpoints(out):
        progress = load_checkpoint(path).progress
        del progress["metrics_sha256"]
        rewritten(path, progress=progress)
    assert_same_run(make_trainer(out).run(resume=True), reference)


# ---------------------------------------------------------------- files that are not the state of a run


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"progress": {}, "generators": {}, "optimizer": {}}, "progress.metrics_size, progress.interval, generators"),
        ({"progress": {"interval": {}}}, "progress.metrics_size"),
        ({"config": {}}, "config.training, config.model, config.optimizer, config.data"),
        ({"generators": {}}, "generators.batches, generators.noise"),
    ],
)
def test_a_file_of_parameters_named_as_a_checkpoint_is_told_for_what_it_is(stopped, tmp_path, changes, lacks):
    out = copy(stopped, tmp_path / "out")
    newest = list_checkpoints(out)[-1]
    rewritten(newest, **changes)
    with pytest.raises(CheckpointError, match=rf"{newest.name}: holds no state to resume from: it lacks {lacks}"):
        make_trainer(out).run(resume=True)


def test_a_bare_checkpoint_is_told_for_what_it_is(stopped, tmp_path):
    out = copy(stopped, tmp_path / "out")
    save_checkpoint(out / "checkpoint_99999999.npz", Checkpoint(5, {"W": np.ones(3)}))
    with pytest.raises(CheckpointError, match="checkpoint_99999999.npz: holds no state to resume from: it lacks"):
        make_trainer(out).run(resume=True)


def test_a_line_of_metrics_that_is_no_object_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n[2]\n')
    with pytest.raises(ValueError, match=r"a\.jsonl: line 2 must be a JSON object, got b'\[2\]'"):
        read_json_lines(tmp_path / "a.jsonl")
