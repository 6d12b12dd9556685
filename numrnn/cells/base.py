"""Base class of all cells: the protocol, the checks of arguments, and the initial values.

A cell is one step of a recurrence, h_t = step(params, x_t, h_{t-1}), with its tangent and its adjoint. A batch is a
matrix of row vectors, so in the code the paper's A h + V x + b is h @ A.T + x @ V.T + b.
"""

from __future__ import annotations

import functools
import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from numrnn.backend import Array, Params, from_numpy, on_device_of
from numrnn.cells.configuration import complete_config, constructor_arguments
from numrnn.cells.sigmoid import sigmoid
from numrnn.checks import (
    check_array,
    check_finite,
    check_floating,
    check_generator,
    check_integer,
    check_same_kind,
)
from numrnn.initializers import InitialValues, input_gains
from numrnn.typing import Backend

__all__ = [
    "Cell",
    "checked",
    "complete_config",
    "constructor_arguments",
    "overrides",
    "same_step",
    "sigmoid",
    "unchecked",
]

F = TypeVar("F", bound=Callable[..., Any])


class Cell(ABC):
    """One step of a recurrent network.

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.

    Attributes
    ----------
    state_size : int
        Width of the state: n, or 2n for the LSTM. The first n columns are always h, which the read-out uses.
    name : str
        Name of the cell in configurations and on command lines.

    Notes
    -----
    A cell of your own must define `name`, `parameter_shapes`, `step` and `step_vjp`. The other methods are optional:

    - `step_jvp` and `jacobian`: without them, tangents and the stability analysis raise NotImplementedError.
    - `draw_params`: override it if parameters should not be drawn by the first letters of their names.
    - `config`: override it if a constructor argument is not kept as an attribute of the same name.

    `numrnn.testing.assert_cell` checks such a cell. `numrnn.register_cell` registers its name for checkpoints and
    command lines.
    """

    name: ClassVar[str]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.input_size = check_integer("input_size", input_size, at_least=1)
        self.hidden_size = check_integer("hidden_size", hidden_size, at_least=1)

    @property
    def state_size(self) -> int:
        """Width of the state."""
        return self.hidden_size

    @property
    @abstractmethod
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in the order in which they are drawn."""

    def parameter_count(self) -> int:
        """Return the number of free parameters, without read-out."""
        return sum(int(np.prod(shape)) for shape in self.parameter_shapes.values())

    def config(self) -> dict[str, Any]:
        """Return the cell's name and constructor arguments, JSON-serialisable.

        Each argument is the attribute of the same name.

        Returns
        -------
        dict of str to object
            The name under "cell", then the arguments in the order of the constructor.

        Raises
        ------
        TypeError
            If an argument is not kept as an attribute; `config` must then be overridden.
        """
        found: dict[str, Any] = {"cell": self.name}
        for name in constructor_arguments(type(self)):
            if not hasattr(self, name):
                kind = type(self).__name__
                raise TypeError(f"{kind} must keep its argument {name!r} as self.{name}, or override config()")
            found[name] = getattr(self, name)
        return found

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.config().items() if key != "cell")
        return f"{type(self).__name__}({arguments})"

    def init_params(
        self,
        rng: np.random.Generator,
        *,
        weight_std: float = 1.0,
        input_std: float = 1.0,
        gate_bias: float = 0.0,
        gate_spread: float = 0.0,
        rotations: Sequence[float] | None = None,
        input_gains: Sequence[float] | None = None,
        bias_std: float = 0.0,
        forget_bias: float | Literal["chrono"] | None = None,
        t_max: int | None = None,
        dtype: Any = np.float32,
        backend: Backend | None = None,
    ) -> dict[str, Array]:
        """Draw initial values: W ~ N(0, weight_std^2 / n), V ~ N(0, input_std^2 / m), biases 0.

        These are variances, not standard deviations. Numbers are drawn on the host in float64, so one seed gives the
        same network for every dtype and backend.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness; its state advances.
        weight_std : float
            sigma_w >= 0. The recurrent weights have the standard deviation sigma_w / sqrt(n); in a Lipschitz cell,
            sigma_w / (10 n).
        input_std : float
            >= 0. The input weights have the standard deviation input_std / sqrt(m).
        gate_bias : float
            Mean of the initial b_z; must be 0 for a cell without b_z.
        gate_spread : float
            s >= 0: b_z rises evenly from gate_bias - s at the first unit to gate_bias + s at the last (see
            `numrnn.initializers`); must be 0 for a cell without b_z.
        rotations : (float, float) or None
            Smallest and largest angular speed, w_min and w_max > 0, of the rotation blocks added to the recurrent
            matrix of an antisymmetric cell (see `numrnn.initializers`); with weight_std = 0 only these blocks remain.
            Must be None for any other cell.
        input_gains : (float, float) or None
            Smallest and largest gain > 0 by which the rows of V are multiplied, so that units have different memory
            lengths; the steps of V and b need the same scales (`numrnn.initializers.gain_scales`). Must be None for the
            LSTM.
        bias_std : float
            >= 0: b ~ N(0, bias_std^2); must be 0 for the LSTM.
        forget_bias : float, "chrono" or None
            The LSTM's initial forget bias: a number, None for the paper's 1, or "chrono", which gives each unit its own
            time scale of up to `t_max` steps. Must be None for any other cell.
        t_max : int or None
            >= 3, only with "chrono": the longest expected dependency in steps, usually the length of the sequences.
        dtype : dtype
            float32, float64 or complex128.
        backend : {"numpy", "cupy"} or None
            Where the arrays live; None uses NUMRNN_BACKEND, or "numpy".

        Returns
        -------
        dict of str to array
            One array for each name in `parameter_shapes`.

        Raises
        ------
        TypeError
            If `rng` is not a Generator or `dtype` is not one of the three.
        ValueError
            If a number is out of range or not finite, or if a given value does not apply to the cell.
        """
        check_generator("rng", rng)
        initial = InitialValues(
            weight_std=weight_std,
            input_std=input_std,
            gate_bias=gate_bias,
            gate_spread=gate_spread,
            rotations=rotations,
            input_gains=input_gains,
            bias_std=bias_std,
            forget_bias=forget_bias,
            t_max=t_max,
        )
        dtype = check_floating("dtype", dtype)
        initial.check_unused(self.name, *self.unused_initial_values())
        values = self.draw_params(rng, initial)
        return {name: from_numpy(value.astype(dtype), backend) for name, value in values.items()}

    def unused_initial_values(self) -> set[str]:
        """Return the arguments of `init_params` that do not apply to this cell and must keep their defaults."""
        gate = set() if "b_z" in self.parameter_shapes else {"gate_bias", "gate_spread"}
        return {"rotations", "forget_bias", "t_max", *gate}

    def draw_params(self, rng: np.random.Generator, initial: InitialValues) -> dict[str, np.ndarray]:
        """Draw each parameter by the first letter of its name: W and M recurrent, V input, b bias.

        `init_params` calls this method. Override it to draw parameters differently; an override may first call
        `super().draw_params`, if that accepts all names, and then change some of the values.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness; use no other.
        initial : numrnn.initializers.InitialValues
            The checked options of `init_params`. Those in `unused_initial_values` have their defaults.

        Returns
        -------
        dict of str to numpy.ndarray
            A float64 array for each name in `parameter_shapes`, in that order.

        Raises
        ------
        NotImplementedError
            If a name begins with another letter.
        """
        m, n, shapes = self.input_size, self.hidden_size, self.parameter_shapes
        if strange := [name for name in shapes if name[:1] not in tuple("WMVb")]:
            raise NotImplementedError(
                f"{type(self).__name__} must override draw_params to draw {', '.join(strange)}: Cell.draw_params only "
                f"draws names that begin with W or M (recurrent), V (input) or b (bias)"
            )
        recurrent = initial.weight_std / n**0.5
        stds = {"W": recurrent, "M": recurrent, "V": initial.input_std / m**0.5, "b": initial.bias_std, "b_z": 0.0}
        values = {name: stds.get(name, stds[name[0]]) * rng.standard_normal(shape) for name, shape in shapes.items()}
        if initial.input_gains is not None:
            values["V"] *= input_gains(n, *initial.input_gains)[:, None]
        if "b_z" in values:
            sides = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)  # a single unit gets the mean
            values["b_z"] += initial.gate_bias + initial.gate_spread * sides
        return values

    @abstractmethod
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return the next state.

        Parameters
        ----------
        params : mapping of str to array
            Names and shapes as in `parameter_shapes`.
        x : array, shape (B, m)
            Input, of the parameters' dtype.
        h : array, shape (B, state_size)
            State.

        Returns
        -------
        array, shape (B, state_size)
        """

    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state: the derivative of `step` along (params_dot, x_dot, h_dot).

        Parameters
        ----------
        params, x, h
            As for `step`.
        params_dot, x_dot, h_dot
            Directions, with the shapes of params, x and h.

        Returns
        -------
        array, shape (B, state_size)

        Raises
        ------
        NotImplementedError
            If the cell has no tangent: a cell of your own may leave it out.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step_jvp, the tangent of its step")

    @abstractmethod
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return the adjoint of one step.

        Parameters
        ----------
        params, x, h
            As for `step`.
        dh_next : array, shape (B, state_size)
            Cotangent of the next state, dL/dh_t.

        Returns
        -------
        dparams : dict of str to array
            dL/dparams, summed over the batch, with the parameters' shapes.
        dx : array, shape (B, m)
            dL/dx.
        dh : array, shape (B, state_size)
            dL/dh_{t-1} through this step.
        """

    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return d h_next / d h for each row of the batch.

        Returns
        -------
        array, shape (B, state_size, state_size)
            Element [i, j, k] is the derivative of h_next[i, j] with respect to h[i, k].

        Raises
        ------
        NotImplementedError
            If the cell has no Jacobian: a cell of your own may leave it out.
        """
        raise NotImplementedError(f"{type(self).__name__} has no jacobian, which the analysis of stability needs")

    def check_params(self, params: Params, prefix: str = "params") -> dict[str, Array]:
        """Check names, shapes, dtypes and finiteness of parameters (or of tangents of parameters).

        Returns
        -------
        dict of str to array
            The arrays by the names used in errors, such as "params['W']".

        Raises
        ------
        TypeError
            If `params` is not a mapping, or an array has a wrong dtype.
        ValueError
            If a name is missing or unexpected, a shape differs, or an element is NaN or infinite.
        """
        if not isinstance(params, Mapping):
            raise TypeError(f"{prefix} must be a mapping of names to arrays, got {type(params).__name__}")
        shapes = self.parameter_shapes
        if set(params) != set(shapes):
            raise ValueError(f"{prefix} must have the names {', '.join(shapes)}, got {', '.join(map(str, params))}")
        named = {f"{prefix}[{name!r}]": params[name] for name in shapes}
        for label, shape in zip(named, shapes.values(), strict=True):
            check_array(label, named[label], shape)
            check_finite(label, named[label])
        return named

    def check_step(self, params: Params, x: Array, h: Array, **others: Any) -> None:
        """Check the arguments of a step, its tangent or its adjoint; `others` are the cotangent or the directions.

        Raises
        ------
        TypeError, ValueError
            As for `check_params`, or if x, h or an argument in `others` does not fit; the error names it.
        """
        arrays = self.check_params(params)
        arrays |= {"x": x, "h": h}
        check_array("x", x, ("B", "m"), m=self.input_size)
        batch = x.shape[0]
        check_array("h", h, ("B", "n"), B=batch, n=self.state_size)
        for name, value in others.items():
            if name == "params_dot":
                arrays |= self.check_params(value, name)
                continue
            width = "m" if name == "x_dot" else "n"
            size = self.input_size if name == "x_dot" else self.state_size
            check_array(name, value, ("B", width), B=batch, **{width: size})
            arrays[name] = value
        for name in arrays.keys() & {"x", "h", *others}:
            check_finite(name, arrays[name])
        check_same_kind(arrays)


