"""Pictures of a training run: learning curves, the confusion matrix, and runs compared over time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numrnn.checks import as_host_array, check_number, shown
from numrnn.plots.arguments import checked_curve, checked_curves, checked_title
from numrnn.plots.output import checked_path, finished
from numrnn.plots.style import TITLE_WIDTH, bare, line_style, new_figure, readable
from numrnn.plots.text import literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["compare_learning", "confusion_matrix", "learning_curves"]

MOST_MARKERS = 30  # on one curve
SHORT_NAME = 3  # characters; longer names under the columns of a matrix would overlap
MOST_CLASSES = 25  # of a matrix with readable counts in its cells and a name at each row


def learning_curves(
    training: Sequence[Mapping[str, float]],
    validation: Sequence[Mapping[str, float]],
    path: str | Path | None = None,
    *,
    title: str = "",
) -> Figure:
    """Plot loss, accuracy (if there is one) and gradient norm of a training run against its updates.

    Parameters
    ----------
    training : sequence of mapping
        Records with step, loss, accuracy and gradient_norm, as `TrainingResult.history("training")` returns them. A
        regressor's have no accuracy: its loss is the mean squared error. May be empty.
    validation : sequence of mapping
        Records with step, loss and accuracy; may be empty.
    path : path or None
        File to write; None writes none.
    title : str
        Heading.

    Returns
    -------
    matplotlib.figure.Figure
    """
    path, title = checked_path(path), checked_title(title)
    for name, records in (("training", training), ("validation", validation)):
        _check_records(name, records)
    scored = any("accuracy" in record for record in training)
    panels = [("loss", "loss [nats]" if scored else "mean squared error"), ("gradient_norm", "norm of the gradient")]
    if scored:
        panels.insert(1, ("accuracy", "accuracy [%]"))
    width = 11 if scored else 7.5
    figure = new_figure(width, 3.4)
    for axes, (key, label) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for index, (name, records) in enumerate((("training", training), ("validation", validation))):
            points = [(r["step"], r[key] * (100 if key == "accuracy" else 1)) for r in records if key in r]
            if points:
                # More markers would hide the lines, and a line through one point is invisible.
                marker = "o" if len(points) <= (MOST_MARKERS if index else 1) else None
                axes.plot(*zip(*points, strict=True), label=name, marker=marker, **line_style(index))
        axes.set_xlabel("updates")
        axes.set_ylabel(label)
        if key != "gradient_norm" and axes.lines:
            axes.legend(frameon=False)
        elif any(record.get(key, 0) > 0 for record in training):  # none is, if there is a single class
            axes.set_yscale("log")
        bare(axes)
    figure.suptitle(textwrap.fill(title, int(TITLE_WIDTH * width / 6.4)))
    return finished(figure, path)


def confusion_matrix(
    labels: np.ndarray,
    predictions: np.ndarray,
    class_names: Sequence[str],
    path: str | Path | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw the confusion matrix, in counts of images; of more than 25 classes the colours, and some of the names.

    Parameters
    ----------
    labels, predictions : numpy.ndarray, shape (N,)
        Integers from 0 to len(class_names) - 1.
    class_names : sequence of str
        Names of the classes.
    path : path or None
        File to write; None writes none.
    title : str
        Heading.

    Returns
    -------
    matplotlib.figure.Figure
    """
    path, title = checked_path(path), checked_title(title)
    if (
        not isinstance(class_names, Sequence)
        or isinstance(class_names, str)
        or not class_names
        or not all(isinstance(name, str) for name in class_names)
    ):
        raise TypeError(f"class_names must be a sequence of strings, got {shown(class_names)}")
    n_classes = len(class_names)
    labels, predictions = (
        _checked_classes(*one, n_classes) for one in (("labels", labels), ("predictions", predictions))
    )
    if len(labels) != len(predictions):
        raise ValueError(f"predictions must be as many as the labels, {len(labels)}, got {len(predictions)}")
    counts = np.zeros((n_classes, n_classes), int)
    np.add.at(counts, (labels, predictions), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    # The square root makes rare confusions visible next to the diagonal.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count and n_classes <= MOST_CLASSES:
            shade = "white" if share[row, column] > 0.36 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    named = range(0, n_classes, -(-n_classes // MOST_CLASSES))
    names = [literal(class_names[k]) for k in named]
    slanted = max(map(len, names)) > SHORT_NAME
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(named, names, **slant)
    axes.set_yticks(named, names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(textwrap.fill(title, TITLE_WIDTH))
    return finished(figure, path)


def compare_learning(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path | None = None, *, title: str = ""
) -> Figure:
    """Plot training accuracy against wall-clock time, one curve per run.

    Parameters
    ----------
    runs : mapping of str to (seconds, accuracies)
        Name of the curve, seconds since the start, and accuracies from 0 to 1.
    path : path or None
        File to write; None writes none.
    title : str
        Heading.

    Returns
    -------
    matplotlib.figure.Figure
    """
    path, title = checked_path(path), checked_title(title)
    for name, run in checked_curves("runs", runs).items():
        if (
            not isinstance(run, Sequence)
            or len(run) != 2
            or len(np.shape(run[0])) != 1
            or np.shape(run[0]) != np.shape(run[1])
        ):
            raise ValueError(f"runs[{name!r}] must be as many seconds as accuracies, got {shown(run)}")
        for values in run:
            checked_curve(f"runs[{name!r}]", values)
    figure = new_figure()
    axes = figure.subplots()
    for index, (name, (seconds, accuracies)) in enumerate(runs.items()):
        lone = "o" if len(seconds) == 1 else None  # a line through one point is invisible
        axes.plot(
            seconds, 100 * np.asarray(accuracies), label=literal(readable(name)), marker=lone, **line_style(index)
        )
    axes.set_xlim(left=0)
    axes.set_xlabel("training time [s]")
    axes.set_ylabel("training accuracy [%]")
    axes.set_ylim(0, 100)
    axes.set_title(title)
    axes.legend(frameon=False, loc="lower right")  # rising curves leave it free
    bare(axes)
    return finished(figure, path)


def _check_records(name: str, records: Any) -> None:
    """Check records of metrics."""
    if not isinstance(records, Sequence) or not all(isinstance(one, Mapping) for one in records):
        raise TypeError(f"{name} must be a sequence of records, got {shown(records)}")
    for i, record in enumerate(records):
        if "step" not in record:
            raise ValueError(f"{name}[{i}] must have a step, got {', '.join(map(str, record))}")
        for key in ("step", "loss", "accuracy", "gradient_norm"):
            if key in record:
                check_number(f"{name}[{i}][{key!r}]", record[key])


def _checked_classes(name: str, values: Any, n_classes: int) -> np.ndarray:
    array = as_host_array(name, values)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(f"{name} must be integers (N,), got {array.dtype} of shape {array.shape}")
    if len(array) and (array.min() < 0 or array.max() >= n_classes):
        raise ValueError(f"{name} must be from 0 to {n_classes - 1}, got values from {array.min()} to {array.max()}")
    return array.astype(np.intp)
