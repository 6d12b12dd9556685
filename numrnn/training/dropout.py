r"""Dropout of the input: values of a sequence are set to zero at random while the network learns.

    x'_i = k_i x_i / (1 - p),    k_i = 1 with probability 1 - p, else 0, on its own for every element of every batch

so that the mean of x' is x; validation and test see x itself. The network cannot lean on single values, and what it
learns from the training images holds better for others. No dropout is applied to the states: what is lost there in one
of many hundred steps is lost for all that follow.

References
----------
N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural
networks from overfitting", Journal of Machine Learning Research 15, 2014.
"""

from __future__ import annotations

import numpy as np

from numrnn.backend import Array, asarray
from numrnn.kernels import PHILOX, Kernel, has_kernel

__all__ = ["drop_inputs"]

# An element is kept where a word of 32 random bits reaches the threshold, p 2^32.
DROPOUT = Kernel(
    name="dropout",
    inputs="T x, uint64 key, uint64 threshold, T scale",
    outputs="T y",
    operation="""
        unsigned u, v;
        numrnn_philox(i, key, &u, &v);
        y = u < threshold ? T(0) : x * scale;
    """,
    preamble=PHILOX,
)


def drop_inputs(x: Array, probability: float, rng: np.random.Generator) -> Array:
    """Return x with elements set to zero at random, and the others scaled to keep its mean.

    Parameters
    ----------
    x : array
        Of any shape, float32 or float64.
    probability : float
        p of an element to be dropped, 0 <= p < 1; at 0, x itself is returned and nothing is drawn.
    rng : numpy.random.Generator
        Where the choice comes from: a number for each element, or one key for a batch on a GPU, whose kernel makes its
        own numbers from that (see `numrnn.datasets.resident`).

    Returns
    -------
    array
        Of the shape, dtype and device of x, new.

    Notes
    -----
    One pass over x; on a GPU one launch, without a wait.
    """
    if probability == 0:
        return x
    scale = 1 / (1 - probability)  # a Python float: the product keeps the dtype of x
    if has_kernel(x):
        key = rng.integers(2**64, dtype=np.uint64)
        return DROPOUT(x, key, np.uint64(round(probability * 2**32)), x.dtype.type(scale), like=x)
    kept = rng.random(x.shape, dtype=np.float32) >= np.float32(probability)
    return x * asarray(kept, like=x, dtype=x.dtype) * scale
