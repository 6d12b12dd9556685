"""Figures in one style: colours that colour-blind readers can distinguish, lines that work in black and white.

Each function that draws returns its figure, which a notebook shows, and writes it to a file if it is given a path.

Needs matplotlib, which is imported with the first figure: pip install numrnn[examples]. No figure opens a window or
changes matplotlib's global state.
"""

from __future__ import annotations

import functools
import io
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numrnn.checks import as_host_array, check_integer, check_number, check_numeric, check_path, shown
from numrnn.extras import import_extra
from numrnn.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow, which is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
DPI = 150
LARGEST_DRAWN = 1e100  # of a number: matplotlib squares them
MOST_MARKERS = 30  # on one curve
TITLE_WIDTH = 60  # characters of a line above a single plot
WRITTEN = {"lstm": "LSTM", "elman": "Elman", "lipschitz": "Lipschitz"}  # names of cells in configurations
SHORT_NAME = 3  # characters; longer names under the columns of a matrix would overlap


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
        If the path is none, or its extension is that of no format.
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


def _finished(figure: Figure, path: str | Path | None) -> Figure:
    """Write a figure if there is a path; return it."""
    if path is not None:
        save_figure(figure, path)
    return figure


def _checked_path(path: Any) -> Path | None:
    return None if path is None else check_picture_path("path", path)


def _check_axes(axes: Any) -> None:
    if not hasattr(axes, "spines") or not hasattr(axes, "plot"):
        raise TypeError(f"axes must be axes of matplotlib, got {shown(axes)}")


def _checked_title(title: Any) -> str:
    if not isinstance(title, str):
        raise TypeError(f"title must be a string, got {shown(title)}")
    return title


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


def _checked_curves(name: str, curves: Any) -> Mapping[str, Any]:
    if not isinstance(curves, Mapping) or not curves or not all(isinstance(one, str) for one in curves):
        raise TypeError(f"{name} must be a mapping of names to curves, got {shown(curves)}")
    return curves


