"""Results as tables, all generated from the content of the JSON files, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.check import FLOAT32, smallest_scale

COMPARISON_FILE, SCALING_FILE = "benchmarks.json", "scaling.json"
COMPARISON_PICTURE, SCALING_PICTURE = "benchmarks.png", "scaling.png"
COLUMNS = (
    "contender",
    "seconds",
    "fastest",
    "spread",
    "times ours",
    "GFLOP/s",
    "recurrent share",
    "full share",
    "peak MB",
    "error / eps",
    "first call",
)
SCALING_COLUMNS = ("engine", "seconds", "spread", "us a step", "peak MB", "of 2 T B n floats")
FLOAT32_EPS = float(FLOAT32.eps)


def comparison_rows(workload: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a workload, in the order of COLUMNS; a contender without a time has the reason instead."""
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
                percent(result["share"]),
                percent(result["share_all"]),
                megabytes(result["peak_bytes"]),
                error,
                f"{result['first_call_seconds']:.2f} s",
            )
        )
    return rows


def comparison_heading(workload: Mapping[str, Any]) -> str:
    """Return the heading of the table of a workload."""
    sizes = ", ".join(f"{key} = {workload[key]:,}" for key in "TBmn")
    floors = f"{seconds_text(workload['floor_seconds'])} s, {seconds_text(workload['floor_all_seconds'])} s"
    rate = f"{workload['sgemm_gflops']:.0f} GFLOP/s"
    return (
        f"{workload['title']}: {sizes}, {workload['dtype']}; recurrent and full floor {floors} at {rate}; "
        f"times {workload['baseline']}"
    )


def vanished_line(workload: Mapping[str, Any]) -> str | None:
    """Return the names of arrays that were checked on the scale of underflow, not of their largest element; or None."""
    bound = smallest_scale(workload["B"])
    vanished = [f"{name} ({size:.1e})" for name, size in workload["largest"].items() if size < bound]
    if not vanished:
        return None
    return f"checked relative to {bound:.2g}, their largest element being smaller: {', '.join(vanished)}"


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
    """Return the results of a series in sentences."""
    lines = []
    for engine, deviation in series.get("linear", {}).items():
        lines.append(f"{engine}: time per step within {100 * deviation:.1f} % of its mean from T = 1,000 on")
    if "checkpoints" in series:
        found = series["checkpoints"]
        memory = "unknown" if found["memory_ratio"] is None else f"{100 * found['memory_ratio']:.2g} %"
        lines.append(
            f"recompute_every='sqrt' at T = {found['T']:,}: {memory} of the plain tape's memory, "
            f"{found['time_ratio']:.2f} times its time"
        )
    return lines


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %"


def seconds_text(seconds: float) -> str:
    """Return seconds with three digits."""
    return f"{seconds:.3g}"


def megabytes(count: int | None) -> str:
    """Return bytes in millions, or an empty string."""
    return "" if count is None else f"{1e-6 * count:,.0f}"


def environment_lines(content: Mapping[str, Any]) -> list[str]:
    """Return the machine, the versions and the method of the measurement."""
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
    """Return a table for a terminal; a row whose other cells are empty may have any length."""
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
