"""The output of a sweep: a line for each result, the table of the best, and the picture of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numrnn import plots
from numrnn.experiments.trials import SEARCHED

SHOWN = 10  # trials of the table


def line(result: Mapping[str, Any]) -> str:
    """Return one result as a line of text."""
    settings = ", ".join(f"{key} {result[key]}" for key in SEARCHED)
    if result["status"] != "finished":
        return f"{settings}: {result['status']} at update {result['step']}"
    return f"{settings}: {100 * result['validation_accuracy']:.2f} % after {result['step']} updates"


def table(ranked: Sequence[Mapping[str, Any]]) -> str:
    """Return the best trials as lines of text."""
    rows = [["validation", "training", "updates", *SEARCHED]]
    for result in [one for one in ranked if one["status"] == "finished"][:SHOWN]:
        shares = [f"{100 * result[f'{kind}_accuracy']:.2f} %" for kind in ("validation", "training")]
        rows.append([*shares, str(result["step"]), *(str(result[key]) for key in SEARCHED)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    diverged = sum(result["status"] == "diverged" for result in ranked)
    return "\n".join([*lines, f"{len(ranked)} trials, {diverged} diverged"])


def draw(ranked: Sequence[Mapping[str, Any]], path: Path, title: str) -> Path:
    """Draw the accuracy of every trial against each setting, darker for later rungs."""
    figure = plots.new_figure(10.0, 3.6)
    names = {"step_size": "$\\epsilon$", "diffusion": "$\\gamma$", "weight_std": "$\\sigma_w$"}
    names["learning_rate"] = "learning rate"
    last = max(result["rung"] for result in ranked)
    grid = figure.subplots(1, len(names), sharey=True)
    for axes, (key, label) in zip(grid, names.items(), strict=True):
        for index, optimizer in enumerate(sorted({result["optimizer"] for result in ranked})):
            for rung in range(last + 1):
                shown = [r for r in ranked if r["optimizer"] == optimizer and r["rung"] == rung]
                axes.plot(
                    [r[key] for r in shown],
                    [100 * r["validation_accuracy"] if r["status"] == "finished" else math.nan for r in shown],
                    ("o", "s", "^")[index % 3],
                    color=plots.COLOURS[index],
                    alpha=(rung + 1) / (last + 1),
                    markersize=4,
                    label=optimizer if rung == last else None,
                )
        if key == "weight_std":
            axes.set_xscale("symlog", linthresh=1)
        else:
            axes.set_xscale("log")
        axes.set_xlabel(label)
        plots.bare(axes)
    grid[0].set_ylabel("validation accuracy, %")
    grid[-1].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return plots.save_figure(figure, path)
