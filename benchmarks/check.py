"""Check that contenders that claim to compute the same cell compute the same numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.workloads import Workload

FLOAT32 = np.finfo(np.float32)


class DifferentNumbersError(ValueError):
    """A contender's numbers differ from those of the cell."""


def tolerance(workload: Workload) -> float:
    """Return the allowed error of an array, relative to its `scale`: T + n + m roundings of float32.

    One rounding per step, all of one sign, and those of one product. The bound is generous, and far below the effect of
    any mistake.
    """
    return float(FLOAT32.eps) * (workload.T + workload.n + workload.m)


def smallest_scale(batch: int) -> float:
    """Return the scale of an array that has vanished: B times float32's smallest normal number over its eps.

    A contender that flushes subnormal numbers to zero loses up to the smallest normal number in each term of a sum, and
    the gradients of parameters have T B terms. `tolerance` allows as much at this scale.
    """
    return batch * float(FLOAT32.tiny) / float(FLOAT32.eps)


def scale(value: np.ndarray, workload: Workload) -> float:
    """Return the scale of an array's errors: its largest element, or `smallest_scale` if that is larger.

    An array that has vanished cannot be accurate relative to its largest element: float32 has no digits left for it,
    and flushing subnormal numbers makes it zero.
    """
    return max(float(np.max(np.abs(value))), smallest_scale(workload.B))


def worst_error(
    got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], workload: Workload
) -> tuple[float, str]:
    """Return the largest error of all arrays, each relative to its `scale`, and the name of that array.

    Raises
    ------
    DifferentNumbersError
        If an array is missing, has a wrong shape, or its error exceeds `tolerance`.
    """
    if set(got) != set(wanted):
        raise DifferentNumbersError(f"expected {', '.join(sorted(wanted))}, got {', '.join(sorted(got))}")
    errors = {}
    for name, value in wanted.items():
        if got[name].shape != value.shape:
            raise DifferentNumbersError(f"{name}: expected the shape {value.shape}, got {got[name].shape}")
        # Comparisons with NaN are false: it must not pass as small.
        error = float(np.max(np.abs(got[name] - value)) / scale(value, workload))
        errors[name] = error if np.isfinite(error) else float("inf")
    name = max(errors, key=errors.__getitem__)
    limit = tolerance(workload)
    if errors[name] > limit:
        found = f"off by {errors[name]:.2g} relative to {scale(wanted[name], workload):.2g}"
        raise DifferentNumbersError(f"{name}: {found}, allowed {limit:.2g}")
    return errors[name], name
