"""The command line of `python -m benchmarks --gpu`."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.compare import Settings, used_versions
from benchmarks.contenders import ON_GPU
from benchmarks.gpu import report
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.compare import compare_on_gpu, gpu_workloads
from benchmarks.gpu.epoch import measure_epoch, measure_updates
from benchmarks.output import say, write_json
from benchmarks.report import text_table
from benchmarks.worker import WorkerError
from benchmarks.workloads import Workload, contenders_of
from numrnn import gpu, info
from numrnn.backend import backend_module
from numrnn.blas import available_cores
from numrnn.commands import Parser

OUT = "results/gpu"
QUICK_STEPS = 8  # --quick takes an eighth of the steps
NO_GPU = 2  # the exit code where there is nothing to measure on


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the options."""
    names = [workload.name for workload in gpu_workloads()]
    parser = Parser(
        prog="python -m benchmarks --gpu",
        description="Time numrnn on a GPU beside the frameworks, in one run; run it from the root of the repository.",
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="WORKLOAD", help=f"of {', '.join(names)}")
    parser.add_argument("--contenders", nargs="+", choices=ON_GPU, metavar="NAME", help=f"of {', '.join(ON_GPU)}")
    parser.add_argument("--repetitions", type=int, default=7, help="measurements of each, >= 1 (default: 7)")
    parser.add_argument(
        "--compile-limit", type=float, default=60, help="seconds that a first call may take, > 0 (default: 60)"
    )
    parser.add_argument(
        "--time-limit", type=float, help="seconds after which no further workload is begun, > 0 (default: none)"
    )
    parser.add_argument("--quick", action="store_true", help="short sequences: a trial of the command")
    parser.add_argument("--no-epoch", action="store_true", help="leave the epoch of training out")
    parser.add_argument("--out", type=Path, default=Path(OUT), help=f"folder for the results (default: {OUT})")
    options = parser.parse_args(argv)
    if options.repetitions < 1:
        parser.error(f"--repetitions must be >= 1, got {options.repetitions}")
    for name in ("compile_limit", "time_limit"):
        if getattr(options, name) is not None and not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')} must be > 0, got {getattr(options, name)}")
    return options


def describe_card(cupy: Any) -> dict[str, Any]:
    """Return what the results say of the card."""
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = properties["name"]
    return {
        "name": name.decode() if isinstance(name, bytes) else name,
        "processors": properties["multiProcessorCount"],
        "capability": f"{properties['major']}.{properties['minor']}",
        "bytes": properties["totalGlobalMem"],
        "driver": gpu.driver_release(),
        "cuda": str(gpu.find_cuda()),
    }


def measure(cupy: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print a table for each workload, and write the files; after each workload, so that none is lost."""
    started = time.monotonic()
    settings = Settings(threads=available_cores(), repetitions=options.repetitions, compile_limit=options.compile_limit)
    content: dict[str, Any] = {
        "format": 1,
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "card": describe_card(cupy),
        "versions": dict(info.collect(measure=False)["versions"]),
        "settings": asdict(settings) | {"tf32": False},
        "epoch": None if options.no_epoch else measure_epoch(),
        "updates": [] if options.no_epoch else measure_updates(),
        "left_out": [],
        "workloads": [],
    }
    print(*report.training_lines(content), sep="\n", flush=True)
    ceilings = Ceilings()
    for workload in gpu_workloads():
        if options.only is not None and workload.name not in options.only:
            continue
        if options.time_limit is not None and time.monotonic() - started > options.time_limit:
            content["left_out"].append(workload.name)
            continue
        chosen: Workload = workload.shortened(QUICK_STEPS) if options.quick else workload
        names = contenders_of(chosen, options.contenders)
        result = compare_on_gpu(chosen, names, settings, ceilings, lambda: ceilings.measure(cupy), say)
        content["workloads"].append(result)
        content["versions"] |= used_versions(result["contenders"])
        print(f"\n{report.heading(result)}\n{text_table(report.COLUMNS, report.rows(result))}")
        print(report.conclusion(result) or "", flush=True)
        write_json(options.out / report.RESULTS_FILE, content)
    write_json(options.out / report.RESULTS_FILE, content)
    return content


def main(argv: list[str]) -> int:
    """Run from the command line; return 0, 1 after an error, 2 where there is no GPU, or 130 after Ctrl-C."""
    options = parse_arguments(argv)
    try:
        cupy = backend_module("cupy")
    except RuntimeError as error:
        print(f"no benchmark on a GPU: {error}", file=sys.stderr)
        return NO_GPU
    try:
        content = measure(cupy, options)
    except (WorkerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(["", *report.environment_lines(content)]))
    print(f"written: {options.out / report.RESULTS_FILE}, {report.write_page(options.out, content)}")
    return 0
