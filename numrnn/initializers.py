r"""Initial values of a cell's parameters.

    W ~ N(0, weight_std^2 / n),  V ~ N(0, input_std^2 / m),  biases 0

is the paper's choice with weight_std = sigma_w and input_std = 1; N takes a variance, not a standard deviation. More
options, each off by default:

- gate_bias: the initial b_z of a gated cell. sigmoid(b_z) scales the first steps: a gate that starts at b_z = 0 halves
  the step size.
- gate_spread: the units' initial b_z are spaced evenly from gate_bias - gate_spread to gate_bias + gate_spread. A unit
  with gate z forgets within about 1 / (eps gamma z) steps, and responds to its input as slowly: gates that start far
  apart give one network both short and long memory. C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?",
  ICLR 2018, arXiv:1804.11188, spread the gates of an LSTM for the same reason.
- rotations: blocks [[0, w_k], [-w_k, 0]] along the diagonal of M = W - W^T, on top of the random part. Each pair of
  units then rotates at its own angular speed w_k; speeds spaced evenly in their logarithm cover all time scales.
- input_gains: row i of V is multiplied by a gain g_i, and the gains cover a range evenly in their logarithm. A unit
  whose input V x is often much larger than 1 is saturated, and then forgets more slowly, in proportion to the size of
  its row of V (docs/derivation.md, section 9). Units with different gains therefore have different memory lengths, with
  one eps, one gamma and no further parameter. The optimiser's steps of V and b must be scaled by the gains
  (`gain_scales`).
- bias_std: b starts as N(0, bias_std^2), so that the units saturate and drift differently.
- forget_bias: the bias of the LSTM's forget gate, 1 in the paper. "chrono" draws a time scale T_i for each unit,
  b_f = log T_i with T_i uniform between 1 and t_max - 1, and b_i = -b_f: a unit then keeps its memory for about T_i
  steps (Tallec and Ollivier, above).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from numrnn.checks import check_integer, check_number, shown
from numrnn.options import checked, documented, option

__all__ = ["InitialValues", "block_rotations", "gain_scales", "input_gains"]

CHRONO = "chrono"


@documented
@dataclass(frozen=True, kw_only=True)
class InitialValues:
    """Options that set the distribution of a cell's initial parameters.

    Raises
    ------
    TypeError, ValueError
        If a value is of a wrong type or out of range.
    """

    weight_std: float = option(1.0, "sigma_w {range}: the recurrent weights start as N(0, sigma_w^2 / n)", at_least=0)
    input_std: float = option(1.0, "{range}: the input weights start as N(0, input_std^2 / m)", at_least=0)
    gate_bias: float = option(
        0.0,
        "mean of the gate's initial bias b_z; for the two gated Euler cells",
        more="Must be 0 for other cells.",
    )
    gate_spread: float = option(
        0.0,
        "{range}: b_z starts evenly spaced over the units, up to this far from gate_bias; for the gated Euler cells",
        at_least=0,
        more="It rises from gate_bias - gate_spread at the first unit to gate_bias + gate_spread at the last. "
        "Must be 0 for other cells.",
    )
    rotations: Sequence[float] | None = option(
        None,
        "w_min w_max > 0: angular speeds of the rotations added to W; for the two antisymmetric cells",
        more="w_min <= w_max; None adds no rotations.",
    )
    input_gains: Sequence[float] | None = option(
        None,
        "low high > 0: gains of the rows of V; for every cell but the LSTM",
        more="low <= high; None is a gain of 1.",
    )
    bias_std: float = option(
        0.0,
        "{range}: b starts as N(0, bias_std^2); not for the LSTM",
        at_least=0,
        more="The standard deviation of b_z is always 0.",
    )
    forget_bias: float | Literal["chrono"] | None = option(
        None, "the LSTM's initial forget bias: a number, or chrono for time scales up to t_max", none="1"
    )
    t_max: int | None = option(
        None,
        "longest expected dependency in steps, for chrono",
        at_least=3,
        none="for any other forget bias",
    )

    def __post_init__(self) -> None:
        for name, value in checked(self):
            self._set(name, value)
        self._set("gate_bias", check_number("gate_bias", self.gate_bias))
        if self.rotations is not None:
            self._set("rotations", _check_speeds(self.rotations))
        if self.input_gains is not None:
            self._set("input_gains", _check_gains(self.input_gains))
        if isinstance(self.forget_bias, str) and self.forget_bias == CHRONO:
            if self.t_max is None:
                raise ValueError("t_max must be an integer >= 3 with forget_bias='chrono', got None")
        elif self.t_max is not None:
            raise ValueError(f"t_max must be None unless forget_bias is 'chrono', got {shown(self.t_max)}")
        elif isinstance(self.forget_bias, str):
            raise ValueError(f"forget_bias must be a finite number, 'chrono' or None, got {shown(self.forget_bias)}")
        elif self.forget_bias is not None:
            self._set("forget_bias", check_number("forget_bias", self.forget_bias))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def check_unused(self, cell: str, *names: str) -> None:
        """Raise ValueError if an option that does not apply to the cell differs from its default."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                default = f"{field.default:g}" if isinstance(field.default, float) else field.default
                raise ValueError(f"{field.name} must be {default} for the {cell} cell, got {value}")


