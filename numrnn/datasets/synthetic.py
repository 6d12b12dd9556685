"""Two synthetic long-memory tasks, copying and adding, drawn from a generator.

Sources
-------
S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, in the form of M. Arjovsky, A. Shah and Y. Bengio,
"Unitary evolution recurrent neural networks", ICML 2016.
"""

from __future__ import annotations

import numpy as np

from numrnn.checks import check_generator, check_integer
from numrnn.datasets.sequences import checked_dtype
from numrnn.typing import RealDType

__all__ = ["adding", "copying"]


def copying(
    rng: np.random.Generator,
    batch_size: int,
    *,
    delay: int,
    n_memory: int = 10,
    n_symbols: int = 8,
    dtype: RealDType = np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch of the copying problem: repeat symbols seen `delay` steps ago.

    The input is n_memory random symbols, delay - 1 blanks, one delimiter and n_memory blanks. The target is blank until
    the delimiter has been shown, then the symbols in their order.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the symbols.
    batch_size : int
        B, >= 1.
    delay : int
        >= 1, the T of Arjovsky et al.: steps from the end of the symbols to the first step of recall.
    n_memory : int
        Symbols to remember, >= 1.
    n_symbols : int
        Kinds of symbols, >= 1.
    dtype : numpy.float32 or numpy.float64
        Dtype of the input.

    Returns
    -------
    x : numpy.ndarray
        (T, B, n_symbols + 2) with T = delay + 2 n_memory, one-hot: the symbols 0 .. n_symbols - 1, then the blank, then
        the delimiter.
    targets : numpy.ndarray
        (T, B) int64 classes 0 .. n_symbols: the symbols, then the blank. The delimiter is never a target.

    Raises
    ------
    TypeError
        If rng is not a generator, a number is not an integer, or the dtype is neither of the two.
    ValueError
        If a number is out of range.

    Notes
    -----
    The best predictor without memory predicts blank before the recall and guesses during it. Its cross-entropy,
    averaged over all T steps, is

        n_memory log(n_symbols) / (delay + 2 n_memory)

    nats: 0.0204 for delay = 1000 and the defaults.

    Examples
    --------
    >>> import numpy as np
    >>> from numrnn.datasets import copying
    >>> x, targets = copying(np.random.default_rng(0), 1, delay=3, n_memory=2, n_symbols=4)
    >>> x.argmax(axis=2)[:, 0].tolist()  # 4 is the blank, 5 the delimiter
    [3, 2, 4, 4, 5, 4, 4]
    >>> targets[:, 0].tolist()
    [4, 4, 4, 4, 4, 3, 2]
    """
    check_generator("rng", rng)
    batch_size = check_integer("batch_size", batch_size, at_least=1)
    delay = check_integer("delay", delay, at_least=1)
    n_memory = check_integer("n_memory", n_memory, at_least=1)
    n_symbols = check_integer("n_symbols", n_symbols, at_least=1)
    blank, delimiter = n_symbols, n_symbols + 1

    symbols = rng.integers(n_symbols, size=(n_memory, batch_size))
    inputs = np.full((delay + 2 * n_memory, batch_size), blank)
    inputs[:n_memory] = symbols
    inputs[n_memory + delay - 1] = delimiter
    targets = np.full(inputs.shape, blank, dtype=np.int64)
    targets[n_memory + delay :] = symbols
    return np.eye(n_symbols + 2, dtype=checked_dtype(dtype))[inputs], targets


def adding(
    rng: np.random.Generator, batch_size: int, *, length: int, dtype: RealDType = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch of the adding problem: the sum of the two marked numbers of a long sequence.

    Every step shows a number, uniform in [0, 1), and a marker. The marker is 1 at one step of the first half
    (0 .. length // 2 - 1), at one step of the second half, both uniform, and 0 elsewhere.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the numbers and the marked steps.
    batch_size : int
        B, >= 1.
    length : int
        T, >= 2.
    dtype : numpy.float32 or numpy.float64
        Dtype of input and target.

    Returns
    -------
    x : numpy.ndarray
        (T, B, 2): number, marker.
    targets : numpy.ndarray
        (B, 1), in [0, 2).

    Raises
    ------
    TypeError
        If rng is not a generator, a number is not an integer, or the dtype is neither of the two.
    ValueError
        If a number is out of range.

    Notes
    -----
    The best predictor without memory always predicts 1. Its mean squared error is the variance of the sum of two
    independent uniform numbers, 2/12 = 0.167.

    This is the form of Arjovsky et al.; Hochreiter and Schmidhuber draw from [-1, 1], mark two early steps and scale
    the target.
    """
    check_generator("rng", rng)
    batch_size = check_integer("batch_size", batch_size, at_least=1)
    length = check_integer("length", length, at_least=2)
    rows = np.arange(batch_size)

    x = np.zeros((length, batch_size, 2), checked_dtype(dtype))
    x[:, :, 0] = rng.random((length, batch_size), dtype=x.dtype)
    first = rng.integers(0, length // 2, size=batch_size)
    second = rng.integers(length // 2, length, size=batch_size)
    x[first, rows, 1] = x[second, rows, 1] = 1
    return x, (x[first, rows, 0] + x[second, rows, 0])[:, None]
