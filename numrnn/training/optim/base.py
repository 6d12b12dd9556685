"""Base class of all optimisers: arguments, state, and the update of every parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from numrnn.backend import (
    Array,
    Params,
    array_namespace,
    asarray,
    device_of,
    is_array,
    on_their_device,
    to_numpy,
    zeros,
)
from numrnn.checks import (
    as_host_array,
    check_array,
    check_arrays,
    check_integer,
    check_kind,
    check_number,
    check_same_kind,
)
from numrnn.kernels import Kernel, has_kernel
from numrnn.subnormals import flush_subnormals
from numrnn.training.schedules import TimedCosineSchedule

__all__ = ["LearningRate", "Optimizer", "State", "apply", "check_known", "constants_of", "describe"]

LearningRate = float | Callable[[int], float] | TimedCosineSchedule
State = dict[str, Any]


class Optimizer(ABC):
    """Base class of all optimisers.

    Parameters
    ----------
    learning_rate : float, callable or TimedCosineSchedule
        r > 0, or a function step -> r >= 0 of the number of updates, or one that also takes the seconds of training.
    multipliers : mapping of str to float or None
        Factors > 0 of the learning rate by parameter; 1 for the others.
    step_scales : mapping of str to array_like or None
        Factors > 0 of the elements of a parameter's step, real arrays that broadcast to its shape, such as (n, 1) for
        one per row. They do not scale weight decay. With Adam and AdamW a parameter p of scale s is trained as s p',
        where p' is an ordinary parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    kernel: ClassVar[Kernel]  # does the work of `_one` in one launch

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        multipliers: Mapping[str, float] | None = None,
        step_scales: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        self.learning_rate: LearningRate = (
            learning_rate if callable(learning_rate) else check_number("learning_rate", learning_rate, above=0)
        )
        for argument, values in (("multipliers", multipliers), ("step_scales", step_scales)):
            if values is not None:
                check_kind(argument, values, Mapping, "a mapping of parameters to factors")
        self.multipliers = {
            name: check_number(f"multipliers[{name!r}]", value, above=0) for name, value in (multipliers or {}).items()
        }
        self.step_scales = {name: _check_scale(name, value) for name, value in (step_scales or {}).items()}
        self._scales_beside: dict[str, tuple[Any, Array]] = {}  # by name: kind of array, and the scales

    def rate(self, step: int, seconds: float | None = None) -> float:
        """Return the learning rate of the update that follows `step` others and begins after `seconds` of training.

        Raises
        ------
        TypeError
            If the learning rate is a `TimedCosineSchedule` and `seconds` is None; others ignore `seconds`.
        """
        step = check_integer("step", step, at_least=0)
        if isinstance(self.learning_rate, TimedCosineSchedule):
            if seconds is None:
                raise TypeError("seconds must be a number if the learning rate depends on time, got None")
            return self.learning_rate(step, seconds)
        if callable(self.learning_rate):
            return check_number(f"learning_rate({step})", self.learning_rate(step), at_least=0)
        return self.learning_rate

    def init(self, params: Params) -> State:
        """Return the state before the first update: step 0, and zeros for every slot and parameter.

        Parameters
        ----------
        params : mapping of str to array
            float32 or float64.

        Returns
        -------
        dict
            {"step": 0, slot: {name: array}, ...}

        Raises
        ------
        ValueError
            If a multiplier or a step scale is not for a parameter, or the scale does not broadcast to it.
        """
        check_arrays("params", params)
        check_known("multipliers", self.multipliers, params)
        check_known("step_scales", self.step_scales, params)
        for name, scale in self.step_scales.items():
            _check_broadcasts(name, scale, tuple(params[name].shape))
        slots = {slot: {name: zeros(p.shape, like=p) for name, p in params.items()} for slot in self.slots}
        return {"step": 0, **slots}

    @on_their_device
    def update(
        self, params: Params, grads: Params, state: Mapping[str, Any], *, seconds: float | None = None
    ) -> tuple[dict[str, Array], State]:
        """Return the parameters and the state after one update.

        Parameters
        ----------
        params : mapping of str to array
            Values before the update.
        grads : mapping of str to array
            dL/dparams, with the names, shapes and dtypes of `params`.
        state : mapping
            From `init` or the last `update` for these parameters.
        seconds : float or None
            Seconds of training before this update, >= 0; needed only by a `TimedCosineSchedule`.

        Returns
        -------
        params : dict of str to array
        state : dict
            Both have new arrays; the arguments are unchanged.

        Raises
        ------
        TypeError, ValueError
            If names, shapes, precisions or devices differ, or as for `rate`.

        Notes
        -----
        Elementwise: at most about 12 flops and 7 reads or writes per element (Adam); on a GPU one launch per parameter,
        without synchronisation.
        """
        check_arrays("params", params)
        check_kind("state", state, Mapping, "the mapping that init returned")
        _check_alike("grads", grads, params)
        if set(state) != {"step", *self.slots}:
            raise ValueError(f"state must have {', '.join(('step', *self.slots))}, got {', '.join(map(str, state))}")
        for slot in self.slots:
            _check_alike(f"state[{slot!r}]", state[slot], params)
        step = check_integer("state['step']", state["step"], at_least=0) + 1
        with flush_subnormals():  # squares of small gradients are often subnormal
            return apply(self, params, grads, state, step, constants_of(self, params, step, seconds))

    def _scale(self, name: str, p: Array) -> Any:
        """Return the scale of a parameter's steps: 1.0, or an array with `p`'s library, device and dtype."""
        if name not in self.step_scales:
            return 1.0
        kind = (array_namespace(p), device_of(p), p.dtype)
        if name not in self._scales_beside or self._scales_beside[name][0] != kind:
            self._scales_beside[name] = kind, asarray(self.step_scales[name], like=p, dtype=p.dtype)
        return self._scales_beside[name][1]

    @abstractmethod
    def _constants(self, rate: float, scale: Any, step: int, name: str) -> tuple[Any, ...]:
        """Return the numbers of an update in the order of its kernel's arguments; `step` counts from 1.

        `name` is the parameter's name, and `scale` is 1.0 or an array that broadcasts to it.
        """

    @abstractmethod
    def _one(self, p: Array, g: Array, *slots: Array, constants: tuple[Any, ...]) -> tuple[Array, ...]:
        """Return the new p and the new slots."""

    def config(self) -> dict[str, Any]:
        """Return the optimiser's name and arguments, JSON-serialisable.

        A learning rate that is a function without `config` is given by its qualified name.
        """
        # Only if given: otherwise older checkpoints would seem to be of another optimiser.
        own: dict[str, Any] = {"multipliers": dict(self.multipliers)} if self.multipliers else {}
        if self.step_scales:  # to six digits, in which machines agree: a run may be resumed on another machine
            own["step_scales"] = {
                name: np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(scale).tolist()
                for name, scale in self.step_scales.items()
            }
        return {"optimizer": self.name, "learning_rate": describe(self.learning_rate), **self._config(), **own}

    def _config(self) -> dict[str, Any]:
        return {}

    def __repr__(self) -> str:
        own: dict[str, Any] = {"multipliers": self.multipliers} if self.multipliers else {}
        own |= {"step_scales": list(self.step_scales)} if self.step_scales else {}
        arguments = ", ".join(f"{key}={value!r}" for key, value in {**self._config(), **own}.items())
        return f"{type(self).__name__}({self.learning_rate!r}{', ' if arguments else ''}{arguments})"


