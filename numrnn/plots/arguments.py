"""Checks of arguments that several figures take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from numrnn.checks import as_host_array, shown


def check_axes(axes: Any) -> None:
    """Raise TypeError unless an object looks like axes of matplotlib."""
    if not hasattr(axes, "spines") or not hasattr(axes, "plot"):
        raise TypeError(f"axes must be axes of matplotlib, got {shown(axes)}")


def checked_title(title: Any) -> str:
    """Return a title after checking that it is a string."""
    if not isinstance(title, str):
        raise TypeError(f"title must be a string, got {shown(title)}")
    return title


def checked_curves(name: str, curves: Any) -> Mapping[str, Any]:
    """Return curves by their names after checking that there is one."""
    if not isinstance(curves, Mapping) or not curves or not all(isinstance(one, str) for one in curves):
        raise TypeError(f"{name} must be a mapping of names to curves, got {shown(curves)}")
    return curves


def checked_curve(name: str, values: Any) -> np.ndarray:
    """Return a curve as a host array (N,) of finite real numbers, N >= 1."""
    array = as_host_array(name, values)
    if array.dtype.kind not in "iuf" or array.ndim != 1 or not len(array):
        raise TypeError(f"{name} must be real numbers (N,), got {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array
