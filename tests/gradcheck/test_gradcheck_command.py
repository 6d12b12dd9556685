"""The command line: the report on standard output, the verdict as exit code."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from gradcheck.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]
MODULE = """
import numpy as np
params = {"x": np.array([1.0, 2.0])}
def make_params(): return {"x": np.array([1.0, 2.0])}
def loss(p): return np.sum(p["x"] ** 2)
def right(p): return {"x": 2 * p["x"]}
def wrong(p): return {"x": p["x"] / 4}
def constant(p): return 0.0
def zero(p): return {"x": 0 * p["x"]}
def raises(p): raise RuntimeError("boom")
class Model:
    params = params
    gradient = {"x": np.array([2.0, 4.0])}
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_problem.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_problem"
    sys.modules.pop("some_problem", None)


@pytest.mark.parametrize(
    ("names", "code", "word"),
    [
        (("loss", "right", "params"), 0, "PASSED"),
        (("loss", "right", "make_params"), 0, "PASSED"),
        (("loss", "Model.gradient", "Model.params"), 0, "PASSED"),
        (("loss", "wrong", "params"), 1, "FAILED"),
        (("constant", "zero", "params"), 2, "INCONCLUSIVE"),
    ],
)
def test_exit_code_is_the_verdict(module, capsys, names, code, word):
    assert main([f"{module}:{name}" for name in names]) == code
    assert f"gradcheck: {word}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["some_problem:loss", "some_problem:nothing", "some_problem:params"], "AttributeError"),
        (["no_such_module:loss", "some_problem:right", "some_problem:params"], "ModuleNotFoundError"),
        (["some_problem", "some_problem:right", "some_problem:params"], "expected module:name, got 'some_problem'"),
        (["some_problem:raises", "some_problem:right", "some_problem:params"], "loss raised RuntimeError: boom"),
        (["some_problem:loss", "some_problem:right", "some_problem:params", "--directions", "0"], "directions must be"),
    ],
)
def test_bad_input_exits_with_three_and_says_why(module, capsys, arguments, message):
    assert main(arguments) == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a:b"], "the following arguments are required"),
        (["a:b", "a:c", "a:d", "--method", "magic"], "invalid choice: 'magic'"),
        (["a:b", "a:c", "a:d", "--size", "B"], "expected NAME=N, got 'B'"),
    ],
)
def test_bad_usage_exits_with_three_and_never_with_inconclusive(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 3
    assert message in capsys.readouterr().err


def test_options_reach_the_check(module, capsys):
    names = [f"{module}:loss", f"{module}:wrong", f"{module}:params"]
    main([*names, "--json", "--seed", "7", "--size", "B=8", "--method", "richardson", "--directions", "2"])
    record = json.loads(capsys.readouterr().out)
    assert record["seed"] == 7
    assert record["method"].startswith("Richardson-extrapolated central differences along 2")
    assert record["parameters"]["x"]["diagnosis"] == "a constant factor is wrong: analytic = 1/B x numeric"


@pytest.mark.parametrize(("gradient", "code"), [("right", 0), ("wrong", 1)])
def test_python_m_gradcheck_runs(module, tmp_path, gradient, code):
    command = [
        sys.executable,
        "-m",
        "gradcheck",
        "some_problem:loss",
        f"some_problem:{gradient}",
        "some_problem:params",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("gradcheck: ")


@pytest.mark.parametrize("code", ["0", "1", "2", "'text'", ""])
@pytest.mark.parametrize("place", ["", "def make_params(): ", "def loss(p): "])
def test_module_that_calls_exit_gives_no_verdict(tmp_path, monkeypatch, capsys, code, place):
    ending = f"import sys; sys.exit({code})"
    text = MODULE.replace(place, f"{place}{ending}; ") if place else MODULE + ending
    (tmp_path / "ending_problem.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert main([f"ending_problem:{name}" for name in ("loss", "right", "make_params")]) == 3
    assert "gradcheck: SystemExit" in capsys.readouterr().err
    sys.modules.pop("ending_problem", None)


def test_modules_of_the_current_folder_are_found_by_the_installed_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "problem_here.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main([f"problem_here:{name}" for name in ("loss", "wrong", "params")]) == 1
    assert "gradcheck: FAILED" in capsys.readouterr().out
    assert sys.path == before
    sys.modules.pop("problem_here", None)
