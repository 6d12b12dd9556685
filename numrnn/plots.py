"""Figures, in one style: colours that colour-blind readers tell apart, and line styles that survive black and white.

Needs matplotlib: pip install numrnn[examples]. No figure opens a window or touches matplotlib's global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(f"numrnn.plots needs matplotlib: pip install numrnn[examples] (found: {error})") from error

# Okabe and Ito's palette without its yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
DPI = 150


def line_style(index: int) -> dict[str, Any]:
    """Return colour and line style of the index-th curve of a figure."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)], "linewidth": 1.6}


def new_figure(width: float = 6.4, height: float = 4.0) -> Figure:
    """Return an empty figure, sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure and return its path; the ending (.png, .svg) decides the format."""
    path = Path(path)
    figure.savefig(path, dpi=DPI)
    return path


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def learning_curves(
    training: Sequence[Mapping[str, float]],
    validation: Sequence[Mapping[str, float]],
    path: str | Path,
    *,
    title: str = "",
) -> Path:
    """Draw loss, accuracy and gradient norm of a training run over its updates.

    Parameters
    ----------
    training : sequence of mapping
        Records with step, loss, accuracy and gradient_norm, as `TrainingResult.history("training")` returns them.
    validation : sequence of mapping
        Records with step, loss and accuracy; may be empty.
    path : path
        File to write.
    title : str
        Heading.

    Returns
    -------
    Path
        `path`.
    """
    figure = new_figure(11, 3.4)
    panels = (("loss", "loss [nats]"), ("accuracy", "accuracy [%]"), ("gradient_norm", "norm of the gradient"))
    for axes, (key, label) in zip(figure.subplots(1, 3), panels, strict=True):
        for index, (name, records) in enumerate((("training", training), ("validation", validation))):
            points = [(r["step"], r[key] * (100 if key == "accuracy" else 1)) for r in records if key in r]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="o" if index else None, **line_style(index))
        axes.set_xlabel("updates")
        axes.set_ylabel(label)
        if key == "gradient_norm":
            axes.set_yscale("log")
        else:
            axes.legend(frameon=False)
        _bare(axes)
    figure.suptitle(title)
    return save_figure(figure, path)


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], path: str | Path, *, title: str = ""
) -> Path:
    """Draw how often each class was taken for each other, in numbers of images.

    Parameters
    ----------
    labels, predictions : numpy.ndarray, shape (N,)
        Integers from 0 to len(class_names) - 1.
    class_names : sequence of str
        Names of the classes.
    path : path
        File to write.
    title : str
        Heading.

    Returns
    -------
    Path
        `path`.
    """
    n_classes = len(class_names)
    counts = np.zeros((n_classes, n_classes), int)
    np.add.at(counts, (labels, predictions), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    # The square root lets rare confusions be seen beside the diagonal.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if share[row, column] > 0.36 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    axes.set_xticks(range(n_classes), class_names)
    axes.set_yticks(range(n_classes), class_names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title)
    return save_figure(figure, path)


def gradient_flow(norms: Mapping[str, np.ndarray], path: str | Path, *, title: str = "", floor: float = 1e-20) -> Path:
    """Draw the norm of dL/dh_t over time, one curve a network.

    Parameters
    ----------
    norms : mapping of str to numpy.ndarray, shape (T + 1,)
        Name of the curve, and the norms for t = 0..T, all positive or 0.
    path : path
        File to write.
    title : str
        Heading.
    floor : float
        Curves end where they fall below this share of the largest value.

    Returns
    -------
    Path
        `path`.
    """
    figure = new_figure(7.2, 4.2)
    axes = figure.subplots()
    top = max(float(np.max(values)) for values in norms.values())
    for index, (name, values) in enumerate(norms.items()):
        shown = np.where(values > floor * top, values, np.nan)
        axes.semilogy(np.arange(len(values)), shown, label=name, **line_style(index))
    axes.set_xlabel("time step t (the loss is read at the last)")
    axes.set_ylabel("norm of dL/dh$_t$")
    axes.set_title(title)
    axes.legend(frameon=False)
    _bare(axes)
    return save_figure(figure, path)


def compare_learning(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path, *, title: str = ""
) -> Path:
    """Draw training accuracy over wall-clock time, one curve a run.

    Parameters
    ----------
    runs : mapping of str to (seconds, accuracies)
        Name of the curve, seconds since the start, and accuracies from 0 to 1.
    path : path
        File to write.
    title : str
        Heading.

    Returns
    -------
    Path
        `path`.
    """
    figure = new_figure()
    axes = figure.subplots()
    for index, (name, (seconds, accuracies)) in enumerate(runs.items()):
        axes.plot(seconds, 100 * np.asarray(accuracies), label=name, **line_style(index))
    axes.set_xlabel("training time [s]")
    axes.set_ylabel("training accuracy [%]")
    axes.set_ylim(0, 100)
    axes.set_title(title)
    axes.legend(frameon=False)
    _bare(axes)
    return save_figure(figure, path)
