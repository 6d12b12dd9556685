r"""Averages of the weights during training, evaluated instead of the last weights.

After update k = 1, 2, ..., K the average a moves towards the parameters p by a weight w_k:

    a_k = a_{k-1} + w_k (p_k - a_{k-1})

    exponential:  w_k = max(1 / k, 1 / N)                           the mean so far, then one of time constant N
    tail:         w_k = 1 for k <= K - N, else 1 / (k - (K - N))    the plain mean of the last N updates

with N = average_updates. Averaging reduces the noise of step sizes and batches in the weights. It needs no gradients
and does not affect training: the run is the same with and without it.

References
----------
B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
Optimization 30(4), 1992.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from numrnn.backend import Array, Params, on_their_device

__all__ = ["AVERAGES", "Average", "average_weight", "move_average", "weighted_mean"]

Average = Literal["exponential", "tail"]
AVERAGES: tuple[Average, ...] = get_args(Average)


def average_weight(kind: Average, updates: int, step: int, total_steps: int) -> float:
    """Return w_k of update number k = `step`, counted from 1, of a run of `total_steps`; `updates` is N >= 1."""
    if kind == "exponential":
        return max(1 / step, 1 / updates)
    return 1 / max(step - max(total_steps - updates, 0), 1)


@on_their_device
def move_average(average: Params, params: Params, weight: float) -> dict[str, Array]:
    """Return the average moved by `weight` towards the parameters; new arrays of the same dtypes."""
    return weighted_mean(average, params, 1 - weight, weight)


def weighted_mean(average: Params, params: Params, rest: Any, weight: Any) -> dict[str, Array]:
    """Return rest * average + weight * params; the weights are numbers, or arrays of shape ()."""
    # Not a + w (p - a), which is not exactly p for w = 1.
    return {name: rest * a + weight * params[name] for name, a in average.items()}
