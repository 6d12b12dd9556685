r"""Losses of a batch: (B,) values with one gradient each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck.arguments import check_callables, check_integer
from gradcheck.arrays import Host
from gradcheck.check import check_gradient
from gradcheck.directions import gaussian
from gradcheck.operands import inner, renamed
from gradcheck.report import Report
from gradcheck.tree import Tree, match_names, parameters, values_of

__all__ = ["check_batched_gradient"]


def check_batched_gradient(
    losses: Callable[[Any], Any], gradient: Any, params: Any, *, seed: int = 0, **options: Any
) -> Report:
    r"""Check the gradients of a batch of losses, all of them at once.

    With Gaussian weights w, :math:`\sum_b w_b\,\ell_b(p)` is a scalar, and its gradient is the sum of the gradients of
    the rows with the same weights. A row that affects the loss of another row is detected.

    Parameters
    ----------
    losses : callable
        ``losses(params)`` returns an array of B values, shape (B,).
    gradient : callable, or same structure as `params`
        For each parameter of shape S either B gradients, shape (B, *S); or, if S begins with B and row b affects only
        loss b, the gradient of that row in row b, shape S.
    params : array, float, or nested structure of them
        As for `check_gradient`.
    seed : int
        Of weights and directions.
    **options
        As for `check_gradient`.

    Returns
    -------
    Report
        One entry per array of `params`.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`; also if `losses` does not return an array of shape (B,).

    Notes
    -----
    Evaluations as for `check_gradient`, and one more of `losses`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> check_batched_gradient(lambda p: np.sum(p**2, axis=1), 2 * x, x).passed
    True
    """
    check_callables(losses=losses)
    check_integer("seed", seed, at_least=0)
    tree = parameters(params)
    output = Tree.of(losses(tree.build(tree.host())), "losses")
    shape = np.shape(next(iter(output.arrays.values()), np.empty((0, 0))))
    if output.names != ("params",) or len(shape) != 1:
        raise ValueError(f"losses must return one array of shape (B,), got {', '.join(output.names)} of shape {shape}")
    weights = gaussian(shape, seed, 0xBA7C4)

    def loss(p: Any) -> Any:
        return inner({"params": weights}, losses(p), "losses")

    def weighted(found: Any) -> Any:
        arrays = Tree.of(found, "gradient").arrays
        match_names(arrays, tree, "gradient")
        return tree.build(
            {name: _weigh(values_of(arrays[name]), weights, np.shape(a), name) for name, a in tree.arrays.items()}
        )

    claimed = (lambda p: weighted(gradient(p))) if callable(gradient) else weighted(gradient)
    return renamed(check_gradient(loss, claimed, params, seed=seed, **options), "check_batched_gradient", 1)


def _weigh(rows: Host, weights: Host, shape: tuple[int, ...], name: str) -> Host:
    """Return the gradient of the weighted sum, in the dtype of `rows`."""
    if rows.dtype.kind not in "fc":
        raise TypeError(f"gradient of {name} must hold floating-point numbers, got dtype {rows.dtype}")
    if rows.shape == (weights.size, *shape):
        return np.asarray(np.tensordot(weights, rows, 1)).astype(rows.dtype)
    if rows.shape == tuple(shape) and shape[:1] == weights.shape:
        return (weights.reshape(-1, *(1,) * (len(shape) - 1)) * rows).astype(rows.dtype)
    count = weights.size
    raise ValueError(
        f"gradient of {name} must hold one gradient for each of {count} losses, shape {(count, *shape)}, "
        f"or one for each row of a parameter with {count} rows, got {rows.shape}"
    )
