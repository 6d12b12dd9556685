"""numrnn train and numrnn predict: files of sequences in, a network and its predictions out, whatever kills the run."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import numrnn
from numrnn.__main__ import main
from numrnn.datasets import Sequences, Standardization
from numrnn.experiments import train
from numrnn.experiments.predict import predict
from numrnn.training import (
    CheckpointError,
    Classifier,
    Regressor,
    Trainer,
    latest_checkpoint,
    load_checkpoint,
    load_model,
    read_json_lines,
)

ROOT = pathlib.Path(__file__).parents[2]
KINDS = ("label", "numbers", "labels at every step", "numbers at every step")
SHORT = ["--hidden-size", "6", "--epochs", "2", "--batch-size", "8"]


def arrays(kind, seed=0, n=40):
    """Return the keys of a file of sequences of 2 to 9 steps, three features of unlike size, and targets of a kind."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((t, 3)) * [1, 100, 0.01] + [0, 5, 5] for t in rng.integers(2, 10, n)]
    sums = [np.cumsum(row[:, :1], axis=0) for row in x]
    keys = {f"x_{i}": row for i, row in enumerate(x)}
    if kind == "label":
        return keys | {"y": np.array([int(s[-1, 0] > 0) for s in sums])}
    if kind == "numbers":
        return keys | {"y": np.array([s[-1] for s in sums])}
    if kind == "labels at every step":
        return keys | {f"y_{i}": (s[:, 0] > 0).astype(int) for i, s in enumerate(sums)}
    return keys | {f"y_{i}": s for i, s in enumerate(sums)}


def write(path, kind, **options):
    np.savez(path, **arrays(kind, **options))
    return str(path)


