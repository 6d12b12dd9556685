"""Whether contenders that say that they compute the same cell compute the same numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.workloads import Workload

FLOAT32 = np.finfo(np.float32)


class DifferentNumbersError(ValueError):
    """A contender's numbers are not those of the cell."""


def tolerance(workload: Workload) -> float:
    """Return how far an array may be off, relative to its `scale`: T + n + m roundings of float32.

    One rounding a step, all of one sign, and those of one product. It is a bound with room, and far below what any
    mistake makes.
    """
    return float(FLOAT32.eps) * (workload.T + workload.n + workload.m)


def smallest_scale(batch: int) -> float:
    """Return the scale of an array that has vanished: B times float32's smallest normal number over its eps.

    What flushes subnormal numbers to zero loses up to the smallest normal number in each term of a sum, and the
    gradients of parameters have T B terms. `tolerance` allows as much at this scale.
    """
    return batch * float(FLOAT32.tiny) / float(FLOAT32.eps)


def scale(value: np.ndarray, workload: Workload) -> float:
    """Return what errors of an array are relative to: its largest element, or `smallest_scale` where that is larger.

    An array that has vanished cannot be right in relation to its largest element: float32 has no digits left for it,
    and what flushes subnormal numbers to zero makes zero of it.
    """
    return max(float(np.max(np.abs(value))), smallest_scale(workload.B))


def worst_error(
    got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], workload: Workload
) -> tuple[float, str]:
    """Return the largest error of all arrays, each relative to its `scale`, and the name of that array.

    Raises
    ------
    DifferentNumbersError
        If an array is missing, has a wrong shape, or is further off than `tolerance`.
    """
    if set(got) != set(wanted):
        raise DifferentNumbersError(f"expected {', '.join(sorted(wanted))}, got {', '.join(sorted(got))}")
    errors = {}
    for name, value in wanted.items():
        if got[name].shape != value.shape:
            raise DifferentNumbersError(f"{name}: expected the shape {value.shape}, got {got[name].shape}")
        # A NaN compares as false with everything: it must not pass as small.
        error = float(np.max(np.abs(got[name] - value)) / scale(value, workload))
        errors[name] = error if np.isfinite(error) else float("inf")
    name = max(errors, key=errors.__getitem__)
    limit = tolerance(workload)
    if errors[name] > limit:
        found = f"off by {errors[name]:.2g} relative to {scale(wanted[name], workload):.2g}"
        raise DifferentNumbersError(f"{name}: {found}, allowed {limit:.2g}")
    return errors[name], name
