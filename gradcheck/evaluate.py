"""Calls of the functions under check: watched, counted, and given copies.

Every call is numbered. A function that raises, changes its input, or returns no finite scalar ends the check with a
`FunctionError` that says in which call, and at which parameters, it happened.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradcheck.arrays import Host, dtype_name, is_array, to_host
from gradcheck.tree import Tree

SINGLE = ("float16", "float32", "complex64")


class FunctionError(ValueError):
    """A function given to the checker did something of which no derivative can be taken."""


class NotAnalyticError(Exception):
    """The loss cannot be differentiated by the complex step; the text says how that showed itself."""


class Function:
    """A user's function of the parameters.

    Parameters
    ----------
    function : callable
        Takes the structure of `tree`.
    tree : Tree
        The parameters, which also say in which library and on which device the function wants its arrays.
    what : str
        What errors call the function.
    dtype : str
        The dtype of the arrays handed over in real evaluations.

    Attributes
    ----------
    count : int
        Calls so far.
    single : bool
        Whether a result came in single precision, so that nothing finer than that can be learnt from the function.
    spread : float
        Largest change of the value between two calls at the same parameters; not 0 for a function that is random.
    """

    def __init__(self, function: Callable[[Any], Any], tree: Tree, what: str = "loss", dtype: str = "float64") -> None:
        if not callable(function):
            raise TypeError(f"{what} must be callable, got {type(function).__name__}")
        self.function, self.tree, self.what, self.dtype = function, tree, what, dtype
        self.base = tree.host(np.float64)
        self.count, self.single = 0, False
        self.spread = 0.0
        self._loss: float | None = None

    @property
    def native(self) -> str:
        """The dtype of the user's own parameters."""
        return dtype_name(next(iter(self.tree.arrays.values())))

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number in the precision that the function computes in."""
        return float(np.finfo(np.float32 if self.single or self.dtype == "float32" else np.float64).eps)

    def call(self, values: Mapping[str, Host], where: str) -> Any:
        """Return what the function returns at `values`.

        Raises
        ------
        FunctionError
            If it raises or changes its input.
        """
        self.count += 1
        place = f"evaluation {self.count}, at {where}"
        given = self.tree.build(values)
        try:
            result = self.function(given)
        except Exception as error:
            raise FunctionError(f"{self.what} raised {type(error).__name__}: {error} ({place})") from error
        changed = _changed(given, values, self.tree)
        if changed:
            raise FunctionError(f"{self.what} changes its input: {changed} ({place}); work on a copy")
        return result

    def at(self, changes: Mapping[str, Host] | None = None, where: str = "params") -> float:
        """Return the scalar at the parameters with some of them replaced; it may be infinite or NaN away from them.

        Raises
        ------
        FunctionError
            If the function raises, changes its input, or returns something else than a real scalar.
        """
        values = {**self.base, **(changes or {})}
        result = self.call({name: value.astype(self.dtype) for name, value in values.items()}, where)
        number = self._scalar(result, where)
        if isinstance(number, complex):
            raise FunctionError(f"{self.what} must return a real number for real parameters, got {number} (at {where})")
        return float(number)

    def loss(self) -> float:
        """Return the value at the parameters themselves, evaluated once."""
        if self._loss is None:
            self.compare(self.at())
        assert self._loss is not None
        return self._loss

    def compare(self, loss: float) -> None:
        """Take `loss` for the value at the parameters, or, if there is one already, compare with it.

        Raises
        ------
        FunctionError
            If it is NaN or infinite.
        """
        if not np.isfinite(loss):
            raise FunctionError(f"{self.what} returned {loss} at params; a derivative needs a finite value there")
        if self._loss is None:
            self._loss = loss
        self.spread = max(self.spread, abs(loss - self._loss))

    def complex_at(self, values: Mapping[str, Host], where: str) -> complex:
        """Return the scalar at complex parameters.

        Every parameter is handed over as complex128, changed or not: functions often take the dtype of one of them
        for the arrays that they make.

        Raises
        ------
        NotAnalyticError
            If the function does not take complex parameters, or loses the imaginary part.
        FunctionError
            If it changes its input or returns no scalar.
        """
        merged = {name: np.asarray(values.get(name, base), np.complex128) for name, base in self.base.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                result = self.call(merged, where)
        except FunctionError as error:
            if error.__cause__ is None:
                raise
            cause = error.__cause__
            raise NotAnalyticError(f"it raised {type(cause).__name__} for complex parameters: {cause}") from error
        number = self._scalar(result, where)
        if not isinstance(number, complex):
            raise NotAnalyticError("it returned a real number for complex parameters")
        return number

    def _scalar(self, result: Any, where: str) -> float | complex:
        if is_array(result):
            if tuple(result.shape) != ():
                shape = tuple(result.shape)
                raise FunctionError(f"{self.what} must return a scalar, got an array of shape {shape} (at {where})")
            self.single = self.single or dtype_name(result) in SINGLE
            result = to_host(result).item()
        if isinstance(result, bool) or not isinstance(result, int | float | complex):
            raise FunctionError(f"{self.what} must return a scalar, got {type(result).__name__} (at {where})")
        return result


def _changed(given: Any, values: Mapping[str, Host], tree: Tree) -> str | None:
    """Say what a function did to the parameters it was given, None where it left them alone."""
    try:
        arrays = Tree.of(given).arrays
    except TypeError:
        return "the structure of the parameters"
    if tuple(arrays) != tree.names:
        return "the names of the parameters"
    for name, array in arrays.items():
        if tuple(array.shape) != values[name].shape or not np.array_equal(to_host(array), values[name], equal_nan=True):
            return f"the values of {name}"
    return None
