"""Runs the CUDA kernels on the CPU: g++ compiles their text with standin.h, and a launcher calls them on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from numrnn.engines.cuda_kernels import FILES, Device, source

HERE = pathlib.Path(__file__).parent
HEADER = (HERE / "standin.h").read_text(encoding="utf-8")
KERNEL_TEXT = source(FILES[1:])  # standin.h takes the place of device.cuh
COMPILE = ("g++", "-std=c++17", "-O2", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-w")
FAILURES = ("", "its threads wait for each other for ever", "it writes past its shared memory")

H200 = Device(capability=90, processors=132, shared_bytes=232_448)
A100 = Device(capability=80, processors=108, shared_bytes=166_912)
RTX_3090 = Device(capability=86, processors=82, shared_bytes=101_376)

ENTRY = """
extern "C" int entry(int blocks, int threads, int cluster, size_t shared, unsigned seed, void** arguments) {{
    return standin::call(&{kernel}, blocks, threads, cluster, shared, seed, arguments);
}}
"""


def missing():
    """Return why kernels cannot be compiled here, or None."""
    return None if shutil.which("g++") else "the stand-in for CUDA needs g++, which is not on the path"


@functools.cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="numrnn-standin-")


@functools.cache
def compiled(kernel, text=KERNEL_TEXT):
    """Return the entry of a kernel, compiled from its text."""
    whole = "\n".join([HEADER, text, ENTRY.format(kernel=kernel)])
    path = pathlib.Path(_folder().name) / hashlib.sha256(whole.encode()).hexdigest()
    path.with_suffix(".cpp").write_text(whole, encoding="utf-8")
    library = path.with_suffix(".so")
    command = [*COMPILE, str(path.with_suffix(".cpp")), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[:4000]
    return ctypes.CDLL(str(library)).entry


class StandinLauncher:
    """A launcher for NumPy arrays.

    `text` is that of the kernels, `device` what they believe to run on, `seed` draws the order of threads. It keeps the
    names of the kernels that it ran.
    """

    def __init__(self, device=H200, text=KERNEL_TEXT, seed=0):
        self.device, self.text, self.seed = device, text, seed
        self.launched = []

    def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
        self.launched.append(kernel)
        cluster = int(kernel.split("<")[1].split(",")[4])
        assert blocks % cluster == 0
        held = [self._argument(argument) for argument in arguments]
        addresses = (ctypes.c_void_p * len(held))(*[ctypes.addressof(value) for value in held])
        entry = compiled(kernel, self.text)
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
