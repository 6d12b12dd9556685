"""The parts of a training run from a configuration: cell, initial values, schedule, optimiser, training."""

from __future__ import annotations

import dataclasses
from typing import Any

import numrnn
from numrnn.cells.base import constructor_arguments
from numrnn.checks import check_integer
from numrnn.experiments.config import BETA2, MOMENTUM, Settings
from numrnn.experiments.presets import read_values
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
    Regressor,
    Schedule,
    StepSchedule,
    TimedCosineSchedule,
    TrainingConfig,
)


def make_cell(config: Settings, input_size: int) -> numrnn.Cell:
    """Return the cell of a configuration, called with the options that its constructor takes.

    Raises
    ------
    TypeError, ValueError
        If `cell_options` names an argument that the cell does not take, or that has a separate option; or as the cell.
    """
    kind: Any = numrnn.CELLS[config.cell]
    taken = constructor_arguments(kind)
    options = {
        "input_size": input_size,
        "hidden_size": config.hidden_size,
        "step_size": config.step_size,
        "diffusion": config.diffusion,
        "triangular": config.storage == "triangular",
    }
    own = read_values(config.cell_options)
    free = [name for name in taken if name not in options]
    for name in own:
        if name not in free:
            other = f"other arguments are {', '.join(free)}" if free else "it has no other arguments"
            raise ValueError(f"cell_options must name arguments of the cell {config.cell!r}, got {name!r}; {other}")
    both = {name: config.diffusion for name in free if name in ("diffusion_A", "diffusion_W")}  # of the Lipschitz RNN
    return kind(**{name: value for name, value in options.items() if name in taken} | both | own)


def make_layers(config: Settings, input_size: int, layers: int) -> numrnn.Cell:
    """Return `layers` layers of the cell of a configuration; for one layer, the cell itself.

    Raises
    ------
    ValueError
        If `layers` is below 1.
    """
    if check_integer("layers", layers, at_least=1) == 1:
        return make_cell(config, input_size)
    return numrnn.Stack([make_cell(config, config.hidden_size if number else input_size) for number in range(layers)])


def make_schedule(config: Settings, total_steps: int | None) -> Schedule | TimedCosineSchedule:
    """Return the schedule of the learning rate, for a run of `steps` steps, or of the configuration's seconds.

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


def make_optimizer(config: Settings, model: Classifier | Regressor, total_steps: int | None) -> Optimizer:
    """Return the optimiser with its schedule; biases have no weight decay."""
    schedule = make_schedule(config, total_steps)
    multipliers = None if config.recurrent_rate == 1 else {"W": config.recurrent_rate}
    scales = None if config.input_gains is None else gain_scales(config.hidden_size, *config.input_gains)
    rates: dict[str, Any] = {
        "multipliers": _in_each_layer(multipliers, model.cell),
        "step_scales": _in_each_layer(scales, model.cell),
    }
    if config.optimizer == "sgd":
        return SGD(schedule, momentum=MOMENTUM, **rates)
    if config.optimizer == "adagrad":
        return Adagrad(schedule, **rates)
    if config.optimizer == "adamw":
        # The gate's biases determine how long a unit remembers, so decay towards 0 makes no sense for them.
        biases = [name for name, shape in model.parameter_shapes.items() if len(shape) == 1]
        decay = config.weight_decay
        return AdamW(schedule, weight_decay=decay, undecayed=biases, beta2=BETA2, **rates)
    return Adam(schedule, beta2=BETA2, **rates)


def _in_each_layer(values: dict[str, Any] | None, cell: numrnn.Cell) -> dict[str, Any] | None:
    """Return settings of an optimiser by parameter of a cell, under the names of the parameters in its layers."""
    if values is None or not isinstance(cell, numrnn.Stack):
        return values
    return cell.named([values] * len(cell.cells))


def initial_values(config: Settings, n_steps: int) -> dict[str, Any]:
    """Return the arguments of `init_params` of a configuration, for sequences of `n_steps` steps.

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


def training_config(config: Settings, n_steps: int, *, validation_size: int, **others: Any) -> TrainingConfig:
    """Return the `TrainingConfig`, for sequences of `n_steps` steps; `others` are further fields of it."""
    return TrainingConfig(
        epochs=config.epochs,
        iterations=config.iterations,
        seconds=config.seconds,
        batch_size=config.batch_size,
        seed=config.seed,
        **initial_values(config, n_steps),
        average=None if config.average == "none" else config.average,  # type: ignore[arg-type]
        average_updates=config.average_updates,
        input_dropout=config.input_dropout,
        clip=config.clip,
        validation_size=validation_size,
        log_interval=config.log_interval,
        checkpoint_interval=config.checkpoint_interval,
        backend=config.backend,
        engine=config.engine,  # type: ignore[arg-type]
        **others,
    )