CHECKED_NAMES = ("params", "x", "h", "params_dot", "x_dot", "h_dot")


def checked(method: F) -> F:
    """Make a cell's method check its arguments before any work.

    A loop over time has checked the whole sequence already and calls `unchecked(cell.step)`.

    Raises
    ------
    TypeError
        If the arguments of the method have other names than those of `Cell`, by which they are checked.
    """
    signature = inspect.signature(method)
    names, wanted = list(signature.parameters)[1:], CHECKED_NAMES[: 6 if method.__name__ == "step_jvp" else 3]
    if names[: len(wanted)] != list(wanted):
        text = f"{method.__qualname__} must name its arguments {', '.join(wanted)}, as it is checked"
        raise TypeError(f"{text}, got {', '.join(names) or 'none'}")

    @functools.wraps(method)
    def wrapper(self: Cell, *args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(self, *args, **kwargs).arguments
        del arguments["self"]
        with on_device_of(*args, *kwargs.values()):
            self.check_step(**arguments)
            return method(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def unchecked(method: F) -> F:
    """Return a bound method of a cell without the checks of `checked`; any other callable unchanged."""
    inner = getattr(method, "__wrapped__", None)
    return method if inner is None else functools.partial(inner, method.__self__)  # type: ignore[attr-defined, return-value]


def same_step(cell: Cell, own: type[Cell]) -> bool:
    """Tell whether a cell uses the step and the adjoint of `own`; a subclass or the instance may override them."""
    return isinstance(cell, own) and not overrides(cell, own, besides=("draw_params", "step_jvp", "jacobian"))


def overrides(one: object, own: type, besides: Sequence[str] = ()) -> bool:
    """Tell whether an object overrides a method or a property that its base class `own` defines.

    The override may be in its class, in a base class in between, or in the object's own attributes. Names in `besides`
    are ignored.
    """
    kinds = (types.FunctionType, property, staticmethod, classmethod)
    parts = {name: value for name, value in vars(own).items() if isinstance(value, kinds) and name[:2] != "__"}
    return any(
        name in vars(one) or inspect.getattr_static(type(one), name) is not value
        for name, value in parts.items()
        if name not in besides
    )
