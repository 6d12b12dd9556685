"""How far the gradient travels back in time: the norm of dL/dh_t against t, for four cells on MNIST pixels.

    numrnn figure gradient-flow                                         four cells at their initial values
    numrnn figure gradient-flow --checkpoint trained=runs/mnist         a trained cell as well
    numrnn figure gradient-flow --cells --checkpoint a=DIR --checkpoint b=DIR    trained cells only

Images of the embedded MNIST are read pixel by pixel in 784 steps; the loss is read after the last. Initial values are
those from which numrnn mnist trains each cell. Writes gradient_flow_cells.png and gradient_flow_cells.json.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn import plots
from numrnn.backend import backend_module, from_numpy
from numrnn.datasets import load_embedded_mnist
from numrnn.experiments import mnist
from numrnn.experiments.command_line import guarded, read_config, write_json
from numrnn.experiments.figures.networks import pixel_encoder, read_network
from numrnn.experiments.pictures import GRADIENT_FLOW_IMAGES, gradient_norms
from numrnn.options import Checked, documented, inherited, option
from numrnn.training import TrainingConfig
from numrnn.typing import Backend

CELLS = ("antisymmetric", "gated", "lstm", "elman")


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The content of the figure."""

    cells: tuple[str, ...] = option(
        CELLS,
        f"cells at their initial values, of {', '.join(numrnn.CELLS)}",
        choices=tuple(numrnn.CELLS),
        nargs="*",
        metavar="CELL",
    )
    checkpoints: tuple[tuple[str, str], ...] = option((), "a checkpoint, or the folder of a run; may be repeated")
    hidden_size: int = option(128, "n of the initial cells", at_least=1)
    permuted: bool = option(False, "pixels in one fixed random order")
    seed: int = option(0, "of the initial values", at_least=0)
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")
    out: str = option("runs/figures", "folder for both files")


UNSAVED = ("out", "checkpoints", "backend")  # settings that are not written with the numbers


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
    plots.require_matplotlib()
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
    """Return the drawn values to four digits, JSON-serialisable."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in UNSAVED}
    settings["checkpoints"] = [name for name, _ in config.checkpoints]
    curves = {
        name: {"log10_first_over_last": decades(values), "norms": [float(f"{value:.4g}") for value in values]}
        for name, values in norms.items()
    }
    return {"settings": settings, "images": GRADIENT_FLOW_IMAGES, "curves": curves}


def decades(values: np.ndarray) -> float | None:
    """Return log10 of the first norm over the last: the powers of ten lost on the way back; None if all is lost."""
    return float(np.log10(values[0] / values[-1])) if values[0] > 0 and values[-1] > 0 else None


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, or 1 after an error."""

    def work() -> None:
        config = read_config("numrnn figure gradient-flow", __doc__, Config, argv, program)
        for name, values in run(config).items():
            lost = decades(values)
            print(f"{name:<28} dL/dh_0 : dL/dh_T = {'0' if lost is None else f'10^{lost:+.1f}'}")
        print(f"written: {Path(config.out) / 'gradient_flow_cells.png'} and .json")

    return guarded(work)