def constants_of(optimizer: Optimizer, params: Params, step: int, seconds: float | None) -> dict[str, tuple[Any, ...]]:
    """Return by parameter the numbers of an update, in the order of the kernel's arguments.

    Parameters
    ----------
    optimizer : Optimizer
    params : mapping of str to array
    step : int
        Number of the update, from 1.
    seconds : float or None
        As for `Optimizer.update`.

    Returns
    -------
    dict of str to tuple
        Of floats; a learning rate is an array where `step_scales` has the parameter.
    """
    rate = optimizer.rate(step - 1, seconds)
    return {
        name: optimizer._constants(rate * optimizer.multipliers.get(name, 1.0), optimizer._scale(name, p), step, name)
        for name, p in params.items()
    }


def apply(
    optimizer: Optimizer,
    params: Params,
    grads: Params,
    state: Mapping[str, Any],
    step: int,
    constants: Mapping[str, tuple[Any, ...]],
    out: tuple[Params, Mapping[str, Params]] | None = None,
) -> tuple[dict[str, Array], State]:
    """Return parameters and state after one update: `Optimizer.update` without checks, for given numbers.

    Parameters
    ----------
    optimizer : Optimizer
    params, grads, state
        As for `Optimizer.update`.
    step : int
        Number of the update, from 1, for the new state.
    constants : mapping of str to tuple
        From `constants_of`; for CuPy arrays, the numbers may be arrays of shape () with the parameters' dtype.
    out : (mapping, mapping) or None
        For CuPy arrays: arrays for the new parameters, by name, and for those of the slots, by slot and name. By
        default new ones.

    Returns
    -------
    params : dict of str to array
    state : dict
    """
    slots = optimizer.slots
    new_params: dict[str, Array] = {}
    new_state: State = {"step": step, **{slot: {} for slot in slots}}
    for name, p in params.items():
        old = tuple(state[slot][name] for slot in slots)
        if has_kernel(p):
            to = () if out is None else (out[0][name], *(out[1][slot][name] for slot in slots))
            new_params[name], *new = optimizer.kernel(p, grads[name], *old, *constants[name], *to, like=p)
        else:
            # NumPy returns numbers in place of arrays of shape ().
            own = optimizer._one(p, grads[name], *old, constants=constants[name])
            new_params[name], *new = (asarray(one, like=p) for one in own) if p.ndim == 0 else own
        for slot, array in zip(slots, new, strict=True):
            new_state[slot][name] = array
    return new_params, new_state


