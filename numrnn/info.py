"""Report on this installation: versions, devices, the BLAS and its kernels, and the speed of matrix products.

    numrnn info

The speed of the package is that of its matrix products. NumPy's BLAS chooses the kernels for them when it is loaded;
the report names its choice, and a better one if there is one.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

import numrnn
from numrnn import gpu
from numrnn.backend import backend_module
from numrnn.blas import AVX512_KERNELS, available_cores, one_thread_each
from numrnn.commands import Parser, ended
from numrnn.engines.cpu import processes
from numrnn.engines.cuda import families
from numrnn.engines.cuda.trace import capture
from numrnn.subnormals import can_flush

PACKAGES = ("numpy", "scipy", "threadpoolctl")
LARGE = 2048  # 17 GFLOP: a tenth of a second, and so large that packing and threading are negligible
SMALL = (64, 128, 128)  # a product of one step of the CPU engine, for sequential MNIST on two cores
REPETITIONS = 5
AVX512_FLAGS = ("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")  # what those kernels need
VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMRNN_BACKEND",
    families.VARIABLE,
    capture.VARIABLE,
    processes.VARIABLE,
)


def collect(*, measure: bool = True) -> dict[str, Any]:
    """Return the report as JSON-serialisable values.

    Parameters
    ----------
    measure : bool
        Whether to measure the rate of matrix products, which takes about a second.

    Returns
    -------
    dict
        "versions", "system", "processor", "cores", "devices", "cuda" (the versions found), "blas" (a list), "slices"
        ("processes" or "threads": what runs the slices of a large batch), "flushes_subnormals" (bool: whether
        `numrnn.flush_subnormals` has an effect), "variables" (the relevant environment variables that are set),
        "sgemm_gflops" ("large" and "small", if measured) and "hint" (str or None).
    """
    versions = {"numrnn": numrnn.__version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    devices, cupy_version = _devices()
    if cupy_version is not None:
        versions["cupy"] = cupy_version
    processor, flags = processor_of(_cpuinfo())
    libraries, cuda = blas_libraries(), gpu.find_cuda()
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    report: dict[str, Any] = {
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "cores": available_cores(),
        "devices": devices,
        "cuda": str(cuda) if cupy_version else f"{cuda}; to compute on a GPU, {cuda.advice}",
        "blas": libraries,
        "slices": "processes" if processes.usable() else "threads",
        "flushes_subnormals": can_flush(),
        "variables": variables,
        "hint": kernel_hint(flags, libraries, variables),
    }
    if measure:
        report["sgemm_gflops"] = {"large": sgemm_rate(LARGE, LARGE, LARGE), "small": _small_rate()}
    return report


def machine(backend: str = "numpy") -> str:
    """Return a short name of the hardware that this process computes on, for results: cores, or the GPU.

    The cores are those that a pass uses: as many as BLAS has threads, of those that the process may run on.
    """
    report = collect(measure=False)
    if backend == "cupy":
        return report["devices"][1].partition(" ")[2]
    with one_thread_each() as threads:
        return cores_text(report | {"cores": threads})


def cores_text(report: Mapping[str, Any]) -> str:
    """Return the cores and the processor of a `collect` report as text."""
    cores = report["cores"]
    return f"{cores} {'core' if cores == 1 else 'cores'} of {report['processor']}"


def sgemm_rate(m: int, n: int, k: int, *, repetitions: int = REPETITIONS, products: int = 1) -> float:
    """Return the best measured rate of float32 products (m, k) by (k, n), in GFLOP/s.

    Parameters
    ----------
    m, n, k : int
        Sizes, >= 1.
    repetitions : int
        Number of measurements, >= 1, after one warm-up product.
    products : int
        Products per measurement, >= 1: products that take microseconds need many.

    Returns
    -------
    float
        2 m n k flops over the shortest time.
    """
    a, b, out = np.ones((m, k), np.float32), np.ones((k, n), np.float32), np.empty((m, n), np.float32)
    np.dot(a, b, out)
    best = float("inf")
    for _ in range(repetitions):
        start = time.perf_counter()
        for _ in range(products):
            np.dot(a, b, out)
        best = min(best, (time.perf_counter() - start) / products)
    return 2e-9 * m * n * k / best


def _small_rate() -> float:
    with one_thread_each():  # as in the loops of the engine
        return sgemm_rate(*SMALL, repetitions=20, products=100)


def blas_libraries() -> list[dict[str, Any]]:
    """Return name, version, kernels, threading and number of threads of every BLAS of the process, NumPy's first."""
    found = [library for library in ThreadpoolController().info() if library["user_api"] == "blas"]
    # scipy's wheels, and other packages, bundle their own BLAS.
    found.sort(key=lambda library: "numpy" not in Path(library["filepath"]).parent.name)
    return [
        {
            "name": library["internal_api"],
            "version": library["version"],
            "kernels": library.get("architecture"),
            "threading": library.get("threading_layer"),
            "threads": library["num_threads"],
        }
        for library in found
    ]


