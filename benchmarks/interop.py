"""The gain of numrnn's layer in a torch model: `python -m benchmarks.interop`.

One forward and one full backward pass of sequential MNIST (784 steps, batch 128, 128 units, float32), by
`numrnn.interop.torch.RecurrentLayer`, by the same cell in torch's eager mode, and by numrnn without torch; each in a
separate process, in interleaved rounds, after a check that all compute the same numbers.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks import report
from benchmarks.command import QUICK_STEPS, hold_to
from benchmarks.compare import Settings, compare
from benchmarks.worker import limited_blas
from benchmarks.workloads import select
from numrnn import info
from numrnn.blas import available_cores
from numrnn.commands import Parser

LAYER, EAGER, ALONE = "numrnn in torch", "torch", "fused"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = Parser(
        prog="python -m benchmarks.interop", description="Time numrnn's layer for torch and torch's eager mode."
    )
    parser.add_argument("--workload", default="mnist-ungated", help="of `benchmarks` (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, help="measurements of each, >= 1 (default: 7)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of each (default: the process's cores)")
    parser.add_argument("--quick", action="store_true", help="short sequences: a trial of the command")
    options = parser.parse_args(argv)
    if options.repetitions < 1:
        parser.error(f"--repetitions must be >= 1, got {options.repetitions}")
    if not 1 <= options.threads <= available_cores():
        parser.error(f"--threads must be from 1 to {available_cores()}, the process's cores, got {options.threads}")
    try:
        found = select([options.workload], option="--workload")
    except ValueError as error:
        parser.error(str(error))
    if len(found) > 1:
        names = ", ".join(workload.name for workload in found)
        parser.error(f"--workload must name one workload, got {options.workload!r} for {names}")
    workload = found[0]
    chosen = workload.shortened(QUICK_STEPS) if options.quick else workload
    options.workload = replace(chosen, contenders=(LAYER, EAGER, ALONE))
    return options


def conclusion(result: Mapping[str, Any]) -> str:
    """Return the speed of the layer relative to torch's eager mode, and its cost relative to numrnn alone."""
    medians = {one["name"]: one.get("median") for one in result["contenders"]}
    missing = [f"{one['name']} {one['status']}" for one in result["contenders"] if one["status"] != "timed"]
    if missing:
        return f"no ratio: {', '.join(missing)}"
    faster, cost = medians[EAGER] / medians[LAYER], medians[LAYER] / medians[ALONE]
    return (
        f"the layer is {faster:.2f} times as fast as torch's eager mode, and takes {cost:.2f} times numrnn's own time"
    )


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 without a ratio, or 130 after Ctrl-C."""
    options = parse_arguments(argv)
    size = 1024 if options.quick else 4096
    settings = Settings(threads=options.threads, repetitions=options.repetitions, sgemm_size=size)
    hold_to(options.threads)
    try:
        with limited_blas(options.threads):
            result = compare(
                options.workload, options.workload.contenders, settings, lambda line: print(line, file=sys.stderr)
            )
    except KeyboardInterrupt:
        return 130
    machine = info.collect(measure=False)
    print(f"\n{report.comparison_heading(result)}")
    print(report.text_table(report.COLUMNS, report.comparison_rows(result)))
    print(f"\n{datetime.date.today()}: {machine['processor']}, {options.threads} of {machine['cores']} cores")
    told = conclusion(result)
    print(told)
    return int(told.startswith("no ratio"))


if __name__ == "__main__":
    sys.exit(main())
