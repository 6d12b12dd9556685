"""The picture of Figure 2: moduli of the eigenvalues of dh_T/dh_0 against T, for each network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numrnn import plots
from numrnn.experiments.figures.moduli import Curve

MARKERS = ("o", "s", "^", "D", "*", "P", "X")
PANELS = ("antisymmetric", "gated", "other cells")


def draw(curves: Sequence[Curve], path: str | Path, title: str) -> Path:
    """Draw mean and standard deviation above, median and smallest below, a column for each kind of cell."""
    lengths = [found.length for found in curves[0].moduli]
    columns = [panel for panel in PANELS if any(curve.panel == panel for curve in curves)]
    figure = plots.new_figure(0.8 + 3.1 * len(columns), 6.2)
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for column, panel in enumerate(columns):
        shown = [curve for curve in curves if curve.panel == panel]
        for index, curve in enumerate(shown):
            # Slightly shifted, so that the bars do not hide each other.
            offset = 1.025 ** (index - (len(shown) - 1) / 2)
            draw_means(grid[0, column], curve, index, offset)
            draw_range(grid[1, column], curve, index, offset)
        grid[0, column].set_title(panel if panel == PANELS[-1] else f"{panel} cell", fontsize=10)
        grid[0, column].legend(frameon=False, fontsize=8, loc="lower left")
        grid[1, column].set_xlabel("T (time steps)")
        for axes in grid[:, column]:
            axes.set_xscale("log", base=2)
            # Linear around a modulus of 1, so that one scale can show 0.1 and 80 decades.
            axes.set_yscale("symlog", linthresh=1, linscale=0.7)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_xticks(lengths, [str(T) for T in lengths])
            axes.minorticks_off()
            plots.bare(axes)
    grid[0, 0].set_ylabel("log$_{10}$ of |$\\lambda$|: mean, and 1 std about it", fontsize=9)
    grid[1, 0].set_ylabel("log$_{10}$ of |$\\lambda$|: median (line), smallest (small)", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return plots.save_figure(figure, path)


def draw_means(axes: Any, curve: Curve, index: int, offset: float) -> None:
    """Draw the mean modulus over T, with a bar of one standard deviation to either side."""
    style = plots.line_style(index)
    T = np.array([m.length for m in curve.moduli]) * offset
    mean = np.array([m.mean if m.largest >= m.floor else max(m.mean, m.floor) for m in curve.moduli])
    hidden = np.array([m.largest < m.floor for m in curve.moduli])
    spread = np.array([10.0 ** min(m.std - m.mean, 300) for m in curve.moduli])  # std over mean
    # With a standard deviation above the mean the bar would end below 0: it ends at the smallest resolved modulus.
    smallest = np.array([10.0 ** (max(m.smallest, m.floor) - m.mean) for m in curve.moduli])
    bars = np.where(hidden, 0.0, np.log10([1 / np.clip(1 - spread, np.minimum(smallest, 1), 1), 1 + spread]))
    marker = MARKERS[index % len(MARKERS)]
    axes.errorbar(
        T, mean, yerr=bars, marker=marker, markersize=4.5, capsize=2.5, label=plots.readable(curve.name), **style
    )
    if hidden.any():
        axes.plot(T[hidden], mean[hidden], "v", markersize=9, fillstyle="none", color=style["color"])


def draw_range(axes: Any, curve: Curve, index: int, offset: float) -> None:
    """Draw median and smallest modulus over T; values below the floor are open triangles at the floor."""
    style = plots.line_style(index)
    T = np.array([m.length for m in curve.moduli]) * offset
    floor = np.array([m.floor for m in curve.moduli])
    median = np.array([m.median for m in curve.moduli])
    smallest = np.array([m.smallest for m in curve.moduli])
    marker = MARKERS[index % len(MARKERS)]
    axes.plot(T, np.maximum(median, floor), **style)
    for values, size in ((median, 4.5), (smallest, 2.5)):
        told = values >= floor
        axes.plot(T[told], values[told], marker, markersize=size, color=style["color"])
        axes.plot(T[~told], floor[~told], "v", markersize=8, fillstyle="none", color=style["color"])