def parameters(path):
    return {name: np.asarray(value) for name, value in load_checkpoint(path).params.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_targets_decide_the_model_and_predict_repeats_the_test(kind, tmp_path, capsys):
    data, test, out = write(tmp_path / "d.npz", kind), write(tmp_path / "t.npz", kind, seed=1, n=12), tmp_path / "out"
    assert main(["train", data, *SHORT, "--test", test, "--out", str(out)]) == 0
    model, _, config = load_model(out)
    assert isinstance(model, Classifier if kind.startswith("label") else Regressor)
    assert (model.output, model.n_outputs) == ("every" if "every" in kind else "last", 2 if "label" in kind else 1)
    assert config["data"]["targets"] == kind
    result = json.loads((out / "result.json").read_text())
    assert ("test_accuracy" in result) == kind.startswith("label")
    printed = capsys.readouterr().out
    assert f"test loss: {result['test_loss']:.4g}" in printed
    assert (out / "learning_curves.png").read_bytes().startswith(b"\x89PNG")

    assert main(["predict", str(out), test, "--out", str(tmp_path / "p.npz")]) == 0
    target = arrays(kind, seed=1, n=12)
    with np.load(tmp_path / "p.npz") as archive:
        found = {name: archive[name] for name in archive.files}
    names = [f"_{i}" for i in range(12)] if "every" in kind else [""]
    wanted = {f"predictions{name}" for name in names}
    if "label" in kind:
        wanted |= {f"probabilities{name}" for name in names}
        right = np.concatenate([found[f"predictions{name}"] == target[f"y{name}"] for name in names])
        assert np.mean(right) == result["test_accuracy"]
        for name in names:
            assert np.array_equal(found[f"probabilities{name}"].argmax(-1), found[f"predictions{name}"])
            assert np.allclose(found[f"probabilities{name}"].sum(-1), 1, rtol=10 * np.finfo(np.float32).eps)
    else:
        errors = np.concatenate([found[f"predictions{name}"] - target[f"y{name}"] for name in names])
        assert np.isclose(np.mean(errors**2), result["test_loss"], rtol=1000 * np.finfo(np.float32).eps)
    assert set(found) == wanted


def test_features_are_standardized_by_the_training_rows_alone(tmp_path):
    data = write(tmp_path / "d.npz", "label")
    config = train.make_config(data=data, hidden_size=4, epochs=1, validation_size=15, out=str(tmp_path / "out"))
    parts = train.EXPERIMENT.load(config)
    trainer, _ = train.make_trainer(config, parts, show_progress=False)
    train.run(config, quiet=True, draw=False)
    x = np.concatenate([parts.train.sequence(row) for row in trainer.training_rows])
    stored = load_model(tmp_path / "out")[2]["standardization"]
    assert len(trainer.training_rows) == 25
    growth = 10 * len(x) * np.finfo(float).eps
    assert np.allclose(stored["mean"], x.mean(axis=0), rtol=growth)
    assert np.allclose(stored["std"], x.std(axis=0), rtol=growth)
    plain = train.make_config(data=data, hidden_size=4, epochs=1, standardize=False, out=str(tmp_path / "plain"))
    train.run(plain, quiet=True, draw=False)
    assert "standardization" not in load_model(tmp_path / "plain")[2]


def test_predictions_do_not_change_where_a_feature_has_another_unit(tmp_path):
    keys = arrays("label")
    other = keys | {name: x * [1.0, 2.0**10, 2.0**-7] for name, x in keys.items() if name != "y"}
    for name, content in (("a", keys), ("b", other)):
        np.savez(tmp_path / f"{name}.npz", **content)
        assert main(["train", str(tmp_path / f"{name}.npz"), *SHORT, "--out", str(tmp_path / name)]) == 0
    ours, theirs = (
        predict(tmp_path / name, Sequences.from_npz(tmp_path / f"{name}.npz"))["probabilities"] for name in ("a", "b")
    )
    assert np.array_equal(ours, theirs)  # the factors are powers of two: nothing is rounded otherwise


@pytest.mark.parametrize("seed", range(6))
def test_a_feature_that_never_changes_is_only_shifted(seed):
    """However many steps there are: the rounding of a mean of 20,000 equal values is no deviation."""
    rng = np.random.default_rng(seed)
    value = float(rng.choice([0.1, 1 / 3, -7e9 - 0.3, rng.standard_normal()]))
    lengths = rng.integers(1, 5000, 8)
    data = Sequences([np.column_stack([rng.standard_normal(t), np.full(t, value)]) for t in lengths])
    scaling = Standardization.of(data)
    assert (scaling.mean[1], scaling.std[1]) == (value, 1.0)
    assert not np.concatenate(scaling.apply(data).x)[:, 1].any()
    varied = np.concatenate(data.x)[:, 0]
    growth = 4 * len(varied) * np.finfo(float).eps
    assert np.allclose([scaling.mean[0], scaling.std[0]], [varied.mean(), varied.std()], rtol=growth, atol=growth)


@pytest.mark.parametrize("seed", range(4))
def test_statistics_are_those_of_the_rows_and_of_nothing_else(seed):
    rng = np.random.default_rng(seed)
    data = Sequences([rng.standard_normal((t, 2)) for t in rng.integers(1, 9, 10)])
    rows = rng.integers(-10, 10, 5)
    chosen = np.concatenate([data.x[row] for row in rows])
    growth = 4 * len(chosen) * np.finfo(float).eps
    for given in (rows, rows.tolist(), iter(rows)):
        scaling = Standardization.of(data, given)
        assert np.allclose([scaling.mean, scaling.std], [chosen.mean(axis=0), chosen.std(axis=0)], rtol=0, atol=growth)
    for bad, error in (
        (rng.random(10) < 0.5, TypeError),
        ([0.0, 1.0], TypeError),
        ([], ValueError),
        ([10], IndexError),
    ):
        with pytest.raises(error, match="^rows must be "):
            Standardization.of(data, bad)


@pytest.mark.parametrize("cell", numrnn.CELLS)
@pytest.mark.parametrize("layers", ["1", "2"])
def test_every_cell_trains_in_layers_and_is_made_again(cell, layers, tmp_path):
    data, out = write(tmp_path / "d.npz", "numbers"), tmp_path / "out"
    options = ["--cell", cell, "--layers", layers, "--hidden-size", "3", "--iterations", "2", "--out", str(out)]
    assert main(["train", data, *options]) == 0
    model, params, _ = load_model(out)
    assert isinstance(model.cell, numrnn.Stack) == (layers == "2")
    assert {name: value.shape for name, value in params.items()} == model.parameter_shapes


def test_rates_of_a_parameter_hold_in_each_layer(tmp_path):
    data = write(tmp_path / "d.npz", "label")
    settings = {"recurrent_rate": 0.5, "input_gains": (0.5, 2.0), "hidden_size": 4, "layers": 2, "optimizer": "adamw"}
    config = train.make_config(data=data, **settings, out=str(tmp_path / "out"))
    trainer, _ = train.make_trainer(config, train.EXPERIMENT.load(config))
    described = trainer.optimizer.config()
    assert described["multipliers"] == {"1.W": 0.5, "2.W": 0.5}
    assert set(described["step_scales"]) == {"1.V", "1.b", "2.V", "2.b"}


def test_the_parameters_of_the_lowest_validation_loss_are_those_that_are_tested(tmp_path):
    data, out = write(tmp_path / "d.npz", "label"), tmp_path / "out"
    options = ["--patience", "2", "--learning-rate", "0.3", "--epochs", "30", "--hidden-size", "6", "--test", data]
    assert main(["train", data, *options, "--out", str(out)]) == 0
    losses = {r["step"]: r["loss"] for r in read_json_lines(out / "metrics.jsonl") if r["kind"] == "validation"}
    result = json.loads((out / "result.json").read_text())
    assert len(losses) < 30
    assert result["tested_step"] == min(losses, key=losses.get) < result["iterations"]
    assert result["validation_loss"] == min(losses.values())
    final, best = parameters(out / "final.npz"), parameters(out / "best.npz")
    assert all(np.array_equal(final[name], best[name]) for name in best)


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "numrnn", "train", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_run_with_lengths_and_patience_that_is_killed_at_random_resumes_bit_for_bit(tmp_path):
    data = write(tmp_path / "d.npz", "labels at every step", n=120)
    options = [data, "--group-lengths", "--patience", "4", "--epochs", "60", "--hidden-size", "48", "--cell", "lstm"]
    options += ["--learning-rate", "0.02", "--checkpoint-interval", "3", "--batch-size", "4", "--test", data]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["train", *options, "--out", str(whole)]) == 0
    steps = json.loads((whole / "result.json").read_text())["iterations"]
    rng, kills = np.random.default_rng(int.from_bytes(os.urandom(4), "little")), 0
    arguments = options
    for _ in range(3):
        process = start(*arguments, "--out", killed)
        deadline, target = time.monotonic() + 60, rng.integers(1, steps)
        while process.poll() is None and time.monotonic() < deadline:
            newest = sorted(killed.glob("checkpoint_*.npz"))
            if newest and int(newest[-1].stem.partition("_")[2]) >= target:
                break
            time.sleep(0.002)
        time.sleep(float(rng.random()) * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += not (killed / "result.json").exists()
        arguments = ["--resume"]  # config.json has the rest
    assert kills  # of three moments drawn at random over the run not all can come too late
    assert main(["train", "--resume", "--out", str(killed)]) == 0
    for name in ("metrics.jsonl", "learning_curves.png"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("final.npz", "best.npz"):
        ours, theirs = parameters(killed / name), parameters(whole / name)
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs), name
    results = [json.loads((out / "result.json").read_text()) for out in (killed, whole)]
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0}
    ours, theirs = latest_checkpoint(killed), latest_checkpoint(whole)
    assert (ours.step, ours.generators, ours.progress) == (theirs.step, theirs.generators, theirs.progress)


