"""Record 50 steps of torch's optimisers and learning-rate schedules, for tests that run where torch is not installed.

    python tools/make_optimizer_trajectories.py     # needs torch; writes tests/training/data/optimizer_trajectories.npz

The file holds the start values, one sequence of gradients over four decades of size (one element is always 0), and for
each case the parameters after every update, all in float64; "about" describes each case and the versions in JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 50
SEED = 20190427
SHAPES = {"W": (2, 3), "b": (3,)}
TARGET = Path(__file__).parents[1] / "tests" / "training" / "data" / "optimizer_trajectories.npz"

# Per case: our class and its arguments, torch's class and its arguments.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "sgd": ("SGD", {"learning_rate": 0.1}, "SGD", {"lr": 0.1}),
    "sgd with momentum": (
        "SGD",
        {"learning_rate": 0.05, "momentum": 0.9},
        "SGD",
        {"lr": 0.05, "momentum": 0.9},
    ),
    "sgd with nesterov momentum": (
        "SGD",
        {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True},
        "SGD",
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
    ),
    "adagrad": ("Adagrad", {"learning_rate": 0.3}, "Adagrad", {"lr": 0.3}),
    "adagrad with large epsilon": (
        "Adagrad",
        {"learning_rate": 0.3, "epsilon": 0.1},
        "Adagrad",
        {"lr": 0.3, "eps": 0.1},
    ),
    "adam": ("Adam", {"learning_rate": 0.02}, "Adam", {"lr": 0.02}),
    "adam with other constants": (
        "Adam",
        {"learning_rate": 0.02, "beta1": 0.7, "beta2": 0.95, "epsilon": 0.01},
        "Adam",
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 0.01},
    ),
    "adamw": ("AdamW", {"learning_rate": 0.02}, "AdamW", {"lr": 0.02}),
    "adamw with large decay": (
        "AdamW",
        {"learning_rate": 0.02, "weight_decay": 3.0},
        "AdamW",
        {"lr": 0.02, "weight_decay": 3.0},
    ),
}

# Per case: our class and its arguments; torch's class and its arguments, chained after its linear warm-up.
SCHEDULES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "constant": ("ConstantSchedule", {"learning_rate": 0.3}, "ConstantLR", {"factor": 1.0}),
    "constant after warm-up": (
        "ConstantSchedule",
        {"learning_rate": 0.3, "warmup_steps": 7},
        "ConstantLR",
        {"factor": 1.0},
    ),
    "step": (
        "StepSchedule",
        {"learning_rate": 0.3, "period": 12, "factor": 0.4},
        "StepLR",
        {"step_size": 12, "gamma": 0.4},
    ),
    "step after warm-up": (
        "StepSchedule",
        {"learning_rate": 0.3, "period": 12, "factor": 0.4, "warmup_steps": 5},
        "StepLR",
        {"step_size": 12, "gamma": 0.4},
    ),
    "cosine": ("CosineSchedule", {"learning_rate": 0.3, "total_steps": 50}, "CosineAnnealingLR", {"T_max": 50}),
    "cosine after warm-up": (
        "CosineSchedule",
        {"learning_rate": 0.3, "total_steps": 50, "final_learning_rate": 0.01, "warmup_steps": 6},
        "CosineAnnealingLR",
        {"T_max": 44, "eta_min": 0.01},
    ),
}


def problem() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return start values and gradients (STEPS, ...) of each parameter."""
    rng = np.random.default_rng(SEED)
    start = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    grads = {
        name: rng.standard_normal((STEPS, *shape)) * 10 ** rng.uniform(-3, 1, (STEPS, *shape))
        for name, shape in SHAPES.items()
    }
    grads["W"][:, 0, 0] = 0.0
    return start, grads


def torch_trajectory(
    make: Callable[[list[Any]], Any], start: dict[str, np.ndarray], grads: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the parameters after each of torch's updates, (STEPS, ...)."""
    import torch

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    optimizer = make(list(tensors.values()))
    trajectory: dict[str, list[np.ndarray]] = {name: [] for name in start}
    for step in range(STEPS):
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[name][step])
        optimizer.step()
        for name, tensor in tensors.items():
            trajectory[name].append(tensor.detach().numpy().copy())
    return {name: np.stack(values) for name, values in trajectory.items()}


def torch_learning_rates(scheduler: str, arguments: dict[str, Any], rate: float, warmup: int) -> np.ndarray:
    """Return the learning rates of torch's scheduler, (STEPS,), after a linear warm-up from rate / (warmup + 1)."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    kinds = torch.optim.lr_scheduler
    schedule = getattr(kinds, scheduler)(optimizer, **arguments)
    if warmup:
        line = kinds.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        schedule = kinds.SequentialLR(optimizer, [line, schedule], milestones=[warmup])
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


def make_trajectories(dtype: Any = np.float64) -> dict[str, np.ndarray]:
    """Return all arrays of the file, computed by torch in `dtype`."""
    import torch

    start, grads = problem()
    start = {name: value.astype(dtype) for name, value in start.items()}
    grads = {name: value.astype(dtype) for name, value in grads.items()}
    arrays = {f"start/{name}": value for name, value in start.items()}
    arrays |= {f"gradient/{name}": value for name, value in grads.items()}
    for case, (_, _, kind, arguments) in OPTIMIZERS.items():
        optimizer = getattr(torch.optim, kind)
        trajectory = torch_trajectory(lambda p, o=optimizer, a=arguments: o(p, **a), start, grads)
        arrays |= {f"{case}/{name}": value for name, value in trajectory.items()}
    for case, (_, ours, kind, arguments) in SCHEDULES.items():
        rates = torch_learning_rates(kind, arguments, ours["learning_rate"], ours.get("warmup_steps", 0))
        arrays[f"schedule/{case}"] = rates
    about = {
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "optimizers": {case: [ours, arguments] for case, (ours, arguments, _, _) in OPTIMIZERS.items()},
        "schedules": {case: [ours, arguments] for case, (ours, arguments, _, _) in SCHEDULES.items()},
    }
    return arrays | {"about": np.array(json.dumps(about, indent=1))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=TARGET, help="file to write (default: %(default)s)")
    target = parser.parse_args().target
    np.savez_compressed(target, **make_trajectories())
    print(f"wrote {target}")
