r"""Figure 1 of the paper: what two units do for fifty steps, without input and without bias.

    numrnn figure simulation                              the eight panels as PNG and SVG, their numbers as JSON
    numrnn figure simulation --animation figure1.gif      the same as a moving picture
    numrnn figure simulation --seed 3                     other random matrices in the top row

Top row, the plain recurrent network h <- tanh(W h): a random W, the identity, a reflection and a rotation. Bottom row,
Euler's method h <- h + eps tanh(W h), over the field tanh(W h): W+ (unstable), W- (stable), W0 (antisymmetric) and
Wdiff (antisymmetric with diffusion). The steps are those of numrnn's own cells, ElmanCell and UnstructuredCell.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn import plots
from numrnn.backend import backend_module, from_numpy, to_numpy
from numrnn.experiments.command_line import guarded, read_config, write_json
from numrnn.files import replacing
from numrnn.options import Checked, documented, inherited, option
from numrnn.training import TrainingConfig
from numrnn.typing import Backend

STARTS = np.array([[0.0, 0.5], [-0.5, -0.5], [0.5, -0.75]])
FEEDBACK = {
    "W+": np.array([[2.0, -2.0], [0.0, 2.0]]),
    "W-": np.array([[-2.0, 2.0], [0.0, -2.0]]),
    "W0": np.array([[0.0, -2.0], [2.0, 0.0]]),
    "Wdiff": np.array([[-0.15, -2.0], [2.0, -0.15]]),
}
TITLES = {"W+": "$W_+$", "W-": "$W_-$", "W0": "$W_0$", "Wdiff": r"$W_{\mathrm{diff}}$"}
LIMIT = 1.2  # of both axes
MOST_STEPS = 1_000_000  # their points would be indistinguishable
LONG_RUN = 5000  # steps, enough for every orbit of Wdiff to reach its circle
LAST_TURNS = 200  # steps at the end of the long run over which the radius is measured: about six turns
MARKERS = ("o", "s", "^")
FAINTEST = 0.15
FRAMES_PER_SECOND = 10
UNSAVED = ("out", "animation", "backend")  # settings that are not written with the numbers


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The content of the figure."""

    seed: int = option(0, "of the random matrices", at_least=0)
    steps: int = option(50, "steps of each orbit", at_least=1, at_most=MOST_STEPS)
    step_size: float = option(0.1, "eps of the bottom row", above=0)
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")
    out: str = option("runs/figures", "folder for figure1.*")
    animation: str | None = option(None, "write a moving picture as well", metavar="FILE.gif")


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of the figure.

    Attributes
    ----------
    name : str
        Name of the matrix.
    feedback : bool
        True in the bottom row, for h + eps tanh(W h); False in the top row, for tanh(W h).
    W : numpy.ndarray, shape (2, 2)
    orbits : numpy.ndarray, shape (steps + 1, 3, 2)
        One orbit for each start point.
    factors : numpy.ndarray, shape (2,)
        Moduli of the eigenvalues of the step's Jacobian at h = 0: more than 1 grows there.
    late : tuple of float
        Smallest and largest radius at the end of a run of 5,000 steps, over all orbits; they may be large.
    """

    name: str
    feedback: bool
    W: np.ndarray
    orbits: np.ndarray
    factors: np.ndarray
    late: tuple[float, float]

    @property
    def radii(self) -> np.ndarray:
        """Distance from the origin, (steps + 1, 3)."""
        return np.linalg.norm(self.orbits, axis=-1)

    def numbers(self) -> dict[str, Any]:
        """Return the drawn values and the numbers about them, JSON-serialisable."""
        return {
            "rule": "h + eps tanh(W h)" if self.feedback else "tanh(W h)",
            "W": self.W.tolist(),
            "determinant": float(np.linalg.det(self.W)),
            "step_eigenvalue_moduli_at_0": self.factors.tolist(),
            "first_radii": self.radii[0].tolist(),
            "last_radii": self.radii[-1].tolist(),
            "smallest_radii": self.radii.min(axis=0).tolist(),
            "largest_radii": self.radii.max(axis=0).tolist(),
            f"radius_after_{LONG_RUN}_steps": {"smallest": self.late[0], "largest": self.late[1]},
            "orbits": np.round(self.orbits.transpose(1, 0, 2), 4).tolist(),
        }


def orthogonal(rng: np.random.Generator, determinant: int) -> np.ndarray:
    """Return a random orthogonal 2 x 2 matrix: a rotation for determinant 1, a reflection for -1."""
    Q, _ = np.linalg.qr(rng.standard_normal((2, 2)))
    if np.linalg.det(Q) * determinant < 0:
        Q[:, 0] *= -1
    return Q


def matrices(seed: int) -> dict[str, np.ndarray]:
    """Return the four matrices of the top row."""
    rng = np.random.default_rng(seed)
    return {
        "random": rng.standard_normal((2, 2)),
        "identity": np.eye(2),
        "reflection": orthogonal(rng, -1),
        "rotation": orthogonal(rng, 1),
    }


def orbits(W: np.ndarray, steps: int, step_size: float | None = None, backend: Backend = "numpy") -> np.ndarray:
    """Return the states of the three orbits, (steps + 1, 3, 2).

    Parameters
    ----------
    W : numpy.ndarray, shape (2, 2)
        Recurrent matrix.
    steps : int
        >= 1.
    step_size : float or None
        eps > 0 of h + eps tanh(W h); None runs tanh(W h).
    backend : {"numpy", "cupy"}
        Where the steps are computed.
    """
    cell: numrnn.Cell = numrnn.ElmanCell(1, 2)
    if step_size is not None:
        cell = numrnn.UnstructuredCell(1, 2, step_size=step_size)
    host = {"W": np.asarray(W, float), "V": np.zeros((2, 1)), "b": np.zeros(2)}
    params = {name: from_numpy(array, backend) for name, array in host.items()}
    no_input = from_numpy(np.zeros((steps, len(STARTS), 1)), backend)
    return to_numpy(numrnn.forward(cell, params, no_input, from_numpy(STARTS, backend))[0])


def make_panel(name: str, W: np.ndarray, config: Config, *, feedback: bool) -> Panel:
    """Return the orbits of one matrix and the numbers about them."""
    from numrnn.stability import (
        amplification_factors,  # it imports scipy, which would make --help slow
    )

    step_size = config.step_size if feedback else None
    eigenvalues = np.linalg.eigvals(W)
    late = np.linalg.norm(orbits(W, LONG_RUN, step_size, config.backend)[-LAST_TURNS:], axis=-1)
    factors = amplification_factors(eigenvalues, config.step_size) if feedback else np.abs(eigenvalues)
    shown = orbits(W, config.steps, step_size, config.backend)
    return Panel(name, feedback, W, shown, factors, (float(late.min()), float(late.max())))


def run(config: Config) -> list[Panel]:
    """Compute the eight panels and write figure1.png, figure1.svg, figure1.json and, if requested, the animation.

    Raises
    ------
    ValueError
        If a number of the configuration is out of range, or the animation is not a .gif.
    OSError
        If a file cannot be written.
    """
    if config.animation is not None and Path(config.animation).suffix != ".gif":
        raise ValueError(f"animation must end in .gif, got {config.animation}")
    backend_module(config.backend)
    plots.require_matplotlib()
    panels = [make_panel(name, W, config, feedback=False) for name, W in matrices(config.seed).items()]
    panels += [make_panel(name, W, config, feedback=True) for name, W in FEEDBACK.items()]
    out = Path(config.out)
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in UNSAVED}
    write_json(
        out / "figure1.json",
        {"settings": settings, "start_points": STARTS.tolist(), "panels": {p.name: p.numbers() for p in panels}},
    )
    figure, _ = draw(panels, config)
    plots.save_figure(figure, out / "figure1.png")
    plots.save_figure(figure, out / "figure1.svg")
    if config.animation is not None:
        animate(panels, config, config.animation)
    return panels


def draw(panels: list[Panel], config: Config) -> tuple[Any, Callable[[int], None]]:
    """Draw the eight panels; return the figure, and show(t), which draws its state after t steps."""
    figure = plots.new_figure(9.4, 5.9)
    updates: list[Callable[[int], None]] = []
    grid = figure.subplots(2, 4, sharex=True, sharey=True)
    for axes, panel in zip(grid.flat, panels, strict=True):
        if panel.feedback:
            draw_field(axes, panel.W)
        for row in range(len(STARTS)):
            updates.append(draw_orbit(axes, panel.orbits[:, row], row, config.steps))
        axes.set_title(title_of(panel), fontsize=7.5)
        axes.set_xlim(-LIMIT, LIMIT)
        axes.set_ylim(-LIMIT, LIMIT)
        axes.set_xticks([-1, 0, 1])
        axes.set_yticks([-1, 0, 1])
        axes.set_aspect("equal")
        axes.tick_params(labelsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("unit 1", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("unit 2", fontsize=8)
    figure.suptitle(
        f"Two units, {config.steps} steps from three start points (crosses); older points are fainter\n"
        rf"top: $h \leftarrow \tanh(W h)$      bottom: $h \leftarrow h + \epsilon\,\tanh(W h)$, "
        rf"$\epsilon$ = {config.step_size:g}, over the field $\tanh(W h)$",
        fontsize=11,
    )

    def show(t: int) -> None:
        for update in updates:
            update(t)

    show(config.steps)
    return figure, show


def title_of(panel: Panel) -> str:
    """Return name, entries and growth at the origin of a panel's matrix."""
    # Adding 0.0 turns a negative zero into a plain one.
    rows = "; ".join(" ".join(f"{value:.2g}" for value in row) for row in panel.W + 0.0)
    name = f"{TITLES.get(panel.name, panel.name + ' W')} = [{rows}]"
    moduli = sorted({f"{value:.4f}" for value in panel.factors}, reverse=True)
    kind = r"|1 + $\epsilon\lambda$|" if panel.feedback else r"|$\lambda$|"
    return f"{name}\n{kind} at 0: {', '.join(moduli)}"


