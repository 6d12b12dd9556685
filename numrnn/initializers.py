r"""How the parameters of a cell start.

    W ~ N(0, weight_std^2 / n),  V ~ N(0, input_std^2 / m),  biases 0

is the paper's with weight_std = sigma_w and input_std = 1; these are variances, not standard deviations. Three more
choices:

- gate_bias: the value at which b_z of a gated cell starts. sigmoid(b_z) scales the first steps: a gate that starts at
  b_z = 0 halves the step size.
- gate_spread: how far b_z of the units lies around gate_bias, at equal distances. A unit of gate z forgets within about
  1 / (eps gamma z) steps, and takes up its input as slowly: gates that start far apart give one network short and long
  memory at once. Gates of an LSTM are spread for the same reason by C. Tallec, Y. Ollivier, "Can recurrent neural
  networks warp time?", ICLR 2018, arXiv:1804.11188.
- rotations: blocks [[0, w_k], [-w_k, 0]] along the diagonal of M = W - W^T, on top of the random part. Each pair of
  units then turns with an angular speed w_k of its own; speeds spaced evenly in their logarithm cover all time scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numrnn.checks import check_integer, check_number


@dataclass(frozen=True, kw_only=True)
class InitialValues:
    """What decides the distribution of a cell's initial parameters.

    Parameters
    ----------
    weight_std : float
        sigma_w >= 0, the standard deviation of the recurrent weights times sqrt(n).
    input_std : float
        >= 0, the standard deviation of the input weights times sqrt(m).
    gate_bias : float
        Mean of the initial b_z of the gated Euler cells; other cells take 0 only.
    gate_spread : float
        s >= 0: b_z rises evenly from gate_bias - s at the first unit to gate_bias + s at the last, of the gated Euler
        cells; other cells take 0 only.
    rotations : pair of float or None
        Smallest and largest angular speed, 0 < w_min <= w_max, of the antisymmetric cells; None adds no rotations.

    Raises
    ------
    TypeError, ValueError
        If a value is of a wrong type or out of range.
    """

    weight_std: float = 1.0
    input_std: float = 1.0
    gate_bias: float = 0.0
    gate_spread: float = 0.0
    rotations: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("weight_std", "input_std", "gate_spread"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), at_least=0))
        object.__setattr__(self, "gate_bias", check_number("gate_bias", self.gate_bias))
        if self.rotations is not None:
            object.__setattr__(self, "rotations", _check_speeds(self.rotations))


def _check_speeds(speeds: Sequence[float]) -> tuple[float, float]:
    if not isinstance(speeds, Sequence) or isinstance(speeds, str) or len(speeds) != 2:
        raise ValueError(f"rotations must be two angular speeds (w_min, w_max) or None, got {speeds!r}")
    slowest, fastest = (check_number("rotations", speed, above=0) for speed in speeds)
    if slowest > fastest:
        raise ValueError(f"rotations must be (w_min, w_max) with w_min <= w_max, got {speeds!r}")
    return slowest, fastest


def block_rotations(hidden_size: int, slowest: float, fastest: float) -> np.ndarray:
    """Return the antisymmetric matrix M, (n, n), whose pairs of units turn with speeds from `slowest` to `fastest`.

    Parameters
    ----------
    hidden_size : int
        n >= 1; of an odd number the last unit does not turn.
    slowest, fastest : float
        w_min and w_max of the floor(n / 2) speeds, spaced evenly in their logarithm; 0 < w_min <= w_max.

    Returns
    -------
    numpy.ndarray, shape (n, n)
        float64; M[2k, 2k+1] = w_k = -M[2k+1, 2k], and 0 elsewhere, so that its eigenvalues are +- i w_k.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> block_rotations(4, 0.5, 2.0)
    array([[ 0. ,  0.5,  0. ,  0. ],
           [-0.5,  0. ,  0. ,  0. ],
           [ 0. ,  0. ,  0. ,  2. ],
           [ 0. ,  0. , -2. ,  0. ]])
    """
    n = check_integer("hidden_size", hidden_size, at_least=1)
    speeds = np.geomspace(*_check_speeds((slowest, fastest)), n // 2)
    M = np.zeros((n, n))
    first = np.arange(0, n - 1, 2)
    M[first, first + 1], M[first + 1, first] = speeds, -speeds
    return M
