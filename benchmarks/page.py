"""The results section of docs/benchmarks.md, generated from files of results only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import report, summary
from benchmarks.output import read_json
from benchmarks.report import markdown_table

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
SUMMARY = "### The time of each framework as a multiple of numrnn's, and numrnn's shares of the floors"


def bullets(lines: list[str]) -> str:
    """Return lines as a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def summary_parts(workloads: summary.Results) -> list[str]:
    """Return the parts on all workloads together."""
    parts = [SUMMARY, markdown_table(summary.columns(workloads), summary.rows(workloads))]
    parts.append(bullets(summary.conclusions(workloads)))
    for heading, rows in summary.cliffs(workloads):
        parts += [f"**{heading}**", markdown_table(summary.CLIFF_COLUMNS, rows)]
    return [part for part in parts if part]


def workload_parts(workload: Mapping[str, Any]) -> list[str]:
    """Return the parts on one workload."""
    rows = markdown_table(report.COLUMNS, report.comparison_rows(workload))
    line = report.vanished_line(workload)
    return [f"**{report.comparison_heading(workload)}**", rows, *([] if line is None else [line[0].upper() + line[1:]])]


def results_page(folder: Path, page: Path) -> str:
    """Return the results section of a page, from the JSON in a folder.

    Raises
    ------
    ValueError
        If the folder holds no results, or results that cannot be shown: of another format, or of a quick run.
    """
    parts: list[str] = []

    def picture(name: str, text: str) -> None:
        if (folder / name).exists():
            parts.append(f"![{text}]({Path(os.path.relpath(folder / name, page.parent)).as_posix()})")

    paths = {"workloads": folder / report.COMPARISON_FILE, "series": folder / report.SCALING_FILE}
    found = {kind: read_json(path, kind) for kind, path in paths.items()}
    comparison, scaling = found.values()
    if comparison is None and scaling is None:
        raise ValueError(f"{folder} holds neither {report.COMPARISON_FILE} nor {report.SCALING_FILE}")
    for kind, content in found.items():
        if content is not None and content["quick"]:
            raise ValueError(f"{paths[kind]} is of a --quick run: the page shows measurements only")
    if comparison is not None:
        workloads = comparison["workloads"]
        parts += [bullets(report.environment_lines(comparison)), *summary_parts(workloads), "### Every contender"]
        parts += [part for workload in workloads for part in workload_parts(workload)]
        picture(
            report.COMPARISON_PICTURE,
            "Bars of the seconds that each contender takes, one panel per workload; "
            "numrnn has the shortest bar but for tiny problems",
        )
    if scaling is not None:
        parts += ["### Growth with T, B and n", bullets(report.environment_lines(scaling))]
        for series in scaling["series"]:
            parts.append(markdown_table((series["grows"], *report.SCALING_COLUMNS), report.scaling_rows(series)))
            parts += [bullets(report.scaling_lines(series))] if report.scaling_lines(series) else []
        picture(
            report.SCALING_PICTURE,
            "Time and memory of a pass against the number of steps, the batch and the units, on logarithmic scales",
        )
    return "\n\n".join(parts)


def write_page(page: Path, folder: Path) -> None:
    """Put the results of a folder between the markers of a page.

    Raises
    ------
    ValueError
        As `put_between` and `results_page`.
    """
    put_between(page, BEGIN, END, lambda: results_page(folder, page))


def put_between(page: Path, begin: str, end: str, content: Callable[[], str]) -> None:
    """Put the result of `content` between two markers of a page; `content` is not called if the page does not fit.

    Raises
    ------
    ValueError
        If the page cannot be read or written or lacks a marker.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{page} cannot be read: {error.strerror}") from error
    if begin not in text or end not in text:
        raise ValueError(f"{page} must hold the lines {begin} and {end}")
    before, after = text.split(begin)[0], text.split(end, 1)[1]
    new = f"{before}{begin}\n\n{content()}\n\n{end}{after}"
    try:
        page.write_text(new, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{page} cannot be written: {error.strerror}") from error