def draw_field(axes: Any, W: np.ndarray) -> None:
    """Draw the field tanh(W h) on a grid."""
    grid = np.linspace(-LIMIT, LIMIT, 11)
    points = np.stack(np.meshgrid(grid, grid), axis=-1)  # (11, 11, 2)
    field = np.tanh(points @ W.T)
    axes.quiver(points[..., 0], points[..., 1], field[..., 0], field[..., 1], color="0.72", width=0.005, zorder=0)


def draw_orbit(axes: Any, path: np.ndarray, index: int, steps: int) -> Callable[[int], None]:
    """Draw one orbit, (steps + 1, 2); return update(t), which shows its first t steps."""
    colour, marker = plots.COLOURS[index], MARKERS[index]
    axes.plot(*path[0], marker="x", color=colour, markersize=8, markeredgewidth=1.8, zorder=4)
    points = axes.scatter(*path.T, s=22, color=colour, marker=marker, linewidths=0, zorder=3)

    def update(t: int) -> None:
        age = (t - np.arange(t + 1)) / steps
        points.set_offsets(path[: t + 1])
        points.set_alpha(np.maximum(1 - age, FAINTEST))

    return update


def animate(panels: list[Panel], config: Config, path: str | Path) -> Path:
    """Write the figure step by step as a GIF and return its path."""
    from matplotlib.animation import PillowWriter

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure, show = draw(panels, config)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout of the panels for each frame would take most of the time
    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    with tempfile.TemporaryDirectory() as folder:  # the writer takes a name, not a file
        made = Path(folder) / "animation.gif"
        with writer.saving(figure, str(made), dpi=70):
            for t in range(config.steps + 1):
                show(t)
                writer.grab_frame()
        with replacing(path) as file:
            file.write(made.read_bytes())
    return Path(path)


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, or 1 after an error."""

    def work() -> None:
        config = read_config("numrnn figure simulation", __doc__, Config, argv, program)
        for panel in run(config):
            start, end = (", ".join(f"{r:.4f}" for r in panel.radii[t]) for t in (0, -1))
            moduli = ", ".join(f"{value:.4f}" for value in panel.factors)
            print(f"{panel.name:<11} moduli at 0: {moduli:<16} radii {start} -> {end}")
        print(f"written: {Path(config.out) / 'figure1.png'}, .svg and .json")

    return guarded(work)
