"""What the methods of cells share: with and without checks of the arguments, the same step in two classes, sigmoid."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from numrnn.backend import Array, array_namespace

__all__ = ["checked", "same_step", "sigmoid", "unchecked"]

F = TypeVar("F", bound=Callable[..., Any])


def checked(method: F) -> F:
    """Make a cell's method check its arguments before any work.

    A loop over time has checked the whole sequence already and calls `unchecked(cell.step)`.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(self, *args, **kwargs).arguments
        del arguments["self"]
        self.check_step(**arguments)
        return method(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def unchecked(method: F) -> F:
    """Return a bound method of a cell without the checks of `checked`; any other callable unchanged."""
    inner = getattr(method, "__wrapped__", None)
    return method if inner is None else functools.partial(inner, method.__self__)  # type: ignore[attr-defined, return-value]


def same_step(kind: type, own: type) -> bool:
    """Tell whether cells of `kind` use the step and the adjoint of `own`: a subclass may override them or a helper."""
    others = ("draw_params", "step_jvp", "jacobian")
    parts = [name for name, value in vars(own).items() if inspect.isfunction(value) and name[:2] != "__"]
    return issubclass(kind, own) and all(getattr(kind, name) is vars(own)[name] for name in parts if name not in others)


def sigmoid(u: Array) -> Array:
    """Return 1 / (1 + exp(-u)) as (1 + tanh(u/2)) / 2: analytic, without overflow, and as fast as tanh."""
    xp = array_namespace(u)
    return 0.5 + 0.5 * xp.tanh(0.5 * u)
