"""The optional file of a figure: checked before anything is drawn, written when the figure is finished."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numrnn.plots.style import check_picture_path, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def checked_path(path: Any) -> Path | None:
    """Return the path of a picture after checking its extension; None if there is none."""
    return None if path is None else check_picture_path("path", path)


def finished(figure: Figure, path: str | Path | None) -> Figure:
    """Write a figure if there is a path; return it."""
    if path is not None:
        save_figure(figure, path)
    return figure
