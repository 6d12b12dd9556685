"""The norm of the gradient as it travels back through time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numrnn.checks import check_number
from numrnn.plots.arguments import checked_curve, checked_curves, checked_title
from numrnn.plots.output import checked_path, finished
from numrnn.plots.style import TITLE_WIDTH, bare, line_style, new_figure, readable
from numrnn.plots.text import literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_flow"]


def gradient_flow(
    norms: Mapping[str, np.ndarray], path: str | Path | None = None, *, title: str = "", floor: float = 1e-20
) -> Figure:
    """Plot the norm of dL/dh_t against t, one curve per network.

    Parameters
    ----------
    norms : mapping of str to numpy.ndarray, shape (T + 1,)
        Name of the curve, and the norms for t = 0..T, all positive or 0.
    path : path or None
        File to write; None writes none.
    title : str
        Heading.
    floor : float
        Curves end where they fall below this fraction of the largest value.

    Returns
    -------
    matplotlib.figure.Figure
    """
    path, title = checked_path(path), checked_title(title)
    floor = check_number("floor", floor, at_least=0)
    norms = {name: checked_curve(f"norms[{name!r}]", one) for name, one in checked_curves("norms", norms).items()}
    figure = new_figure(7.2, 4.2)
    axes = figure.subplots()
    top = max(float(np.max(values)) for values in norms.values())
    for index, (name, values) in enumerate(norms.items()):
        shown = np.where(values > floor * top, values, np.nan)
        axes.semilogy(np.arange(len(values)), shown, label=literal(readable(name)), **line_style(index))
    axes.set_xlabel("time step t (loss at the last step)")
    axes.set_ylabel("norm of dL/dh$_t$")
    axes.set_title(textwrap.fill(title, TITLE_WIDTH))
    axes.legend(frameon=False)
    bare(axes)
    return finished(figure, path)
