r"""Hand-written tangents and adjoints: forward mode (jvp) and reverse mode (vjp).

For :math:`y = F(a_1, a_2, \dots)` with derivative J:

* ``jvp(*inputs, *tangents)`` returns :math:`J \dot a`, shaped like y;
* ``vjp(*inputs, cotangent)`` returns :math:`J^\top w`, one structure an input.

Each check reduces the operator to a scalar loss, and leaves the verdict to `check_gradient`: for the vjp
:math:`\langle w, F(a)\rangle`, whose gradient is :math:`J^\top w`; for the jvp
:math:`\langle w, F(a + \sum_k t_k v_k)\rangle`, whose gradient by t at 0 is :math:`(\langle w, J v_k\rangle)_k`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.arrays import Host
from gradcheck.check import check_gradient
from gradcheck.directions import gaussian, length_scale
from gradcheck.operands import Arguments, cast, draw, dtype_of, inner, renamed
from gradcheck.report import Report
from gradcheck.tree import Tree

TANGENTS = 3  # directions of each input in which a jvp is tried


def check_vjp(
    function: Callable[..., Any], vjp: Callable[..., Any], inputs: Any, *, seed: int = 0, **options: Any
) -> Report:
    """Check a hand-written adjoint.

    Parameters
    ----------
    function : callable
        ``function(*inputs)`` returns an array or a structure of arrays.
    vjp : callable
        ``vjp(*inputs, cotangent)`` returns the products with the transposed derivative, one structure an input (itself
        and not in a tuple, if there is one input).
    inputs : tuple of structures of arrays
        Where to check; float32 or float64.
    seed : int
        Of cotangent and directions.
    **options
        As for `check_gradient`.

    Returns
    -------
    Report
        One entry an array of the inputs, named like ``params.W``.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`; also if vjp returns another number of values than there are inputs.

    Notes
    -----
    One Gaussian cotangent: it meets every output, and by linearity (`check_linearity`) one is enough. Evaluations as
    for `check_gradient`, and one more of the function.
    """
    arguments = Arguments(function, inputs)
    output = Tree.of(function(*arguments.unpack(arguments.tree.build(arguments.tree.host()))), "output")
    cotangent = draw(output, seed, 0xC07)

    def loss(named: Any) -> Any:
        return inner(cotangent, function(*arguments.unpack(named)))

    def gradient(named: Any) -> dict[str, Any]:
        weights = output.build(cast(cotangent, dtype_of(Tree.of(named))))
        return arguments.pack(vjp(*arguments.unpack(named), weights), "vjp")

    report = check_gradient(
        loss, gradient, dict(zip(arguments.names, arguments.values, strict=True)), seed=seed, **options
    )
    return renamed(report, "check_vjp", 1)


def check_jvp(
    function: Callable[..., Any], jvp: Callable[..., Any], inputs: Any, *, seed: int = 0, **options: Any
) -> Report:
    """Check a hand-written tangent.

    Parameters
    ----------
    function : callable
        ``function(*inputs)`` returns an array or a structure of arrays.
    jvp : callable
        ``jvp(*inputs, *tangents)`` returns the derivative along the tangents, structured as the function's output.
    inputs : tuple of structures of arrays
        Where to check; float32 inputs are cast to float64.
    seed : int
        Of tangents and weights.
    **options
        As for `check_gradient`.

    Returns
    -------
    Report
        One entry an array of the inputs; the index of the worst element is the number of the tangent, of three.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`.

    Notes
    -----
    Three evaluations of the jvp an array, with all other tangents zero; of the function as for `check_gradient`.
    """
    arguments = Arguments(function, inputs)
    tree, base = arguments.tree, arguments.tree.host(np.float64)
    output = Tree.of(function(*arguments.unpack(tree.build(base))), "output")
    weights = draw(output, seed, 0xC07)
    tangents = {
        name: np.stack([length_scale(p) * gaussian(p.shape, seed, k, draw_) for draw_ in range(TANGENTS)])
        for k, (name, p) in enumerate(base.items())
    }

    def loss(t: Any) -> Any:
        moved = {name: p + np.tensordot(t[name], tangents[name], 1) for name, p in base.items()}
        return inner(weights, function(*arguments.unpack(tree.build(moved))))

    def product(name: str, tangent: Host) -> float:
        zeros = {other: np.zeros(p.shape) for other, p in base.items()}
        along = arguments.unpack(tree.build({**zeros, name: tangent}))
        return float(inner(weights, jvp(*arguments.unpack(tree.build(base)), *along)))

    gradient = {name: np.array([product(name, v) for v in tangents[name]]) for name in base}
    zero = {name: np.zeros(TANGENTS) for name in base}
    report = check_gradient(loss, gradient, zero, seed=seed, **options)
    return renamed(report, "check_jvp", 1 + TANGENTS * len(base))
