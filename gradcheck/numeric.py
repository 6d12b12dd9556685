"""The numerical gradient, element by element, by any of the methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.arguments import check_bool, check_callables, check_method
from gradcheck.arrays import Host
from gradcheck.complex_step import ComplexStep, require_analytic
from gradcheck.differences import Central, Richardson
from gradcheck.directions import dot
from gradcheck.evaluate import Function, FunctionError, NotAnalyticError
from gradcheck.tree import parameters

__all__ = ["elements", "is_exact", "numerical_gradient", "unit"]

Method = ComplexStep | Richardson | Central
METHODS: dict[str, type[Method]] = {"complex": ComplexStep, "central": Central, "richardson": Richardson}


def is_exact(method: Method) -> bool:
    """Tell whether the method's values are right to rounding."""
    return isinstance(method, ComplexStep)


def elements(method: Method, name: str) -> tuple[Host, Host]:
    """Return the derivative with respect to every element of one parameter, and the error estimates.

    Costs `method.cost` evaluations per element.
    """
    base = method.function.base[name]
    values, errors = np.empty(base.shape), np.empty(base.shape)
    for index in np.ndindex(base.shape):
        slope = method.along({name: unit(base.shape, index)}, f"{name}{list(index) if index else ''}")
        values[index], errors[index] = slope.value, slope.error
    return values, errors


def unit(shape: tuple[int, ...], index: tuple[int, ...]) -> Host:
    """Return zeros with a one at `index`."""
    direction = np.zeros(shape)
    direction[index] = 1.0
    return direction


def numerical_gradient(
    loss: Callable[[Any], Any], params: Any, *, method: str = "complex", return_error: bool = False
) -> Any:
    r"""Return the derivative of `loss` with respect to every element of `params`.

    Parameters
    ----------
    loss : callable
        ``loss(params)`` returns a real scalar; for ``method="complex"`` it must accept complex128 parameters and be
        analytic in them.
    params : array, mapping, or nested mappings and sequences of arrays
        float32 or float64. float32 parameters are cast to float64 for the loss.
    method : {"complex", "central", "richardson"}
        The complex step is exact up to rounding. Richardson's extrapolation typically reaches ten digits, plain
        central differences six to eight.
    return_error : bool
        Whether to return error estimates as well: zeros for the complex step.

    Returns
    -------
    gradient : same structure as `params`
        float64 arrays in the library and on the device of the parameters.
    errors : same structure as `params`
        Only with `return_error`. Estimates, not bounds; infinite where nothing converged (at a kink).

    Raises
    ------
    TypeError, ValueError
        If parameters are not float32 or float64 arrays, or the method is unknown.
    FunctionError
        A ValueError: if the loss raises, returns no finite scalar, changes its input, or, for the complex step, is
        not analytic.

    Notes
    -----
    Evaluations of the loss for N elements: N + 3 (complex), 4 N + 1 (central), at most 18 N + 1 and usually 8 N + 1
    (richardson).

    Examples
    --------
    >>> import numpy as np
    >>> numerical_gradient(lambda p: np.sum(p["x"] ** 3), {"x": np.array([1.0, 2.0])})
    {'x': array([ 3., 12.])}
    """
    check_callables(loss=loss)
    check_bool("return_error", return_error)
    check_method(method, tuple(METHODS))
    tree = parameters(params)
    function = Function(loss, tree)
    function.settle()
    found, doubt = _by_elements(METHODS[method](function))
    if doubt is not None:
        raise FunctionError(f"the complex step does not apply to the loss: {doubt}; use method='richardson'") from doubt
    gradient = tree.build({name: values for name, (values, _) in found.items()})
    if not return_error:
        return gradient
    return gradient, tree.build({name: errors for name, (_, errors) in found.items()})


def _by_elements(method: Method) -> tuple[dict[str, tuple[Host, Host]], NotAnalyticError | None]:
    """Return values and errors by parameter, or the reason why the complex step does not apply."""
    try:
        found = {name: elements(method, name) for name in method.function.base}
        if isinstance(method, ComplexStep):
            vs = {block: block.direction(0, block.key) for name in found for block in method.function.blocks[name]}
            require_analytic(method, {block: (v, dot(found[block.name][0], v)) for block, v in vs.items()})
    except NotAnalyticError as error:
        return {}, error
    return found, None
