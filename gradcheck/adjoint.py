r"""Laws that hand-written operators obey without any step: the adjoint identity, and linearity in the cotangent.

.. math:: \langle J v, w\rangle = \langle v, J^\top w\rangle, \qquad
          J^\top(a w_1 + b w_2) = a J^\top w_1 + b J^\top w_2

Two operators with the same mistake obey the first: check one of them with `check_jvp` or `check_vjp`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arguments import check_bool, check_callables, check_integer, check_positive
from gradcheck.arrays import Host
from gradcheck.directions import dot, norm, rms
from gradcheck.evaluate import SINGLE
from gradcheck.floor import SAFETY
from gradcheck.operands import Arguments, cast, draw, real_values
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED, Entry, Report, Worst
from gradcheck.rules import ADVICE, GROWTH, ROUNDING, ZERO
from gradcheck.tree import Tree, kind_of

__all__ = ["adjoint_test", "check_linearity"]

MOST_NOISE = 64 * float(np.finfo(np.float32).eps)  # a difference that float32 inside an operator could explain
POWER = 4.0


def adjoint_test(
    jvp: Callable[..., Any],
    vjp: Callable[..., Any],
    inputs: Any,
    *,
    repeats: int = 3,
    rtol: float | None = None,
    seed: int = 0,
) -> Report:
    r"""Check :math:`\langle J v, w\rangle = \langle v, J^\top w\rangle` for random v and w.

    Parameters
    ----------
    jvp, vjp : callable
        As for `check_jvp` and `check_vjp`.
    inputs : tuple of structures of arrays
        Where to check; the products are computed in its dtype.
    repeats : int
        Draws of v and w.
    rtol : float or None
        Relative to norm(J v) * rms(w). None: 4500 units of rounding in float64 (1e-12), 256 in float32 (3e-5).
    seed : int
        Of the draws.

    Returns
    -------
    Report
        One entry per array of the inputs: analytic is the side of the vjp, numeric that of the jvp.

    Raises
    ------
    TypeError, ValueError
        For wrong inputs, and for results of other names or shapes than the inputs and the output have, complex ones,
        and NaN or infinity in them.

    Notes
    -----
    A repeat costs one vjp and one jvp per array, and four and three more, to measure the rounding of both, for a
    difference that float32 inside could explain. Two operators with the same mistake pass: check the jvp as well.
    """
    check_callables(jvp=jvp, vjp=vjp)
    check_integer("repeats", repeats, at_least=1)
    check_integer("seed", seed, at_least=0)
    if rtol is not None:
        check_positive("rtol", rtol)
    started = time.perf_counter()
    arguments = Arguments(jvp, inputs)
    draws = [_Draw(jvp, vjp, arguments, seed, repeat) for repeat in range(repeats)]
    sides = [draw.sides() for draw in draws]
    single = arguments.tree.dtype == "float32" or any(draw.narrow for draw in draws)
    eps = float(np.finfo(np.float32 if single else np.float64).eps)
    rtol = GROWTH["single" if single else "exact"] * eps if rtol is None else rtol
    entries = []
    for name in arguments.tree.names:
        errors = [side[name].error for side in sides]
        worst = max(range(repeats), key=errors.__getitem__)
        noise = draws[worst].noise(name) if rtol < errors[worst] < MOST_NOISE else 0.0
        entries.append(_adjoint_entry(name, sides[worst][name], rtol, noise, repeats))
    count = sum(draw.count for draw in draws)
    spent = time.perf_counter() - started
    return Report("adjoint_test", f"{repeats} random pairs", tuple(entries), seed, count, 0, spent)


@dataclass(frozen=True)
class _Sides:
    """<v, J^T w>, <J v, w>, and the size of both."""

    reverse: float
    forward: float
    scale: float

    @property
    def error(self) -> float:
        return abs(self.reverse - self.forward) / self.scale if self.scale else 0.0


class _Draw:
    """One draw of tangents v and of a cotangent w."""

    def __init__(
        self, jvp: Callable[..., Any], vjp: Callable[..., Any], arguments: Arguments, seed: int, repeat: int
    ) -> None:
        self.jvp, self.vjp, self.arguments, self.seed, self.repeat = jvp, vjp, arguments, seed, repeat
        self.tree = arguments.tree
        self.base = self.tree.host()
        self.v = cast(draw(self.tree, seed, repeat, 0), self.tree.dtype)
        self.w: dict[str, Host] = {}
        self.count, self.narrow = 0, False

    def push(self, name: str, v: Host) -> Tree:
        """Return J v for a tangent of one input."""
        self.count += 1
        tangents = {other: (v if other == name else np.zeros_like(u)) for other, u in self.v.items()}
        given = self.arguments.unpack(self.tree.build(self.base)), self.arguments.unpack(self.tree.build(tangents))
        return self._seen(Tree.of(self.jvp(*given[0], *given[1]), "jvp"))

    def pull(self, output: Tree, w: Mapping[str, Host]) -> dict[str, Host]:
        """Return J^T w."""
        self.count += 1
        found = self.vjp(*self.arguments.unpack(self.tree.build(self.base)), output.build(w))
        return real_values(self._seen(Tree.of(self.arguments.pack(found, "vjp"), "vjp")), self.tree.shapes, "vjp")

    def _seen(self, found: Tree) -> Tree:
        self.narrow = self.narrow or any(kind_of(array) in SINGLE for array in found.arrays.values())
        return found

    def sides(self) -> dict[str, _Sides]:
        """Return both sides for each input."""
        pushed = {name: self.push(name, v) for name, v in self.v.items()}
        output = next(iter(pushed.values()))
        self.w = cast(draw(output, self.seed, self.repeat, 1), self.tree.dtype)
        back = self.pull(output, self.w)
        found = {}
        for name, product in pushed.items():
            values, v = real_values(product, output.shapes, "jvp"), self.v[name].astype(np.float64)
            forward = sum(dot(values[key], self.w[key].astype(np.float64)) for key in values)
            size = norm(np.array([norm(part) for part in values.values()]))
            scale = max(size * max(rms(w) for w in self.w.values()), norm(back[name]) * rms(v))
            found[name] = _Sides(dot(back[name], v), forward, scale)
        return found

    def noise(self, name: str) -> float:
        """Return the relative deviation of both operators from linearity: their rounding, in any precision."""
        other = cast(draw(self.tree, self.seed, self.repeat, 2), self.tree.dtype)[name]
        output = self.push(name, self.v[name])
        tangents = self.v[name] + other, self.v[name], other
        whole, left, right = (real_values(self.push(name, v), output.shapes, "jvp") for v in tangents)
        u = cast(draw(output, self.seed, self.repeat, 3), self.tree.dtype)
        sums = [{key: self.w[key] + u[key] for key in u}, self.w, u]
        back = [self.pull(output, w)[name] for w in sums]
        pairs = [(whole[key], left[key], right[key]) for key in whole] + [(back[0], back[1], back[2])]
        return max(norm(a - b - c) / ((norm(b) + norm(c)) or 1.0) for a, b, c in pairs)


def _adjoint_entry(name: str, sides: _Sides, rtol: float, noise: float, repeats: int) -> Entry:
    worst = Worst(name, None, sides.reverse, sides.forward, sides.error)
    if not sides.scale:
        return Entry(name, INCONCLUSIVE, worst, rtol, note="zero on both sides: nothing was tested", reason=ZERO)
    if rtol < sides.error <= SAFETY * noise:
        return Entry(name, INCONCLUSIVE, worst, SAFETY * noise, note=ADVICE[ROUNDING], reason=ROUNDING)
    return Entry(name, PASSED if sides.error <= rtol else FAILED, worst, rtol, repeats, agreement=rtol)


def check_linearity(
    vjp: Callable[..., Any], inputs: Any, cotangent: Any, *, seed: int = 0, constants: bool = False
) -> Report:
    r"""Check that a vjp is linear in its cotangent: :math:`J^\top(a w_1 + b w_2) = a J^\top w_1 + b J^\top w_2`.

    Parameters
    ----------
    vjp : callable
        ``vjp(*inputs, cotangent)``.
    inputs : tuple of structures of arrays
        Where to check.
    cotangent : structure of arrays
        An example: only its structure, shapes, dtypes and device are used.
    seed : int
        Of the cotangents.
    constants : bool
        As for `check_vjp`.

    Returns
    -------
    Report
        One entry per array of the inputs: analytic is the left side, numeric the right.

    Raises
    ------
    TypeError, ValueError
        For wrong inputs, and for results of other names or shapes than the inputs have, complex ones, and NaN or
        infinity in them.

    Notes
    -----
    Three evaluations of the vjp, four if the sides differ. The check fails if a constant is added to the result, or the
    cotangent is ignored, squared or clipped. A difference of a few roundings of float32 is inconclusive if the vjp is
    linear in powers of two, whose products are exact in every precision.
    """
    check_callables(vjp=vjp)
    check_integer("seed", seed, at_least=0)
    check_bool("constants", constants)
    started = time.perf_counter()
    arguments, shape = Arguments(vjp, inputs, constants), Tree.of(cotangent, "cotangent")
    tree, dtype = arguments.tree, arguments.tree.dtype
    a, b = 2.0, -0.75
    if not any(np.size(array) for array in shape.arrays.values()):
        raise ValueError("cotangent must hold at least one number, got empty arrays")
    first, second = draw(shape, seed, 0), draw(shape, seed, 1)

    def apply(w: Mapping[str, Host]) -> dict[str, Host]:
        found = vjp(*arguments.unpack(tree.build(tree.host())), shape.build(cast(w, dtype)))
        return real_values(Tree.of(arguments.pack(found, "vjp"), "vjp"), tree.shapes, "vjp")

    whole = apply({name: a * first[name] + b * second[name] for name in first})
    left, right = apply(first), apply(second)
    rtol = GROWTH["single"] * float(np.finfo(dtype).eps)
    found = {name: (whole[name], a * left[name], b * right[name]) for name in whole}
    exact, count = dict.fromkeys(whole, False), 3
    if any(_defect(*sides) > rtol for sides in found.values()):
        scaled, count = apply({name: POWER * w for name, w in first.items()}), 4
        exact = {name: _defect(scaled[name], POWER * left[name], 0 * left[name]) <= rtol for name in whole}
    entries = tuple(_linear_entry(name, *sides, rtol, exact[name]) for name, sides in found.items())
    return Report("check_linearity", "two cotangents", entries, seed, count, 0, time.perf_counter() - started)


def _defect(whole: Host, left: Host, right: Host) -> float:
    scale = norm(left) + norm(right)
    return norm(whole - left - right) / scale if scale else (np.inf if np.any(whole) else 0.0)


def _linear_entry(name: str, whole: Host, left: Host, right: Host, rtol: float, exact: bool) -> Entry:
    difference = np.abs(whole - left - right)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(difference)), whole.shape))
    error = _defect(whole, left, right)
    worst = Worst(name, index, float(whole[index]), float(left[index] + right[index]), error)
    if not (np.any(whole) or np.any(left) or np.any(right)):
        return Entry(name, INCONCLUSIVE, worst, rtol, note="zero on both sides: nothing was tested", reason=ZERO)
    if error <= rtol:
        return Entry(name, PASSED, worst, rtol)
    if exact and error <= MOST_NOISE:
        return Entry(name, INCONCLUSIVE, worst, MOST_NOISE, note=ADVICE[ROUNDING], reason=ROUNDING)
    return Entry(name, FAILED, worst, rtol, diagnosis="not linear")
