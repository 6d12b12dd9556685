"""Figure 2 of the paper: the eigenvalues of the end-to-end Jacobian dh_T/dh_0 on noise-padded CIFAR-10.

    numrnn figure jacobian                              all cells at their initial values, real images
    numrnn figure jacobian --data synthetic             random images of the same shape, stated in the figure
    numrnn figure jacobian --updates 200                trains each network first, or continues its training
    numrnn figure jacobian --checkpoint trained=DIR     networks that were trained before
    numrnn figure jacobian --hidden-size 64 --images 2  smaller and faster

An image is read row by row, m = 96, in 32 steps; then comes N(0, 1) noise to step T. For T = 100, 200, 400 and 800 and
for each strength of diffusion the moduli of the eigenvalues are drawn: mean and standard deviation as in the paper, and
below them median and smallest. Products are kept in logarithms, so that 1e-300 is no limit. Values that float64 cannot
distinguish from rounding of the largest entries are drawn as upper bounds. Writes figure2.png and figure2.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn import plots
from numrnn.backend import backend_module, from_numpy
from numrnn.datasets import RowNoiseEncoder, load_cifar10
from numrnn.datasets.cifar10 import IMAGE_SHAPE
from numrnn.datasets.encoders import NOISE_MODES, NoiseMode
from numrnn.experiments import cifar10
from numrnn.experiments.command_line import guarded, read_config, write_json
from numrnn.experiments.figures.moduli import Curve, moduli, plain, text_of
from numrnn.experiments.figures.moduli_picture import PANELS, draw
from numrnn.experiments.figures.networks import read_network
from numrnn.options import Checked, documented, inherited, option
from numrnn.training import CheckpointError, TrainingConfig, list_checkpoints
from numrnn.typing import Backend

DATA = ("cifar10", "synthetic")
DATA_NAMES = {"cifar10": "CIFAR-10", "synthetic": "SYNTHETIC random images, not CIFAR-10"}
CELLS = ("antisymmetric", "gated", "lstm", "elman")
TRAINING = {"task": "noise-padded", "validation_size": 1000}  # not a setting of the figure
CLIP = 5.0  # of the antisymmetric cells; the others have those of numrnn cifar10


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The computation."""

    data: str = option("cifar10", "cifar10, or synthetic: random images of the same shape", choices=DATA)
    root: str | None = option(
        None,
        "folder of CIFAR-10 (binary version)",
        none="$NUMRNN_DATA, then the user's cache, then a download",
    )
    lengths: tuple[int, ...] = option((100, 200, 400, 800), "T, rising, each >= 32")
    diffusions: tuple[float, ...] = option(
        (0.001, 0.01, 0.1, 1.0, 5.0, 10.0), "gamma of the antisymmetric cells, each {range}", at_least=0
    )
    step_size: float = option(0.01, "eps of the antisymmetric cells", above=0)
    weight_std: float = option(1.0, "sigma_w {range} of the initial recurrent weights", at_least=0)
    hidden_size: int = option(128, "n of the initial cells", at_least=1)
    images: int = option(4, "test images, {range}; eigenvalues of all of them are taken together", at_least=1)
    noise: NoiseMode = option(
        "independent", "independent: new for every image; fixed: one block for all", choices=NOISE_MODES
    )
    cells: tuple[str, ...] = option(CELLS, "which, unless checkpoints are given")
    updates: int = option(
        0,
        "of training with Adam before the figure is drawn, {range}; the networks are kept in --out",
        at_least=0,
    )
    checkpoints: tuple[tuple[str, str], ...] = option(
        (),
        "NAME=PATH: a trained network that reads noise-padded rows, instead of initial ones; repeatable",
    )
    seed: int = option(0, "of initial values, images and noise", at_least=0)
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")
    out: str = option("runs/figures", "folder for both files")


UNSAVED = ("out", "root", "checkpoints", "backend")  # settings that are not written with the numbers


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
        If a run was stopped; the same command continues it.
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
        rng = np.random.default_rng(config.seed)  # a new generator for each: all strengths of diffusion share one W
        params = cell.init_params(rng, weight_std=config.weight_std, dtype=np.float64, backend="numpy")
        found.append((name, panel, cell, params, encoder, 0))
    return found


def read_images(config: Config) -> np.ndarray:
    """Return the images, (B, 3, 32, 32) uint8: the first of the test set, or random ones.

    Raises
    ------
    FileNotFoundError, RuntimeError, ValueError
        If CIFAR-10 is not found and cannot be downloaded; random images replace it only on request.
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
    if config.updates and (config.data != "cifar10" or config.checkpoints):
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
    from numrnn.stability import (  # it imports scipy, which would make --help slow
        end_to_end_jacobian,
        linearize,
    )

    check(config)
    backend_module(config.backend)
    plots.require_matplotlib()
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
    draw(curves, out / "figure2.png", heading(config))
    return curves


def numbers(config: Config, curves: Sequence[Curve]) -> dict[str, Any]:
    """Return the drawn values, JSON-serialisable: minus infinity becomes null."""
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


def heading(config: Config) -> str:
    """Return the heading of the picture: which networks, which images."""
    when = "trained" if config.checkpoints else "at their initial values"
    if config.updates:
        when = f"after {config.updates} updates"
    noise = f"noise {config.noise}, " if not config.checkpoints else ""
    return (
        f"Eigenvalues of dh$_T$/dh$_0$, networks {when}: noise-padded {DATA_NAMES[config.data]}\n"
        f"{noise}{config.images} images; open triangles: upper bounds (below float64 rounding)"
    )


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, or 1 after an error."""

    def work() -> None:
        config = read_config("numrnn figure jacobian", __doc__, Config, argv, program)
        run(config, say=print)
        print(f"written: {Path(config.out) / 'figure2.png'} and .json")

    return guarded(work, {FileNotFoundError: "--data synthetic draws the figure for random images instead"})
