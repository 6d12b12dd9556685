"""Draws the pictures of docs/learn into docs/pictures.

    python -m tools.learn_pictures

The blocks of its own page draw learn_vanishing.png; they are executed here, so that page and picture agree.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn import ode, plots

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
STEP_SIZE, STEPS = 0.2, 60
W = np.array([[0.0, 1.0], [0.0, 0.0]])  # M has the eigenvalues i and -i
START = np.array([[0.8, 0.0]])


def flow_and_disc() -> Any:
    """Return the figure of the_ode.md: orbits of the ODE and of Euler, and eigenvalues over Euler's disc."""
    figure = plots.new_figure(8.4, 4.4)
    left, right = figure.subplots(1, 2)
    params, still = {"W": W, "V": np.zeros((2, 1)), "b": np.zeros(2)}, np.zeros((STEPS, 1, 1))
    exact = ode.solve(numrnn.AntisymmetricCell(1, 2, step_size=STEP_SIZE, diffusion=0.0), params, still, START).states
    left.plot(*exact[:, 0].T, color="0.6", linewidth=5, alpha=0.5, label="the ODE, gamma = 0")
    for index, (gamma, marker) in enumerate(((0.0, "o"), (0.1, "s"), (0.5, "^"))):
        cell = numrnn.AntisymmetricCell(1, 2, step_size=STEP_SIZE, diffusion=gamma)
        states, _ = numrnn.forward(cell, params, still, START)
        style = {"color": plots.COLOURS[index], "marker": marker}
        left.plot(*states[:, 0].T, markersize=3, linewidth=0.8, label=f"Euler, gamma = {gamma:g}", **style)
        points = STEP_SIZE * np.linalg.eigvals(cell.matrix.value(W))
        right.plot(points.real, points.imag, linestyle="", markersize=7, **style)
    left.set(xlabel="unit 1", ylabel="unit 2", title="Orbits from (0.8, 0)", aspect="equal")
    left.plot(*START[0], marker="x", color="black", markersize=8, linestyle="")
    turn = np.exp(1j * np.linspace(0, 2 * np.pi, 400)) - 1
    right.fill(turn.real, turn.imag, color="0.9", zorder=0)
    right.plot(turn.real, turn.imag, color="0.5", linewidth=1, zorder=1)
    right.axvline(0, color="0.5", linewidth=0.8, zorder=1)
    right.annotate("inside Euler's disc:\nno growth", (-0.14, 0.0), ha="center", va="center", fontsize=9)
    right.annotate("outside:\ngrowth", (0.06, 0.0), ha="center", va="center", fontsize=9)
    right.set(xlim=(-0.25, 0.12), ylim=(-0.3, 0.3), xlabel="real part", ylabel="imaginary part")
    right.set_title(f"Eigenvalues of eps A, eps = {STEP_SIZE:g}")
    figure.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower center", ncols=4)
    return figure


def chain() -> Any:
    """Return the figure of bptt.md: three steps, forward and backward."""
    figure = plots.new_figure(8.4, 3.0)
    axes = figure.subplots()
    axes.set(xlim=(-0.6, 10.2), ylim=(-2.2, 2.3))
    axes.set_axis_off()
    ahead, back = plots.COLOURS[0], plots.COLOURS[1]

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str, line: str) -> None:
        axes.annotate(
            "",
            xy=end,
            xytext=start,
            arrowprops={"arrowstyle": "-|>", "color": colour, "linestyle": line, "linewidth": 1.4, "shrinkA": 0},
        )

    def label(x: float, y: float, text: str, colour: str = "black", boxed: bool = False) -> None:
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.3"} if boxed else None
        axes.text(x, y, text, ha="center", va="center", color=colour, bbox=box, fontsize=10)

    for t in range(4):
        label(3 * t, 0, f"$h_{t}$", boxed=True)
    for t in (1, 2, 3):
        middle, left, right = 3 * t - 1.5, 3 * t - 2.65, 3 * t - 0.35
        label(middle, 0, f"step {t}", boxed=True)
        arrow((left, 0.12), (middle - 0.5, 0.12), ahead, "-")
        arrow((middle + 0.5, 0.12), (right, 0.12), ahead, "-")
        arrow((right, -0.12), (middle + 0.5, -0.12), back, "--")
        arrow((middle - 0.5, -0.12), (left, -0.12), back, "--")
        label(right - 0.25, -0.55, f"d$h_{t}$", back)
        arrow((middle - 0.12, -1.35), (middle - 0.12, -0.35), ahead, "-")
        arrow((middle + 0.12, -0.35), (middle + 0.12, -1.35), back, "--")
        label(middle, -1.65, f"$x_{t}$, d$x_{t}$")
        arrow((middle - 0.12, 1.35), (middle - 0.12, 0.35), ahead, "-")
        arrow((middle + 0.12, 0.35), (middle + 0.12, 1.35), back, "--")
    label(0.25, -0.55, "d$h_0$", back)
    axes.plot([0.6, 8.4], [1.45, 1.45], color="0.5", linewidth=1)
    label(4.5, 1.85, r"parameters $\theta$; d$\theta$ is the sum over the steps")
    label(9.6, 0.0, "$L(h_3)$")
    return figure


def vanishing(folder: Path) -> Path:
    """Execute the blocks of vanishing.md up to the one that draws; return the file that it wrote into `folder`."""
    page = (ROOT / "docs" / "learn" / "vanishing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    last = next(i for i, block in enumerate(blocks) if "save_figure" in block)
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks[: last + 1]:
            if ">>>" not in block:
                exec(compile(block, "vanishing.md", "exec"), names)
    finally:
        os.chdir(before)
    return folder / names["path"]


def main() -> None:
    """Write the three pictures."""
    plots.save_figure(flow_and_disc(), PICTURES / "learn_ode.png")
    plots.save_figure(chain(), PICTURES / "learn_chain.png")
    with tempfile.TemporaryDirectory() as folder:
        (PICTURES / "learn_vanishing.png").write_bytes(vanishing(Path(folder)).read_bytes())


if __name__ == "__main__":
    main()
