"""The scripts of examples/: short, and the old names of the commands."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
PROGRAMS = ("minimal.py", "own_cell.py", "adding.py")  # which are no commands
COMMANDS = [name for name in SCRIPTS if name not in PROGRAMS]


def run(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_every_script_is_short():
    assert {"cifar10.py", "demo.py", "minimal.py", "mnist.py", "sweep.py"} <= set(SCRIPTS)
    for name in SCRIPTS:
        assert len((ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()) < 100, name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_explains_itself_under_its_own_name(name, tmp_path):
    done = run(ROOT / "examples" / name, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python examples/{name} [-h]")
    assert re.findall(rf"^    python examples/{name}", done.stdout, re.MULTILINE)
    assert f"numrnn {name.removesuffix('.py')}" not in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_refuses_an_option_that_is_none_with_status_2(name, tmp_path):
    done = run(ROOT / "examples" / name, "--colour", "red", cwd=tmp_path)
    assert done.returncode == 2
    own = f"python examples/{name}"
    assert done.stderr == f"{own}: error: unrecognized arguments: --colour red; see {own} --help\n"


def test_the_script_of_mnist_trains_and_resumes(tmp_path):
    options = {"data": "embedded", "hidden-size": 3, "batch-size": 50, "validation-size": 20, "iterations": 2}
    short = [*(f"--{name}={value}" for name, value in options.items()), "--out", "run"]
    script = ROOT / "examples" / "mnist.py"
    assert run(script, *short, cwd=tmp_path).returncode == 0
    assert (tmp_path / "run" / "result.json").exists()
    again = run(script, *short, cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith("error: run holds a run already")
    assert run(script, "--resume", "--out", "run", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_the_loop_by_hand_learns(tmp_path):
    done = run(ROOT / "examples" / "minimal.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    losses = [float(re.search(r"loss ([\d.]+)", line)[1]) for line in lines]
    assert losses[-1] < losses[0] / 2
    assert float(re.match(r"([\d.]+)%", last)[1]) > 50  # chance is 10


def test_a_cell_of_ones_own_is_verified_and_learns(tmp_path):
    done = run(ROOT / "examples" / "own_cell.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert float(re.match(r"([\d.]+)%", last)[1]) > 85  # chance is 11


@pytest.mark.slow
def test_the_adding_problem_is_learnt(tmp_path):
    done = run(ROOT / "examples" / "adding.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"mean squared error ([\d.]+)", done.stdout)[1]) < 1 / 12  # half of the baseline


def test_the_scripts_pass_strict_types(tmp_path):
    scripts = sorted(map(str, (ROOT / "examples").glob("*.py")))
    check = [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "--cache-dir", str(tmp_path)]
    done = subprocess.run([*check, *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
