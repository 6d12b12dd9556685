"""NVRTC, the compiler that CuPy calls, through ctypes: it needs neither a driver nor a GPU.

Installed by the wheel nvidia-cuda-nvrtc; no header of CUDA is there, as on the machine of a user of CuPy.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import NamedTuple

PACKAGES = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")


def library():
    """Return the library, or None where no wheel brings it."""
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        # The wheel's own files: the built-in functions are loaded by name beside the compiler.
        for file in sorted(files, key=lambda f: "builtins" not in f.name):
            if file.name.startswith("libnvrtc") and ".alt." not in file.name:
                found = ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
                if "builtins" not in file.name:
                    return found
    return None


class Program(NamedTuple):
    """What a compilation gives: PTX, machine code, the compiler's log, and the mangled names of the kernels."""

    ptx: str
    cubin: bytes
    log: str
    names: dict[str, str]


def compile_kernels(text, kernels, arch, options=()):
    """Compile instantiations for an architecture, as "sm_90"; return the PTX and the compiler's log.

    Raises RuntimeError, with the log, if the text does not compile.
    """
    program = compile_program(text, kernels, arch, options)
    return program.ptx, program.log


def compile_program(text, kernels, arch, options=()):
    """Compile as `compile_kernels`; return a `Program`."""
    nvrtc = library()
    program = ctypes.c_void_p()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    try:
        for kernel in kernels:
            assert not nvrtc.nvrtcAddNameExpression(program, kernel.encode())
        arguments = [option.encode() for option in (f"-arch={arch}", "-ftz=true", *options)]  # -ftz as CuPy has it
        failed = nvrtc.nvrtcCompileProgram(program, len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
        log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if failed:
            raise RuntimeError(log)
        names = {}
        for kernel in kernels:
            name = ctypes.c_char_p()
            assert not nvrtc.nvrtcGetLoweredName(program, kernel.encode(), ctypes.byref(name))
            names[kernel] = name.value.decode()
        cubin = _read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
        assert cubin.startswith(b"\x7fELF")
        return Program(
            _read(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program).rstrip(b"\0").decode(), cubin, log, names
        )
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(size_of, read, program):
    size = ctypes.c_size_t()
    assert not size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    assert not read(program, buffer)
    return buffer.raw
