"""numrnn speakers, adding and copying: in short, that they learn, and go on where they were killed."""

import functools
import itertools
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
import tomllib
from importlib import resources

import numpy as np
import pytest

from numrnn.__main__ import main
from numrnn.datasets import DrawnSequences, adding, copying, load_speakers
from numrnn.experiments import adding as adding_command
from numrnn.experiments import copying as copying_command
from numrnn.experiments import presets, speakers
from numrnn.training import load_checkpoint, load_model
from results import tasks

ROOT = pathlib.Path(__file__).parents[2]
TASKS = {"adding": adding_command, "copying": copying_command}
NAMES = [(task, name) for task, module in TASKS.items() for name in module.EXPERIMENT.preset_names()]
SETS = {
    "adding": DrawnSequences(functools.partial(adding, length=20), 50, seed=3),
    "copying": DrawnSequences(functools.partial(copying, delay=10), 50, seed=3, n_outputs=9),
}


def result(out):
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def test_a_short_adding_problem_is_learnt(tmp_path):
    options = ["--length", "20", "--iterations", "800", "--hidden-size", "32", "--step-size", "0.2"]
    assert main(["adding", *options, "--test-sequences", "500", "--out", str(tmp_path)]) == 0
    found = result(tmp_path)
    assert found["baseline_loss"] == 1 / 6
    assert found["test_loss"] < found["baseline_loss"] / 3


def test_a_short_copying_problem_is_learnt_better_than_without_memory(tmp_path, capsys):
    options = ["--delay", "10", "--iterations", "400", "--hidden-size", "48", "--test-sequences", "300"]
    assert main(["copying", *options, "--out", str(tmp_path)]) == 0
    found = result(tmp_path)
    assert found["baseline_symbol_accuracy"] == 1 / 8
    assert found["baseline_loss"] == 10 * math.log(8) / 30
    assert found["symbol_accuracy"] > 0.25
    assert found["test_loss"] < found["baseline_loss"]
    assert f"symbol accuracy: {100 * found['symbol_accuracy']:.2f} %" in capsys.readouterr().out


def test_the_symbols_are_counted_at_the_ten_steps_of_recall(tmp_path):
    config = copying_command.make_config(delay=10, iterations=1, hidden_size=4, test_sequences=20, out=str(tmp_path))
    outcome = copying_command.run(config, quiet=True, draw=False)
    test = copying_command.EXPERIMENT.load(config).test
    x = test.batch(range(20)).x
    symbols, predicted = x[:10].argmax(axis=2), np.array(outcome.test.predictions)[:, 20:].T
    assert outcome.content["symbol_accuracy"] == np.mean(symbols == predicted)


@pytest.mark.parametrize("options", [["--cell", "lstm", "--forget-bias", "chrono"], ["--cell", "gated"]])
@pytest.mark.parametrize("task", TASKS)
def test_every_cell_and_start_of_the_presets_trains(task, options, tmp_path):
    short = ["--iterations", "2", "--hidden-size", "4", "--validation-sequences", "9", "--test-sequences", "9"]
    steps = ["--length", "20"] if task == "adding" else ["--delay", "10"]
    assert main([task, *steps, *options, *short, "--out", str(tmp_path)]) == 0
    _, _, config = load_model(tmp_path)
    assert config["training"]["t_max"] == ((20 if task == "adding" else 30) if "chrono" in options else None)


@pytest.mark.parametrize("task", TASKS)
def test_a_drawn_set_is_the_same_whoever_asks_for_which_rows(task):
    data, rng = SETS[task], np.random.default_rng(0)
    whole = data.batch(range(50))
    rows = rng.permutation(50)[:13]
    part = data.batch(rows)
    assert np.array_equal(part.x, whole.x[:, rows])
    every = task == "copying"
    assert np.array_equal(part.y, whole.y[:, rows] if every else whole.y[rows])
    assert (part.mask is None) != every
    assert np.array_equal(data.sequence(7), whole.x[:, 7])
    assert np.array_equal(data.y[7], whole.y[:, 7] if every else whole.y[7])
    assert len({row.tobytes() for row in whole.x.swapaxes(0, 1)}) == 50
    with pytest.raises(IndexError):
        data.batch([50])


