"""The training loop: what a run writes and shows."""

import importlib
import io
import json
import re
import sys

import numpy as np
import pytest
from helpers import EPS64
from recorded_runs import STEPS, assert_same_run
from training_run import CONFIG, encode, make_model, make_trainer

from numrnn.training import (
    Adam,
    CosineSchedule,
    list_checkpoints,
    load_checkpoint,
    read_json_lines,
    training_seconds,
)

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
    assert trainer.describe()["encoder"].startswith("test_trainer_metrics.test_an_encoder_without")


def test_validation_accuracy_is_that_of_the_last_validation(reference):
    assert reference.validation_accuracy == reference.history("validation")[-1]["accuracy"]


def test_without_validation_there_is_no_validation_accuracy(tmp_path):
    assert make_trainer(tmp_path, validation_size=0, epochs=1).run().validation_accuracy is None


# ---------------------------------------------------------------- progress


@pytest.fixture
def screen(monkeypatch):
    """Somebody who reads the standard error stream as it comes."""
    monkeypatch.setattr("numrnn.training.progress._has_a_screen", lambda: True)


def test_the_bar_shows_loss_accuracy_norm_and_time_left(tmp_path, capsys, screen):
    pytest.importorskip("tqdm")
    make_trainer(tmp_path, show_progress=True).run()
    text = capsys.readouterr().err
    for part in ("15/15", "loss 0.", "accuracy 0.", "gradient norm 0.", "<", "epoch 3: validation accuracy 0."):
        assert part in text


def test_without_tqdm_there_are_plain_lines(tmp_path, capsys, monkeypatch, screen):
    real = importlib.import_module

    def without_tqdm(name, *arguments):
        if name.startswith("tqdm"):
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


class Clock:
    """A clock whose every look takes a second."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def test_a_log_has_no_bar_and_at_most_one_line_a_minute(tmp_path, capsys, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("numrnn.training.progress.time", clock)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # the notebooks' tests import it
    make_trainer(tmp_path, show_progress=True, epochs=60).run()
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (step \d+/300, loss|epoch \d+: )", line) for line in lines)
    assert clock.now / 60 - 2 <= len(lines) <= clock.now / 60 + 1  # and one for the end
    assert lines[-1].split()[3] == "300/300,"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_process_without_a_stream_for_errors_trains(tmp_path, monkeypatch, stream, reference):
    monkeypatch.setattr(sys, "stderr", stream)
    assert_same_run(make_trainer(tmp_path, show_progress=True).run(), reference)


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
