"""Eigenvalues of eps J_t of a cell over the disc in which Euler's method is stable, epoch by epoch as it is trained.

    numrnn figure stability-region                             train 32 units on the embedded MNIST, and draw
    numrnn figure stability-region --epochs 6 --diffusion 0.3  longer, and with more diffusion
    numrnn figure stability-region --checkpoint epoch1=A --checkpoint epoch2=B   existing networks

Proposition 2 of the paper requires |1 + eps lambda| <= 1 for every eigenvalue lambda of J_t = diag(d_t) A. Each panel
shows these eigenvalues at some time steps of some test images, and the number of them outside the disc. The proposition
is about the Jacobian at one fixed time: a statement about each step is not a theorem about all steps together. Writes
stability_region.png and stability_region.json, and the run itself into the folder stability-region.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn import plots
from numrnn.backend import Params, backend_module, from_numpy, to_numpy
from numrnn.cells.euler import EulerCell
from numrnn.datasets import Dataset, PixelEncoder, load_embedded_mnist
from numrnn.experiments import mnist
from numrnn.experiments.command_line import guarded, read_config, write_json
from numrnn.experiments.figures.networks import pixel_encoder, read_network
from numrnn.options import Checked, documented, inherited, option
from numrnn.training import CheckpointError, Classifier, TrainingConfig, list_checkpoints, load_checkpoint
from numrnn.typing import Backend

COLUMNS = 3
EVALUATION_IMAGES = 1000


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The training and the figure."""

    checkpoints: tuple[tuple[str, str], ...] = option(
        (), "NAME=PATH of a trained cell that reads MNIST pixels, instead of training; repeatable"
    )
    hidden_size: int = option(32, "n", at_least=1)
    step_size: float = option(0.03, "eps {range}", above=0)
    diffusion: float = option(0.05, "gamma {range}", at_least=0)
    weight_std: float = option(1.0, "sigma_w {range} of the initial recurrent weights", at_least=0)
    learning_rate: float = option(0.02, "of Adam, {range}, the same throughout", above=0)
    batch_size: int = inherited(TrainingConfig, "batch_size", 50)
    epochs: int = option(
        5, "passes over the training images, {range}; one panel each, and one for the start", at_least=1
    )
    images: int = option(2, "test images whose eigenvalues are drawn", at_least=1)
    times: int = option(20, "time steps at which they are taken, {range}, evenly from first to last", at_least=1)
    seed: int = option(0, "of initial values and order of images", at_least=0)
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")
    out: str = option("runs/figures", "folder for both files and the run")


UNSAVED = ("out", "checkpoints", "backend")  # settings that are not written with the numbers


@dataclass(frozen=True, eq=False)
class Panel:
    """The spectrum at one moment of the training.

    Attributes
    ----------
    name : str
        Name of the moment.
    step_size, diffusion : float
        eps and gamma of the cell.
    eigenvalues : numpy.ndarray, shape (K, B, n)
        eps lambda(J_t) at K time steps of B images.
    outside, steps_outside : float
        Fractions, 0 to 1: of the eigenvalues outside the disc, and of the steps with one outside.
    largest : float
        Largest |1 + eps lambda|.
    omega : float
        Spectral norm of M = W - W^T, or of W itself if it is unstructured.
    accuracy : float
        Fraction of correctly classified test images.
    """

    name: str
    step_size: float
    diffusion: float
    eigenvalues: np.ndarray
    outside: float
    steps_outside: float
    largest: float
    omega: float
    accuracy: float

    def numbers(self) -> dict[str, Any]:
        """Return the numbers about the panel, and its points, JSON-serialisable.

        Only points with an imaginary part >= 0: the others are their conjugates.
        """
        points = self.eigenvalues[self.eigenvalues.imag >= 0]
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k != "eigenvalues"}
        return {**fields, "real": _digits(points.real), "imaginary": _digits(points.imag)}


