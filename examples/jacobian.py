"""Figure 2 of the paper: the eigenvalues of the end-to-end Jacobian dh_T/dh_0 on noise-padded CIFAR-10.

    python examples/jacobian.py                              all cells at their initial values, real images
    python examples/jacobian.py --data synthetic             random images of the same shape, and the figure says so
    python examples/jacobian.py --updates 200                trains each network first, and goes on where it stopped
    python examples/jacobian.py --checkpoint trained=DIR     networks that are trained already
    python examples/jacobian.py --hidden-size 64 --images 2  smaller and faster

An image is read row by row, m = 96, in 32 steps; then comes N(0, 1) noise to step T. For T = 100, 200, 400 and 800 and
for each strength of diffusion the moduli of the eigenvalues are drawn: mean and standard deviation as in the paper, and
below them median and smallest. Products are kept in logarithms, so that 1e-300 is no limit. What float64 cannot tell
from rounding of the largest entries is drawn as an upper bound. Writes figure2.png and figure2.json.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cifar10
import numpy as np
from command_line import BACKEND_HELP, guarded, make_parser, read, write_json
from gradient_flow import read_network

import numrnn
from numrnn import plots
from numrnn.backend import backend_module, from_numpy, to_numpy
from numrnn.datasets import RowNoiseEncoder, load_cifar10
from numrnn.datasets.cifar10 import IMAGE_SHAPE
from numrnn.datasets.encoders import NOISE_MODES, NoiseMode
from numrnn.stability import ScaledMatrix, end_to_end_jacobian, linearize
from numrnn.training import CheckpointError, list_checkpoints
from numrnn.typing import Backend

DATA = ("cifar10", "synthetic")
DATA_NAMES = {"cifar10": "CIFAR-10", "synthetic": "SYNTHETIC random images, not CIFAR-10"}
MARKERS = ("o", "s", "^", "D", "*", "P", "X")
PANELS = ("antisymmetric", "gated", "other cells")
CELLS = ("antisymmetric", "gated", "lstm", "elman")
TRAINING = {"task": "noise-padded", "validation_size": 1000}  # what is not a setting of the figure
CLIP = 5.0  # of the antisymmetric cells; the others have that of examples/cifar10.py


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is computed; HELP says what each field means."""

    data: str = "cifar10"
    root: str | None = None
    lengths: tuple[int, ...] = (100, 200, 400, 800)
    diffusions: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 5.0, 10.0)
    step_size: float = 0.01
    weight_std: float = 1.0
    hidden_size: int = 128
    images: int = 4
    noise: NoiseMode = "independent"
    cells: tuple[str, ...] = CELLS
    updates: int = 0
    checkpoints: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    backend: Backend = "numpy"
    out: str = "runs/figures"


HELP = {
    "data": "cifar10, or synthetic: random images of the same shape",
    "root": "folder of CIFAR-10 (binary version); default: $NUMRNN_DATA, then the user's cache, then a download",
    "lengths": "T, rising, each >= 32",
    "diffusions": "gamma of the antisymmetric cells, each >= 0",
    "step_size": "eps of the antisymmetric cells, > 0",
    "weight_std": "sigma_w >= 0 of the initial recurrent weights",
    "hidden_size": "n of the initial cells, >= 1",
    "images": "test images, >= 1; eigenvalues of all of them are taken together",
    "noise": "independent: its own for every image; fixed: one block for all",
    "cells": "which, unless checkpoints are given",
    "updates": "of training with Adam before the figure is drawn, >= 0; the networks are kept in --out",
    "checkpoints": "NAME=PATH: a trained network that reads noise-padded rows, in place of initial ones; repeatable",
    "seed": "of initial values, images and noise, >= 0",
    "backend": BACKEND_HELP,
    "out": "folder for both files",
}
CHOICES = {"data": DATA, "noise": NOISE_MODES}
UNSAVED = ("out", "root", "checkpoints", "backend")  # settings that do not belong to the numbers


@dataclass(frozen=True)
class Moduli:
    """Logarithms to base 10 of the moduli of the eigenvalues of dh_T/dh_0, over all images of one network at one T.

    Attributes
    ----------
    length : int
        T.
    mean, std : float
        log10 of the mean and of the standard deviation of the moduli.
    mean_of_logs, std_of_logs : float
        Mean and standard deviation of the logarithms; a modulus below `floor` counts as `floor`.
    largest, median, smallest : float
        log10 of these moduli, as computed.
    floor : float
        log10 of what rounding alone may make, s units of rounding of the largest singular value; the largest over the
        images. A modulus below it is an upper bound and no more.
    unresolved : float
        Share of the eigenvalues below the floor, 0 to 1.
    """

    length: int
    mean: float
    std: float
    mean_of_logs: float
    std_of_logs: float
    largest: float
    median: float
    smallest: float
    floor: float
    unresolved: float


