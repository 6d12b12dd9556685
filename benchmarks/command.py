"""The command line: choice of workloads and contenders, and the place of the results."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import output, page, report, scaling, summary
from benchmarks.compare import Settings, compare, used_versions
from benchmarks.contenders import CONTENDERS
from benchmarks.output import say
from benchmarks.worker import WorkerError, limited_blas
from benchmarks.workloads import WORKLOADS, Workload, contenders_of, select
from numrnn import info
from numrnn.blas import available_cores
from numrnn.commands import Parser

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
COMPARISON_FILES = (report.COMPARISON_FILE, report.COMPARISON_PICTURE)
SCALING_FILES = (report.SCALING_FILE, report.SCALING_PICTURE)
QUICK_STEPS = 8  # --quick runs an eighth of the steps
EXAMPLES = """
python -m benchmarks                                  every workload, every contender
python -m benchmarks --only mnist --repetitions 15    sequential MNIST, ungated and gated
python -m benchmarks --contenders fused torch jax     some contenders
python -m benchmarks --scaling                        only growth with T, B and n
python -m benchmarks --write-docs                     put the results in --out into docs/benchmarks.md
python -m benchmarks.pairwise --help                  this checkout's engine against another checkout's
python -m benchmarks --gpu --help                     the comparison on a GPU, which has its own options
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    names = [name for name in CONTENDERS if name != "expected"]
    parser = Parser(
        prog="python -m benchmarks",
        description="Time numrnn and the frameworks in one run; run it from the root of the repository.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    workloads = ", ".join(workload.name for workload in WORKLOADS)
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", help=f"of {workloads}; mnist stands for all mnist-...")
    parser.add_argument("--contenders", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--repetitions", type=int, default=7, help="measurements of each, >= 1 (default: 7)")
    parser.add_argument("--threads", type=int, help="threads of every contender (default: the process's cores)")
    parser.add_argument(
        "--compile-limit", type=float, default=120, help="seconds that a first call may take, > 0 (default: 120)"
    )
    parser.add_argument("--quick", action="store_true", help="short sequences: a trial of the command")
    parser.add_argument("--scaling", action="store_true", help="measure growth with T, B and n instead")
    default = f"{output.MEASUREMENTS}, or {output.TRIALS} with --quick, --only or --contenders"
    parser.add_argument("--out", type=Path, help=f"folder for the results (default: {default})")
    parser.add_argument("--write-docs", action="store_true", help="only write existing results into the page")
    options = parser.parse_args(argv)
    if options.out is None:
        whole = not options.quick and options.only is None and options.contenders is None
        options.out = output.default_folder(whole=whole)
    options.threads = available_cores() if options.threads is None else options.threads
    if options.repetitions < 1:
        parser.error(f"--repetitions must be >= 1, got {options.repetitions}")
    if not options.compile_limit > 0:
        parser.error(f"--compile-limit must be > 0, got {options.compile_limit}")
    if not 1 <= options.threads <= available_cores():
        parser.error(f"--threads must be from 1 to {available_cores()}, the process's cores, got {options.threads}")
    try:
        options.workloads = select(options.only)
    except ValueError as error:
        parser.error(str(error))
    return options


def hold_to(threads: int) -> None:
    """Bind this process, and those that it starts from now on, to a number of cores.

    This limits XLA, which has no such setting but counts the cores that it may use; NPROC limits it on systems without
    affinity.
    """
    os.environ["NPROC"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def header(options: argparse.Namespace, settings: Settings, kind: str) -> dict[str, Any]:
    """Return the header of every file of results, with an empty list of results."""
    environment = info.collect(measure=False)
    return {
        "format": output.FORMATS[kind],
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "environment": environment,
        "versions": dict(environment["versions"]),
        "settings": asdict(settings),
        kind: [],
    }


def run_comparison(options: argparse.Namespace, settings: Settings) -> None:
    """Compare, print a table for each workload, and write the files; after each workload, so that none is lost."""
    content = header(options, settings, "workloads")
    for workload in options.workloads:
        chosen: Workload = workload.shortened(QUICK_STEPS) if options.quick else workload
        names = contenders_of(chosen, options.contenders)
        result = compare(chosen, names, settings, say)
        content["workloads"].append(result)
        content["versions"] |= used_versions(result["contenders"])
        print(f"\n{report.comparison_heading(result)}")
        print(report.text_table(report.COLUMNS, report.comparison_rows(result)), flush=True)
        print(report.vanished_line(result) or "", flush=True)
        output.write_json(options.out / report.COMPARISON_FILE, content)
    print_summary(content["workloads"])
    print()
    print("\n".join(report.environment_lines(content)))
    print(f"written: {options.out / report.COMPARISON_FILE}")
    draw(options.out / report.COMPARISON_PICTURE, "bars", content["workloads"])


def print_summary(workloads: list[dict[str, Any]]) -> None:
    """Print how many times faster numrnn is than each framework, and its shares of the floors."""
    print("\nThe time of each framework as a multiple of numrnn's, and numrnn's shares of the machine's rate:")
    print(report.text_table(summary.columns(workloads), summary.rows(workloads)))
    print("\n".join(["", *summary.conclusions(workloads)]))
    for heading, rows in summary.cliffs(workloads):
        print(f"\n{heading}\n{report.text_table(summary.CLIFF_COLUMNS, rows)}")


def run_scaling(options: argparse.Namespace, settings: Settings) -> None:
    """Measure growth, print the tables and write the files; after each series, so that none is lost."""
    content = header(options, settings, "series")
    for series in scaling.QUICK if options.quick else scaling.FULL:
        result = scaling.measure(series, settings, say)
        content["series"].append(result)
        print(f"\n{report.text_table((series.grows, *report.SCALING_COLUMNS), report.scaling_rows(result))}")
        print("".join(f"{line}\n" for line in report.scaling_lines(result)), end="", flush=True)
        output.write_json(options.out / report.SCALING_FILE, content)
    print()
    print("\n".join(report.environment_lines(content)))
    print(f"written: {options.out / report.SCALING_FILE}")
    draw(options.out / report.SCALING_PICTURE, "growth", content["series"])


def draw(path: Path, picture: str, results: list[dict[str, Any]]) -> None:
    """Draw a picture, or say why there is none: the measurements must not depend on matplotlib."""
    try:
        from benchmarks import pictures
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"written: {getattr(pictures, picture)(results, path)}")


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C; with --gpu, 2 if there is none."""
    given = sys.argv[1:] if argv is None else argv
    if "--gpu" in given:
        from benchmarks.gpu.command import main as main_on_gpu

        return main_on_gpu([word for word in given if word != "--gpu"])
    options = parse_arguments(given)
    try:
        if options.write_docs:
            page.write_page(PAGE, options.out)
            print(f"written: {PAGE}")
            return 0
        names = SCALING_FILES if options.scaling else COMPARISON_FILES
        output.prepare(options.out, names, quick=options.quick)
        say(f"results go to {options.out}")
        settings = Settings(
            threads=options.threads,
            repetitions=options.repetitions,
            sgemm_size=1024 if options.quick else 4096,
            compile_limit=options.compile_limit,
        )
        hold_to(options.threads)
        with limited_blas(options.threads):
            (run_scaling if options.scaling else run_comparison)(options, settings)
    except (OSError, ValueError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
