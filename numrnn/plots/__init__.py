"""Figures in one style: colours that colour-blind readers can distinguish, lines that work in black and white.

Each function that draws returns its figure, which a notebook shows, and writes it to a file if it is given a path.

Needs matplotlib, which is imported with the first figure: pip install numrnn[examples]. No figure opens a window or
changes matplotlib's global state.
"""

from numrnn.plots.gradients import gradient_flow
from numrnn.plots.learning import compare_learning, confusion_matrix, learning_curves
from numrnn.plots.stability import euler_disc, stability_report
from numrnn.plots.style import (
    COLOURS,
    bare,
    check_picture_path,
    line_style,
    new_figure,
    readable,
    require_matplotlib,
    save_figure,
)

__all__ = [
    "COLOURS",
    "bare",
    "check_picture_path",
    "compare_learning",
    "confusion_matrix",
    "euler_disc",
    "gradient_flow",
    "learning_curves",
    "line_style",
    "new_figure",
    "readable",
    "require_matplotlib",
    "save_figure",
    "stability_report",
]
