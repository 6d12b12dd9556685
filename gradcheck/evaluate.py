"""Calls of the functions under check: each is counted, gets copies, and is checked for changes of its input.

Every call is numbered. A function that raises at the parameters, changes its input, or returns no finite scalar there
ends the check with a `FunctionError` that says in which call, and at which parameters, it happened. Trial points that
the checker chooses may lie outside the domain: if the function raises an arithmetic error, a ValueError or a warning
there, its value counts as NaN.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradcheck.arrays import Host, dtype_name, is_array, to_host
from gradcheck.scales import SMALLEST, Block, blocks, sizes
from gradcheck.tree import Tree, values_of

__all__ = ["Budget", "Function", "FunctionError", "NotAnalyticError"]

SINGLE = ("float16", "float32", "complex64")
SMALL = 1e-3  # size of parameters that are nearly zero
OUTSIDE = (ArithmeticError, ValueError, Warning)  # raised at a trial point: it lies outside the domain


class FunctionError(ValueError):
    """A function given to the checker did something that has no derivative."""


class NotAnalyticError(Exception):
    """The loss cannot be differentiated by the complex step; the text gives the evidence."""


@dataclass
class Budget:
    """Evaluations that may still be spent on a parameter that did not agree at once."""

    left: int

    def take(self, evaluations: int) -> bool:
        """Reserve `evaluations` and return True, or return False if there are not that many left."""
        if evaluations > self.left:
            return False
        self.left -= evaluations
        return True


class Function:
    """A user's function of the parameters.

    Parameters
    ----------
    function : callable
        Takes the structure of `tree`; or its parts as positional arguments, if it is a tuple and the function requires
        as many.
    tree : Tree
        The parameters, which also determine the library and device of the arrays that the function gets.
    what : str
        What errors call the function.

    Attributes
    ----------
    dtype : str
        The dtype of the arrays passed in real evaluations.
    narrowed : str or None
        The library that turns float64 values into float32 arrays.
    count : int
        Calls so far.
    single : bool
        Whether a result was in single precision, which limits what the function can show.
    spread : float
        Largest change of the value between two calls at the same parameters; not 0 for a function that is random.
    """

    def __init__(self, function: Callable[[Any], Any], tree: Tree, what: str = "loss") -> None:
        if not callable(function):
            raise TypeError(f"{what} must be callable, got {type(function).__name__}")
        self.function, self.tree, self.what = function, tree, what
        self.narrowed = tree.narrows()
        self.dtype = "float32" if self.narrowed else "float64"
        self.base = tree.host(np.float64)
        self.count, self.single = 0, False
        self.spread = 0.0
        self._loss: float | None = None
        self._complex: float | None = None
        self._unpacked = _takes_parts(function, tree.template)

    @cached_property
    def blocks(self) -> dict[str, list[Block]]:
        """The elements of each parameter, grouped by size."""
        return {name: blocks(name, values, key) for key, (name, values) in enumerate(self.base.items())}

    @cached_property
    def sizes(self) -> dict[str, Host]:
        """The size of each element's block."""
        return {name: sizes(found) for name, found in self.blocks.items()}

    def block_of(self, name: str, index: tuple[int, ...]) -> Block:
        """Return the block of an element."""
        return next(block for block in self.blocks[name] if block.mask[index])

    def natural(self, direction: Mapping[str, Host]) -> float:
        """Return the largest t by which ``t * direction`` moves no element further than the size of its block."""
        most = max(float(np.max(np.abs(v) / self.sizes[name])) for name, v in direction.items())
        return 1.0 / most if most else 1.0

    def wider(self, direction: Mapping[str, Host]) -> float:
        """Return the same for the largest elements of the arrays, at least 1 if even those are nearly zero.

        Elements that are small by chance say nothing about the scale on which the loss varies.
        """
        sizes = {name: self.blocks[name][0].size for name in direction}
        most = max(float(np.max(np.abs(v))) / sizes[name] for name, v in direction.items())
        return max(1.0 / most if most else 1.0, 1.0 if min(sizes.values()) < SMALL else 0.0)

    def narrower(self, direction: Mapping[str, Host]) -> float:
        """Return the largest t by which ``t * direction`` moves no element further than its own size."""
        most = 0.0
        for name, v in direction.items():
            own = np.where(self.base[name] == 0, self.sizes[name], np.maximum(np.abs(self.base[name]), SMALLEST))
            most = max(most, float(np.max(np.abs(v) / own)))
        return 1.0 / most if most else 1.0

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number in the precision in which the function computes."""
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
        try:
            given = self.tree.build(values)
        except Exception as error:  # a library without complex numbers, for instance
            raise FunctionError(f"params could not be recreated: {type(error).__name__}: {error} ({place})") from error
        try:
            result = self.function(*given) if self._unpacked else self.function(given)
        except Exception as error:
            raise FunctionError(f"{self.what} raised {type(error).__name__}: {error} ({place})") from error
        changed = _changed(given, values, self.tree, self.narrowed is not None)
        if changed:
            raise FunctionError(f"{self.what} changes its input: {changed} ({place}); work on a copy")
        return result

    def at(self, changes: Mapping[str, Host] | None = None, where: str = "params") -> float:
        """Return the scalar at the parameters with some of them replaced; it may be infinite or NaN.

        Raises
        ------
        FunctionError
            If the function raises, changes its input, or returns anything but a real scalar.
        """
        values = {**self.base, **(changes or {})}
        result = self.call({name: value.astype(self.dtype) for name, value in values.items()}, where)
        number = self._scalar(result, where)
        if isinstance(number, complex):
            raise FunctionError(f"{self.what} must return a real number for real parameters, got {number} (at {where})")
        return float(number)

    def trial(self, changes: Mapping[str, Host], where: str) -> float:
        """Return the scalar at a trial point, NaN outside the domain.

        Raises
        ------
        FunctionError
            As `at`, except for errors that only mean that the point lies outside the domain.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                return self.at(changes, where)
        except FunctionError as error:
            if isinstance(error.__cause__, OUTSIDE) or "must return a real number" in str(error):
                return np.nan
            raise

    def loss(self) -> float:
        """Return the value at the parameters themselves, evaluated once.

        Raises
        ------
        FunctionError
            As `at`, and if it is NaN or infinite.
        """
        if self._loss is None:
            value = self.at()
            if not np.isfinite(value):
                raise FunctionError(f"{self.what} returned {value} at params; a derivative needs a finite value there")
            self._loss = value
        return self._loss

    def settle(self) -> str | None:
        """Evaluate the loss at the parameters; if it refuses float64 for float32 ones, continue in float32 with a note.

        Raises
        ------
        FunctionError
            As `loss`.
        """
        try:
            self.loss()
        except FunctionError as error:
            if error.__cause__ is None or self.tree.dtype != "float32" or self.dtype == "float32":
                raise
            self.dtype = "float32"
            self.loss()
            return f"the loss refused float64 parameters ({error.__cause__}): float32 differences are inaccurate"
        return None

    def repeat(self) -> None:
        """Evaluate the loss at the parameters once more, to detect randomness."""
        first, again = self.loss(), self.at()
        self.spread = max(self.spread, abs(again - first)) if np.isfinite(again) else np.inf

    def complex_at(self, values: Mapping[str, Host], where: str) -> complex:
        """Return the scalar at complex parameters.

        Every parameter is passed as complex128, changed or not: functions often use the dtype of one of them for new
        arrays.

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
                warnings.simplefilter("ignore", RuntimeWarning)
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

    def compare(self, real_part: float) -> None:
        """Compare the real part at complex parameters next to the real ones with that of the first such call."""
        if self._complex is None:
            self._complex = real_part
        self.spread = max(self.spread, abs(real_part - self._complex))

    def _scalar(self, result: Any, where: str) -> float | complex:
        if is_array(result):
            shape = tuple(result.shape)
            if shape != ():
                raise FunctionError(f"{self.what} must return a scalar, got an array of shape {shape} (at {where})")
            self.single = self.single or dtype_name(result) in SINGLE
            number = to_host(result)[()]
            # item() leaves longdouble as it is
            result = {"f": float, "c": complex}.get(number.dtype.kind, lambda value: value.item())(number)
        if isinstance(result, bool) or not isinstance(result, int | float | complex):
            raise FunctionError(f"{self.what} must return a scalar, got {type(result).__name__} (at {where})")
        return result


def _takes_parts(function: Callable[..., Any], template: Any) -> bool:
    """Tell whether a function requires as many positional arguments as there are parts in a tuple."""
    if type(template) is not tuple or len(template) < 2:
        return False
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in known) == len(template)


def _changed(given: Any, values: Mapping[str, Host], tree: Tree, narrowed: bool) -> str | None:
    """Say what a function changed in the parameters it was given; None if it changed nothing."""
    try:
        arrays = Tree.of(given).arrays
    except TypeError:
        return "the structure of the parameters"
    if tuple(arrays) != tree.names:
        return "the names of the parameters"
    for name, array in arrays.items():
        left, before = values_of(array), values[name]
        if narrowed and left.dtype.kind == before.dtype.kind:
            before = before.astype(left.dtype)
        if left.shape != before.shape or not np.array_equal(left, before, equal_nan=True):
            return f"the values of {name}"
    return None
