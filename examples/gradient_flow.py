"""How far the gradient travels back in time: the norm of dL/dh_t against t, for four cells on MNIST pixels.

    python examples/gradient_flow.py                                         four cells at their initial values
    python examples/gradient_flow.py --checkpoint trained=runs/mnist         a trained cell beside them
    python examples/gradient_flow.py --cells --checkpoint a=DIR --checkpoint b=DIR    trained cells only

Images of the embedded MNIST are read pixel by pixel in 784 steps; the loss is read after the last. Initial values are
those from which examples/mnist.py trains each cell. Writes gradient_flow_cells.png and gradient_flow_cells.json.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mnist
import numpy as np
from classification import GRADIENT_FLOW_IMAGES, gradient_norms
from command_line import BACKEND_HELP, guarded, make_parser, read, write_json

import numrnn
from numrnn import plots
from numrnn.backend import backend_module, from_numpy
from numrnn.cells import cell_from_config
from numrnn.datasets import PixelEncoder, load_embedded_mnist
from numrnn.training import Checkpoint, CheckpointError, Classifier, latest_checkpoint, load_checkpoint

CELLS = ("antisymmetric", "gated", "lstm", "elman")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is drawn; HELP says what each field means."""

    cells: tuple[str, ...] = field(default=CELLS, metadata={"nargs": "*", "metavar": "CELL"})
    checkpoints: tuple[tuple[str, str], ...] = ()
    hidden_size: int = 128
    permuted: bool = False
    seed: int = 0
    backend: str = "numpy"
    out: str = "runs/figures"


HELP = {
    "cells": f"cells at their initial values, of {', '.join(numrnn.CELLS)}",
    "checkpoints": "a checkpoint, or the folder of a run; may be repeated",
    "hidden_size": "n of the initial cells, >= 1",
    "permuted": "pixels in one fixed random order",
    "seed": "of the initial values, >= 0",
    "backend": BACKEND_HELP,
    "out": "folder for both files",
}
UNSAVED = ("out", "checkpoints", "backend")  # settings that do not belong to the numbers


def read_network(path: str | Path) -> tuple[Classifier, dict[str, np.ndarray], Checkpoint]:
    """Return model, parameters and checkpoint of a training run.

    Parameters
    ----------
    path : path
        A checkpoint, or the folder of a run, of which the newest whole checkpoint is taken.

    Returns
    -------
    model : Classifier
    params : dict of str to numpy.ndarray
        float64, whatever the training's dtype.
    checkpoint : Checkpoint

    Raises
    ------
    CheckpointError
        If there is none, or it does not describe a classifier.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint, or folder of a run")
    checkpoint = load_checkpoint(path, backend="numpy") if path.is_file() else latest_checkpoint(path, backend="numpy")
    if checkpoint is None:
        raise CheckpointError(f"{path}: no checkpoint in this folder can be read")
    try:
        cell = cell_from_config(checkpoint.config["model"]["cell"])
        model = Classifier(cell, checkpoint.config["model"]["n_classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: does not describe a classifier of numrnn: {error!r}") from error
    return model, {name: array.astype(np.float64) for name, array in checkpoint.params.items()}, checkpoint


def pixel_encoder(path: str | Path, checkpoint: Checkpoint) -> PixelEncoder:
    """Return what turned images into sequences when a network was trained.

    Raises
    ------
    CheckpointError
        If the network does not read MNIST pixel by pixel.
    """
    described = dict(checkpoint.config.get("encoder", {}))
    if described.pop("encoder", None) != "PixelEncoder" or described.get("image_shape") != [28, 28]:
        raise CheckpointError(f"{path}: must be of a network that reads MNIST pixel by pixel")
    return PixelEncoder(**described)


def run(config: Config) -> dict[str, np.ndarray]:
    """Return the norms of dL/dh_t for t = 0..784 by the name of the curve; write the picture and its numbers.

    Raises
    ------
    CheckpointError
        If a checkpoint cannot be used.
    ValueError
        If there is nothing to draw, or a value is out of range.
    """
    if not config.cells and not config.checkpoints:
        raise ValueError("cells or checkpoints must be given: there is nothing to draw")
    data = load_embedded_mnist()
    backend_module(config.backend)
    norms: dict[str, np.ndarray] = {}
    for name in config.cells:
        own = mnist.make_config(
            name, data="embedded", hidden_size=config.hidden_size, permuted=config.permuted, seed=config.seed
        )
        trainer = mnist.make_trainer(own, data, show_progress=False)
        rng = np.random.default_rng(own.seed)
        params = trainer.model.init_params(rng, weight_std=own.weight_std, backend=config.backend)
        label = f"{name}, at the start"
        norms[label] = gradient_norms(trainer.model, params, trainer.encoder, data, own.seed)
    for name, path in config.checkpoints:
        model, trained, checkpoint = read_network(path)
        moved = {key: from_numpy(array, config.backend) for key, array in trained.items()}
        label = f"{name}, {checkpoint.step:,} updates"
        norms[label] = gradient_norms(model, moved, pixel_encoder(path, checkpoint), data, config.seed)
    out = Path(config.out)
    write_json(out / "gradient_flow_cells.json", numbers(config, norms))
    order = "permuted" if config.permuted else "in order"
    plots.gradient_flow(
        norms,
        out / "gradient_flow_cells.png",
        title=f"dL/dh$_t$ over {GRADIENT_FLOW_IMAGES} MNIST test images, pixels {order}",
        floor=1e-30,
    )
    return norms


def numbers(config: Config, norms: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what is drawn, to four digits, as JSON can hold it."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in UNSAVED}
    settings["checkpoints"] = [name for name, _ in config.checkpoints]
    curves = {
        name: {"log10_first_over_last": decades(values), "norms": [float(f"{value:.4g}") for value in values]}
        for name, values in norms.items()
    }
    return {"settings": settings, "images": GRADIENT_FLOW_IMAGES, "curves": curves}


def decades(values: np.ndarray) -> float | None:
    """Return log10 of the first norm over the last: powers of ten lost on the way back; None where all is lost."""
    return float(np.log10(values[0] / values[-1])) if values[0] > 0 and values[-1] > 0 else None


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, or 1 after an error."""

    def work() -> None:
        parser = make_parser("gradient_flow.py", __doc__, Config, HELP, {"cells": tuple(numrnn.CELLS)})
        config = Config(**read(parser, argv, Config))
        for name, values in run(config).items():
            lost = decades(values)
            print(f"{name:<28} dL/dh_0 : dL/dh_T = {'0' if lost is None else f'10^{lost:+.1f}'}")
        print(f"written: {Path(config.out) / 'gradient_flow_cells.png'} and .json")

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
