"""Runs the CUDA kernels on the CPU: g++ compiles their text with standin.h, a launcher calls them on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from numrnn.engines.cuda.kernels import FILES, KERNELS, Device, family_of, source

HERE = pathlib.Path(__file__).parent
HEADER = (HERE / "standin.h").read_text(encoding="utf-8")
TEXTS = {family: source(family, device=False) for family in FILES}  # standin.h takes the place of device.cuh
KERNEL_TEXT = TEXTS["euler"]
COMPILE = ("g++", "-std=c++17", "-O1", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-fPIC", "-w")
FAILURES = (
    "",
    "its threads wait for each other for ever",
    "it writes past its shared memory",
    "it counts arrivals that it does not expect",
    "a message comes to a block that has ended",
)

H200 = Device(capability=90, processors=132, shared_bytes=232_448)
A100 = Device(capability=80, processors=108, shared_bytes=166_912)
T4 = Device(capability=75, processors=40, shared_bytes=65_536)
RTX_3090 = Device(capability=86, processors=82, shared_bytes=101_376)

ENTRY = """
extern "C" int entry_{index}(int blocks, int threads, int cluster, size_t shared, unsigned seed, void** arguments) {{
    return standin::call(&{kernel}, blocks, threads, cluster, shared, seed, arguments);
}}
"""


def missing():
    """Return why kernels cannot be compiled here, or None."""
    return None if shutil.which("g++") else "the stand-in for CUDA needs g++, which is not on the path"


@functools.cache
def _folder():
    """Return a folder with the header in it, compiled once; it goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="numrnn-standin-")
    header = pathlib.Path(folder.name) / "standin.h"
    header.write_text(HEADER, encoding="utf-8")
    _compile("-x", "c++-header", str(header), "-o", f"{header}.gch")
    return folder


def _compile(*arguments):
    result = subprocess.run([*COMPILE, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[:4000]


@functools.cache
def compiled(kernels, text=KERNEL_TEXT):
    """Return the entries of kernels, a dict by name, compiled from their text."""
    entries = [ENTRY.format(index=index, kernel=kernel) for index, kernel in enumerate(kernels)]
    whole = "\n".join(['#include "standin.h"', text, *entries])
    path = pathlib.Path(_folder().name) / f"{hashlib.sha256(whole.encode()).hexdigest()}.cpp"
    path.write_text(whole, encoding="utf-8")
    _compile("-shared", str(path), "-o", str(path.with_suffix(".so")))
    library = ctypes.CDLL(str(path.with_suffix(".so")))
    return {kernel: library[f"entry_{index}"] for index, kernel in enumerate(kernels)}


class StandinLauncher:
    """A launcher for NumPy arrays.

    `text` is that of the kernels, by default of the family of each, `device` what they believe to run on, `seed` draws
    the order of threads. It keeps the names of the kernels that it ran.
    """

    def __init__(self, device=H200, text=None, seed=0):
        self.device, self.text, self.seed = device, text, seed
        self.launched = []

    def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
        self.launched.append(kernel)
        parameters, family = kernel.partition("<")[2], family_of(kernel)
        cluster = int(parameters.split(",")[3 if family == "lstm" else 4])
        assert blocks % cluster == 0
        held = [self._argument(argument) for argument in arguments]
        addresses = (ctypes.c_void_p * len(held))(*[ctypes.addressof(value) for value in held])
        prefix = "" if family == "euler" else f"{family}_"
        both = tuple(f"{prefix}{name}<{parameters}" for name in KERNELS)  # a pass needs both: one run of the compiler
        copies = f"constexpr bool ASYNC_COPIES = {str(self.device.capability >= 80).lower()};\n"
        entry = compiled(both, copies + (self.text or TEXTS[family]))[kernel]
        failure = entry(blocks, threads, cluster, ctypes.c_size_t(shared_bytes), self.seed, addresses)
        assert not failure, f"{kernel}: {FAILURES[failure]}"

    @staticmethod
    def _argument(value):
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous  # CuPy passes an address and no strides
            return ctypes.c_void_p(value.ctypes.data)
        if value.dtype == np.uint64:  # a null pointer
            return ctypes.c_void_p(int(value))
        return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())
