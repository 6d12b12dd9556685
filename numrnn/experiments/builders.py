"""From a configuration to the parts of a training run: cell, initial values, schedule, optimiser."""

from __future__ import annotations

import dataclasses
from typing import Any

import numrnn
from numrnn.experiments.config import BETA2, MOMENTUM, Config
from numrnn.initializers import CHRONO, InitialValues, gain_scales
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Classifier,
    ConstantSchedule,
    CosineSchedule,
    Optimizer,
    Schedule,
    StepSchedule,
    TimedCosineSchedule,
)


def make_cell(config: Config, input_size: int) -> numrnn.Cell:
    """Return the cell of a configuration; a cell takes those of its arguments that it knows."""
    kind: Any = numrnn.CELLS[config.cell]
    euler = {"step_size": config.step_size, "diffusion": config.diffusion}
    if config.cell in ("antisymmetric", "gated"):
        return kind(input_size, config.hidden_size, triangular=config.storage == "triangular", **euler)
    if config.cell in ("unstructured", "gated-unstructured"):
        return kind(input_size, config.hidden_size, **euler)
    if config.cell == "lipschitz":
        gamma = config.diffusion
        return kind(input_size, config.hidden_size, step_size=config.step_size, diffusion_A=gamma, diffusion_W=gamma)
    return kind(input_size, config.hidden_size)


def make_schedule(config: Config, total_steps: int | None) -> Schedule | TimedCosineSchedule:
    """Return the schedule of the learning rate, for a run of so many steps, or of the configuration's seconds.

    Raises
    ------
    ValueError
        If the schedule is "step" and the length of the run is in seconds.
    """
    common: dict[str, Any] = {"learning_rate": config.learning_rate, "warmup_steps": config.warmup}
    if config.schedule == "constant":
        return ConstantSchedule(**common)
    if total_steps is not None:
        if config.schedule == "cosine":
            return CosineSchedule(total_steps=total_steps, **common)
        return StepSchedule(period=max(total_steps // 3, 1), factor=0.1, **common)
    if config.schedule == "cosine" and config.seconds is not None:
        return TimedCosineSchedule(total_seconds=config.seconds, **common)
    raise ValueError(
        f"schedule must be constant or cosine for a run of {config.seconds} seconds, got {config.schedule!r}"
    )


def make_optimizer(config: Config, model: Classifier, total_steps: int | None) -> Optimizer:
    """Return the optimiser with its schedule; of weight decay, biases have none."""
    schedule = make_schedule(config, total_steps)
    rates: dict[str, Any] = {
        "multipliers": None if config.recurrent_rate == 1 else {"W": config.recurrent_rate},
        "step_scales": None if config.input_gains is None else gain_scales(config.hidden_size, *config.input_gains),
    }
    if config.optimizer == "sgd":
        return SGD(schedule, momentum=MOMENTUM, **rates)
    if config.optimizer == "adagrad":
        return Adagrad(schedule, **rates)
    if config.optimizer == "adamw":
        # The gate's biases say how long a unit remembers, and 0 is no better a value for that than another.
        biases = [name for name, shape in model.parameter_shapes.items() if len(shape) == 1]
        decay = config.weight_decay
        return AdamW(schedule, weight_decay=decay, undecayed=biases, beta2=BETA2, **rates)
    return Adam(schedule, beta2=BETA2, **rates)


def initial_values(config: Config, n_steps: int) -> dict[str, Any]:
    """Return the arguments of `init_params` of a configuration, for sequences of so many steps.

    Raises
    ------
    ValueError
        If the forget bias is neither a number nor "chrono".
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(InitialValues)}
    if config.forget_bias == CHRONO and config.t_max is None:
        values["t_max"] = n_steps
    elif config.forget_bias not in (None, CHRONO):
        try:
            values["forget_bias"] = float(config.forget_bias)
        except ValueError:
            raise ValueError(f"forget_bias must be a number or 'chrono', got {config.forget_bias!r}") from None
    return values
