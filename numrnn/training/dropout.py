r"""Dropout of the input: values of a sequence are set to zero at random during training.

    x'_i = k_i x_i / (1 - p),    k_i = 1 with probability 1 - p, else 0, independently for every element of every batch

so that the mean of x' is x; validation and test use x itself. The network cannot rely on single values, so it
generalises better from the training images. No dropout is applied to the states: a value lost in one of many hundred
steps is lost for all later ones.

References
----------
N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural
networks from overfitting", Journal of Machine Learning Research 15, 2014.
"""

from __future__ import annotations

import numpy as np

from numrnn.backend import Array, asarray, on_their_device
from numrnn.kernels import PHILOX, Kernel, has_kernel

__all__ = ["drop_inputs"]

# An element is kept if a word of 32 random bits reaches the threshold, p 2^32.
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


@on_their_device
def drop_inputs(x: Array, probability: float, rng: np.random.Generator) -> Array:
    """Return x with elements set to zero at random, and the others scaled to keep its mean.

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.
    probability : float
        p that an element is dropped, 0 <= p < 1; at 0, x itself is returned and nothing is drawn.
    rng : numpy.random.Generator
        Source of randomness: one number per element, or one key for a batch on a GPU, whose kernel generates its
        numbers from it (see `numrnn.datasets.resident`).

    Returns
    -------
    array
        New, with the shape, dtype and device of x.

    Notes
    -----
    One pass over x; on a GPU one launch without synchronisation.
    """
    if probability == 0:
        return x
    scale = 1 / (1 - probability)  # a Python float: the product keeps the dtype of x
    if has_kernel(x):
        key = rng.integers(2**64, dtype=np.uint64)
        return DROPOUT(x, key, np.uint64(round(probability * 2**32)), x.dtype.type(scale), like=x)
    kept = rng.random(x.shape, dtype=np.float32) >= np.float32(probability)
    return x * asarray(kept, like=x, dtype=x.dtype) * scale
