"""What is found of CUDA, and which extra that asks for; every machine is a faked one."""

import ctypes
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

from numrnn import backend, gpu, info

ROOT = pathlib.Path(__file__).parents[2]
SMI = """
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
"""
NVCC = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88\n"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that makes a machine: what its driver says, and the programs on its path."""

    def make(driver=None, programs=None, homes=None):
        real = ctypes.CDLL

        def load(name, *rest, **named):
            if name not in gpu.DRIVER_LIBRARIES:
                return real(name, *rest, **named)
            if driver is None:
                raise OSError(f"{name}: cannot open shared object file")

            def version(pointer):
                pointer._obj.value = driver
                return 0 if driver else 3

            return types.SimpleNamespace(cuDriverGetVersion=version)

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("CUDA_HOME", "CUDA_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, text in (programs or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            body = "exit 1" if text is None else f"/bin/cat <<'END'\n{text}\nEND"
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
        for name, folder in (homes or {}).items():
            monkeypatch.setenv(name, str(tmp_path / folder))

    return make


@pytest.mark.parametrize(
    ("number", "version", "extra"),
    [
        (12000, (12, 0), "gpu-cuda12"),
        (12040, (12, 4), "gpu-cuda12"),
        (13000, (13, 0), "gpu-cuda13"),
        (13010, (13, 1), "gpu-cuda13"),
        (14020, (14, 2), "gpu-cuda13"),
        (11080, (11, 8), None),
    ],
)
def test_the_driver_decides_the_extra(machine, number, version, extra):
    machine(driver=number)
    found = gpu.find_cuda()
    assert (found.driver, found.toolkit, found.extra) == (version, None, extra)
    assert f"CUDA {version[0]}.{version[1]} by the driver" in str(found)
    assert ("update the driver" if extra is None else f"pip install numrnn[{extra}]") in found.advice


@pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")
def test_nvidia_smi_is_asked_where_the_drivers_library_is_out_of_reach(machine):
    machine(programs={"nvidia-smi": SMI})
    assert gpu.find_cuda() == gpu.Cuda(driver=(12, 4), toolkit=None)


@pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")
def test_a_toolkit_without_a_driver_is_told_and_is_not_enough(machine):
    machine(programs={"nvcc": NVCC, "nvidia-smi": None})
    found = gpu.find_cuda()
    assert found == gpu.Cuda(driver=None, toolkit=(13, 0))
    assert str(found) == "no NVIDIA driver found, CUDA 13.0 by nvcc"
    assert found.extra is None
    assert "pip install numrnn[gpu-cuda12]` (CUDA 12) or `pip install numrnn[gpu-cuda13]` (CUDA 13)" in found.advice


@pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")
@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_a_toolkit_off_the_path_is_found_by_its_variable(machine, variable):
    machine(driver=12040, programs={"cuda/bin/nvcc": NVCC}, homes={variable: "cuda"})
    assert str(gpu.find_cuda()) == "CUDA 12.4 by the driver, CUDA 13.0 by nvcc"


@pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")
def test_programs_that_say_something_else_are_no_versions(machine):
    machine(programs={"nvcc": "hello", "nvidia-smi": "NVIDIA-SMI has failed"})
    assert gpu.find_cuda() == gpu.Cuda(driver=None, toolkit=None)


def test_a_library_without_a_driver_behind_it_is_no_driver(machine):
    machine(driver=0)
    assert str(gpu.find_cuda()) == "no NVIDIA driver found"


@pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")
@pytest.mark.parametrize(("text", "release"), [("550.54.15\n550.54.15\n", "550.54.15"), (None, None)])
def test_the_release_of_the_driver_is_that_of_the_first_card(machine, text, release):
    machine(programs={"nvidia-smi": text})
    assert gpu.driver_release() == release


@pytest.mark.parametrize("number", [12040, 13000, None])
def test_the_error_without_cupy_names_cuda_and_the_extra(machine, monkeypatch, number):
    machine(driver=number)
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it raises ImportError
    with pytest.raises(RuntimeError) as caught:
        backend.backend_module("cupy")
    found = gpu.find_cuda()
    assert f"backend='cupy' needs CuPy: {found.advice}; found: {found}, " in str(caught.value)


def test_the_report_of_the_installation_says_it_too(machine, monkeypatch):
    machine(driver=12040)
    monkeypatch.setitem(sys.modules, "cupy", None)
    report = info.collect(measure=False)
    wanted = "CUDA 12.4 by the driver; to compute on a GPU, install CuPy with `pip install numrnn[gpu-cuda12]`"
    assert report["cuda"] == wanted
    assert wanted in info.report_text(report)


def test_setup_defines_the_extras_that_are_named():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert all(f'"{extra}":' in text for extra in gpu.EXTRAS.values())
    assert re.findall(r"cupy-cuda(\d+)x", text) == [str(major) for major in sorted(gpu.EXTRAS)]


def test_the_file_runs_before_anything_is_installed():
    command = [sys.executable, "-I", "-S", ROOT / "numrnn" / "gpu.py", "--extra"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not run.stderr
    found = gpu.find_cuda()
    assert run.returncode == (0 if found.extra else 1)
    assert run.stdout.strip() == (found.extra or f"{found}; {found.advice}")
