"""The whole bed: the functions of all families, in the order of the page."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from tools.function_bed.base import Function

FAMILIES = (
    "elementwise",
    "trigonometric",
    "activations",
    "piecewise",
    "binary",
    "sums",
    "extremes",
    "gamma",
    "erf",
    "bessel",
    "products",
    "systems",
    "decompositions",
    "indexing",
    "shapes",
    "convolution",
    "softmax",
    "losses",
    "normalisation",
    "attention",
    "recurrent",
    "interpolation",
    "sorting",
    "fourier",
    "kinks",
)


def functions(families: Sequence[str] = FAMILIES) -> list[Function]:
    """Return the entries of these modules, by default of all."""
    modules = [importlib.import_module(f"tools.function_bed.{name}") for name in families]
    return [function for module in modules for function in module.FUNCTIONS]
