"""The settings of the presets of Tables 1 and 2 outside the paper's grid, as a table."""

from __future__ import annotations

from typing import Any

from numrnn.experiments import cifar10, mnist
from numrnn.experiments.trials import Space
from results.tables import MODELS, TASKS, presets

SPACE = Space()
# What the paper searched or fixed. The steps and diffusion do not apply to the LSTM, and no length exceeds these.
SEARCHED = {
    "weight_std": SPACE.weight_stds,
    "step_size": SPACE.step_sizes,
    "diffusion": SPACE.diffusions,
    "learning_rate": SPACE.learning_rates,
    "optimizer": ("sgd", "adagrad"),
}
FIXED = {
    "input_std": 1.0,
    "gate_bias": 0.0,
    "gate_spread": 0.0,
    "rotations": None,
    "input_gains": None,
    "bias_std": 0.0,
    "batch_size": 128,
    "average": "none",
    "input_dropout": 0.0,
}
OF_THE_ODE = ("step_size", "diffusion")


def outside(preset: str) -> dict[str, Any]:
    """Return the settings of a preset that the paper's grid does not have, by name."""
    experiment = cifar10.EXPERIMENT if preset.startswith("cifar10-") else mnist.EXPERIMENT
    config = experiment.make_config(preset=preset)
    searched = {name: values for name, values in SEARCHED.items() if config.cell != "lstm" or name not in OF_THE_ODE}
    found = {name: getattr(config, name) for name, values in searched.items() if getattr(config, name) not in values}
    return found | {name: getattr(config, name) for name, value in FIXED.items() if getattr(config, name) != value}


def table() -> str:
    """Return a line for each row of the paper's tables."""
    lines = ["| task | model | outside the grid |", "|---|---|---|"]
    for preset in presets():
        task = next(task for task in TASKS if preset.startswith(f"{task}-"))
        settings = ", ".join(f"{name} {_text(value)}" for name, value in outside(preset).items())
        lines.append(f"| {TASKS[task]} | {MODELS[preset.removeprefix(f'{task}-')]} | {settings or 'nothing'} |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return " to ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else f"{value}"
