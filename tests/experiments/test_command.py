"""The command `numrnn`: its commands, its answers to mistakes, and what it does without packages of the extras."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import numrnn
from numrnn.__main__ import COMMANDS, main
from numrnn.experiments import demo, mnist
from numrnn.experiments.figures import FIGURES
from numrnn.training import Checkpoint, Classifier, save_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
EVERY = [[name] for name in COMMANDS] + [["figure", name] for name in FIGURES]
SLOW_TO_IMPORT = ("scipy", "matplotlib", "distributed", "dask", "tqdm", "pooch", "PIL", "pandas")
IMPORTED = f"""
import sys
from numrnn.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0
print([name for name in {SLOW_TO_IMPORT} if name in sys.modules], file=sys.stderr)
"""


def without(monkeypatch, *packages):
    """Let packages be as if they were not installed, whether or not they were imported before."""
    for package in packages:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


@pytest.fixture
def checkpoint(tmp_path):
    model = Classifier(numrnn.AntisymmetricCell(1, 4, step_size=0.1, diffusion=0.1), 2)
    params = model.init_params(np.random.default_rng(0))
    return save_checkpoint(tmp_path / "c.npz", Checkpoint(step=3, params=params, config={"model": model.config()}))


def test_help_lists_every_command_with_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", printed, re.MULTILINE)


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"numrnn {numrnn.__version__}\n"


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_the_help_of_a_command_is_under_its_name_and_imports_no_package_that_is_slow_to_import(command):
    run = [sys.executable, "-W", "error", "-c", IMPORTED, *command, "--help"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: numrnn {' '.join(command)} ")
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "numrnn: error: the following arguments are required: COMMAND"),
        (["trane"], "numrnn: error: argument COMMAND: invalid choice: 'trane'"),
        (["train"], "numrnn train: error: the following arguments are required: DATA.npz"),
        (["predict"], "numrnn predict: error: the following arguments are required: CHECKPOINT, DATA.npz"),
        (["--fast"], "numrnn: error: the following arguments are required: COMMAND"),
        (["figure"], "numrnn figure: error: the following arguments are required: COMMAND"),
        (["figure", "3"], "numrnn figure: error: argument COMMAND: invalid choice: '3'"),
        (["mnist", "--cell", "gru"], "numrnn mnist: error: argument --cell: invalid choice: 'gru'"),
        (["mnist", "extra"], "numrnn mnist: error: unrecognized arguments: extra"),
        (["demo", "--seconds", "0"], "numrnn demo: error: --seconds must be > 0, got 0.0"),
        (["sweep", "--search", "all"], "numrnn sweep: error: argument --search: invalid choice: 'all'"),
        (["stability"], "numrnn stability: error: the following arguments are required: checkpoint"),
        (["info", "--fast"], "numrnn info: error: unrecognized arguments: --fast"),
    ],
)
def test_a_command_or_an_option_that_is_none_is_one_line_and_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert line.endswith(" --help")


def test_a_bad_value_is_one_line_and_status_1(tmp_path, capsys):
    assert main(["mnist", "--data", "embedded", "--hidden-size", "0", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "error: hidden_size must be an integer >= 1, got 0\n"


def test_ctrl_c_ends_any_command_with_status_130(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("numrnn.info.collect", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().out == "stopped\n"


def test_the_module_is_the_command(tmp_path):
    arguments = ["mnist", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "numrnn", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: MNIST was not found")


def test_stability_prints_the_report_of_a_checkpoint(checkpoint, capsys):
    assert main(["stability", str(checkpoint), "--steps", "10"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Stability of {checkpoint}, after 3 updates\n")
    assert "critical step size" in printed
    assert checkpoint.with_name("c-stability.png").exists()


def test_gradcheck_keeps_its_statuses(capsys):
    assert main(["gradcheck", "math:sin", "math:cos", "math:pi"]) == 0
    assert main(["gradcheck", "math:sin", "math:sin", "math:pi"]) == 1
    assert main(["gradcheck", "math:none", "math:cos", "math:pi"]) == 3
    assert "gradcheck: AttributeError" in capsys.readouterr().err


# Without the packages of the extras

NO_PICTURES = "no pictures: numrnn.plots needs matplotlib: pip install numrnn[examples] (found: "


def test_a_run_without_matplotlib_says_so_and_is_complete(tmp_path, monkeypatch, capsys):
    without(monkeypatch, "matplotlib")
    config = mnist.make_config(data="embedded", hidden_size=3, iterations=2, validation_size=20, out=str(tmp_path))
    result = mnist.run(config)
    printed = capsys.readouterr().out
    assert printed.count(NO_PICTURES) == 1
    assert f"test accuracy {100 * result.test_accuracy:.2f} %" in printed
    assert result.pictures == list(tmp_path.glob("*.png")) == []
    assert json.loads((tmp_path / "result.json").read_text())["test_accuracy"] == result.test_accuracy


def test_the_demo_without_matplotlib_says_so_once_and_goes_on(tmp_path, monkeypatch, capsys):
    without(monkeypatch, "matplotlib")
    assert main(["demo", "--seconds", "0.2", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(NO_PICTURES)
    assert printed.count("matplotlib") == printed.splitlines()[0].count("matplotlib")
    assert "pictures:" not in printed.partition("\n")[2]
    assert all(f"  {name:<15}" in printed for name in demo.CELLS)
    assert list(tmp_path.rglob("*.png")) == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_matplotlib_is_an_error_before_any_work(name, tmp_path, monkeypatch, capsys):
    without(monkeypatch, "matplotlib")
    argv = ["--data", "synthetic"] if name == "jacobian" else []
    assert main(["figure", name, *argv, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: numrnn.plots needs matplotlib: pip install numrnn[examples]")
    assert not (tmp_path / "out").exists()


def test_the_stability_report_without_matplotlib_is_text(checkpoint, monkeypatch, capsys):
    without(monkeypatch, "matplotlib")
    assert main(["stability", str(checkpoint), "--steps", "10"]) == 0
    printed = capsys.readouterr()
    assert "critical step size" in printed.out
    assert printed.err.startswith("no picture: numrnn.plots needs matplotlib: pip install numrnn[examples]")


def test_a_sweep_without_dask_is_one_line(tmp_path, monkeypatch, capsys):
    without(monkeypatch, "distributed")
    assert main(["sweep", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: numrnn sweep needs Dask: pip install numrnn[sweep] (found: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