def describe(obj: object) -> Any:
    """Return the description of `obj` for a configuration: its `config()`, itself if JSON-serialisable, or its name."""
    if hasattr(obj, "config"):
        return obj.config()
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    named: Any = obj if hasattr(obj, "__qualname__") else type(obj)
    return f"{named.__module__}.{named.__qualname__}"


def check_known(argument: str, names: Collection[str], params: Params) -> None:
    """Check that all `names` are parameters."""
    if not set(names) <= set(params):
        raise ValueError(f"{argument} must be of {', '.join(params)}, got {', '.join(names)}")


def _check_scale(name: str, value: npt.ArrayLike) -> np.ndarray:
    """Return a step scale as a float64 copy, so that later changes to `value` do not affect it."""
    label = f"step_scales[{name!r}]"
    scale = to_numpy(value) if is_array(value) else as_host_array(label, value)
    if scale.dtype.kind not in "iuf":
        raise TypeError(f"{label} must be an array of real numbers, got dtype {scale.dtype}")
    scale = scale.astype(np.float64)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"{label} must be finite and > 0, got {scale[~(np.isfinite(scale) & (scale > 0))][0]}")
    return scale


def _check_broadcasts(name: str, scale: np.ndarray, shape: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(scale.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"step_scales[{name!r}] must broadcast to {shape}, got shape {scale.shape}")


def _check_alike(name: str, arrays: Params, params: Params) -> None:
    check_kind(name, arrays, Mapping, "a mapping of names to arrays")
    if set(arrays) != set(params):
        raise ValueError(f"{name} must have the names {', '.join(map(str, params))}, got {', '.join(map(str, arrays))}")
    for key, p in params.items():
        label = f"{name}[{key!r}]"
        check_array(label, arrays[key], tuple(p.shape))
        check_same_kind({f"params[{key!r}]": p, label: arrays[key]})