@dataclass(frozen=True, eq=False)
class Curve:
    """One network: its name in the legend, its panel, what it is, and its eigenvalues for each T."""

    name: str
    panel: str
    cell: dict[str, Any]
    updates: int
    moduli: list[Moduli]


def moduli(product: ScaledMatrix, length: int) -> Moduli:
    """Return statistics of the eigenvalues of end-to-end Jacobians, in logarithms throughout."""
    logs = product.log_eigenvalues().real  # (B, s)
    size = logs.shape[-1]
    floor = to_numpy(product.log_singular_values())[:, :1] + math.log(size * np.finfo(np.float64).eps)  # (B, 1)
    bounded = np.maximum(logs, floor)
    top = logs.max()
    scaled = np.exp(logs - top)
    std = scaled.std()
    ten = math.log(10)
    return Moduli(
        length=length,
        mean=float((top + np.log(scaled.mean())) / ten),
        std=float((top + np.log(std)) / ten) if std > 0 else -math.inf,
        mean_of_logs=float(bounded.mean() / ten),
        std_of_logs=float(bounded.std() / ten),
        largest=float(top / ten),
        median=float(np.median(logs) / ten),
        smallest=float(logs.min() / ten),
        floor=float(floor.max() / ten),
        unresolved=float(np.mean(logs < floor)),
    )


def kinds(config: Config) -> list[tuple[str, float | None, str]]:
    """Return cell, gamma and name of each network of a configuration without checkpoints."""
    found: list[tuple[str, float | None, str]] = []
    for cell in config.cells:
        if cell in PANELS:
            found += [(cell, gamma, f"$\\gamma$ = {gamma:g}") for gamma in config.diffusions]
        else:
            found.append((cell, None, cell))
    return found


def train(config: Config) -> list[tuple[str, str]]:
    """Train the networks of a configuration that are not trained yet; return names and folders, none for 0 updates.

    Raises
    ------
    DivergenceError, CheckpointError, FileNotFoundError, ValueError
        As `cifar10.run`.
    KeyboardInterrupt
        If a run was stopped; the same command goes on with it.
    """
    found = []
    for cell, gamma, name in kinds(config) if config.updates else ():
        out = Path(config.out) / "networks" / (cell if gamma is None else f"{cell}-{gamma:g}")
        given: dict[str, Any] = {
            "noise": config.noise,
            "root": config.root,
            "seed": config.seed,
            "backend": config.backend,
        }
        given |= {"hidden_size": config.hidden_size, "weight_std": config.weight_std}
        if gamma is not None:
            given |= {"step_size": config.step_size, "diffusion": gamma, "clip": CLIP}
        own = cifar10.make_config(cell, **TRAINING, **given, iterations=config.updates, out=str(out))
        if (
            not (out / "result.json").exists()
            and cifar10.run(own, resume=bool(list_checkpoints(out))).training.interrupted
        ):
            raise KeyboardInterrupt
        found.append((name, str(out)))
    return found


def networks(config: Config) -> list[tuple[str, str, numrnn.Cell, dict[str, np.ndarray], RowNoiseEncoder, int]]:
    """Return name, panel, cell, parameters, encoder and updates of each network.

    Raises
    ------
    CheckpointError
        If a checkpoint is not of a network that reads noise-padded rows of CIFAR-10.
    """
    common: dict[str, Any] = {"length": max(config.lengths), "dtype": "float64"}
    found: list[tuple[str, str, numrnn.Cell, dict[str, np.ndarray], RowNoiseEncoder, int]] = []
    for name, path in config.checkpoints or train(config):
        model, params, checkpoint = read_network(path)
        described = dict(checkpoint.config.get("encoder", {}))
        if described.pop("encoder", None) != "RowNoiseEncoder" or described.get("image_shape") != list(IMAGE_SHAPE):
            raise CheckpointError(f"{path}: must be of a network that reads rows of CIFAR-10 and noise")
        core = {key: params[key] for key in model.cell.parameter_shapes}
        panel = model.cell.name if model.cell.name in PANELS else PANELS[-1]
        found.append((name, panel, model.cell, core, RowNoiseEncoder(**(described | common)), checkpoint.step))
    if found:
        return found
    encoder = RowNoiseEncoder(IMAGE_SHAPE, noise=config.noise, noise_seed=config.seed, **common)
    cells = []
    for kind, gamma, name in kinds(config):
        euler = {} if gamma is None else {"step_size": config.step_size, "diffusion": gamma}
        cell: numrnn.Cell = numrnn.CELLS[kind](encoder.input_size, config.hidden_size, **euler)
        cells.append((name, kind if kind in PANELS else PANELS[-1], cell))
    for name, panel, cell in cells:
        rng = np.random.default_rng(config.seed)  # anew for each: all strengths of diffusion share one W
        params = cell.init_params(rng, weight_std=config.weight_std, dtype=np.float64, backend="numpy")
        found.append((name, panel, cell, params, encoder, 0))
    return found