def _checked_curve(name: str, values: Any) -> np.ndarray:
    array = as_host_array(name, values)
    if array.dtype.kind not in "iuf" or array.ndim != 1 or not len(array):
        raise TypeError(f"{name} must be real numbers (N,), got {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def bare(axes: Any) -> None:
    """Remove the upper and right spines of a panel, and draw a pale grid; raises TypeError if it is none."""
    _check_axes(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


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
        regressor's have no accuracy: its loss is the mean squared error.
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
    path, title = _checked_path(path), _checked_title(title)
    for name, records in (("training", training), ("validation", validation)):
        _check_records(name, records)
    scored = any("accuracy" in record for record in training)
    panels = [("loss", "loss [nats]" if scored else "mean squared error"), ("gradient_norm", "norm of the gradient")]
    if scored:
        panels.insert(1, ("accuracy", "accuracy [%]"))
    figure = new_figure(11 if scored else 7.5, 3.4)
    for axes, (key, label) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for index, (name, records) in enumerate((("training", training), ("validation", validation))):
            points = [(r["step"], r[key] * (100 if key == "accuracy" else 1)) for r in records if key in r]
            if points:
                marker = "o" if index and len(points) <= MOST_MARKERS else None  # more markers would hide the lines
                axes.plot(*zip(*points, strict=True), label=name, marker=marker, **line_style(index))
        axes.set_xlabel("updates")
        axes.set_ylabel(label)
        if key == "gradient_norm":
            axes.set_yscale("log")
        else:
            axes.legend(frameon=False)
        bare(axes)
    figure.suptitle(title)
    return _finished(figure, path)


def confusion_matrix(
    labels: np.ndarray,
    predictions: np.ndarray,
    class_names: Sequence[str],
    path: str | Path | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw the confusion matrix, in numbers of images.

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
    path, title = _checked_path(path), _checked_title(title)
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
        if count:
            shade = "white" if share[row, column] > 0.36 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    slanted = max(len(name) for name in class_names) > SHORT_NAME
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(n_classes), class_names, **slant)
    axes.set_yticks(range(n_classes), class_names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(textwrap.fill(title, TITLE_WIDTH))
    return _finished(figure, path)


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
    path, title = _checked_path(path), _checked_title(title)
    floor = check_number("floor", floor, at_least=0)
    norms = {name: _checked_curve(f"norms[{name!r}]", one) for name, one in _checked_curves("norms", norms).items()}
    figure = new_figure(7.2, 4.2)
    axes = figure.subplots()
    top = max(float(np.max(values)) for values in norms.values())
    for index, (name, values) in enumerate(norms.items()):
        shown = np.where(values > floor * top, values, np.nan)
        axes.semilogy(np.arange(len(values)), shown, label=readable(name), **line_style(index))
    axes.set_xlabel("time step t (loss at the last step)")
    axes.set_ylabel("norm of dL/dh$_t$")
    axes.set_title(textwrap.fill(title, TITLE_WIDTH))
    axes.legend(frameon=False)
    bare(axes)
    return _finished(figure, path)


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
    path, title = _checked_path(path), _checked_title(title)
    for name, run in _checked_curves("runs", runs).items():
        if (
            not isinstance(run, Sequence)
            or len(run) != 2
            or len(np.shape(run[0])) != 1
            or np.shape(run[0]) != np.shape(run[1])
        ):
            raise ValueError(f"runs[{name!r}] must be as many seconds as accuracies, got {shown(run)}")
        for values in run:
            _checked_curve(f"runs[{name!r}]", values)
    figure = new_figure()
    axes = figure.subplots()
    for index, (name, (seconds, accuracies)) in enumerate(runs.items()):
        lone = "o" if len(seconds) == 1 else None  # a line through one point is invisible
        axes.plot(seconds, 100 * np.asarray(accuracies), label=readable(name), marker=lone, **line_style(index))
    axes.set_xlim(left=0)
    axes.set_xlabel("training time [s]")
    axes.set_ylabel("training accuracy [%]")
    axes.set_ylim(0, 100)
    axes.set_title(title)
    axes.legend(frameon=False, loc="lower right")  # rising curves leave it free
    bare(axes)
    return _finished(figure, path)


def stability_report(report: Any, path: str | Path | None = None) -> Figure:
    """Draw the page of `numrnn.stability.stability_report`: spectrum, step size, growth over time, saturation.

    Parameters
    ----------
    report : StabilityReport
        The report to draw; panels that do not apply to its cell say so.
    path : path or None
        File to write; None writes none.

    Returns
    -------
    matplotlib.figure.Figure
    """
    path = _checked_path(path)
    if not hasattr(report, "log_singular_values"):
        raise TypeError(f"report must be a StabilityReport, got {shown(report)}")
    figure = new_figure(12, 7.4)
    panels = figure.subplots(2, 3).flat
    draw = (_eigenvalues_of_A, _eigenvalues_of_steps, _critical_step, _growth, _exponents, _saturation)
    for axes, draw_panel in zip(panels, draw, strict=True):
        draw_panel(axes, report)
        bare(axes)
    figure.suptitle(f"{type(report.cell).__name__} after {report.step:,} updates; {report.input}, T = {report.n_steps}")
    return _finished(figure, path)


def _does_not_apply(axes: Any, report: Any, title: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, f"does not apply to\n{type(report.cell).__name__}", ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])


def euler_disc(axes: Any, eigenvalues: np.ndarray, label: str) -> None:
    """Plot eps lambda and the disc |1 + eps lambda| <= 1 in which forward Euler is stable.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    eigenvalues : numpy.ndarray
        eps lambda, complex, of any shape.
    label : str
        Text of the legend.
    """
    _check_axes(axes)
    check_numeric("eigenvalues", eigenvalues)
    if np.max(np.abs(eigenvalues), initial=0.0) > LARGEST_DRAWN:
        raise ValueError(f"eigenvalues must be at most {LARGEST_DRAWN:g} to be drawn")
    if not isinstance(label, str):
        raise TypeError(f"label must be a string, got {shown(label)}")
    # Of a large disc only the edge near 0 is shown: in the whole disc the points would be too small.
    size = max(float(np.max(np.abs(eigenvalues), initial=0.0)), 1e-12) * 1.2
    angle = np.linspace(-1, 1, 2001) * min(np.pi, 2 * size)
    axes.plot(np.cos(angle) - 1, np.sin(angle), label="edge of Euler's disc", **line_style(6))
    axes.plot(eigenvalues.real.ravel(), eigenvalues.imag.ravel(), ".", color=COLOURS[0], markersize=3, label=label)
    width = max(float(np.max(np.abs(eigenvalues.real), initial=0.0)) * 1.2, size * size / 2)
    axes.set_xlim(-width, width)
    axes.set_ylim(-size, size)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2))
    axes.set_xlabel("real part of eps lambda")
    axes.set_ylabel("imaginary part of eps lambda")
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def _eigenvalues_of_A(axes: Any, report: Any) -> None:
    title = "spectrum of eps A"
    if report.spectrum is None:
        _does_not_apply(axes, report, title)
        return
    euler_disc(axes, report.cell.step_size * np.asarray(report.spectrum.eigenvalues), "eps lambda(A)")
    axes.set_title(title)


