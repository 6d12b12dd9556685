"""Results as tables, files and pages; all of them from what goes into the JSON, so that they cannot disagree."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COMPARISON_FILE, SCALING_FILE = "benchmarks.json", "scaling.json"
COMPARISON_PICTURE, SCALING_PICTURE = "benchmarks.png", "scaling.png"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
COLUMNS = (
    "contender",
    "seconds",
    "fastest",
    "spread",
    "times ours",
    "GFLOP/s",
    "of sgemm",
    "peak MB",
    "error / eps",
    "first call",
)
SCALING_COLUMNS = ("engine", "seconds", "spread", "us a step", "peak MB", "of 2 T B n floats")
FLOAT32_EPS = float(np.finfo(np.float32).eps)


def comparison_rows(workload: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a workload, in the order of COLUMNS; one without a time says why in place of it."""
    rows: list[tuple[str, ...]] = []
    for result in workload["contenders"]:
        if result["status"] != "timed":
            reason = f"{result['status']}: {result['reason']}"
            rows.append((result["name"], reason, *[""] * (len(COLUMNS) - 2)))
            continue
        error = f"{result['worst_error'] / FLOAT32_EPS:.0f}" if result["same_cell"] else "other cell"
        rows.append(
            (
                result["name"],
                seconds_text(result["median"]),
                seconds_text(result["minimum"]),
                seconds_text(result["spread"]),
                f"{result['ratio']:.2f}" if "ratio" in result else "",
                f"{result['gflops']:.3g}",
                f"{100 * result['share']:.0f} %",
                megabytes(result["peak_bytes"]),
                error,
                f"{result['first_call_seconds']:.2f} s",
            )
        )
    return rows


def comparison_heading(workload: Mapping[str, Any]) -> str:
    """Return what stands above the table of a workload."""
    sizes = ", ".join(f"{key} = {workload[key]:,}" for key in "TBmn")
    floor = seconds_text(workload["floor_seconds"])
    rate = f"{workload['sgemm_gflops']:.0f} GFLOP/s"
    return f"{workload['title']}: {sizes}, {workload['dtype']}; floor {floor} s at {rate}; times {workload['baseline']}"


def scaling_rows(series: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a series, in the order of SCALING_COLUMNS with the growing size before them."""
    rows: list[tuple[str, ...]] = []
    for point in series["points"]:
        n_steps = point["value"] if series["grows"] == "T" else series["fixed"]["T"]
        ratio = "" if point["tape_ratio"] is None else f"{100 * point['tape_ratio']:.3g} %"
        rows.append(
            (
                f"{point['value']:,}",
                point["engine"],
                seconds_text(point["median"]),
                seconds_text(point["spread"]),
                f"{1e6 * point['median'] / n_steps:.3g}",
                megabytes(point["peak_bytes"]),
                ratio,
            )
        )
    return rows


def scaling_lines(series: Mapping[str, Any]) -> list[str]:
    """Return what a series says in sentences."""
    lines = []
    for engine, deviation in series.get("linear", {}).items():
        lines.append(f"{engine}: time per step within {100 * deviation:.1f} % of its mean from T = 1,000 on")
    if "checkpoints" in series:
        found = series["checkpoints"]
        memory = "unknown" if found["memory_ratio"] is None else f"{100 * found['memory_ratio']:.2g} %"
        lines.append(
            f"checkpoint_every='sqrt' at T = {found['T']:,}: {memory} of the plain tape's memory, "
            f"{found['time_ratio']:.2f} times its time"
        )
    return lines


def seconds_text(seconds: float) -> str:
    """Return seconds with three digits."""
    return f"{seconds:.3g}"


def megabytes(count: int | None) -> str:
    """Return bytes in millions, or nothing."""
    return "" if count is None else f"{1e-6 * count:,.0f}"


def environment_lines(content: Mapping[str, Any]) -> list[str]:
    """Return on what, with what and how was measured."""
    info, settings = content["environment"], content["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    blas = "; ".join(f"{b['name']} {b['version']}, kernels {b['kernels']}" for b in info["blas"][:1])
    lines = [
        f"{content['date']}: {info['processor']}, {settings['threads']} of {info['cores']} cores, {info['system']}",
        f"NumPy's BLAS: {blas}",
        versions,
        f"medians of {settings['repetitions']} interleaved repetitions",
    ]
    if content["quick"]:
        lines.append("--quick: shortened sequences, a trial of the command and not a measurement")
    return lines + ([info["hint"]] if info["hint"] else [])


def text_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a terminal; a row whose other cells are empty may be as long as it likes."""
    rows = [columns, *rows]
    full = [row for row in rows if any(row[2:])]
    widths = [max(len(row[i]) for row in full) for i in range(len(columns))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        if not any(row[2:]):
            lines.append(f"{row[0]:<{widths[0]}}  {row[1]}")
            continue
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]))
    return "\n".join(lines)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a page."""
    marks = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, marks, *rows))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write results, and their folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return results, or None where there are none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def results_page(folder: Path, page: Path) -> str:
    """Return the results section of a page, from the JSON in a folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    """
    parts: list[str] = []

    def picture(name: str, text: str) -> None:
        if (folder / name).exists():
            parts.append(f"![{text}]({Path(os.path.relpath(folder / name, page.parent)).as_posix()})")

    comparison, scaling = read_json(folder / COMPARISON_FILE), read_json(folder / SCALING_FILE)
    if comparison is None and scaling is None:
        raise FileNotFoundError(f"{folder} holds neither {COMPARISON_FILE} nor {SCALING_FILE}")
    if comparison is not None:
        parts.append("\n".join(f"- {line}" for line in environment_lines(comparison)))
        for workload in comparison["workloads"]:
            parts += [f"**{comparison_heading(workload)}**", markdown_table(COLUMNS, comparison_rows(workload))]
        picture(COMPARISON_PICTURE, "Seconds of each contender, one panel a workload")
    if scaling is not None:
        parts += ["### Growth with T, B and n", "\n".join(f"- {line}" for line in environment_lines(scaling))]
        for series in scaling["series"]:
            parts.append(markdown_table((series["grows"], *SCALING_COLUMNS), scaling_rows(series)))
            parts += ["\n".join(f"- {line}" for line in scaling_lines(series))] if scaling_lines(series) else []
        picture(SCALING_PICTURE, "Time and memory over T, B and n")
    return "\n\n".join(parts)


def write_page(page: Path, folder: Path) -> None:
    """Put the results of a folder between the markers of a page.

    Raises
    ------
    ValueError
        If the page lacks a marker.
    FileNotFoundError
        If the folder holds no results.
    """
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} must hold the lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END, 1)[1]
    page.write_text(f"{before}{BEGIN}\n\n{results_page(folder, page)}\n\n{END}{after}", encoding="utf-8")
