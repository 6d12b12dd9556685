"""numrnn mnist, in short: what it writes, and that Ctrl-C and kill -9 lose nothing."""

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
from numrnn import plots
from numrnn.experiments import classification, mnist, pictures
from numrnn.options import options
from numrnn.plots.learning import MOST_MARKERS
from numrnn.training import Classifier, latest_checkpoint, read_json_lines

ROOT = pathlib.Path(__file__).parents[2]
SHORT = {"data": "embedded", "hidden_size": 6, "batch_size": 250, "epochs": 2, "checkpoint_interval": 5}
PICTURES = ("learning_curves.png", "confusion_matrix.png", "gradient_flow.png")


def command(out, *extra):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items()]
    return [sys.executable, "-m", "numrnn", "mnist", *options, "--out", str(out), *extra]


def start(out, *extra):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(out, *extra), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_step(process, out, step):
    """Return once metrics.jsonl has a line of that step or later, while the process is still at work."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        path = out / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        if lines and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.005)
    pytest.fail(f"no line of step {step} within two minutes")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a run that nobody disturbed, and what it returned."""
    out = tmp_path_factory.mktemp("mnist") / "undisturbed"
    return out, mnist.run(mnist.make_config("antisymmetric", **SHORT, out=str(out)), quiet=True)