def _eigenvalues_of_steps(axes: Any, report: Any) -> None:
    title = "spectra of eps J$_t$ along the trajectory"
    if report.flow_eigenvalues is None:
        _does_not_apply(axes, report, title)
        return
    euler_disc(axes, report.cell.step_size * report.flow_eigenvalues, "eps lambda(J$_t$)")
    axes.set_title(f"spectra of eps J$_t$: {report.outside:.0%} of steps outside")


def _critical_step(axes: Any, report: Any) -> None:
    title = "step size and critical step size"
    if report.stability is None:
        _does_not_apply(axes, report, title)
        return
    omega, gamma, eps = report.spectrum.omega, report.cell.diffusion, report.cell.step_size
    centre = max(omega, 1e-12)
    low = min(1e-3 * centre, gamma / 10) if gamma > 0 else 1e-3 * centre
    diffusion = np.geomspace(low, max(10 * centre, 10 * gamma), 400)
    axes.loglog(diffusion, 2 * diffusion / (diffusion**2 + omega**2), label="critical step size", **line_style(0))
    axes.loglog([max(gamma, low)], [eps], "o", color=COLOURS[1], label="this cell")
    axes.set_xlabel("diffusion gamma (1 / time)")
    axes.set_ylabel("step size eps (time)")
    axes.set_title(f"step size: {'stable' if report.stability.stable else 'not stable'} at h = 0")
    axes.legend(frameon=False, fontsize=8)


def _growth(axes: Any, report: Any) -> None:
    logs = report.log_singular_values / np.log(10)
    # Values below the rounding of the largest are noise, and not shown.
    floor = logs[..., :1] + np.log10(logs.shape[-1] * np.finfo(logs.dtype).eps)
    shown = np.where(logs > floor, logs, np.nan)
    for index, (name, curve) in enumerate((("largest", shown[..., 0]), ("median", np.median(shown, axis=-1)))):
        axes.plot(report.times, curve.mean(axis=1), label=f"{name} singular value", **line_style(index))
    if report.stability is not None:
        bound = report.times * np.log10(np.max(report.stability.amplification))
        axes.plot(report.times, bound, label="linear step at h = 0", **line_style(2))
    axes.set_xlabel("time step t")
    axes.set_ylabel("log$_{10}$ of amplification dh$_t$/dh$_0$")
    axes.set_title("amplification over time")
    axes.legend(frameon=False, fontsize=8)


def _exponents(axes: Any, report: Any) -> None:
    for index, exponents in enumerate(report.exponents):
        finite = np.where(np.isfinite(exponents), exponents, np.nan)
        axes.plot(np.arange(1, len(finite) + 1), finite, label=f"row {index}", **line_style(index))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlabel("index of the exponent")
    axes.set_ylabel("Lyapunov exponent (1 / step)")
    axes.set_title("finite-time Lyapunov exponents")
    if len(report.exponents) <= 6:
        axes.legend(frameon=False, fontsize=8)


def _saturation(axes: Any, report: Any) -> None:
    found = report.saturation
    if found is None:
        _does_not_apply(axes, report, "saturation")
        return
    shares = {"tanh beyond\n0.99": found.candidate, "gate below\n0.01": found.closed, "gate above\n0.99": found.open}
    bars = {name: 100 * share for name, share in shares.items() if share is not None}
    axes.bar(range(len(bars)), list(bars.values()), color=COLOURS[0], width=0.5)
    axes.set_xticks(range(len(bars)), list(bars))
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of units and steps [%]")
    axes.set_title("saturation")