def _digits(values: np.ndarray) -> list[float]:
    """Return the values to three digits: enough for a point in a picture."""
    return [float(f"{value:.3g}") for value in values]


def trained(config: Config, data: Dataset) -> Iterator[tuple[str, Classifier, Params, PixelEncoder]]:
    """Train a cell; yield name, model, parameters and encoder at the start and after each epoch.

    Raises
    ------
    ValueError
        If a number of the configuration is out of range.
    DivergenceError
        As `Trainer.run`.
    KeyboardInterrupt
        After Ctrl-C.
    """
    out = Path(config.out) / "stability-region"
    for epoch in range(1, config.epochs + 1):
        own = mnist.make_config(
            "antisymmetric",
            data="embedded",
            hidden_size=config.hidden_size,
            step_size=config.step_size,
            diffusion=config.diffusion,
            weight_std=config.weight_std,
            learning_rate=config.learning_rate,
            schedule="constant",
            batch_size=config.batch_size,
            validation_size=0,
            epochs=epoch,
            checkpoint_interval=10**9,  # one at the start and one after each epoch
            seed=config.seed,
            backend=config.backend,
            out=str(out),
        )
        trainer = mnist.make_trainer(own, data, show_progress=False)
        result = trainer.run(resume=epoch > 1, overwrite=epoch == 1)
        if result.interrupted:
            raise KeyboardInterrupt
        assert isinstance(trainer.encoder, PixelEncoder)
        if epoch == 1:
            start = load_checkpoint(list_checkpoints(out)[0], backend="numpy")
            yield "at the start", trainer.model, start.params, trainer.encoder
        yield f"after epoch {epoch}", trainer.model, result.params, trainer.encoder


def stored(config: Config) -> Iterator[tuple[str, Classifier, Params, PixelEncoder]]:
    """Yield name, model, parameters and encoder of each checkpoint.

    Raises
    ------
    CheckpointError
        If one cannot be used.
    """
    for name, path in config.checkpoints:
        model, params, checkpoint = read_network(path)
        encoder = pixel_encoder(path, checkpoint)
        if not isinstance(model.cell, EulerCell):
            raise CheckpointError(f"{path}: must be of an Euler cell, got {type(model.cell).__name__}")
        yield f"{name}, {checkpoint.step:,} updates", model, params, encoder


def make_panel(
    name: str, model: Classifier, params: Params, encoder: PixelEncoder, data: Dataset, config: Config
) -> Panel:
    """Return the spectrum of one network, computed in float64."""
    from numrnn.stability import (  # it imports scipy, which would make --help slow
        flow_eigenvalues,
        share_outside_disc,
    )

    cell = model.cell
    assert isinstance(cell, EulerCell)
    test = data.test_images[:EVALUATION_IMAGES], data.test_labels[:EVALUATION_IMAGES].astype(np.int64)
    host = {key: to_numpy(value) for key, value in params.items()}
    single = {key: from_numpy(value.astype(np.float32), config.backend) for key, value in host.items()}
    shown = from_numpy(encoder(test[0]).astype(np.float32), config.backend)
    accuracy = model.accuracy(single, shown, from_numpy(test[1], config.backend))
    double = {key: from_numpy(host[key].astype(np.float64), config.backend) for key in cell.parameter_shapes}
    x = from_numpy(encoder(data.test_images[: config.images]).astype(np.float64), config.backend)
    states, _ = numrnn.forward(cell, double, x)
    times = np.unique(np.linspace(1, len(x), config.times).round().astype(int))
    eigenvalues = flow_eigenvalues(cell, double, x, states, times=times.tolist())
    matrix = to_numpy(cell.matrix.value(double["W"])) + cell.diffusion * np.eye(cell.hidden_size)
    return Panel(
        name=name,
        step_size=cell.step_size,
        diffusion=cell.diffusion,
        eigenvalues=cell.step_size * eigenvalues,
        # A single eigenvalue is a spectrum of one.
        outside=share_outside_disc(eigenvalues[..., None], cell.step_size),
        steps_outside=share_outside_disc(eigenvalues, cell.step_size),
        largest=float(np.abs(1 + cell.step_size * eigenvalues).max()),
        omega=float(np.linalg.norm(matrix, 2)),
        accuracy=accuracy,
    )


