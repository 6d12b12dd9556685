r"""Hand-written tangents and adjoints: forward mode (jvp) and reverse mode (vjp).

For :math:`y = F(a_1, a_2, \dots)` with derivative J:

* ``jvp(*inputs, *tangents)`` returns :math:`J \dot a`, shaped like y;
* ``vjp(*inputs, cotangent)`` returns :math:`J^\top w`, one structure per input.

Each check reduces the operator to a scalar loss, and leaves the verdict to `check_gradient`: for the vjp
:math:`\langle w, F(a)\rangle`, whose gradient is :math:`J^\top w`; for the jvp
:math:`\langle w, F(a + \sum_k t_k v_k)\rangle`, whose gradient with respect to t at 0 is :math:`(\langle w, J
v_k\rangle)_k`.

For the product of a Hessian with a vector the same is done once more: with a Gaussian w, the scalar
:math:`\langle w, g(p)\rangle` has the gradient H w, since the Hessian of a smooth loss is symmetric. Here the gradient
g is assumed to be right: check it first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.arguments import check_bool, check_callables, check_integer
from gradcheck.arrays import Host
from gradcheck.check import check_gradient
from gradcheck.directions import gaussian, length_scale
from gradcheck.operands import Arguments, cast, draw, inner, real_values, renamed
from gradcheck.report import Report
from gradcheck.tree import Tree, parameters

__all__ = ["check_hessian_vector_product", "check_jvp", "check_vjp"]

TANGENTS = 3  # directions of each input in which a jvp is tried


def check_vjp(
    function: Callable[..., Any],
    vjp: Callable[..., Any],
    inputs: Any,
    *,
    seed: int = 0,
    constants: bool = False,
    **options: Any,
) -> Report:
    """Check a hand-written adjoint.

    Parameters
    ----------
    function : callable
        ``function(*inputs)`` returns an array or a structure of arrays.
    vjp : callable
        ``vjp(*inputs, cotangent)`` returns the products with the transposed derivative, one structure per input (not in
        a tuple if there is only one).
    inputs : tuple of structures of arrays
        Where to check; float32 or float64.
    seed : int
        Of cotangent and directions.
    constants : bool
        Whether inputs without float arrays (integers, masks, strings) are allowed, and passed unchanged.
    **options
        As for `check_gradient`.

    Returns
    -------
    Report
        One entry per array of the inputs, with names such as ``params.W``.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`; also if vjp returns another number of values than there are inputs.

    Notes
    -----
    One Gaussian cotangent: it covers every output, and by linearity (`check_linearity`) one is enough. Evaluations as
    for `check_gradient`, and one more of the function.
    """
    check_callables(function=function, vjp=vjp)
    check_integer("seed", seed, at_least=0)
    check_bool("constants", constants)
    arguments = Arguments(function, inputs, constants)
    output = Tree.of(function(*arguments.unpack(arguments.tree.build(arguments.tree.host()))), "output")
    cotangent = draw(output, seed, 0xC07)

    def loss(named: Any) -> Any:
        return inner(cotangent, function(*arguments.unpack(named)))

    def gradient(named: Any) -> dict[str, Any]:
        weights = output.build(cast(cotangent, Tree.of(named).dtype))
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
        One entry per array of the inputs; the index of the worst element is that of one of three tangents.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`; also if jvp returns names or shapes that the output of the function lacks, complex numbers,
        NaN or infinity.

    Notes
    -----
    Three evaluations of the jvp per array, with all other tangents zero; those of the function as for `check_gradient`.
    """
    check_callables(function=function, jvp=jvp)
    check_integer("seed", seed, at_least=0)
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
        pushed = real_values(Tree.of(jvp(*arguments.unpack(tree.build(base)), *along), "jvp"), output.shapes, "jvp")
        return float(inner(weights, pushed))

    gradient = {name: np.array([product(name, v) for v in tangents[name]]) for name in base}
    zero = {name: np.zeros(TANGENTS) for name in base}
    report = check_gradient(loss, gradient, zero, seed=seed, **options)
    return renamed(report, "check_jvp", 1 + TANGENTS * len(base))


def check_hessian_vector_product(
    gradient: Callable[[Any], Any], product: Callable[[Any, Any], Any], params: Any, *, seed: int = 0, **options: Any
) -> Report:
    """Check a hand-written product of the Hessian with a vector.

    Parameters
    ----------
    gradient : callable
        ``gradient(params)``, correct; if possible also for complex128 parameters.
    product : callable
        ``product(params, vector)`` with a vector of the structure of `params`; returns the same structure.
    params : array, mapping, or nested mappings and sequences of arrays
        Where to check.
    seed : int
        Of vector and directions.
    **options
        As for `check_gradient`.

    Returns
    -------
    Report
        One entry per array of `params`.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`; also if gradient returns other names or shapes than those of `params`.

    Notes
    -----
    Evaluations as for `check_gradient`, with gradient and product in the places of loss and gradient.
    """
    check_callables(gradient=gradient, product=product)
    check_integer("seed", seed, at_least=0)
    tree = parameters(params)
    vector = draw(tree, seed, 0x4E55)

    def loss(p: Any) -> Any:
        return inner(vector, gradient(p), "gradient")

    def claimed(p: Any) -> Any:
        return product(p, tree.build(cast(vector, Tree.of(p).dtype)))

    report = check_gradient(loss, claimed, params, seed=seed, **options)
    return renamed(report, "check_hessian_vector_product", 0)
