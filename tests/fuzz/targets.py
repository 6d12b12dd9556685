"""The public callables, found by themselves, and a valid call of each, in which the fuzzer then changes one argument.

Public are the names in `__all__` of every package of numrnn and of gradcheck, the functions of a few modules that the
guide sends readers to, the public methods of their classes, and every dataclass of options. A new name without a valid
call makes `test_every_public_callable_has_a_valid_call` fail: give its arguments here.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradcheck
import numrnn
from numrnn.options import options

MODULES = ("numrnn.initializers", "numrnn.ode", "numrnn.plots", "numrnn.reversible", "numrnn.testing")
LEFT_OUT = ("numrnn.interop", "numrnn.engines", "numrnn.experiments.presets")  # torch is optional; engines are internal

# What the package hands out and does not take: their constructors check nothing.
RESULTS = {
    "Batch",
    "CellChecks",
    "Convergence",
    "Dataset",
    "Drift",
    "Entry",
    "EpochEnd",
    "EulerStability",
    "Evaluation",
    "Gradients",
    "Inverse",
    "Report",
    "ReversibleGradients",
    "Saturation",
    "ScaledMatrix",
    "SequenceSplit",
    "Solution",
    "Spectrum",
    "StabilityReport",
    "TrainingResult",
    "Worst",
    "WrongStep",
    "CellInfo",
}
# Protocols, base classes that are not called, and tapes, which only the engines make.
NOT_CALLED = {
    "Cell",
    "Encoder",
    "ImageEncoder",
    "Model",
    "Optimizer",
    "Schedule",
    "Tape",
    "ReversibleTape",
    "Checkpoint",
    "Linearization",
}
# No arguments, a network or a window; or an argument that may be anything.
LEFT_OUT_NAMES = {"flush_subnormals", "load_cifar10", "load_mnist", "load_embedded_mnist", "load_speakers", "describe"}
# For classes whose methods are for their subclasses or for the engines.
INTERNAL_METHODS = {
    "check_params",
    "check_step",
    "draw_params",
    "check_unused",
    "join",
    "split",
    "named",
    "layer_params",
    "on_device",
    "with_x",
    "check",
    "propagate",
    "recomputed",
    "segment",
    "undo",
    "step_back",
    "set_params",
    "get_params",
    "unused_initial_values",
    "note",
    # Called at every step of a solver or an operator: `EulerForm.check` and the constructors check.
    "pre_activation",
    "candidate_and_gate",
    "rate",
    "slopes",
    "apply",
    "apply_adjoint",
    "row",
}


@dataclass(frozen=True)
class Target:
    """A callable, by the name that a user writes, and how to make a valid call of it."""

    name: str
    function: Callable[..., Any]
    arguments: Callable[[Path], dict[str, Any]]


def packages() -> Iterator[Any]:
    """Yield every public package and module."""
    for package in (numrnn, gradcheck):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.ispkg and not found.name.startswith(LEFT_OUT):
                module = importlib.import_module(found.name)
                if hasattr(module, "__all__"):
                    yield module
    yield from map(importlib.import_module, MODULES)


def public() -> dict[str, Any]:
    """Return every public function and class by its name, "module.name"."""
    found: dict[str, Any] = {}
    for module in packages():
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", [name for name in own if not name.startswith("_")]):
            value = getattr(module, name)
            is_error = inspect.isclass(value) and issubclass(value, BaseException)
            is_new = not any(value is other for other in found.values())
            if (inspect.isfunction(value) or inspect.isclass(value)) and is_new and not is_error:
                found[f"{module.__name__}.{name}"] = value
    return found


def methods(kind: type) -> Iterator[str]:
    """Yield the public methods of a class that take arguments."""
    for name in dir(kind):
        method = getattr(kind, name)
        if name.startswith("_") or name in INTERNAL_METHODS or not inspect.isfunction(method):
            continue
        ours = getattr(method, "__module__", "").startswith(("numrnn", "gradcheck"))
        if ours and len(inspect.signature(method).parameters) > 1:
            yield name


def configurations() -> dict[str, type]:
    """Return every dataclass of options, by its name."""
    found = {}
    for info in pkgutil.walk_packages(numrnn.__path__, "numrnn."):
        if info.name.startswith("numrnn.interop") or info.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            if inspect.isclass(value) and value.__module__ == info.name and issubclass_of_options(value):
                found[f"{info.name}.{name}"] = value
    return found


def targets() -> list[Target]:
    """Return every target.

    Raises
    ------
    KeyError
        If a public callable has an argument without a valid value.
    """
    from fuzz import valid

    found = []
    for name, value in public().items():
        short = name.rpartition(".")[2]
        if short in RESULTS | NOT_CALLED | LEFT_OUT_NAMES or issubclass_of_options(value):
            continue
        found.append(Target(name, value, functools.partial(valid.arguments, name, value)))
        if inspect.isclass(value):
            for method in methods(value):
                make = functools.partial(valid.instance, name)
                found.append(
                    Target(
                        f"{name}.{method}",
                        functools.partial(call_method, make, method),
                        functools.partial(valid.arguments, f"{name}.{method}", getattr(value, method)),
                    )
                )
    for name, value in configurations().items():
        found.append(Target(name, value, functools.partial(valid.settings, value)))
    return found


def issubclass_of_options(value: Any) -> bool:
    """Tell whether a value is a dataclass of options, which are targets of their own."""
    return inspect.isclass(value) and dataclasses.is_dataclass(value) and bool(options(value))


def call_method(make: Callable[[], Any], method: str, **arguments: Any) -> Any:
    """Call a method of a new object."""
    return getattr(make(), method)(**arguments)