def run(config: Config, *, say: Callable[[str], Any] = lambda _: None) -> list[Panel]:
    """Train or read the cells, and write stability_region.png and stability_region.json.

    Raises
    ------
    CheckpointError, DivergenceError, ValueError
        If a network cannot be read or trained, or a number is out of range.
    """
    backend_module(config.backend)
    plots.require_matplotlib()
    data = load_embedded_mnist()
    panels = []
    for found in stored(config) if config.checkpoints else trained(config, data):
        panel = make_panel(*found, data, config)
        panels.append(panel)
        say(
            f"{panel.name:<16} outside: {panel.outside:6.1%} of eigenvalues, {panel.steps_outside:6.1%} of steps;"
            f" largest |1 + eps lambda| {panel.largest:.5f}; omega {panel.omega:.3f}; accuracy {panel.accuracy:.1%}"
        )
    out = Path(config.out)
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in UNSAVED}
    content = {"settings": None if config.checkpoints else settings, "panels": [panel.numbers() for panel in panels]}
    write_json(out / "stability_region.json", content)
    draw(panels, config, out / "stability_region.png")
    return panels


def draw(panels: list[Panel], config: Config, path: str | Path) -> Path:
    """Draw one panel per moment, all on one scale."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = plots.new_figure(3.0 * columns, 0.6 + 2.4 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    points = np.concatenate([panel.eigenvalues.ravel() for panel in panels])
    height = 1.15 * max(float(np.abs(points.imag).max()), 1e-9)
    width = 1.15 * max(float(np.abs(points.real).max()), height**2 / 2)
    right = max(1.15 * float(points.real.max()), 0.6 * width)  # room for the legend beside the disc
    # Only the edge near 0 is visible, where the real part is much smaller than the imaginary.
    angle = np.linspace(-1, 1, 2001) * min(np.pi, 2 * height)
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.fill(np.cos(angle) - 1, np.sin(angle), color="0.92", zorder=0)
        axes.plot(np.cos(angle) - 1, np.sin(angle), label="edge of disc", **plots.line_style(6))
        modulus = np.abs(1 + panel.eigenvalues)
        for inside, colour, marker in ((True, plots.COLOURS[0], "."), (False, plots.COLOURS[1], "x")):
            shown = panel.eigenvalues[(modulus <= 1) == inside]
            label = "inside" if inside else "outside"
            axes.plot(shown.real, shown.imag, marker, color=colour, markersize=3, markeredgewidth=0.6, label=label)
        axes.set_title(
            f"{panel.name}: {panel.outside:.1%} of eigenvalues outside\n"
            f"$\\omega$ = {panel.omega:.2f}, test accuracy {panel.accuracy:.1%}",
            fontsize=7.5,
        )
        axes.set_xlim(-width, right)
        axes.set_ylim(-height, height)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("real part of $\\epsilon\\lambda$(J$_t$)", fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel("imaginary part of $\\epsilon\\lambda$(J$_t$)", fontsize=9)
    grid[0, 0].legend(frameon=False, fontsize=7, loc="lower right", handlelength=1.5, markerscale=2)
    which = sorted({(panel.step_size, panel.diffusion) for panel in panels})
    cells = "; ".join(f"$\\epsilon$ = {eps:g}, $\\gamma$ = {gamma:g}" for eps, gamma in which)
    figure.suptitle(
        f"Frozen Jacobians on {config.images} MNIST images, {config.times} time steps each: {cells}", fontsize=10
    )
    return plots.save_figure(figure, path)


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""

    def work() -> None:
        config = read_config("numrnn figure stability-region", __doc__, Config, argv, program)
        run(config, say=print)
        print(f"written: {Path(config.out) / 'stability_region.png'} and .json")

    return guarded(work)
