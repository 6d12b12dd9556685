"""The style of all figures: colours, lines, spines, sizes and files.

matplotlib is imported with the first figure.
"""

from __future__ import annotations

import functools
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numrnn.checks import check_integer, check_number, check_path, shown
from numrnn.extras import import_extra
from numrnn.files import replacing
from numrnn.plots.arguments import check_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "bare",
    "check_picture_path",
    "line_style",
    "new_figure",
    "readable",
    "require_matplotlib",
    "save_figure",
]

# Okabe and Ito's palette without its yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
DPI = 150
TITLE_WIDTH = 60  # characters of a line above a single plot
WRITTEN = {"lstm": "LSTM", "elman": "Elman", "lipschitz": "Lipschitz"}  # names of cells in configurations


def require_matplotlib() -> Any:
    """Return matplotlib's module of figures.

    Raises
    ------
    numrnn.extras.MissingExtraError
        If there is no matplotlib.
    """
    return import_extra("matplotlib.figure", package="matplotlib", extra="examples", user="numrnn.plots")


def line_style(index: int) -> dict[str, Any]:
    """Return colour and line style of the index-th curve of a figure, counted from 0."""
    index = check_integer("index", index, at_least=0)
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)], "linewidth": 1.6}


@functools.cache
def _figure_class() -> type[Figure]:
    """Return matplotlib's figure with a picture of itself for notebooks, which need no magic command to show it."""

    class Shown(require_matplotlib().Figure):  # type: ignore[misc]
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=DPI / 1.5)
            return buffer.getvalue()

    return Shown


def readable(label: str) -> str:
    """Return a label with the names of cells as they are written in sentences: lstm becomes LSTM."""
    if not isinstance(label, str):
        raise TypeError(f"label must be a string, got {shown(label)}")
    return re.sub(rf"\b({'|'.join(WRITTEN)})\b", lambda name: WRITTEN[name[1]], label)


def new_figure(width: float = 6.4, height: float = 4.0) -> Figure:
    """Return an empty figure, sizes in inches, from 0 to 100; raises as `require_matplotlib`, and for a wrong size."""
    width, height = (check_number(n, v, above=0, at_most=100) for n, v in (("width", width), ("height", height)))
    return _figure_class()(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole or not at all, and return its path; the extension sets the format.

    Raises
    ------
    TypeError, ValueError
        If the path is not a path, or its extension is not that of a format.
    OSError
        If the file cannot be written.
    """
    path = check_picture_path("path", path)
    if not hasattr(figure, "savefig"):
        raise TypeError(f"figure must be a matplotlib figure, got {shown(figure)}")
    with replacing(path) as file:
        figure.savefig(file, dpi=DPI, format=path.suffix[1:])
    return path


def check_picture_path(name: str, path: str | os.PathLike[str]) -> Path:
    """Return the path of a picture after a check of its extension; raises TypeError or ValueError."""
    checked = check_path(name, path)
    known = sorted(require_matplotlib().Figure().canvas.get_supported_filetypes())
    if checked.suffix[1:].lower() not in known:
        raise ValueError(f"{name} must end in .{', .'.join(known)}, got {checked.name!r}")
    return checked


def bare(axes: Any) -> None:
    """Remove the upper and right spines of a panel, and draw a pale grid; raises TypeError for anything but axes."""
    check_axes(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
