"""Results on a GPU as tables, in a terminal and as Markdown; all of them from what goes into the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import FLOAT32_EPS, markdown_table

RESULTS_FILE, PAGE_FILE = "benchmarks.json", "benchmarks.md"
COLUMNS = (
    "contender",
    "ms",
    "fastest",
    "spread",
    "times ours",
    "host, ms",
    "device, ms",
    "TFLOP/s",
    "of sgemm",
    "of copy",
    "error / eps",
    "dtype",
    "first call",
)


def rows(workload: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a workload, in the order of COLUMNS; one without a time says why in place of it."""
    table: list[tuple[str, ...]] = []
    for one in workload["contenders"]:
        if one["status"] != "timed":
            table.append((one["name"], f"{one['status']}: {one['reason']}", *[""] * (len(COLUMNS) - 2)))
            continue
        table.append(
            (
                one["name"],
                *(f"{1e3 * one[key]:.3g}" for key in ("median", "minimum", "spread")),
                f"{one['ratio']:.2f}" if "ratio" in one else "",
                *(f"{1e3 * one[key]:.3g}" if key in one else "" for key in ("host_seconds", "device_seconds")),
                f"{one['tflops']:.3g}",
                percent(one["share"]),
                percent(one["copy_share"]) if "copy_share" in one else "",
                f"{one['worst_error'] / FLOAT32_EPS:.0f}" if one["same_cell"] else "other cell",
                one["dtype"],
                f"{one['first_call_seconds']:.2f} s",
            )
        )
    return table


def heading(workload: Mapping[str, Any]) -> str:
    """Return what stands above the table of a workload."""
    sizes = ", ".join(f"{key} = {workload[key]:,}" for key in "TBmn")
    sgemm, copy = workload["ceilings"]["sgemm"], workload["ceilings"]["copy"]
    floors = (
        f"floor {1e3 * workload['floor_seconds']:.3g} ms at {sgemm:.3g} TFLOP/s, "
        f"{1e3 * workload['copy_floor_seconds']:.3g} ms at {copy:,.0f} GB/s"
    )
    return f"{workload['title']}: {sizes}, {workload['dtype']}; {floors}"


def conclusion(workload: Mapping[str, Any]) -> str | None:
    """Return how much faster numrnn is than the fastest framework on the same cell, or None where one has no time."""
    times = {one["name"]: one["median"] for one in workload["contenders"] if one["status"] == "timed"}
    rival, ours = workload["fastest_framework"], workload["baseline"]
    if rival is None or ours not in times:
        return None
    return f"{ours}: {times[rival] / times[ours]:.2f} times as fast as {rival}, the fastest framework on this cell"


def epoch_line(epoch: Mapping[str, Any]) -> str:
    """Return the seconds of an epoch as a sentence."""
    return (
        f"an epoch of training, sequential MNIST: {epoch['seconds']:.3g} s for {epoch['updates']} updates "
        f"({_sizes(epoch)})"
    )


def update_line(epoch: Mapping[str, Any]) -> str:
    """Return the milliseconds of an update with new kernels as a sentence."""
    how = "captured as a CUDA graph" if epoch["captured"] else "each kernel launched"
    milliseconds = 1e3 * epoch["seconds"] / epoch["updates"]
    return f"an update, sequential MNIST, NUMRNN_CUDA_UNPROVEN=1, {how}: {milliseconds:.3g} ms ({_sizes(epoch)})"


def _sizes(epoch: Mapping[str, Any]) -> str:
    return f"{epoch['images']:,} images, T = {epoch['T']}, B = {epoch['B']}, n = {epoch['n']}"


def training_lines(content: Mapping[str, Any]) -> list[str]:
    """Return what was measured of training, nothing if that was left out."""
    return [
        *([] if content["epoch"] is None else [epoch_line(content["epoch"])]),
        *map(update_line, content["updates"]),
    ]


def environment_lines(content: Mapping[str, Any]) -> list[str]:
    """Return on what, with what and how was measured."""
    card, settings = content["card"], content["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return [
        f"{content['date']}: {card['name']}, {card['processors']} multiprocessors, compute capability "
        f"{card['capability']}, {1e-9 * card['bytes']:.0f} GB",
        f"driver {card['driver'] or 'unknown'}; {card['cuda']}",
        versions,
        f"medians of {settings['repetitions']} interleaved repetitions; TF32 off; dtypes as the rows say",
        *(["--quick: shortened sequences, a trial of the command and not a measurement"] if content["quick"] else []),
        *(f"not run for want of time: {name}" for name in content["left_out"]),
    ]


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %"


def page(content: Mapping[str, Any]) -> str:
    """Return the results as a page."""
    parts = ["# Timings on a GPU", "\n".join(f"- {line}" for line in environment_lines(content))]
    parts += training_lines(content)
    for workload in content["workloads"]:
        parts += [f"**{heading(workload)}**", markdown_table(COLUMNS, rows(workload))]
        sentence = conclusion(workload)
        parts += [] if sentence is None else [sentence]
    notes = {one["name"]: one["note"] for w in content["workloads"] for one in w["contenders"] if "note" in one}
    parts.append("\n".join(f"- {name}: {note}" for name, note in notes.items()))
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write the page beside the JSON."""
    path = folder / PAGE_FILE
    path.write_text(page(content), encoding="utf-8")
    return path
