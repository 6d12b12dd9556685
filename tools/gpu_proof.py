"""All that a GPU can show of this package, by one command: `make gpu-proof`.

It makes an environment in .venv-gpu with the CuPy that fits the CUDA found and with the frameworks that can be had,
runs tests/gpu, which run all kernels, then with NUMRNN_CUDA_UNPROVEN=1, so with those kernels that no card has run yet
where they can be used, compute-sanitizer (memcheck and racecheck) on a short run where that tool is on the path, then
`python -m benchmarks --gpu`, and writes what came of each to results/gpu/. The steps share eight minutes; the benchmark
leaves out, by name, what no time is left for. It needs nothing but Python 3.11 and an NVIDIA driver.

    python3 tools/gpu_proof.py --here      installs nothing and uses this Python: for a machine without a network
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "numrnn"))  # gpu.py needs nothing, and the package is not installed yet

from gpu import Cuda, find_cuda  # noqa: E402

LIMIT = 480.0  # seconds for everything
RESERVE = 60.0  # of it for the workload that the benchmark has begun when its own time is over
SANITIZER_LIMIT = 60.0
VENV = ROOT / ".venv-gpu"
OUT = ROOT / "results" / "gpu"
PROOF_FILE = "proof.json"
TORCH = "torch==2.13.0"
NO_GPU = 2
UNPROVEN = "NUMRNN_CUDA_UNPROVEN"  # numrnn/engines/cuda/families.py; numrnn is not installed yet


@dataclass
class Step:
    """What came of a step: "passed", "failed", "out of time" or "not run", and why."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""


@dataclass
class Proof:
    """The steps of a run, and the clock that they share."""

    run: Callable[[Sequence[str], float], int]
    clock: Callable[[], float] = time.monotonic
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = self.clock()

    @property
    def left(self) -> float:
        """Seconds left."""
        return LIMIT - (self.clock() - self._start)

    def step(self, name: str, *command: str | Path, limit: float = LIMIT) -> bool:
        """Run a command as a step; return whether it passed."""
        if self.left <= 0:
            self.steps.append(Step(name, "not run", reason="no time was left"))
            return False
        print(f"== {name}", flush=True)
        began = self.clock()
        try:
            code = self.run([str(word) for word in command], min(limit, self.left))
        except subprocess.TimeoutExpired as error:
            self.steps.append(Step(name, "out of time", self.clock() - began, f"more than {error.timeout:.0f} s"))
            return False
        reason = "" if code == 0 else f"exit code {code}"
        self.steps.append(Step(name, "failed" if code else "passed", self.clock() - began, reason))
        return code == 0

    def skip(self, name: str, reason: str) -> None:
        """Note a step that is not run."""
        self.steps.append(Step(name, "not run", reason=reason))


def run(command: Sequence[str], limit: float) -> int:
    """Run a command in the root of the repository, with kernels that no card has run yet; return its exit code."""
    return subprocess.run(command, cwd=ROOT, timeout=limit, check=False, env={**os.environ, UNPROVEN: "1"}).returncode


def python_of(venv: Path) -> Path:
    """Return the Python of an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def sanitizer() -> str | None:
    """Return the path of compute-sanitizer, or None where it is neither on the path nor in a toolkit's folder."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [os.environ.get("PATH", ""), *(os.path.join(home, "bin") for home in homes if home)]
    return shutil.which("compute-sanitizer", path=os.pathsep.join(folders))


def set_up(proof: Proof, cuda: Cuda) -> bool:
    """Make the environment; a framework that cannot be installed is no failure, and is missing in the table."""
    python = python_of(VENV)
    if not python.exists() and not proof.step("environment", sys.executable, "-m", "venv", VENV):
        return False
    pip = (python, "-m", "pip", "install", "--quiet", "--editable")
    if not proof.step("numrnn and CuPy", *pip, f".[dev,examples,{cuda.extra}]"):
        return False
    major = (cuda.extra or "")[-2:]
    for name, packages in (("torch", [TORCH]), ("jax", [f"jax[cuda{major}]"]), ("flashrnn", ["flashrnn"])):
        proof.step(f"installation of {name}", python, "-m", "pip", "install", "--quiet", *packages, limit=150)
    return True


def prove(proof: Proof, cuda: Cuda, *, here: bool = False) -> bool:
    """Run all steps, with the packages of this Python if `here`; return whether those that must pass did."""
    if here:
        python = Path(sys.executable)
        proof.skip("environment", f"--here: {python} as it is")
    elif set_up(proof, cuda):
        python = python_of(VENV)
    else:
        return False
    passed = proof.step("tests/gpu", python, "-m", "pytest", "-q", "tests/gpu")
    tool = sanitizer()
    for check in ("memcheck", "racecheck"):
        name = f"compute-sanitizer {check}"
        if tool is None:
            proof.skip(name, "compute-sanitizer is neither on the path nor in the folder of a toolkit")
            continue
        command = (tool, "--tool", check, "--error-exitcode", "1", python, "-m", "benchmarks.gpu.short_run")
        passed &= proof.step(name, *command, limit=SANITIZER_LIMIT)
    time_limit = max(proof.left - RESERVE, 1)
    arguments = ("--repetitions", "5", "--compile-limit", "30", "--time-limit", f"{time_limit:.0f}", "--out", OUT)
    return proof.step("benchmarks", python, "-m", "benchmarks", "--gpu", *arguments) and passed


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 where a step failed, or 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description="Run all that a GPU can show of this package.")
    parser.add_argument("--here", action="store_true", help="install nothing: use the Python that runs this")
    options = parser.parse_args(argv)
    cuda = find_cuda()
    if cuda.extra is None:
        print(f"no proof on a GPU: {cuda}; {cuda.advice}", file=sys.stderr)
        return NO_GPU
    proof = Proof(run)
    good = prove(proof, cuda, here=options.here)
    for step in proof.steps:
        print(f"{step.name:<28}{step.status:<12}{step.seconds:6.0f} s  {step.reason}")
    OUT.mkdir(parents=True, exist_ok=True)
    content = {"cuda": str(cuda), "passed": good, "steps": [asdict(step) for step in proof.steps]}
    (OUT / PROOF_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{'proved' if good else 'not proved'}: {OUT / PROOF_FILE}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
