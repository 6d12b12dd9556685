r"""Hessian-vector products, checked against the gradient they belong to.

With a Gaussian w, the scalar :math:`\varphi(p) = \langle w, g(p)\rangle` has the gradient :math:`H w`, since the
Hessian of a smooth loss is symmetric. So `check_gradient` decides, by the complex step of the gradient where that is
analytic, and otherwise by differences of gradients. The gradient itself is taken as right: check it first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradcheck.check import check_gradient
from gradcheck.operands import cast, draw, dtype_of, inner, renamed
from gradcheck.report import Report
from gradcheck.tree import Tree, parameters


def check_hessian_vector_product(
    gradient: Callable[[Any], Any], product: Callable[[Any, Any], Any], params: Any, *, seed: int = 0, **options: Any
) -> Report:
    """Check a hand-written product of the Hessian with a vector.

    Parameters
    ----------
    gradient : callable
        ``gradient(params)``, correct; of complex128 parameters too, if it can.
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
        One entry an array of `params`.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`.

    Notes
    -----
    Evaluations as for `check_gradient`, with gradient and product in the places of loss and gradient.
    """
    tree = parameters(params)
    vector = draw(tree, seed, 0x4E55)

    def loss(p: Any) -> Any:
        return inner(vector, gradient(p))

    def claimed(p: Any) -> Any:
        return product(p, tree.build(cast(vector, dtype_of(Tree.of(p)))))

    report = check_gradient(loss, claimed, params, seed=seed, **options)
    return renamed(report, "check_hessian_vector_product", 0)
