r"""Laws that hand-written operators obey without any step: the adjoint identity, and linearity in the cotangent.

.. math:: \langle J v, w\rangle = \langle v, J^\top w\rangle, \qquad
          J^\top(a w_1 + b w_2) = a J^\top w_1 + b J^\top w_2

Two operators that are wrong alike obey the first: anchor one of them by `check_jvp` or `check_vjp`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradcheck.arguments import check_integer
from gradcheck.arrays import Host, to_host
from gradcheck.directions import dot, norm, rms
from gradcheck.operators import Arguments, cast, draw, dtype_of
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED, Entry, Report, Worst
from gradcheck.rules import GROWTH, ZERO
from gradcheck.tree import Tree


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
        One entry an array of the inputs: analytic is the side of the vjp, numeric that of the jvp.

    Raises
    ------
    TypeError, ValueError
        For wrong inputs or structures.

    Notes
    -----
    A repeat costs one vjp and one jvp an array. Two operators with the same mistake pass: check the jvp as well.
    """
    check_integer("repeats", repeats, at_least=1)
    started = time.perf_counter()
    arguments = Arguments(jvp, inputs)
    pairs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arguments.tree.names}
    for repeat in range(repeats):
        for name, pair in _both_sides(jvp, vjp, arguments, seed, repeat).items():
            pairs[name].append(pair)
    single = dtype_of(arguments.tree) == "float32"
    eps = float(np.finfo(np.float32 if single else np.float64).eps)
    rtol = GROWTH["single" if single else "exact"] * eps if rtol is None else rtol
    entries = tuple(_adjoint_entry(name, found, rtol) for name, found in pairs.items())
    count = repeats * (1 + len(pairs))
    return Report("adjoint_test", f"{repeats} random pairs", entries, seed, count, 0, time.perf_counter() - started)


def _both_sides(
    jvp: Callable[..., Any], vjp: Callable[..., Any], arguments: Arguments, seed: int, repeat: int
) -> dict[str, tuple[float, float, float]]:
    """Return, for each array of the inputs, <v, J^T w>, <J v, w> and the scale of both."""
    tree, dtype = arguments.tree, dtype_of(arguments.tree)
    base, vs = tree.host(), cast(draw(tree, seed, repeat, 0), dtype)
    sides, w, back = {}, None, None
    for name in tree.names:
        tangents = {other: (v if other == name else np.zeros_like(v)) for other, v in vs.items()}
        found = jvp(*arguments.unpack(tree.build(base)), *arguments.unpack(tree.build(tangents)))
        output = Tree.of(found, "jvp")
        if w is None or back is None:
            w = cast(draw(output, seed, repeat, 1), dtype)
            packed = arguments.pack(vjp(*arguments.unpack(tree.build(base)), output.build(w)), "vjp")
            back = {key: to_host(array).astype(np.float64) for key, array in Tree.of(packed, "vjp").arrays.items()}
        pushed = {key: to_host(array).astype(np.float64) for key, array in output.arrays.items()}
        forward = sum(dot(pushed[key], w[key].astype(np.float64)) for key in pushed)
        size = norm(np.array([norm(values) for values in pushed.values()]))
        scale = max(size * max(rms(values) for values in w.values()), norm(back[name]) * rms(vs[name]))
        sides[name] = (dot(back[name], vs[name].astype(np.float64)), forward, scale)
    return sides


def _adjoint_entry(name: str, pairs: Sequence[tuple[float, float, float]], rtol: float) -> Entry:
    reverse, forward, scale = max(pairs, key=lambda pair: abs(pair[0] - pair[1]) / (pair[2] or 1.0))
    error = abs(reverse - forward) / scale if scale else 0.0
    worst = Worst(name, None, reverse, forward, error)
    if not scale:
        return Entry(name, INCONCLUSIVE, worst, rtol, note="zero on both sides: nothing was tested", reason=ZERO)
    return Entry(name, PASSED if error <= rtol else FAILED, worst, rtol, len(pairs))


def check_linearity(vjp: Callable[..., Any], inputs: Any, cotangent: Any, *, seed: int = 0) -> Report:
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

    Returns
    -------
    Report
        One entry an array of the inputs: analytic is the left side, numeric the right.

    Raises
    ------
    TypeError, ValueError
        For wrong inputs or structures.

    Notes
    -----
    Three evaluations of the vjp. A constant added to its result, a cotangent that is ignored, squared or clipped fails.
    """
    started = time.perf_counter()
    arguments, shape = Arguments(vjp, inputs), Tree.of(cotangent, "cotangent")
    tree, dtype = arguments.tree, dtype_of(arguments.tree)
    a, b = 2.0, -0.75
    first, second = draw(shape, seed, 0), draw(shape, seed, 1)

    def apply(w: Mapping[str, Host]) -> dict[str, Host]:
        found = vjp(*arguments.unpack(tree.build(tree.host())), shape.build(cast(w, dtype)))
        packed = Tree.of(arguments.pack(found, "vjp"), "vjp").arrays
        return {name: to_host(array).astype(np.float64) for name, array in packed.items()}

    whole = apply({name: a * first[name] + b * second[name] for name in first})
    left, right = apply(first), apply(second)
    rtol = GROWTH["single"] * float(np.finfo(dtype).eps)
    entries = tuple(_linear_entry(name, whole[name], a * left[name], b * right[name], rtol) for name in whole)
    return Report("check_linearity", "two cotangents", entries, seed, 3, 0, time.perf_counter() - started)


def _linear_entry(name: str, whole: Host, left: Host, right: Host, rtol: float) -> Entry:
    scale = norm(left) + norm(right)
    difference = np.abs(whole - left - right)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(difference)), whole.shape))
    error = norm(difference) / scale if scale else 0.0
    worst = Worst(name, index, float(whole[index]), float(left[index] + right[index]), error)
    if not scale and not np.any(whole):
        return Entry(name, INCONCLUSIVE, worst, rtol, note="zero on both sides: nothing was tested", reason=ZERO)
    passed = scale > 0 and error <= rtol
    return Entry(name, PASSED if passed else FAILED, worst, rtol, diagnosis=None if passed else "not linear")
