"""How long each unit of the antisymmetric cell remembers, against the size of its row of V.

    numrnn figure unit-memory                       gains from .3 to 30, with and without W
    numrnn figure unit-memory --input-gains 1 1     all gains equal, as in the paper

Two inputs: standard normal noise, and images of the embedded MNIST, standardised, whose pixels are read one by one in a
fixed random order. The memory of unit i is the number of steps k after which dh_i(T) / dh_i(T - k), averaged over the
sequences, has fallen to 1/e. The line is the prediction from saturation alone (docs/derivation.md, section 9). Writes
unit_memory.png and unit_memory.json.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn.checks import check_integer, check_number
from numrnn.datasets import PixelEncoder, load_embedded_mnist, pixel_statistics
from numrnn.experiments.command_line import guarded, read_config, write_json
from numrnn.options import Checked, documented, option
from numrnn.plots import bare, line_style, new_figure, require_matplotlib, save_figure

PERMUTATION_SEED = 92  # of numrnn mnist


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The measurement."""

    input_gains: tuple[float, float] = option((0.3, 30.0), "low high > 0: gains of the rows of V")
    hidden_size: int = option(128, "n, number of units", at_least=1)
    step_size: float = option(0.05, "eps of the Euler step", above=0)
    diffusion: float = option(1.0, "gamma", above=0)
    weight_std: float = option(1.0, "sigma_w {range} of the second of the two networks; the first has no W", above=0)
    sequences: int = option(4, "over which derivatives are averaged", at_least=1)
    steps: int = option(2000, "of the noise, {range}; an image has 784", at_least=1)
    seed: int = option(0, "of the initial values and the noise", at_least=0)
    out: str = option("runs/figures", "folder for both files")


def memories(cell: numrnn.AntisymmetricCell, params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the memory of each unit in steps, (n,); infinite if it exceeds T steps.

    Parameters
    ----------
    cell : AntisymmetricCell
    params : dict of str to numpy.ndarray
    x : numpy.ndarray, shape (T, sequences, m)
    """
    n, total = cell.hidden_size, np.zeros((len(x) + 1, cell.hidden_size))
    for sequence in range(x.shape[1]):
        rows = np.repeat(x[:, sequence : sequence + 1], n, axis=1)  # one row of the batch for each unit
        _, tape = numrnn.forward(cell, params, rows)
        d_states = numrnn.backward(tape, d_final=np.eye(n, dtype=x.dtype), wrt=("states",)).states
        assert d_states is not None
        total += d_states.diagonal(axis1=1, axis2=2)
    fallen = total[::-1] / x.shape[1] < np.exp(-1)  # after k = 0, 1, ... steps
    return np.where(fallen.any(axis=0), fallen.argmax(axis=0), np.inf)


def predicted(cell: numrnn.AntisymmetricCell, rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the memory that saturation predicts for rows of V of these sizes: 1 / (eps gamma mean(1 - c^2)).

    c = tanh(V (x - median of x)): the diffusion drives gamma h to the median of V x.
    """
    centred = x - np.median(x)
    slopes = np.array([np.mean(1 - np.tanh(row * centred) ** 2) for row in rows])
    return 1 / (cell.step_size * cell.diffusion * slopes)


def inputs(config: Config) -> dict[str, np.ndarray]:
    """Return the two inputs, (T, sequences, 1), by name."""
    noise = np.random.default_rng([config.seed, 1]).standard_normal((config.steps, config.sequences, 1))
    data = load_embedded_mnist()
    mean, std = pixel_statistics(data.train_images)
    encode = PixelEncoder(data.image_shape, permutation_seed=PERMUTATION_SEED, mean=mean, std=std)
    return {"noise": noise.astype(np.float32), "permuted MNIST": encode(data.test_images[: config.sequences])}


def run(config: Config) -> dict[str, Any]:
    """Return sizes of the rows of V, measured and predicted memories; write the picture and these numbers.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """
    cell = numrnn.AntisymmetricCell(1, config.hidden_size, step_size=config.step_size, diffusion=config.diffusion)
    for name in ("sequences", "steps"):
        check_integer(name, getattr(config, name), at_least=1)
    check_number("diffusion", config.diffusion, above=0)
    require_matplotlib()
    networks = {
        label: cell.init_params(
            np.random.default_rng(config.seed), weight_std=weight_std, input_gains=config.input_gains
        )
        for label, weight_std in (("without W", 0.0), (f"sigma_w = {config.weight_std:g}", config.weight_std))
    }
    rows = np.abs(networks["without W"]["V"][:, 0])
    found = {
        name: {
            "predicted": predicted(cell, rows, x),
            **{label: memories(cell, params, x) for label, params in networks.items()},
        }
        for name, x in inputs(config).items()
    }
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key != "out"}
    as_lists = {name: {label: _listed(values) for label, values in own.items()} for name, own in found.items()}
    result = {"settings": settings, "row_sizes": _listed(rows), "memories": as_lists}
    write_json(Path(config.out) / "unit_memory.json", result)
    draw(Path(config.out) / "unit_memory.png", rows, found)
    return result


def draw(path: Path, rows: np.ndarray, found: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw memory against the size of a row, a panel for each input."""
    figure = new_figure(9.0, 3.8)
    panels = figure.subplots(1, len(found), sharey=True)
    order = np.argsort(rows)
    for axes, (name, own) in zip(panels, found.items(), strict=True):
        for index, (label, values) in enumerate(own.items()):
            if label == "predicted":
                axes.plot(rows[order], values[order], **line_style(6), label="predicted from saturation")
            else:
                style = {"color": line_style(index)["color"], "marker": "ox"[index % 2], "linestyle": "none"}
                axes.plot(rows, values, **style, markersize=4, label=label)
        axes.set(xscale="log", yscale="log", xlabel="size of the unit's row of V")
        axes.set_title(f"input: {name}", fontsize=11)
        bare(axes)
    panels[0].set_ylabel("memory of the unit, steps")
    panels[0].legend(frameon=False)
    save_figure(figure, path)


def _listed(values: np.ndarray) -> list[float | None]:
    """Return values to four digits, None for a memory longer than the sequence."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]


def quarters(result: dict[str, Any], values: list[float | None]) -> list[float]:
    """Return the median memory of each quarter of the units, in the order of the sizes of their rows."""
    finite = np.array([np.inf if value is None else value for value in values])
    return [float(np.median(finite[part])) for part in np.array_split(np.argsort(result["row_sizes"]), 4)]


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, or 1 after an error."""

    def work() -> None:
        config = read_config("numrnn figure unit-memory", __doc__, Config, argv, program)
        result = run(config)
        print("median memory in steps, of each quarter of the units in the order of the sizes of their rows of V")
        for name, own in result["memories"].items():
            for label, values in own.items():
                medians = "".join(f"{median:8.0f}" for median in quarters(result, values))
                print(f"{name:<16}{label:<16}{medians}")
        print(f"written: {Path(config.out) / 'unit_memory.png'} and .json")

    return guarded(work)