def processor_of(cpuinfo: str) -> tuple[str, set[str]]:
    """Return the model and the flags of the first processor of a /proc/cpuinfo, which may be empty."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields.get("model name") or platform.processor() or platform.machine(), set(fields.get("flags", "").split())


def kernel_hint(
    flags: Collection[str], libraries: list[dict[str, Any]], variables: Mapping[str, str] | None = None
) -> str | None:
    """Return advice if the processor has AVX-512 and OpenBLAS does not use it, else None.

    Parameters
    ----------
    flags : collection of str
        Processor flags, as in /proc/cpuinfo.
    libraries : list of dict
        As from `blas_libraries`.
    variables : mapping of str to str, optional
        Variables of the environment.
    """
    lesser = [
        library["kernels"]
        for library in libraries
        if library["name"] == "openblas" and (library["kernels"] or "").lower() not in AVX512_KERNELS
    ]
    if not lesser or not set(AVX512_FLAGS) <= set(flags):
        return None
    chosen = (variables or {}).get("OPENBLAS_CORETYPE")
    because = f" because OPENBLAS_CORETYPE={chosen} is set" if chosen else ""
    return (
        f"The processor has AVX-512, but OpenBLAS uses its {lesser[0] or 'unnamed'} kernels{because}. Set "
        "OPENBLAS_CORETYPE=SkylakeX before Python starts, and compare the rate of large products."
    )


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _devices() -> tuple[list[str], str | None]:
    """Return the devices that numrnn can compute on, and the version of CuPy."""
    devices = ["cpu"]
    try:
        cupy = backend_module("cupy")
    except RuntimeError:
        return devices, None
    for index in range(cupy.cuda.runtime.getDeviceCount()):
        name = cupy.cuda.runtime.getDeviceProperties(index)["name"]
        devices.append(f"cuda:{index} {name.decode() if isinstance(name, bytes) else name}")
    return devices, cupy.__version__


def report_text(report: Mapping[str, Any]) -> str:
    """Return a `collect` report as readable text."""
    lines = [
        ("processor", report["processor"]),
        ("system", report["system"]),
        ("cores", f"{report['cores']} available"),
    ]
    lines += list(report["versions"].items())
    lines += [("devices", ", ".join(report["devices"])), ("CUDA", report["cuda"])]
    for library in report["blas"]:
        version, kernels = library["version"] or "", library["kernels"] or "unknown"
        threads = f"{library['threads']} threads" + (f" ({library['threading']})" if library["threading"] else "")
        lines.append(("BLAS", f"{library['name']} {version}, kernels {kernels}, {threads}"))
    lines.append(("large batches", f"in slices run by {report['slices']}"))
    cost = "flushed while a pass runs" if report["flushes_subnormals"] else "cannot be flushed here: they may cost time"
    lines.append(("subnormal numbers", cost))
    lines += list(report["variables"].items())
    if "sgemm_gflops" in report:
        rates = report["sgemm_gflops"]
        rows, columns, inner = SMALL
        lines.append(("sgemm, large", f"{rates['large']:.0f} GFLOP/s, {LARGE} x {LARGE}, all threads"))
        small = f"{rates['small']:.0f} GFLOP/s, {rows} x {inner} by {inner} x {columns}, one thread"
        lines.append(("sgemm, small", small))
    width = max(len(name) for name, _ in lines) + 2
    text = "\n".join(f"{name:<{width}}{value}" for name, value in lines)
    return text if report["hint"] is None else f"{text}\n\nhint: {report['hint']}"


def main(arguments: Sequence[str] | None = None, *, program: str = "python -m numrnn.info") -> int:
    """Print the report; `program` is the name of the command."""
    description = "What this installation computes with: versions, devices, the BLAS, and how fast it multiplies."

    def work() -> int:
        Parser(prog=program, description=description).parse_args(arguments)
        print(report_text(collect()))
        return 0

    return ended(work)


if __name__ == "__main__":
    sys.exit(main())
