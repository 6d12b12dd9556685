"""make gpu-proof: its order, its clock and its verdict, with every command a faked one."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from numrnn.engines.cuda import families

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def gpu_proof(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("gpu_proof", ROOT / "tools" / "gpu_proof.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_proof", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / "venv")
    monkeypatch.setattr(module, "OUT", tmp_path / "out")
    monkeypatch.setattr(module, "sanitizer", lambda: "/bin/compute-sanitizer")
    monkeypatch.setattr(module, "find_cuda", lambda: module.Cuda(driver=(12, 4), toolkit=None))
    return module


class Machine:
    """Runs nothing, and lets time pass; a command that holds a word of `codes` ends with its code."""

    def __init__(self, takes=1.0, **codes):
        self.now, self.takes, self.codes, self.commands = 0.0, takes, codes, []

    def clock(self):
        return self.now

    def run(self, command, limit):
        self.commands.append(command)
        takes = self.takes(command) if callable(self.takes) else self.takes
        self.now += min(takes, limit)
        if takes > limit:
            raise subprocess.TimeoutExpired(command, limit)
        return next((code for word, code in self.codes.items() if any(word in part for part in command)), 0)


def prove(gpu_proof, machine, driver=(12, 4)):
    proof = gpu_proof.Proof(machine.run, machine.clock)
    good = gpu_proof.prove(proof, gpu_proof.Cuda(driver=driver, toolkit=None))
    return good, {step.name: step for step in proof.steps}


def test_every_step_runs_in_order_and_the_extra_fits(gpu_proof):
    machine = Machine()
    good, steps = prove(gpu_proof, machine)
    assert good
    assert list(steps) == [
        "environment",
        "numrnn and CuPy",
        "installation of torch",
        "installation of jax",
        "installation of flashrnn",
        "tests/gpu",
        "compute-sanitizer memcheck",
        "compute-sanitizer racecheck",
        "benchmarks",
    ]
    assert {step.status for step in steps.values()} == {"passed"}
    assert ".[dev,examples,gpu-cuda12]" in machine.commands[1]
    assert "jax[cuda12]" in machine.commands[3]


def test_here_nothing_is_installed(gpu_proof, monkeypatch):
    machine = Machine()
    monkeypatch.setattr(gpu_proof, "run", machine.run)
    assert gpu_proof.main(["--here"]) == 0
    assert not any("pip" in command or "venv" in command for command in machine.commands)
    assert [command[0] for command in machine.commands].count(sys.executable) == 2
    steps = json.loads((gpu_proof.OUT / gpu_proof.PROOF_FILE).read_text())["steps"]
    assert [step["name"] for step in steps if step["status"] == "not run"] == ["environment"]
    assert sys.executable in steps[0]["reason"]


def test_another_cuda_takes_another_extra(gpu_proof):
    machine = Machine()
    prove(gpu_proof, machine, driver=(13, 0))
    assert ".[dev,examples,gpu-cuda13]" in machine.commands[1]
    assert "jax[cuda13]" in machine.commands[3]


@pytest.mark.parametrize(("word", "step"), [("tests/gpu", "tests/gpu"), ("racecheck", "compute-sanitizer racecheck")])
def test_a_step_that_fails_is_a_failure_and_stops_no_other(gpu_proof, word, step):
    good, steps = prove(gpu_proof, Machine(**{word: 1}))
    assert not good
    assert (steps[step].status, steps[step].reason) == ("failed", "exit code 1")
    assert steps["benchmarks"].status == "passed"


@pytest.mark.parametrize("word", ["torch==", "jax[", "flashrnn"])
def test_a_framework_that_cannot_be_installed_is_no_failure(gpu_proof, word):
    good, steps = prove(gpu_proof, Machine(**{word: 1}))
    assert good
    assert [step.status for step in steps.values()].count("failed") == 1


def test_without_cupy_nothing_else_is_tried(gpu_proof):
    good, steps = prove(gpu_proof, Machine(**{"--editable": 1}))
    assert not good
    assert list(steps) == ["environment", "numrnn and CuPy"]


def test_without_the_sanitizer_that_is_said(gpu_proof, monkeypatch):
    monkeypatch.setattr(gpu_proof, "sanitizer", lambda: None)
    good, steps = prove(gpu_proof, Machine())
    assert good
    assert steps["compute-sanitizer memcheck"].status == "not run"
    assert "on the path" in steps["compute-sanitizer memcheck"].reason


def test_the_benchmark_gets_the_time_that_is_left(gpu_proof):
    machine = Machine(takes=20)
    prove(gpu_proof, machine)
    limit = float(machine.commands[-1][machine.commands[-1].index("--time-limit") + 1])
    assert limit == 480 - 8 * 20 - 60


def test_nothing_runs_beyond_eight_minutes(gpu_proof):
    machine = Machine(takes=lambda command: 1e6 if "tests/gpu" in command else 20)
    good, steps = prove(gpu_proof, machine)
    assert not good
    assert machine.now == 480
    assert steps["tests/gpu"].status == "out of time"
    assert (steps["benchmarks"].status, steps["benchmarks"].reason) == ("not run", "no time was left")


def test_what_came_of_it_is_printed_and_written(gpu_proof, monkeypatch, capsys):
    machine = Machine(**{"tests/gpu": 3})
    monkeypatch.setattr(gpu_proof, "run", machine.run)
    assert gpu_proof.main([]) == 1
    content = json.loads((gpu_proof.OUT / gpu_proof.PROOF_FILE).read_text())
    assert content["passed"] is False
    assert content["cuda"] == "CUDA 12.4 by the driver"
    assert {"name": "tests/gpu", "status": "failed", "reason": "exit code 3"}.items() <= content["steps"][5].items()
    assert capsys.readouterr().out.splitlines()[-1].startswith("not proved: ")


@pytest.mark.parametrize("driver", [None, (11, 8)])
def test_without_a_gpu_one_clear_line_ends_it(gpu_proof, monkeypatch, capsys, driver):
    cuda = gpu_proof.Cuda(driver=driver, toolkit=None)
    monkeypatch.setattr(gpu_proof, "find_cuda", lambda: cuda)
    monkeypatch.setattr(gpu_proof, "run", lambda *_: pytest.fail("something was run"))
    assert gpu_proof.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"no proof on a GPU: {cuda}; {cuda.advice}\n"


def test_the_short_run_says_in_one_line_that_there_is_no_gpu(monkeypatch, capsys):
    from benchmarks.gpu import short_run

    monkeypatch.setitem(sys.modules, "cupy", None)
    assert short_run.main() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_its_commands_use_the_kernels_that_no_card_has_run_yet(gpu_proof):
    assert families.VARIABLE == gpu_proof.UNPROVEN
    code = f"import os, sys; sys.exit(os.environ.get('{families.VARIABLE}') != '1')"
    assert gpu_proof.run([sys.executable, "-c", code], 60) == 0