def read_images(config: Config) -> np.ndarray:
    """Return the images, (B, 3, 32, 32) uint8: the first of the test set, or random ones.

    Raises
    ------
    FileNotFoundError, RuntimeError, ValueError
        If CIFAR-10 is not there and cannot be had; random images never take its place unasked.
    """
    if config.data == "synthetic":
        return np.random.default_rng(config.seed).integers(0, 256, (config.images, *IMAGE_SHAPE), np.uint8)
    return load_cifar10(config.root).test_images[: config.images]


def check(config: Config) -> None:
    """Raise ValueError, naming what is wrong, unless the configuration can be computed."""
    if config.data not in DATA:
        raise ValueError(f"data must be one of {', '.join(DATA)}, got {config.data!r}")
    if config.noise not in NOISE_MODES:
        raise ValueError(f"noise must be one of {', '.join(NOISE_MODES)}, got {config.noise!r}")
    rows = IMAGE_SHAPE[1]
    if not config.lengths or list(config.lengths) != sorted(set(config.lengths)) or config.lengths[0] < rows:
        raise ValueError(f"lengths must rise and be >= {rows}, got {config.lengths}")
    if config.images < 1 or config.seed < 0:
        raise ValueError(f"images must be >= 1 and seed >= 0, got {config.images} and {config.seed}")
    if config.updates < 0 or (config.updates and (config.data != "cifar10" or config.checkpoints)):
        raise ValueError(f"updates must be >= 0, and 0 with synthetic images or checkpoints, got {config.updates}")
    if not config.cells or not set(config.cells) <= set(CELLS):
        raise ValueError(f"cells must be of {', '.join(CELLS)}, got {', '.join(config.cells) or 'none'}")
    if not config.diffusions:
        raise ValueError("diffusions must hold one number at least")


def run(config: Config, *, say: Callable[[str], Any] = lambda _: None) -> list[Curve]:
    """Compute the curves, and write figure2.png and figure2.json.

    Raises
    ------
    CheckpointError, FileNotFoundError, RuntimeError, ValueError
        As `check`, `networks` and `read_images`.

    Notes
    -----
    2 T n^3 flops for each image and network, eight times that for the LSTM, for each T.
    """
    check(config)
    backend_module(config.backend)
    images = read_images(config)
    curves = []
    for name, panel, cell, params, encoder, updates in networks(config):
        x = from_numpy(encoder(images, np.random.default_rng(config.seed)), config.backend)  # (T, B, 96)
        params = {key: from_numpy(array, config.backend) for key, array in params.items()}
        found = [moduli(end_to_end_jacobian(linearize(cell, params, x[:T])), T) for T in config.lengths]
        curves.append(Curve(name, panel, cell.config(), updates, found))
        label = plain(name)
        say(f"{panel:<14}{label:<16}" + "".join(f"  T={m.length}: {text_of(m)}" for m in found))
    out = Path(config.out)
    write_json(out / "figure2.json", numbers(config, curves))
    draw(config, curves, out / "figure2.png")
    return curves


def plain(name: str) -> str:
    """Return the name of a curve without the marks of the picture's formulas."""
    return name.replace("$\\gamma$", "gamma")


def text_of(found: Moduli) -> str:
    """Return the mean modulus as text."""
    bound = "< " if found.largest < found.floor else ""
    return f"{bound}10^{max(found.mean, found.floor) if bound else found.mean:.2f}"


def numbers(config: Config, curves: Sequence[Curve]) -> dict[str, Any]:
    """Return what is drawn as JSON can hold it: minus infinity becomes null."""
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in UNSAVED}
    rows = [
        {
            "name": plain(curve.name),
            "cell": curve.cell,
            "updates": curve.updates,
            "log10_moduli": [
                {k: round(v, 4) if math.isfinite(v) else None for k, v in dataclasses.asdict(m).items()}
                for m in curve.moduli
            ],
        }
        for curve in curves
    ]
    return {"images_are": DATA_NAMES[config.data], "settings": settings, "networks": rows}


