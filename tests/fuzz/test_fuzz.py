"""Malformed arguments of every public callable: only errors that name them, no silent NaN, nothing slow.

By hand, 100,000 calls: `PYTHONPATH=tests python -m fuzz.harness --calls 100000`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import numrnn
from fuzz import harness, targets, valid

ROOT = Path(numrnn.__file__).parents[1]
CALLS = int(os.environ.get("NUMRNN_FUZZ_CALLS", "3500"))


def test_every_public_callable_has_a_valid_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = targets.targets()
    assert len(found) > 200
    names = [target.name for target in found]
    assert "numrnn.forward" in names
    assert "numrnn.training.Trainer.run" in names
    assert "gradcheck.check_gradient" in names
    assert "numrnn.experiments.sweep.Config" in names
    for target in found:
        arguments = target.arguments(tmp_path)  # a KeyError names an argument that has no value yet
        if "estimators" not in target.name and "assert_cell" not in target.name and "kill_matrix" not in target.name:
            harness.call(target.function, arguments)


def test_malformed_calls_are_refused_by_name(tmp_path):
    command = [sys.executable, "-m", "fuzz.harness", "--calls", str(CALLS), "--seed", "20190427"]
    paths = [str(ROOT), str(ROOT / "tests")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


# ---------------------------------------------------------------- the judge itself


def swallows(x):
    return x


def names_another(x):
    raise ValueError("y must be 3")


def names_it(x):
    raise ValueError("x must be 3, got 4")


def breaks(x):
    raise AttributeError("'int' object has no attribute 'shape'")


def makes_nan(x):
    return {"a": [1.0, float("nan")]}


def waits(x):
    while True:
        pass


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (swallows, None),
        (names_it, None),
        (names_another, "does not name the argument"),
        (breaks, "AttributeError"),
        (makes_nan, "NaN or infinity in the result"),
        (waits, "took more than"),
    ],
)
def test_the_judge_tells_good_from_bad(function, problem, monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 0.2)
    target = targets.Target("test", function, lambda folder: {"x": 1})
    found = harness.judge(target, "x", {"x": 1})
    assert (found is None) if problem is None else problem in found


def test_a_new_argument_without_a_value_is_told():
    def new(x, no_such_argument):
        pass

    with pytest.raises(KeyError, match=r"tests\.new: no_such_argument has no valid value"):
        valid.arguments("tests.new", new, Path())
