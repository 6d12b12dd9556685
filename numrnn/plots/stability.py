"""The page of a stability report, panel by panel, and eigenvalues in the stability disc of Euler's method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numrnn.checks import check_numeric, shown
from numrnn.plots.arguments import check_axes
from numrnn.plots.output import checked_path, finished
from numrnn.plots.style import COLOURS, bare, line_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["euler_disc", "stability_report"]

LARGEST_DRAWN = 1e100  # of a number: matplotlib squares them


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
    path = checked_path(path)
    if not hasattr(report, "log_singular_values"):
        raise TypeError(f"report must be a StabilityReport, got {shown(report)}")
    figure = new_figure(12, 7.4)
    panels = figure.subplots(2, 3).flat
    draw = (_eigenvalues_of_A, _eigenvalues_of_steps, _critical_step, _growth, _exponents, _saturation)
    for axes, draw_panel in zip(panels, draw, strict=True):
        draw_panel(axes, report)
        bare(axes)
    figure.suptitle(f"{type(report.cell).__name__} after {report.step:,} updates; {report.input}, T = {report.n_steps}")
    return finished(figure, path)


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
    check_axes(axes)
    check_numeric("eigenvalues", eigenvalues)
    if np.max(np.abs(eigenvalues), initial=0.0) > LARGEST_DRAWN:
        raise ValueError(f"eigenvalues must be at most {LARGEST_DRAWN:g} to be drawn")
    if not isinstance(label, str):
        raise TypeError(f"label must be a string, got {shown(label)}")
    # Only the edge of a large disc near 0 is shown: next to the whole disc the points would be too small.
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


def _does_not_apply(axes: Any, report: Any, title: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, f"does not apply to\n{type(report.cell).__name__}", ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])


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
    if report.stability is not None and np.max(report.stability.amplification) > 0:
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
