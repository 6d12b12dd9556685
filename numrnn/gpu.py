"""Detects CUDA and names the matching CuPy extra.

    python numrnn/gpu.py              what was found, before anything is installed
    python numrnn/gpu.py --extra      the name of the extra alone

It asks the driver's library for the newest CUDA that the driver can run (nvidia-smi if that library cannot be loaded),
and the compiler of an installed toolkit for its version. It needs no CuPy and does not start the GPU.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

Version = tuple[int, int]

EXTRAS = {12: "gpu-cuda12", 13: "gpu-cuda13"}  # by major version of CUDA; setup.py defines them
DRIVER_LIBRARIES = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
PATIENCE = 10  # timeout of nvidia-smi and nvcc, in seconds


@dataclass(frozen=True)
class Cuda:
    """Versions found.

    Attributes
    ----------
    driver : (int, int) or None
        Newest CUDA that the driver can run, such as (12, 4); None without an NVIDIA driver.
    toolkit : (int, int) or None
        CUDA version of the toolkit whose nvcc was found, or None; CuPy's wheels need no toolkit.
    """

    driver: Version | None
    toolkit: Version | None

    @property
    def extra(self) -> str | None:
        """Name of the extra to install, or None if the driver is missing or too old for all of them."""
        fitting = [major for major in EXTRAS if self.driver is not None and major <= self.driver[0]]
        return EXTRAS[max(fitting)] if fitting else None

    def __str__(self) -> str:
        driver = "no NVIDIA driver found" if self.driver is None else f"CUDA {_text(self.driver)} by the driver"
        return driver if self.toolkit is None else f"{driver}, CUDA {_text(self.toolkit)} by nvcc"

    @property
    def advice(self) -> str:
        """What to install."""
        if self.extra is not None:
            return f"install CuPy with `pip install numrnn[{self.extra}]`"
        if self.driver is not None:
            return f"update the driver to one for CUDA {min(EXTRAS)} or newer, then `pip install numrnn[{EXTRAS[12]}]`"
        extras = " or ".join(f"`pip install numrnn[{extra}]` (CUDA {major})" for major, extra in EXTRAS.items())
        return f"install the driver of an NVIDIA GPU, then {extras}"


def find_cuda() -> Cuda:
    """Return the versions of CUDA on this machine; starts at most two short processes."""
    return Cuda(driver=_driver_version(), toolkit=_toolkit_version())


def driver_release() -> str | None:
    """Return the version of the driver, such as "550.54.15", or None if nvidia-smi does not report it."""
    text = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return text.splitlines()[0].strip() if text.strip() else None


def _driver_version() -> Version | None:
    for name in DRIVER_LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        number = ctypes.c_int(0)
        if library.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value > 0:
            return number.value // 1000, number.value % 1000 // 10
    return _version_in(_output("nvidia-smi"), r"CUDA Version:\s*(\d+)\.(\d+)")


def _toolkit_version() -> Version | None:
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    path = os.pathsep.join([os.environ.get("PATH", ""), *(os.path.join(home, "bin") for home in homes)])
    nvcc = shutil.which("nvcc", path=path)
    return None if nvcc is None else _version_in(_output(nvcc, "--version"), r"release (\d+)\.(\d+)")


def _output(*command: str) -> str:
    """Return the output of a command, or "" if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _version_in(text: str, pattern: str) -> Version | None:
    found = re.search(pattern, text)
    return None if found is None else (int(found[1]), int(found[2]))


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def main(argv: list[str] | None = None) -> int:
    """Print what was found, or, with --extra, only the name of the extra; return 1 if no extra fits."""
    cuda = find_cuda()
    if (sys.argv[1:] if argv is None else argv) == ["--extra"]:
        print(cuda.extra or f"{cuda}; {cuda.advice}")
    else:
        print(cuda)
    return 0 if cuda.extra else 1


if __name__ == "__main__":
    sys.exit(main())
