"""Reversal of sequences in time, each row within its own length, so that a cell reads them backwards."""

from __future__ import annotations

from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, asarray, on_their_device
from numrnn.checks import check_array
from numrnn.problem import check_lengths


@on_their_device
def reverse(x: Array, lengths: Any = None) -> Array:
    """Return sequences in reverse time order; elements after a row's length keep their places.

    Parameters
    ----------
    x : array, shape (T, B, m)
        Sequences, time first: input, or states without the first, `states[1:]`. Its values are not checked.
    lengths : sequence or array of int, shape (B,), optional
        1 <= lengths <= T, as for `forward`. By default T for every row.

    Returns
    -------
    array, shape (T, B, m)
        A new array: y[t, i] is x[lengths[i] - 1 - t, i] for t < lengths[i], and x[t, i] from there on.

    Raises
    ------
    TypeError, ValueError
        If x is not such an array, or `lengths` are not B integers from 1 to T.

    Notes
    -----
    It is its own inverse, and its own adjoint: the gradient with respect to x is `reverse(dy, lengths)`. Costs one
    copy.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])[:, :, None]  # T = 3, B = 2, m = 1
    >>> reverse(x, lengths=[3, 2])[:, :, 0].T
    array([[3., 2., 1.],
           [6., 5., 7.]])
    """
    check_array("x", x, ("T", "B", "m"))
    n_steps, batch, width = x.shape
    stops = np.full(batch, n_steps) if lengths is None else check_lengths(lengths, n_steps, batch)
    t = np.arange(n_steps)[:, None]
    source = np.where(t < stops, stops - 1 - t, t)  # (T, B)
    xp = array_namespace(x)
    rows = asarray((source * batch + np.arange(batch)).ravel(), like=x, dtype=xp.int64)
    # Every library has take and reshape; after this reshape a row of x is one step of one sequence.
    return xp.reshape(xp.take(xp.reshape(x, (n_steps * batch, width)), rows, axis=0), (n_steps, batch, width))
