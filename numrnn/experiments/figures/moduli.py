"""Moduli of the eigenvalues of dh_T/dh_0, in logarithms: their statistics over images, for one network and each T."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numrnn.backend import to_numpy

if TYPE_CHECKING:
    from numrnn.stability import ScaledMatrix


@dataclass(frozen=True)
class Moduli:
    """Logarithms to base 10 of the moduli of the eigenvalues of dh_T/dh_0, over all images of one network at one T.

    Attributes
    ----------
    length : int
        T.
    mean, std : float
        log10 of the mean and of the standard deviation of the moduli.
    mean_of_logs, std_of_logs : float
        Mean and standard deviation of the logarithms; a modulus below `floor` counts as `floor`.
    largest, median, smallest : float
        log10 of these moduli, as computed.
    floor : float
        log10 of the bound on rounding, s units of rounding of the largest singular value; the maximum over the images.
        A modulus below it is only an upper bound.
    unresolved : float
        Fraction of the eigenvalues below the floor, 0 to 1.
    """

    length: int
    mean: float
    std: float
    mean_of_logs: float
    std_of_logs: float
    largest: float
    median: float
    smallest: float
    floor: float
    unresolved: float


@dataclass(frozen=True, eq=False)
class Curve:
    """One network: its name in the legend, its panel, its description, and its eigenvalues for each T."""

    name: str
    panel: str
    cell: dict[str, Any]
    updates: int
    moduli: list[Moduli]


def moduli(product: ScaledMatrix, length: int) -> Moduli:
    """Return statistics of the eigenvalues of end-to-end Jacobians, in logarithms throughout."""
    logs = product.log_eigenvalues().real  # (B, s)
    size = logs.shape[-1]
    floor = to_numpy(product.log_singular_values())[:, :1] + math.log(size * np.finfo(np.float64).eps)  # (B, 1)
    bounded = np.maximum(logs, floor)
    top = logs.max()
    scaled = np.exp(logs - top)
    std = scaled.std()
    ten = math.log(10)
    return Moduli(
        length=length,
        mean=float((top + np.log(scaled.mean())) / ten),
        std=float((top + np.log(std)) / ten) if std > 0 else -math.inf,
        mean_of_logs=float(bounded.mean() / ten),
        std_of_logs=float(bounded.std() / ten),
        largest=float(top / ten),
        median=float(np.median(logs) / ten),
        smallest=float(logs.min() / ten),
        floor=float(floor.max() / ten),
        unresolved=float(np.mean(logs < floor)),
    )


def plain(name: str) -> str:
    """Return the name of a curve without the markup of formulas."""
    return name.replace("$\\gamma$", "gamma")


def text_of(found: Moduli) -> str:
    """Return the mean modulus as text."""
    bound = "< " if found.largest < found.floor else ""
    return f"{bound}10^{max(found.mean, found.floor) if bound else found.mean:.2f}"