def _check_speeds(speeds: Sequence[float]) -> tuple[float, float]:
    return _check_range("rotations", "angular speeds", ("w_min", "w_max"), speeds)


def _check_gains(gains: Sequence[float]) -> tuple[float, float]:
    return _check_range("input_gains", "gains", ("low", "high"), gains)


def _check_range(name: str, what: str, ends: tuple[str, str], values: Sequence[float]) -> tuple[float, float]:
    """Return the two ends of a range of positive numbers."""
    pair = f"({', '.join(ends)})"
    if not isinstance(values, Sequence) or isinstance(values, str | bytes | range) or len(values) != 2:
        raise ValueError(f"{name} must be two {what} {pair} or None, got {shown(values)}")
    low, high = (check_number(name, value, above=0) for value in values)
    if low > high:
        raise ValueError(f"{name} must be {pair} with {' <= '.join(ends)}, got {shown(values)}")
    return low, high


def input_gains(hidden_size: int, low: float, high: float) -> np.ndarray:
    """Return the gain of each unit: from `low` at the first to `high` at the last, evenly in the logarithm.

    Parameters
    ----------
    hidden_size : int
        n >= 1; a single unit has the gain sqrt(low high).
    low, high : float
        0 < low <= high.

    Returns
    -------
    numpy.ndarray, shape (n,)
        float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    Which unit has which gain does not matter: the units of a cell whose W is random are interchangeable.

    Examples
    --------
    >>> input_gains(3, 0.5, 2.0)
    array([0.5, 1. , 2. ])
    """
    n = check_integer("hidden_size", hidden_size, at_least=1)
    low, high = check_number("low", low, above=0), check_number("high", high, above=0)
    if low > high:
        raise ValueError(f"low must be at most high, got {low} and {high}")
    return np.geomspace(low, high, n) if n > 1 else np.array([(low * high) ** 0.5])


def gain_scales(hidden_size: int, low: float, high: float) -> dict[str, np.ndarray]:
    """Return the optimiser's step scales for input gains: for V, (n, 1), and for b, (n,).

    With them Adam trains V = g V' as if V' were the parameter: large rows of V take large steps. Without them a row
    with a large gain hardly changes direction, and one with a small gain jumps.

    Parameters
    ----------
    hidden_size, low, high
        As for `input_gains`.

    Returns
    -------
    dict of str to numpy.ndarray
        For `step_scales` of the optimisers.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> from numrnn.training import Adam
    >>> optimizer = Adam(0.01, step_scales=gain_scales(128, 0.3, 30.0))
    """
    gains = input_gains(hidden_size, low, high)
    return {"V": gains[:, None], "b": gains}


def block_rotations(hidden_size: int, slowest: float, fastest: float) -> np.ndarray:
    """Return the antisymmetric matrix M, (n, n), that rotates pairs of units at speeds from `slowest` to `fastest`.

    Parameters
    ----------
    hidden_size : int
        n >= 1; if n is odd, the last unit does not rotate.
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
    slowest, fastest = check_number("slowest", slowest, above=0), check_number("fastest", fastest, above=0)
    if slowest > fastest:
        raise ValueError(f"slowest must be at most fastest, got {slowest} and {fastest}")
    speeds = np.geomspace(slowest, fastest, n // 2)
    M = np.zeros((n, n))
    first = np.arange(0, n - 1, 2)
    M[first, first + 1], M[first + 1, first] = speeds, -speeds
    return M
