"""The pictures of the results, in the style of numrnn.plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import seconds_text
from numrnn import plots

OURS, SAME_CELL, OTHER_CELL = plots.COLOURS[0], plots.COLOURS[1], plots.COLOURS[4]
LEGEND = ((OURS, None, "numrnn"), (SAME_CELL, None, "a framework"), (OTHER_CELL, "//", "a framework, another cell"))
FLOORS: tuple[tuple[str, Any, str], ...] = (
    ("floor_seconds", ":", "recurrent floor"),
    ("floor_all_seconds", "--", "full floor"),
)


def bars(workloads: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw the seconds of each contender, one panel per workload."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    columns = min(2, len(workloads))
    rows = -(-len(workloads) // columns)
    figure = plots.new_figure(6.2 * columns, 3.0 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, workload in zip(panels, workloads, strict=False):
        timed = [result for result in workload["contenders"] if result["status"] == "timed"]
        for position, result in enumerate(timed):
            colour, hatch = _look(result)
            axes.barh(position, result["median"], color=colour, hatch=hatch, edgecolor="white")
            text = f" {seconds_text(result['median'])} s"
            if "ratio" in result and result["name"] != workload["baseline"]:
                text += f", {result['ratio']:.3g} x"
            axes.text(result["median"], position, text, va="center", fontsize=8)
        axes.set_yticks(range(len(timed)), [result["name"] for result in timed])
        axes.invert_yaxis()
        for key, style, _ in FLOORS:
            axes.axvline(workload[key], color="black", linestyle=style, linewidth=1)
        axes.margins(x=0.25)
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("seconds, forward and backward")
        axes.set_title(workload["title"], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(workloads) :]:
        axes.set_visible(False)
    handles: list[Any] = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=text) for colour, hatch, text in LEGEND
    ]
    handles += [Line2D([], [], color="black", linestyle=style, linewidth=1, label=text) for _, style, text in FLOORS]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return plots.save_figure(figure, path)


def _look(result: Mapping[str, Any]) -> tuple[str, str | None]:
    if result["ours"]:
        return OURS, None
    return (SAME_CELL, None) if result["same_cell"] else (OTHER_CELL, "//")


def growth(series: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw time and peak memory of each engine over T, B and n; ticks are at the measured sizes."""
    from matplotlib.ticker import NullLocator

    figure = plots.new_figure(4.2 * len(series), 6.4)
    panels = figure.subplots(2, len(series), squeeze=False)
    for column, one in enumerate(series):
        engines = dict.fromkeys(point["engine"] for point in one["points"])
        sizes = sorted({point["value"] for point in one["points"]})
        for index, engine in enumerate(engines):
            points = [point for point in one["points"] if point["engine"] == engine]
            for axes, key, scale in zip(panels[:, column], ("median", "peak_bytes"), (1, 1e-6), strict=True):
                shown = [(point["value"], scale * point[key]) for point in points if point[key]]
                if shown:
                    axes.loglog(*zip(*shown, strict=True), label=engine, marker="o", **plots.line_style(index))
        fixed = ", ".join(f"{key} = {value:,}" for key, value in one["fixed"].items())
        panels[0, column].set_title(f"{fixed}, m = 1", fontsize=10)
        for axes, label in zip(panels[:, column], ("seconds", "peak memory [MB]"), strict=True):
            axes.set_xlabel(one["grows"])
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_ylabel(label)
            axes.grid(alpha=0.25, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0, column].legend(frameon=False, fontsize=8)
    return plots.save_figure(figure, path)
