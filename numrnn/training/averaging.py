r"""Averages of the weights along the training, to be evaluated in place of the last weights.

After update k = 1, 2, ..., K the average a moves towards the parameters p by a weight w_k:

    a_k = a_{k-1} + w_k (p_k - a_{k-1})

    exponential:  w_k = max(1 / k, 1 / N)                 the mean of all so far, then one of time constant N
    tail:         w_k = 1 for k <= K - N, else 1 / (k - (K - N))    the plain mean of the last N updates

with N = average_updates. Averaging smooths out what the size of the steps and the choice of batches do to the weights,
and costs neither gradients nor training: the course of the run is the same with and without.

References
----------
B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
Optimization 30(4), 1992.
"""

from __future__ import annotations

from typing import Literal, get_args

from numrnn.backend import Array, Params

__all__ = ["AVERAGES", "Average", "average_weight", "move_average"]

Average = Literal["exponential", "tail"]
AVERAGES: tuple[Average, ...] = get_args(Average)


def average_weight(kind: Average, updates: int, step: int, total_steps: int) -> float:
    """Return w_k of update number k = `step`, counted from 1, of a run of `total_steps`; `updates` is N >= 1."""
    if kind == "exponential":
        return max(1 / step, 1 / updates)
    return 1 / max(step - max(total_steps - updates, 0), 1)


def move_average(average: Params, params: Params, weight: float) -> dict[str, Array]:
    """Return the average after it has moved by `weight` towards the parameters; new arrays of the same dtypes."""
    # Not a + w (p - a): that is not p where w = 1.
    return {name: (1 - weight) * a + weight * params[name] for name, a in average.items()}
