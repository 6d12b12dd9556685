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
HEADER = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("standin.h", "standin_device.h"))
TEXTS = {family: source(family, device=False) for family in FILES}  # standin.h takes the place of device.cuh
KERNEL_TEXT = TEXTS["euler"]
COMPILE = ("g++", "-std=c++17", "-O1", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-fPIC", "-w")
FAILURES = (
    "",
    "its threads wait for each other for ever",
    "it writes past its shared memory",
    "it writes into the memory of a block that has ended",
    "it counts arrivals that it does not expect",
)
GUARD_BYTES = 4096  # on either side of an array
NAN = 0xFF  # in every byte: NaN in both precisions, and -1 as an integer

# The arrays among a kernel's arguments, in their order, and which of their rows along the first axis it has to fill.
ARRAYS = {
    "forward": ("W", "lengths", "states", "acts"),
    "backward": ("W", "lengths", "acts", "direct", "deltas", "sums", "g", "all_g"),
    "lean_forward": ("W", "lengths", "V", "b", "x", "states", "acts"),
    "lean_backward": (
        *("W", "lengths", "x", "states", "acts", "direct"),
        *("deltas", "sums", "dA", "dV_b", "g", "all_g"),
    ),
    "lstm_backward": ("W", "lengths", "states", "acts", "direct", "deltas", "g", "all_g"),
}
FILLED = {
    "forward": {"states": slice(1, None)},
    "backward": dict.fromkeys(("deltas", "sums", "dA", "dV_b", "all_g"), slice(None)),
}
CHANGED = {"forward": {"states", "acts"}, "backward": {"g", *FILLED["backward"]}}

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


class Guarded:
    """A copy of an array with bytes on either side that must not change; a kernel computes on it.

    Parameters
    ----------
    array : numpy.ndarray
        C-contiguous, as CuPy passes an address and no strides.
    filled : slice or None
        Rows that the kernel has to fill: NaN until then, whatever they hold.
    """

    def __init__(self, array, filled):
        assert array.flags.c_contiguous
        self.array, self.bytes = array, array.nbytes
        self.memory = np.full(self.bytes + 2 * GUARD_BYTES, NAN, np.uint8)
        self.inner = self.memory[GUARD_BYTES : GUARD_BYTES + self.bytes]
        self.inner[:] = array.reshape(-1).view(np.uint8)
        if filled is not None:
            self.inner.reshape(len(array), -1)[filled] = NAN
        self.before = self.inner.copy()

    @property
    def address(self):
        return ctypes.c_void_p(self.inner.ctypes.data)

    def overrun(self):
        """Tell whether something beside the array has been written."""
        outside = self.memory[:GUARD_BYTES], self.memory[GUARD_BYTES + self.bytes :]
        return any((part != NAN).any() for part in outside)

    def changed(self):
        return not np.array_equal(self.inner, self.before)

    def give_back(self):
        self.array.reshape(-1).view(np.uint8)[:] = self.inner


class StandinLauncher:
    """A launcher for NumPy arrays.

    `text` is that of the kernels, by default of the family of each, `device` what they believe to run on, `seed` draws
    the order of threads. It keeps the names of the kernels that it ran.

    A kernel computes on copies of its arrays: it must write nothing beside them and nothing into those that it only
    reads, and what it has to fill is NaN before.
    """

    def __init__(self, device=H200, text=None, seed=0):
        self.device, self.text, self.seed = device, text, seed
        self.launched = []

    def blocks_per_processor(self, layout, gates):
        return 1

    def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
        self.launched.append(kernel)
        seed = self.seed + 1000 * len(self.launched)  # another order for every launch
        parameters, family = kernel.partition("<")[2], family_of(kernel)
        cluster = int(parameters.split(",")[3 if family == "lstm" else 4])
        assert blocks % cluster == 0
        guarded = guard(kernel.partition("<")[0], arguments)
        held = [guarded[i].address if i in guarded else _scalar(value) for i, value in enumerate(arguments)]
        addresses = (ctypes.c_void_p * len(held))(*[ctypes.addressof(value) for value in held])
        prefix = "" if family == "euler" else f"{family}_"
        both = tuple(f"{prefix}{name}<{parameters}" for name in KERNELS)  # a pass needs both: one run of the compiler
        copies = f"constexpr bool ASYNC_COPIES = {str(self.device.capability >= 80).lower()};\n"
        entry = compiled(both, copies + (self.text or TEXTS[family]))[kernel]
        failure = entry(blocks, threads, cluster, ctypes.c_size_t(shared_bytes), seed, addresses)
        assert not failure, f"{kernel}: {FAILURES[failure]}"
        check(kernel, guarded)


def guard(name, arguments):
    """Return a `Guarded` for each array among a kernel's arguments, by position; one for what is given twice."""
    # Pointers are arrays, or null as uint64; the names must be those of the kernel's parameters.
    kind = name.rpartition("_")[2]
    arrays = ARRAYS.get(name, ARRAYS[kind])
    positions = [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray) or a.dtype == np.uint64]
    assert len(positions) == len(arrays), f"{name} has other arrays than {', '.join(arrays)}"
    filled = FILLED[kind]
    if "x" in arrays and isinstance(arguments[positions[arrays.index("x")]], np.ndarray):
        filled = {**filled, "acts": slice(None)} if kind == "forward" else filled  # else acts holds V x + b before
    guarded, by_address = {}, {}
    for position, label in zip(positions, arrays, strict=True):
        array = arguments[position]
        if isinstance(array, np.ndarray):
            place = array.ctypes.data, array.nbytes
            if place not in by_address:
                by_address[place] = Guarded(array, filled.get(label))
                by_address[place].label, by_address[place].may_change = label, label in CHANGED[kind]
            guarded[position] = by_address[place]
    return guarded


def check(kernel, guarded):
    """Give the arrays back, after checking what a kernel has written."""
    for one in {id(value): value for value in guarded.values()}.values():
        assert not one.overrun(), f"{kernel}: it writes beside {one.label}"
        assert one.may_change or not one.changed(), f"{kernel}: it writes into {one.label}, which it only reads"
        if one.may_change:
            one.give_back()


def _scalar(value):
    if value.dtype == np.uint64:  # a null pointer
        return ctypes.c_void_p(int(value))
    return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())