def broken(path, content):
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"x": np.ones((4, 3, 2))}, [], "y must be there to train on"),
        ({"x": np.ones((4, 3)), "y": np.zeros(4, int)}, [], r"x must be \(N, T, m\)"),
        ({"x": np.ones((4, 3, 2)), "y": np.zeros(4)}, [], r"y of shape \(N,\) must be integer labels"),
        ({"x": np.array([["a"]]), "y": np.zeros(1, int)}, [], "x must hold real numbers"),
        ({"x": np.ones((4, 3, 2)), "z": np.zeros(4, int)}, [], "keys must be"),
        ({"x": np.ones((4, 3, 2)), "y": [0, 1, 0, 1]}, ["--patience", "2"], "patience, keep_best and metrics need"),
        ({"x": np.ones((4, 3, 2)), "y": [0, 1, 0, 1]}, ["--layers", "0"], "layers must be an integer >= 1, got 0"),
        ({"x": np.ones((4, 3, 2)), "y": [0, 1, 0, 1]}, ["--test", "{one}"], "must have m=2 features.*got 1"),
        ({"x": np.ones((4, 3, 2)), "y": [0, 1, 0, 1]}, ["--validation", "{one}"], "must have m=2 features.*got 1"),
        (
            {"x": np.ones((4, 3, 1)), "y": [0, 1, 0, 1]},
            ["--test", "{one}"],
            "labels must be from 0 to K - 1 = 1, got 5",
        ),
        ({"x": np.ones((4, 3, 1)), "y": [0, 1, 0, 5]}, ["--test", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_files_and_options_that_do_not_fit_are_one_line(content, options, message, tmp_path, capsys):
    one = broken(tmp_path / "one.npz", {"x": np.ones((2, 3, 1)), "y": np.array([0, 5])})
    data = broken(tmp_path / "d.npz", content)
    options = [option.format(one=one) for option in options]
    assert main(["train", str(data), *options, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_at_any_byte_is_one_line(tmp_path, capsys):
    whole = pathlib.Path(write(tmp_path / "d.npz", "label", n=3)).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        cut = int(rng.integers(len(whole)))
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        assert main(["train", str(tmp_path / "cut.npz"), "--out", str(tmp_path / "out")]) == 1, cut
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "cut.npz" in error


def test_predict_names_what_does_not_fit(tmp_path, capsys):
    data, out = write(tmp_path / "d.npz", "label"), tmp_path / "out"
    assert main(["train", data, *SHORT, "--out", str(out)]) == 0
    narrow = broken(tmp_path / "n.npz", {"x": np.ones((2, 4, 2))})
    capsys.readouterr()
    for checkpoint, path, message in (
        (out, narrow, "the sequences must have 3 features a step.*got 2"),
        (tmp_path, data, "no checkpoint in this folder can be read"),
        (data, data, "not a numrnn checkpoint"),
        (out, tmp_path / "none.npz", "none.npz"),
    ):
        assert main(["predict", str(checkpoint), str(path), "--out", str(tmp_path / "p.npz")]) == 1
        error = capsys.readouterr().err
        assert re.search(message, error)
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "p.npz").exists()


def test_predictions_replace_neither_what_they_are_made_from_nor_the_run(tmp_path, capsys):
    data, out = write(tmp_path / "d.npz", "label"), tmp_path / "out"
    assert main(["train", data, *SHORT, "--keep-best", "--out", str(out)]) == 0
    (tmp_path / "link.npz").symlink_to(data)
    (out / "notes.txt").write_text("of the user's own")
    before = {path: path.read_bytes() for path in (pathlib.Path(data), *out.iterdir())}
    own = out / "notes.txt"
    capsys.readouterr()
    files = [path for path in before if path.parent == out and path != own and path.suffix != ".png"]
    for checkpoint in (out, out / "final.npz", *out.glob("checkpoint_*.npz")):
        of_run = files if checkpoint == out else [checkpoint]
        for path in (data, tmp_path / "link.npz", out / ".." / "d.npz", *of_run):
            assert main(["predict", str(checkpoint), data, "--out", str(path)]) == 1, path
            assert "--out must be another file than " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    for _ in range(2):  # any other file is replaced
        assert main(["predict", str(out), data, "--out", str(own)]) == 0
    assert np.load(own).files == ["predictions", "probabilities"]


def test_load_model_takes_a_file_or_what_a_folder_has(tmp_path):
    data, out = write(tmp_path / "d.npz", "label"), tmp_path / "out"
    assert main(["train", data, *SHORT, "--keep-best", "--average", "tail", "--out", str(out)]) == 0
    newest = latest_checkpoint(out)
    for path in (out / "final.npz", out / "best.npz"):
        of_file, of_folder = load_model(path), load_model(out)
        assert repr(of_file[0]) == repr(of_folder[0])
        assert all(np.array_equal(value, of_folder[1][name]) for name, value in of_file[1].items())
        path.unlink()
    assert all(np.array_equal(value, newest.average[name]) for name, value in load_model(out)[1].items())
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(out / "final.npz")


@pytest.mark.parametrize("command", ["train", "mnist"])
def test_a_run_that_is_overwritten_and_stopped_leaves_no_result_of_the_one_before(command, tmp_path, monkeypatch):
    out, data = tmp_path / "out", write(tmp_path / "d.npz", "label")
    options = ["--hidden-size", "4", "--iterations", "2", "--out", str(out)]
    begin = ["train", data] if command == "train" else ["mnist", "--data", "embedded"]
    assert main([*begin, *options]) == 0
    assert (out / "final.npz").exists()
    begun = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, **how: begun(self, **how, time_limit=1e-9))  # one update
    assert main([*begin, *options, "--overwrite"]) == 130
    assert not (out / "final.npz").exists()
    assert not (out / "result.json").exists()
    assert load_checkpoint(out / "checkpoint_00000001.npz").step == 1
    monkeypatch.undo()
    assert main([command, "--resume", "--out", str(out)]) == 0
    assert (out / "final.npz").exists()


def test_labels_behind_the_length_of_a_row_are_no_classes():
    y = np.array([[0, 1, 99], [1, 99, 99]])
    assert Sequences(np.ones((2, 3, 1)), y, lengths=[2, 1]).n_outputs == 2
