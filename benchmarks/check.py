"""Whether contenders that say that they compute the same cell compute the same numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.workloads import Workload

FLOAT32 = np.finfo(np.float32)
# Below it the rounding of a number would be a subnormal one: what float32 loses there is an underflow, of up to its
# smallest normal number, which is eps of this scale.
SMALLEST_SCALE = float(FLOAT32.tiny) / float(FLOAT32.eps)


class DifferentNumbersError(ValueError):
    """A contender's numbers are not those of the cell."""


def tolerance(workload: Workload) -> float:
    """Return how far an array may be off, relative to its `scale`: T + n + m roundings of float32.

    One rounding a step, all of one sign, and those of one product. It is a bound with room, and far below what any
    mistake makes.
    """
    return float(FLOAT32.eps) * (workload.T + workload.n + workload.m)


def scale(value: np.ndarray) -> float:
    """Return what errors of an array are relative to: its largest element, or SMALLEST_SCALE where that is larger.

    An array that has vanished cannot be right in relation to its largest element: float32 has no digits left for it,
    and what flushes subnormal numbers to zero makes zero of it. Neither adds more than float32's smallest normal
    number at a step.
    """
    return max(float(np.max(np.abs(value))), SMALLEST_SCALE)


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
        error = float(np.max(np.abs(got[name] - value)) / scale(value))
        errors[name] = error if np.isfinite(error) else float("inf")
    name = max(errors, key=errors.__getitem__)
    limit = tolerance(workload)
    if errors[name] > limit:
        found = f"off by {errors[name]:.2g} relative to {scale(wanted[name]):.2g}"
        raise DifferentNumbersError(f"{name}: {found}, allowed {limit:.2g}")
    return errors[name], name
