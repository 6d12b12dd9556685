"""Functions with hand-written reverse passes, in the forms of common libraries, checked in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gradcheck.adjoint import check_linearity
from gradcheck.arguments import check_callables, check_integer, shown
from gradcheck.operands import Arguments
from gradcheck.operators import check_vjp
from gradcheck.report import FAILED, Entry, Report

__all__ = ["check_function", "pair"]

Function = Callable[..., Any]


def check_function(function: Function, vjp: Function, *args: Any, seed: int = 0, **options: Any) -> Report:
    """Check a function's hand-written reverse pass: that it is right, and linear in the cotangent.

    Parameters
    ----------
    function : callable
        ``function(*args)`` returns a scalar, an array, or a structure of arrays (a tuple of several outputs).
    vjp : callable
        ``vjp(*args, cotangent)`` returns one value per argument, not in a tuple if there is only one; the cotangent has
        the structure of the output. Values for arguments without a derivative may be None or omitted.
    *args
        Arrays and structures of arrays, with respect to which derivatives are taken; and anything else (integers,
        indices, masks, strings), passed unchanged.
    seed : int
        Of cotangents and directions.
    **options
        As for `check_gradient`.

    Returns
    -------
    Report
        One entry per array of the arguments.

    Raises
    ------
    TypeError, ValueError
        As `check_vjp`.

    Notes
    -----
    Evaluations as for `check_vjp`, and three more of the vjp and one of the function.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0], [6.0]])
    >>> check_function(np.matmul, lambda a, b, w: (w @ b.T, a.T @ w), a, b).passed
    True
    """
    check_callables(function=function, vjp=vjp)
    check_integer("seed", seed, at_least=0)
    right = check_vjp(function, vjp, args, seed=seed, constants=True, **options)
    arguments = Arguments(function, args, constants=True)
    output = function(*arguments.unpack(arguments.tree.build(arguments.tree.host())))
    linear = check_linearity(vjp, args, output, seed=seed, constants=True)
    entries = tuple(_worse(a, b) for a, b in zip(right.entries, linear.entries, strict=True))
    return replace(
        right, title="check_function", entries=entries, n_evaluations=right.n_evaluations + linear.n_evaluations + 1
    )


def _worse(right: Entry, linear: Entry) -> Entry:
    """Return the entry of the vjp, or that of its linearity if only that failed."""
    if linear.verdict == FAILED and right.verdict != FAILED:
        return replace(linear, parameter=right.parameter)
    return right


def pair(forward: Any, backward: Function | None = None, *, constants: Sequence[int] = ()) -> tuple[Function, Function]:
    """Return function and vjp of a pair written for another library, for `check_function` and the other checks.

    Parameters
    ----------
    forward : class, or callable
        A class in the style of torch.autograd.Function, with static methods ``forward(ctx, *inputs)`` (or
        ``forward(*inputs)`` and ``setup_context(ctx, inputs, output)``) and ``backward(ctx, *cotangents)``; or the
        forward rule of a jax.custom_vjp, which returns the output and what the backward rule needs.
    backward : callable or None
        The backward rule of a jax.custom_vjp: ``backward(residuals, cotangent)`` returns a tuple. None with a class.
    constants : sequence of int
        Positions of arguments without a derivative, JAX's nondiff_argnums: they come first in the backward rule.

    Returns
    -------
    function, vjp : callable
        As `check_function` takes them. Neither library is imported: the pair may compute in NumPy.

    Raises
    ------
    TypeError
        If `forward` is neither.

    Examples
    --------
    >>> import numpy as np
    >>> class Square:
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, cotangent):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * cotangent
    >>> check_function(*pair(Square), np.array([1.0, 2.0])).passed
    True
    >>> check_function(*pair(lambda x: (x * x, x), lambda x, w: (2 * x * w,)), np.array([1.0, 2.0])).passed
    True
    """
    if backward is None and all(callable(getattr(forward, name, None)) for name in ("forward", "backward")):
        return _of_class(forward)
    if callable(forward) and callable(backward):
        if not isinstance(constants, Sequence) or isinstance(constants, str | bytes):
            raise TypeError(f"constants must be a sequence of positions, got {shown(constants)}")
        for position in constants:
            check_integer("constants", position, at_least=0)
        return _of_rules(forward, backward, tuple(constants))
    raise TypeError(f"forward must be a class with forward and backward, or come with backward, got {shown(forward)}")


class _Context:
    """The context that a torch.autograd.Function keeps between its two passes."""

    saved_tensors: tuple[Any, ...] = ()

    def __init__(self, count: int) -> None:
        self.needs_input_grad = (True,) * count

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Do nothing: every cotangent is given."""

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Do nothing: integer outputs have no effect here."""

    mark_dirty = mark_non_differentiable


def _of_class(cls: Any) -> tuple[Function, Function]:
    own = [vars(base) for base in cls.__mro__ if base.__module__.split(".")[0] != "torch"]
    apart = any("setup_context" in names for names in own)

    def run(context: _Context, inputs: Sequence[Any]) -> Any:
        if not apart:
            return cls.forward(context, *inputs)
        output = cls.forward(*inputs)
        cls.setup_context(context, tuple(inputs), output)
        return output

    def function(*inputs: Any) -> Any:
        return run(_Context(len(inputs)), inputs)

    def vjp(*inputs_and_cotangent: Any) -> Any:
        *inputs, cotangent = inputs_and_cotangent
        context = _Context(len(inputs))
        output = run(context, inputs)
        return cls.backward(context, *(cotangent if isinstance(output, tuple) else (cotangent,)))

    _take_names(function, cls.forward, skip=0 if apart else 1)
    return function, vjp


def _of_rules(forward: Function, backward: Function, constants: tuple[int, ...]) -> tuple[Function, Function]:
    def function(*inputs: Any) -> Any:
        return forward(*inputs)[0]

    def vjp(*inputs_and_cotangent: Any) -> Any:
        *inputs, cotangent = inputs_and_cotangent
        found = list(backward(*(inputs[k] for k in constants), forward(*inputs)[1], cotangent))
        for position in sorted(constants):
            found.insert(position, None)
        return tuple(found)

    _take_names(function, forward, skip=0)
    return function, vjp


def _take_names(function: Any, original: Function, skip: int) -> None:
    """Give a function the argument names of another one."""
    try:
        known = inspect.signature(original)
    except (TypeError, ValueError):
        return
    function.__signature__ = known.replace(parameters=list(known.parameters.values())[skip:])
