"""Summary of a whole run: numrnn's speed relative to each framework, and to the floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.report import percent, seconds_text

Results = Sequence[Mapping[str, Any]]  # "workloads" of the JSON
COLUMNS = ("workload", "numrnn, s", "recurrent share", "full share")
CLIFF_COLUMNS = ("contender", "seconds, 1", "seconds, small", "times as long")
SAME_SIZES = ("cell", "T", "B", "m", "n")


def outcome(workload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the result of a contender, or nothing if it did not take part."""
    return next((one for one in workload["contenders"] if one["name"] == name), {})


def rivals(workload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the frameworks of the same cell, and those for which that is unknown because they did not start."""
    return [
        one
        for one in workload["contenders"]
        if one["name"] in CONTENDERS and CONTENDERS[one["name"]][0] != "ours" and one.get("same_cell", True)
    ]


def columns(workloads: Results) -> tuple[str, ...]:
    """Return COLUMNS and a column for each framework."""
    return (*COLUMNS, *dict.fromkeys(one["name"] for workload in workloads for one in rivals(workload)))


def rows(workloads: Results) -> list[tuple[str, ...]]:
    """Return the table: the time of each framework as a multiple of numrnn's, or the reason why there is none."""
    table = []
    for workload in workloads:
        ours, cells = outcome(workload, workload["baseline"]), []
        if ours.get("status") == "timed":
            cells = [seconds_text(ours["median"]), percent(ours["share"]), percent(ours["share_all"])]
        else:
            cells = [ours.get("status", "not timed"), "", ""]
        for name in columns(workloads)[len(COLUMNS) :]:
            found = next((one for one in rivals(workload) if one["name"] == name), {})
            cells.append(_cell(found))
        table.append((workload["title"], *cells))
    return table


def _cell(result: Mapping[str, Any]) -> str:
    if "ratio" in result:
        return f"{result['ratio']:.3g}"
    # Without numrnn in the run there is nothing to divide by.
    return f"{seconds_text(result['median'])} s" if "median" in result else result.get("status", "")


def conclusions(workloads: Results) -> list[str]:
    """Return a sentence on each workload: the frameworks that are faster, or the ratio to the fastest one."""
    lines = []
    for workload in workloads:
        timed = sorted((one for one in rivals(workload) if "ratio" in one), key=lambda one: one["ratio"])
        faster = [one for one in timed if one["ratio"] < 1]
        if faster:
            takes = ", ".join(f"{1 / one['ratio']:.3g} times as long as {one['name']}" for one in faster)
            lines.append(f"{workload['title']}: numrnn is slower and takes {takes}")
        elif timed:
            ratio, name = timed[0]["ratio"], timed[0]["name"]
            lines.append(f"{workload['title']}: numrnn is {ratio:.3g} times as fast as {name}, the fastest framework")
    return lines


def cliffs(workloads: Results) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return heading and table of each workload measured with a cotangent of size 1 and with a smaller one."""
    found = []
    for plain in (one for one in workloads if one["cotangent"] == 1):
        for small in workloads:
            if small["cotangent"] < 1 and all(plain[key] == small[key] for key in SAME_SIZES):
                heading = f"{plain['title']}: a cotangent of size 1, and a small one, of size {small['cotangent']:g}"
                found.append((heading, _cliff(plain, small)))
    return found


def _cliff(plain: Mapping[str, Any], small: Mapping[str, Any]) -> list[tuple[str, ...]]:
    table = []
    for one in plain["contenders"]:
        other = outcome(small, one["name"])
        if one["status"] == other.get("status") == "timed":
            times = (one["median"], other["median"])
            table.append((one["name"], *map(seconds_text, times), f"{times[1] / times[0]:.2f}"))
    return table
