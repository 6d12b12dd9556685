"""The checks of `numrnn.testing.assert_cell`: each raises AssertionError in one line, or returns why it was skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import gradcheck
from numrnn.backend import Array, Params, is_array, to_numpy
from numrnn.bptt import Engine, backward, forward
from numrnn.cells import cell_from_config
from numrnn.cells.base import Cell, constructor_arguments

BATCH, STEPS = 5, 6
OPTIONAL = ("step_jvp", "jacobian")
EPS = float(np.finfo(np.float64).eps)
# Of sums of a few dozen products, relative to the largest element; a mistake is larger by many orders of magnitude.
GROWTH = 1000
ADJOINT, LINEAR = "step_vjp is the adjoint of step", "step_vjp is linear in dh_next"
TANGENT, TRANSPOSES = "step_jvp is the tangent of step", "step_jvp and step_vjp are transposes"
JACOBIAN = "jacobian is the derivative of step by h"
NO_TANGENT, NO_JACOBIAN = "there is no step_jvp", "there is no jacobian"


@dataclass(frozen=True)
class Point:
    """A cell, arguments of its methods, a cotangent w, and the optional methods that it has."""

    cell: Cell
    params: Params
    x: Array
    h: Array
    w: Array
    methods: tuple[str, ...] = OPTIONAL

    @property
    def arguments(self) -> tuple[Params, Array, Array]:
        """The arguments of a step."""
        return self.params, self.x, self.h

    def moved(self, move: Callable[[Array], Array]) -> Point:
        """Return the same point with other arrays."""
        params = {name: move(value) for name, value in self.params.items()}
        return replace(self, params=params, x=move(self.x), h=move(self.h), w=move(self.w))

    def cast(self, dtype: Any) -> Point:
        """Return the same point in another precision."""
        return self.moved(lambda array: array.astype(dtype))

    def with_methods(self, *methods: str) -> Point:
        """Return the same point of a cell that has these optional methods only."""
        return replace(self, methods=methods)

    def lacks(self, method: str) -> bool:
        """Tell whether an optional method raises NotImplementedError."""
        arguments = self.moved(np.array).arguments
        try:
            getattr(self.cell, method)(*arguments, *(arguments if method == "step_jvp" else ()))
        except NotImplementedError:
            return True
        return False

    def results(self) -> dict[str, Array]:
        """Return all that the methods give, by name; the tangent is that along the arguments themselves."""
        found = {"step": self.cell.step(*self.arguments)}
        returned = self.cell.step_vjp(*self.arguments, self.w)
        if not isinstance(returned, tuple) or len(returned) != 3 or not isinstance(returned[0], Mapping):
            raise AssertionError("step_vjp must return a tuple (dparams, dx, dh) with a mapping dparams")
        dparams, found["dx of step_vjp"], found["dh of step_vjp"] = returned
        if set(dparams) != set(self.params):
            wanted, got = (", ".join(map(str, names)) for names in (self.params, dparams))
            raise AssertionError(f"dparams of step_vjp must have the names {wanted}, got {got}")
        found |= {f"dparams[{name!r}] of step_vjp": dparams[name] for name in self.params}
        if "step_jvp" in self.methods:
            found["step_jvp"] = self.cell.step_jvp(*self.arguments, *self.arguments)
        if "jacobian" in self.methods:
            found["jacobian"] = self.cell.jacobian(*self.arguments)
        for name, array in found.items():
            _must_be_finite(name, array)
        return found


def _must_be_finite(name: str, array: Any) -> None:
    """Raise AssertionError unless a result is an array without NaN and infinity, the arguments being finite."""
    if not is_array(array):
        raise AssertionError(f"{name} must be an array, got {type(array).__name__}")
    host = to_numpy(array)
    if not np.isfinite(host).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
        raise AssertionError(f"{name} must be finite for finite arguments: element {list(index)} is {host[index]}")


def _must_be_close(what: str, got: Array, wanted: Array, growth: float = GROWTH) -> None:
    """Raise AssertionError, with the worst element, if an array is not another one to `growth` roundings."""
    got, wanted = to_numpy(got), to_numpy(wanted)
    if got.shape != wanted.shape:
        raise AssertionError(f"{what}: the shape is {got.shape}, expected {wanted.shape}")
    error = np.abs(got - wanted)
    if error.size and not error.max() <= growth * EPS * np.abs(wanted).max():  # so that a NaN is not close
        index = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
        raise AssertionError(f"{what}: element {list(index)} is {got[index]:.10g}, expected {wanted[index]:.10g}")


def _purity(point: Point) -> None:
    own = point.moved(np.array)
    first = {name: np.array(array) for name, array in own.results().items()}
    pairs = {f"params[{name!r}]": (own.params[name], value) for name, value in point.params.items()}
    pairs |= {"x": (own.x, point.x), "h": (own.h, point.h), "dh_next": (own.w, point.w)}
    for name, (left, given) in pairs.items():
        _must_be_close(f"{name} must not be written into", left, given, growth=0)
    for name, array in own.results().items():
        _must_be_close(f"{name} must be the same for the same arguments", array, first[name], growth=0)


def _shapes(point: Point) -> None:
    cell, sizes = point.cell, (BATCH, point.cell.state_size)
    if cell.state_size < cell.hidden_size:
        raise AssertionError(f"state_size must be >= hidden_size={cell.hidden_size}, got {cell.state_size}")
    wanted: dict[str, tuple[int, ...]] = {"step": sizes, "step_jvp": sizes, "jacobian": (*sizes, sizes[1])}
    wanted |= {"dx of step_vjp": point.x.shape, "dh of step_vjp": sizes}
    wanted |= {f"dparams[{name!r}] of step_vjp": shape for name, shape in cell.parameter_shapes.items()}
    for name, array in point.results().items():
        if tuple(array.shape) != wanted[name]:
            raise AssertionError(f"{name} must have the shape {wanted[name]}, got {tuple(array.shape)}")
    drawn = {name: value.shape for name, value in cell.init_params(np.random.default_rng(0)).items()}
    if drawn != cell.parameter_shapes:
        raise AssertionError(f"init_params must give the shapes {cell.parameter_shapes}, got {drawn}")


def _dtypes(point: Point) -> None:
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        drawn = point.cell.init_params(np.random.default_rng(0), dtype=dtype)
        found = {f"{name} of init_params": value for name, value in drawn.items()} | point.cast(dtype).results()
        for name, array in found.items():
            if array.dtype != dtype:
                raise AssertionError(f"{name} must be {dtype} for arguments of {dtype}, got {array.dtype}")


def _verdict(claim: str, report: gradcheck.Report) -> str | None:
    """Return why nothing could be decided, or None; raise AssertionError if the check failed."""
    if report.passed:
        return None
    entries = [entry for entry in report.entries if entry.verdict == report.verdict]
    entry = max(entries, key=lambda entry: entry.worst.relative_error)
    if report.inconclusive:
        return f"{entry.parameter}: {entry.note}"
    diagnosis = f" (diagnosis: {entry.diagnosis})" if entry.diagnosis else ""
    raise AssertionError(f"it is not true that {claim}: {entry.worst}{diagnosis}")


def _adjoint(point: Point) -> str | None:
    return _verdict(ADJOINT, gradcheck.check_vjp(point.cell.step, point.cell.step_vjp, point.arguments))


def _linear(point: Point) -> str | None:
    return _verdict(LINEAR, gradcheck.check_linearity(point.cell.step_vjp, point.arguments, point.w))


def _tangent(point: Point) -> str | None:
    if "step_jvp" not in point.methods:
        return NO_TANGENT
    return _verdict(TANGENT, gradcheck.check_jvp(point.cell.step, point.cell.step_jvp, point.arguments))


def _transposes(point: Point) -> str | None:
    if "step_jvp" not in point.methods:
        return NO_TANGENT
    return _verdict(TRANSPOSES, gradcheck.adjoint_test(point.cell.step_jvp, point.cell.step_vjp, point.arguments))


def _jacobian(point: Point) -> str | None:
    if "jacobian" not in point.methods:
        return NO_JACOBIAN

    def step(h: Array) -> Array:
        return point.cell.step(point.params, point.x, h)

    def product(h: Array, h_dot: Array) -> Array:
        return np.einsum("bij,bj->bi", point.cell.jacobian(point.params, point.x, h), h_dot)

    return _verdict(JACOBIAN, gradcheck.check_jvp(step, product, (point.h,)))


def _rows(point: Point) -> None:
    before = point.results()
    others = [np.concatenate([array[:1], array[1:] + 1]) for array in (point.x, point.h, point.w)]
    after = replace(point, x=others[0], h=others[1], w=others[2]).results()
    each = [replace(point, x=point.x[i : i + 1], h=point.h[i : i + 1], w=point.w[i : i + 1]) for i in range(BATCH)]
    alone = [row.results() for row in each]
    for name, array in before.items():
        if name.startswith("dparams"):
            total = np.sum([found[name] for found in alone], axis=0)
            _must_be_close(f"{name} must be the sum over the rows", array, total)
        else:
            _must_be_close(f"row 0 of {name} must not depend on the other rows", after[name][:1], array[:1])


def _config(point: Point) -> None:
    cell, kind = point.cell, type(point.cell)
    try:
        config = json.loads(json.dumps(cell.config()))
    except TypeError as error:
        raise AssertionError(f"config must return what JSON can hold: {error}") from error
    if not isinstance(config, dict):
        raise AssertionError(f"config must return a dict, got {type(cell.config()).__name__}")
    name = config.pop("cell", None)
    if not isinstance(name, str) or name != getattr(cell, "name", None):
        raise AssertionError(f"config must have the cell's name under 'cell', got {name!r}")
    for argument in constructor_arguments(kind):
        if argument not in config:
            raise AssertionError(f"config must have {argument!r}, an argument of {kind.__name__}, got {list(config)}")
    try:
        again = kind(**{argument: _with_cells(value) for argument, value in config.items()})
    except (TypeError, ValueError) as error:
        raise AssertionError(f"config must make the cell again, got {type(error).__name__}: {error}") from error
    if again.config() != cell.config():
        raise AssertionError(f"config must make the same cell again, got {again.config()} from {cell.config()}")
    made, wanted = again.step(*point.arguments), cell.step(*point.arguments)
    _must_be_close("config must make the same cell again, but its step differs", made, wanted, growth=0)


def _with_cells(value: Any) -> Any:
    """Return a value of a configuration in which the configurations of cells have become cells."""
    if isinstance(value, list):
        return [_with_cells(part) for part in value]
    return cell_from_config(value) if isinstance(value, dict) and "cell" in value else value


def _named_errors(point: Point) -> None:
    params, x, h, w = point.params, point.x, point.h, point.w
    name = next(iter(params), None)
    wide = [np.concatenate([array, array[:, :1]], axis=1) for array in (x, h, w)]
    nan = [np.where(np.arange(array.size).reshape(array.shape) == 1, np.nan, array) for array in (x, h)]
    without = {key: value for key, value in params.items() if key != name}
    cases: list[tuple[str, str, tuple[Any, ...]]] = [
        ("x", f"has the shape {wide[0].shape}", (params, wide[0], h, w)),
        ("h", f"has the shape {wide[1].shape}", (params, x, wide[1], w)),
        ("h", f"has the shape {h[1:].shape}", (params, x, h[1:], w)),
        ("x", "holds a NaN", (params, nan[0], h, w)),
        ("h", "holds a NaN", (params, x, nan[1], w)),
        ("x", "is float32 among float64", (params, x.astype(np.float32), h, w)),
        ("dh_next", f"has the shape {wide[2].shape}", (params, x, h, wide[2])),
    ]
    if name is not None:
        cases += [
            (name, "is missing in params", (without, x, h, w)),
            (name, "has a wrong shape", ({**params, name: params[name][None]}, x, h, w)),
        ]
    for argument, fault, arguments in cases:
        for method in ("step_vjp",) if argument == "dh_next" else ("step", "step_vjp"):
            wanted = f"{method} must raise a TypeError or ValueError that names {argument} where it {fault}"
            wanted += ", as the decorator numrnn.cells.base.checked does"
            try:
                getattr(point.cell, method)(*arguments[: 3 if method == "step" else 4])
            except Exception as error:
                named = re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", str(error))
                if not isinstance(error, TypeError | ValueError) or named is None:
                    raise AssertionError(f"{wanted}; got {_one_line(error)}") from error
            else:
                raise AssertionError(f"{wanted}; got no error")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _over_time(array: Array, steps: int) -> Array:
    """Return an array (steps, B, ...) of which each step has the rows in another order."""
    return np.stack([np.roll(array, t, axis=0) for t in range(steps)])


def _engines(point: Point) -> None:
    x, d_states = _over_time(point.x, STEPS), _over_time(point.w, STEPS + 1)

    def run(engine: Engine) -> dict[str, Array]:
        states, tape = forward(point.cell, point.params, x, point.h, engine=engine)
        grads = backward(tape, d_states)
        return {"states": states, "dx": grads.x, "dh0": grads.h0, **grads.params}

    wanted = run("reference")
    for name, array in run("auto").items():
        _must_be_close(f"{name} by engine='auto' must be that by engine='reference'", array, wanted[name])


def _lengths(point: Point) -> None:
    padded = _over_time(point.x, STEPS)
    lengths = [1 + 3 * row % STEPS for row in range(BATCH)]
    for row, length in enumerate(lengths):
        padded[length:, row] = np.nan
    with np.errstate(all="ignore"):  # a step may divide by the padding; what matters is whether its result is used
        states, tape = forward(point.cell, point.params, padded, point.h, lengths=lengths)
        grads = backward(tape, d_final=point.w)
    totals = {name: np.zeros(shape) for name, shape in point.cell.parameter_shapes.items()}
    for row, length in enumerate(lengths):
        only = slice(row, row + 1)
        alone, tape = forward(point.cell, point.params, padded[:length, only], point.h[only])
        wanted = backward(tape, d_final=point.w[only])
        where = f"of a row of length {length} in a batch padded to {STEPS} must be as without padding"
        _must_be_close(f"the last state {where}", states[-1][only], alone[-1])
        _must_be_close(f"dx {where}", grads.x[:length, only], wanted.x)
        _must_be_close(f"dh0 {where}", grads.h0[only], wanted.h0)
        totals = {name: total + wanted.params[name] for name, total in totals.items()}
    for name, total in totals.items():
        _must_be_close(f"dparams[{name!r}] of a padded batch must be as without padding", grads.params[name], total)


def _array_api(point: Point) -> str | None:
    try:
        import array_api_strict as xp
    except ImportError:
        return "array-api-strict is not installed"
    device = xp.Device("device1")
    wanted = point.results()
    try:
        found = point.moved(lambda array: xp.asarray(array, device=device)).results()
    except Exception as error:
        text = "every method must run on any array library (see numrnn.backend.array_namespace)"
        raise AssertionError(f"{text}; with array-api-strict it raises {_one_line(error)}") from error
    for name, array in found.items():
        if getattr(array, "device", None) != device:
            place = f"{type(array).__module__}.{type(array).__name__} on {getattr(array, 'device', None)}"
            raise AssertionError(f"{name} must stay in the library and on the device of the arguments, got {place}")
        _must_be_close(f"{name} by array-api-strict must be that by NumPy", array, wanted[name])
    return None


CHECKS: dict[str, Callable[[Point], str | None]] = {
    "arguments are left alone": _purity,
    "shapes": _shapes,
    "dtypes": _dtypes,
    ADJOINT: _adjoint,
    f"{ADJOINT}, in float32": lambda point: _adjoint(point.cast(np.float32)),
    LINEAR: _linear,
    TANGENT: _tangent,
    TRANSPOSES: _transposes,
    JACOBIAN: _jacobian,
    "rows do not see each other": _rows,
    "config makes the cell again": _config,
    "errors name the argument": _named_errors,
    "engines agree": _engines,
    "padding changes nothing": _lengths,
    "any array library will do": _array_api,
}