def test_a_run_writes_its_config_metrics_result_and_pictures(finished):
    out, result = finished
    assert json.loads((out / "config.json").read_text())["hidden_size"] == 6
    assert json.loads((out / "result.json").read_text())["test_accuracy"] == result.test_accuracy
    assert [r["step"] for r in read_json_lines(out / "metrics.jsonl") if r["kind"] == "validation"] == [19, 38]
    for name in PICTURES:
        content = (out / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    assert [path.name for path in result.pictures] == list(PICTURES)


def test_the_curve_of_the_run_s_own_cell_at_the_start_is_that_of_the_run_s_own_initial_values(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(plots, "gradient_flow", lambda flows, path, **_: drawn.update(flows) or path)
    own = {"weight_std": 0.5, "rotations": (0.1, 9.0), "step_size": 0.05, "input_std": 2.0}
    config = mnist.make_config("antisymmetric", **{**SHORT, "epochs": 1}, **own, out=str(tmp_path))
    mnist.run(config, quiet=True)
    cell = numrnn.AntisymmetricCell(1, 6, step_size=0.05, diffusion=config.diffusion)
    model, data = Classifier(cell, 10), mnist.load_data(config)
    values = {name: own[name] for name in ("weight_std", "rotations", "input_std")}
    params = model.init_params(np.random.default_rng(config.seed), **values)
    encoder = mnist.make_trainer(config, data, show_progress=False).encoder
    wanted = pictures.gradient_norms(model, params, encoder, data, config.seed)
    assert np.array_equal(drawn["antisymmetric, at the start"], wanted)
    assert set(drawn) == {"antisymmetric, trained", *(f"{name}, at the start" for name in classification.COMPARED)}


@pytest.mark.parametrize(("epochs", "markers"), [(MOST_MARKERS, True), (MOST_MARKERS + 1, False)])
def test_the_marks_of_a_long_run_s_epochs_do_not_hide_its_curves(epochs, markers, tmp_path):
    records = [{"step": i, "loss": 1 / i, "accuracy": 0.5, "gradient_norm": 1.0} for i in range(1, epochs + 1)]
    figure = plots.learning_curves(
        records, [{k: r[k] for k in ("step", "loss", "accuracy")} for r in records], tmp_path / "a.png"
    )
    for axes in figure.axes[:2]:
        assert [line.get_marker() == "o" for line in axes.lines] == [False, markers]


def test_the_test_accuracy_is_that_of_the_parameters_in_the_last_checkpoint(finished):
    out, result = finished
    config = mnist.make_config("antisymmetric", **SHORT)
    data = mnist.load_data(config)
    trainer = mnist.make_trainer(config, data, show_progress=False)
    again = trainer.evaluate(latest_checkpoint(out).params, data.test_images, data.test_labels)
    assert again.accuracy == result.test_accuracy
    assert 0 < again.accuracy < 1


@pytest.mark.parametrize("step", [1, 20, 30])
def test_a_run_that_was_killed_resumes_bit_for_bit(finished, tmp_path, step):
    out = tmp_path / "killed"
    process = start(out)
    wait_for_step(process, out, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "result.json").exists()
    # --resume reads config.json: no other option is repeated.
    again = subprocess.run(
        [sys.executable, "-m", "numrnn", "mnist", "--resume", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert (out / "metrics.jsonl").read_bytes() == (finished[0] / "metrics.jsonl").read_bytes()
    ours, theirs = latest_checkpoint(out).params, latest_checkpoint(finished[0]).params
    assert all(np.array_equal(ours[k], theirs[k]) for k in theirs)


def test_ctrl_c_ends_cleanly_and_resumes_bit_for_bit(finished, tmp_path):
    out = tmp_path / "interrupted"
    process = start(out)
    wait_for_step(process, out, 10)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    assert "--resume" in printed
    assert "Traceback" not in printed
    assert mnist.main(["--resume", "--out", str(out)]) == 0
    assert (out / "metrics.jsonl").read_bytes() == (finished[0] / "metrics.jsonl").read_bytes()


def test_a_run_in_seconds_is_complete_when_they_have_passed(tmp_path):
    options = {**{k: v for k, v in SHORT.items() if k != "epochs"}, "seconds": 0.5, "out": tmp_path}
    argv = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert mnist.main(argv) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    records = read_json_lines(tmp_path / "metrics.jsonl")
    assert result["iterations"] == records[-1]["step"] >= 1
    assert records[-1]["kind"] == "validation"
    assert result["validation_accuracy"] == records[-1]["accuracy"]
    before = {path: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    assert mnist.main(["--resume", "--out", str(tmp_path)]) == 0  # no more to do
    assert {path: path.read_bytes() for path in tmp_path.glob("*.jsonl")} == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seconds", "5", "--schedule", "step"], r"schedule must be constant or cosine .* 5\.0 seconds, got 'step'"),
        (["--seconds", "0"], "seconds must be a finite number > 0, got 0"),
    ],
)
def test_a_length_in_seconds_that_cannot_be_is_refused(argv, message, tmp_path, capsys):
    assert mnist.main(["--data", "embedded", *argv, "--out", str(tmp_path / "out")]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_seconds_take_the_place_of_a_preset_s_updates():
    config = mnist.make_config(preset="mnist-antisymmetric", seconds=5.0)
    assert (config.epochs, config.iterations, config.seconds) == (None, None, 5.0)
    config = mnist.make_config(seconds=5.0)
    assert (config.epochs, config.iterations, config.seconds) == (None, None, 5.0)


def test_a_finished_run_is_not_overwritten_unasked(finished, capsys):
    out, _ = finished
    before = (out / "metrics.jsonl").read_bytes(), (out / "config.json").read_bytes()
    assert mnist.main(["--data", "embedded", "--epochs", "1", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(out) in error
    assert ((out / "metrics.jsonl").read_bytes(), (out / "config.json").read_bytes()) == before


def test_resuming_with_another_setting_is_refused(finished, capsys):
    out, _ = finished
    assert mnist.main(["--resume", "--learning-rate", "0.5", "--out", str(out)]) == 1
    assert "learning_rate" in capsys.readouterr().err


def test_missing_data_are_answered_by_one_clear_error(tmp_path, capsys):
    assert mnist.main(["--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "train-images-idx3-ubyte" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cell", numrnn.CELLS)
def test_every_cell_trains(cell, tmp_path):
    config = mnist.make_config(
        cell, data="embedded", hidden_size=4, batch_size=50, iterations=2, validation_size=50, out=str(tmp_path / cell)
    )
    result = mnist.run(config, quiet=True)
    assert result.training.step == 2
    assert np.isfinite(result.test_loss)


def test_permuted_pixels_are_another_task(tmp_path):
    data = mnist.load_data(mnist.make_config(data="embedded"))
    images = data.train_images[:2]
    plain, permuted = (
        mnist.make_trainer(mnist.make_config(data="embedded", permuted=p), data).encoder(images, None)
        for p in (False, True)
    )
    assert not np.array_equal(plain, permuted)
    assert np.array_equal(np.sort(plain, axis=0), np.sort(permuted, axis=0))


def test_the_command_line_reaches_every_field(tmp_path):
    config, resume, overwrite = mnist.parse_arguments(
        "--cell gated --permuted --data embedded --root r --hidden-size 5 --step-size 0.5 --diffusion 0.25"
        " --storage full --weight-std 2 --optimizer sgd --learning-rate 0.125 --schedule step --warmup 3 --clip 7"
        " --batch-size 9 --iterations 11 --validation-size 13 --checkpoint-interval 4 --seed 17 --backend cupy"
        f" --engine reference --out {tmp_path} --overwrite".split()
    )
    expected = mnist.Config(
        cell="gated",
        permuted=True,
        data="embedded",
        root="r",
        hidden_size=5,
        step_size=0.5,
        diffusion=0.25,
        storage="full",
        weight_std=2.0,
        optimizer="sgd",
        learning_rate=0.125,
        schedule="step",
        warmup=3,
        clip=7.0,
        batch_size=9,
        epochs=None,
        iterations=11,
        validation_size=13,
        checkpoint_interval=4,
        seed=17,
        backend="cupy",
        engine="reference",
        out=str(tmp_path),
    )
    assert (config, resume, overwrite) == (expected, False, True)


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        mnist.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, meaning in options(mnist.Config).items():
        assert "--" + name.replace("_", "-").removesuffix("options") in text
        assert meaning.text[:20] in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "1", "--iterations", "5"], "give only one of --epochs, --iterations and --seconds"),
        (["--cell", "gru"], "invalid choice: 'gru'"),
        (["--epochs", "many"], "invalid int value: 'many'"),
    ],
)
def test_wrong_options_are_refused(argv, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        mnist.main(argv)
    assert message in capsys.readouterr().err


def test_an_unknown_choice_in_python_is_refused():
    with pytest.raises(ValueError, match="optimizer must be one of adam, adamw, adagrad, sgd, got 'rmsprop'"):
        mnist.make_config(optimizer="rmsprop")


def test_divergence_is_reported_with_its_step_and_checkpoint(tmp_path, capsys):
    argv = ["--cell", "unstructured", "--data", "embedded", "--hidden-size", "8", "--batch-size", "20"]
    argv += ["--optimizer", "sgd", "--learning-rate", "1e38", "--schedule", "constant", "--clip", "1e38"]
    assert mnist.main([*argv, "--iterations", "50", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "is not finite at step" in error
    assert "checkpoint_" in error


def test_cupy_that_cannot_be_had_is_asked_for(tmp_path, capsys):
    try:
        import cupy  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("CuPy is installed here")
    assert mnist.main(["--data", "embedded", "--backend", "cupy", "--out", str(tmp_path / "out")]) == 1
    assert "pip install" in capsys.readouterr().err
