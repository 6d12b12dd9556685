"""Flushing of subnormal numbers to zero while a block of code runs.

A float32 number below 1.2e-38, or a float64 number below 2.2e-308, is *subnormal*: the processor stores it with fewer
digits. Many processors compute with such numbers in microcode, at about 150 cycles each. A vanishing gradient is full
of them: on Intel processors the backward pass of an LSTM or of a strongly damped cell then takes 10 to 100 times as
long. `flush_subnormals` makes the processor treat them as zero, both as operands and as results.

Only numbers below these bounds change: they become zero. All other results keep their bits, except that the last bits
of a sum with a subnormal term may differ.

Implementation: the setting is two bits of a control register of the thread (FTZ and DAZ of MXCSR on x86, FZ of FPCR on
Arm). The C library's `fegetenv` and `fesetenv` read and write that register. The layout of the data they store depends
on the system, so the setting is tested once on a product. If it has no effect, or the layout is unknown, nothing is set
and `can_flush()` returns False. Threads that a library starts itself, such as those of a multithreaded BLAS, are not
affected.

References
----------
Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, section 10.2.3 (MXCSR).
Arm Architecture Reference Manual for A-profile, FPCR.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from dataclasses import dataclass
from types import TracebackType

import numpy as np

__all__ = ["can_flush", "flush_subnormals"]

FTZ_AND_DAZ = 1 << 15 | 1 << 6  # of MXCSR: subnormal results, and operands, become zero
FZ = 1 << 24  # of FPCR: both
ENVIRONMENT_BYTES = 64  # more than any system's fenv_t


@dataclass(frozen=True)
class _Register:
    """Where fenv_t, the floating-point environment as the C library stores it, holds the control register."""

    offset: int  # bytes
    mask: int


# By system and machine, from the headers fenv.h: glibc and musl have one layout on each machine.
_REGISTERS = {
    ("linux", "x86_64"): _Register(28, FTZ_AND_DAZ),
    ("linux", "aarch64"): _Register(0, FZ),
    ("darwin", "x86_64"): _Register(4, FTZ_AND_DAZ),
    ("darwin", "arm64"): _Register(8, FZ),
}


class _Environment:
    """The floating-point environment of the calling thread."""

    def __init__(self, register: _Register) -> None:
        library = ctypes.PyDLL(None)  # keeps the interpreter lock: releasing it takes longer than a call
        self._get, self._set = library.fegetenv, library.fesetenv
        for function in (self._get, self._set):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int
        self._offset, self._mask = register.offset, register.mask

    def change(self, bits: int) -> int:
        """Set the bits of the mask to `bits` and return what they were."""
        environment = (ctypes.c_uint32 * (ENVIRONMENT_BYTES // 4))()
        word = self._offset // 4
        self._get(environment)
        before = environment[word] & self._mask
        if before != bits:
            environment[word] = environment[word] & ~self._mask | bits
            self._set(environment)
        return before

    def set(self) -> int:
        """Start flushing; return the argument of `change` that restores the setting."""
        return self.change(self._mask)


def _flushes() -> bool:
    """Tell whether this thread flushes now: products that would be subnormal are zero, in both precisions."""
    with np.errstate(all="ignore"):
        return not any((np.array([np.finfo(dtype).tiny]) * dtype(0.5)).any() for dtype in (np.float32, np.float64))


@functools.cache
def _environment() -> _Environment | None:
    """Return this system's floating-point environment, or None where subnormal numbers cannot be flushed."""
    register = _REGISTERS.get((sys.platform, platform.machine()))
    if register is None:
        return None
    try:
        environment = _Environment(register)
    except (OSError, AttributeError):  # a C library without these functions
        return None
    before = environment.change(0)
    try:
        # finfo caches what it finds at its first use; inside a flushing block it would find no subnormal numbers.
        for dtype in (np.float16, np.float32, np.float64, np.longdouble):
            np.finfo(dtype).smallest_subnormal  # noqa: B018
        keeps = not _flushes()
        environment.set()
        return environment if keeps and _flushes() else None
    finally:
        environment.change(before)


def can_flush() -> bool:
    """Tell whether `flush_subnormals` has an effect on this system."""
    return _environment() is not None


class flush_subnormals:  # named like a function because it is used like one
    """Treat subnormal numbers as zero in this thread while a `with` block runs.

    `numrnn.forward`, `numrnn.backward`, the optimisers and `Trainer` already do so, in every thread and process in
    which they compute. Use it for your own loops over `Cell.step` and `Cell.step_vjp`, or any other NumPy code.

    Notes
    -----
    The thread's setting is restored at the end of the block, also after an exception; blocks may be nested. Other
    threads, including those of a BLAS, are not affected. Entering and leaving costs a few microseconds. On a system
    that cannot flush, the block has no effect; `numrnn info` says whether it can.

    Do not leave the block by `yield` or `await`: the code that runs in between would flush too.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> small = np.full(3, 1e-30, np.float32)
    >>> with numrnn.flush_subnormals():
    ...     product = small * np.float32(1e-10)
    >>> bool(product.any()) and numrnn.subnormals.can_flush()
    False
    """

    def __init__(self) -> None:
        self._before: list[int] = []

    def __enter__(self) -> None:
        environment = _environment()
        if environment is not None:
            self._before.append(environment.set())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        environment = _environment()
        if environment is not None:
            environment.change(self._before.pop())