def draw(config: Config, curves: Sequence[Curve], path: str | Path) -> Path:
    """Draw mean and standard deviation above, median and smallest below, a column for each kind of cell."""
    columns = [panel for panel in PANELS if any(curve.panel == panel for curve in curves)]
    figure = plots.new_figure(0.8 + 3.1 * len(columns), 6.2)
    grid = figure.subplots(2, len(columns), sharex=True, squeeze=False)
    for column, panel in enumerate(columns):
        shown = [curve for curve in curves if curve.panel == panel]
        for index, curve in enumerate(shown):
            # A little aside from one another, or the bars would hide each other.
            offset = 1.025 ** (index - (len(shown) - 1) / 2)
            draw_means(grid[0, column], curve, index, offset)
            draw_range(grid[1, column], curve, index, offset)
        grid[0, column].set_title(panel if panel == PANELS[-1] else f"{panel} cell", fontsize=10)
        grid[0, column].legend(frameon=False, fontsize=8, loc="lower left")
        grid[1, column].set_xlabel("T (time steps)")
        for axes in grid[:, column]:
            axes.set_xscale("log", base=2)
            axes.set_xticks(config.lengths, [str(T) for T in config.lengths])
            axes.minorticks_off()
            plots.bare(axes)
    grid[0, 0].set_ylabel("log$_{10}$ of |$\\lambda$|: mean, and 1 std about it", fontsize=9)
    grid[1, 0].set_ylabel("log$_{10}$ of |$\\lambda$|: median (line), smallest (small)", fontsize=9)
    when = "trained" if config.checkpoints else "at their initial values"
    if config.updates:
        when = f"after {config.updates} updates"
    noise = f"noise {config.noise}, " if not config.checkpoints else ""
    figure.suptitle(
        f"Eigenvalues of dh$_T$/dh$_0$, networks {when}: noise-padded {DATA_NAMES[config.data]}\n"
        f"{noise}{config.images} images; open triangles: no more than this, float64 cannot tell",
        fontsize=10,
    )
    return plots.save_figure(figure, path)


def draw_means(axes: Any, curve: Curve, index: int, offset: float) -> None:
    """Draw the mean modulus over T, with a bar of one standard deviation to either side."""
    style = plots.line_style(index)
    T = np.array([m.length for m in curve.moduli]) * offset
    mean = np.array([m.mean if m.largest >= m.floor else max(m.mean, m.floor) for m in curve.moduli])
    hidden = np.array([m.largest < m.floor for m in curve.moduli])
    spread = np.array([10.0 ** min(m.std - m.mean, 300) for m in curve.moduli])  # std over mean
    # A standard deviation above the mean would take the bar below 0: it ends at the smallest modulus that can be told.
    smallest = np.array([10.0 ** (max(m.smallest, m.floor) - m.mean) for m in curve.moduli])
    bars = np.where(hidden, 0.0, np.log10([1 / np.clip(1 - spread, np.minimum(smallest, 1), 1), 1 + spread]))
    marker = MARKERS[index % len(MARKERS)]
    axes.errorbar(T, mean, yerr=bars, marker=marker, markersize=4.5, capsize=2.5, label=curve.name, **style)
    if hidden.any():
        axes.plot(T[hidden], mean[hidden], "v", markersize=9, fillstyle="none", color=style["color"])


def draw_range(axes: Any, curve: Curve, index: int, offset: float) -> None:
    """Draw median and smallest modulus over T; what lies below the floor stands on it, as an open triangle."""
    style = plots.line_style(index)
    T = np.array([m.length for m in curve.moduli]) * offset
    floor = np.array([m.floor for m in curve.moduli])
    median = np.array([m.median for m in curve.moduli])
    smallest = np.array([m.smallest for m in curve.moduli])
    marker = MARKERS[index % len(MARKERS)]
    axes.plot(T, np.maximum(median, floor), **style)
    for values, size in ((median, 4.5), (smallest, 2.5)):
        told = values >= floor
        axes.plot(T[told], values[told], marker, markersize=size, color=style["color"])
        axes.plot(T[~told], floor[~told], "v", markersize=8, fillstyle="none", color=style["color"])


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, or 1 after an error."""

    def work() -> None:
        config = Config(**read(make_parser("jacobian.py", __doc__, Config, HELP, CHOICES), argv, Config))
        run(config, say=print)
        print(f"written: {Path(config.out) / 'figure2.png'} and .json")

    return guarded(work, {FileNotFoundError: "--data synthetic draws the figure for random images instead"})


if __name__ == "__main__":
    sys.exit(main())