@pytest.mark.parametrize("task", TASKS)
def test_targets_that_are_drawn_are_a_sequence_with_an_end(task):
    data = SETS[task]
    whole = data.batch(range(50)).y
    each = list(whole.swapaxes(0, 1) if task == "copying" else whole)
    assert np.array_equal(list(itertools.islice(data.y, 60)), each)  # without an end there would be 60
    for rows in np.random.default_rng(0).integers(-50, 50, (3, 4)):
        assert np.array_equal(data.y[rows], [each[row] for row in rows])
        assert np.array_equal(data.y[rows[0]], each[rows[0]])
    for row in (50, -51):
        with pytest.raises(IndexError):
            data.y[row]


def test_the_three_sets_share_no_sequence_and_another_seed_draws_others():
    seen = set()
    for seed in (0, 1):
        parts = adding_command.EXPERIMENT.load(
            adding_command.make_config(
                length=20, sequences=30, validation_sequences=30, test_sequences=30, data_seed=seed
            )
        )
        seen |= {x.tobytes() for part in (parts.train, parts.validation, parts.test) for x in part.x}
        assert parts.train.digest() != parts.validation.digest()
    assert len(seen) == 180


def test_labels_that_are_drawn_need_their_number():
    with pytest.raises(ValueError, match="n_outputs must be the number of classes"):
        DrawnSequences(functools.partial(copying, delay=10), 5, seed=0)


def test_a_task_that_is_killed_resumes_bit_for_bit(tmp_path):
    options = ["--length", "20", "--iterations", "150", "--hidden-size", "16", "--checkpoint-interval", "7"]
    options += ["--sequences", "2000", "--validation-sequences", "50", "--test-sequences", "50"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["adding", *options, "--out", str(whole)]) == 0
    command = [sys.executable, "-m", "numrnn", "adding", *options, "--out", str(killed)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(killed.glob("checkpoint_0000002?.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "result.json").exists()
    assert main(["adding", "--resume", "--out", str(killed)]) == 0
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    ours, theirs = (load_checkpoint(out / "final.npz").params for out in (killed, whole))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("task", TASKS)
def test_presets_have_equal_budgets_and_no_sequence_twice(task):
    configs = {name: TASKS[task].make_config(preset=name) for other, name in NAMES if other == task}
    assert sorted(configs) == sorted(name for name in tasks.presets() if name.startswith(task))
    assert len({(c.iterations, c.batch_size, c.hidden_size) for c in configs.values()}) == 1
    for name, config in configs.items():
        start = "-chrono" if config.forget_bias == "chrono" else ""
        assert name == f"{task}-{config.length if task == 'adding' else config.delay}-{config.cell}{start}"
        assert config.sequences == config.iterations * config.batch_size
        assert (config.forget_bias in ("1", "chrono")) == (config.cell == "lstm")


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_a_preset_gives_a_reason_for_each_value(task, name):
    text = (resources.files(presets) / f"{name}.toml").read_text(encoding="utf-8")
    values = [line for line in text.splitlines() if "=" in line and line[0] != "#"]
    assert len(values) == len(tomllib.loads(text))
    assert all(len(line.partition("  # ")[2]) > 5 for line in values)


def test_speakers_never_see_the_test_set_before_the_end(tmp_path):
    config = speakers.make_config(epochs=2, hidden_size=8, out=str(tmp_path))
    data = load_speakers()
    outcome = speakers.run(config, quiet=True, draw=False)
    trainer, _ = speakers.make_trainer(config, speakers.EXPERIMENT.load(config), show_progress=False)
    assert len(trainer.training_rows) + len(trainer.validation_rows) == len(data.train)
    assert outcome.test.predictions.shape == (len(data.test),)
    assert outcome.content["test_accuracy"] == np.mean(outcome.test.predictions == data.test.y)


@pytest.mark.parametrize("cell", ["antisymmetric", "gated", "lstm"])
def test_most_speakers_are_told_apart(cell, tmp_path):
    outcome = speakers.run(speakers.make_config(cell, epochs=15, out=str(tmp_path)), quiet=True, draw=False)
    assert outcome.content["test_accuracy"] > 0.85  # chance is 1 in 9
