"""The sigmoid of the gates."""

from __future__ import annotations

from numrnn.backend import Array, array_namespace

__all__ = ["sigmoid"]


def sigmoid(u: Array) -> Array:
    """Return 1 / (1 + exp(-u)) as (1 + tanh(u/2)) / 2: analytic, without overflow, and as fast as tanh."""
    xp = array_namespace(u)
    return 0.5 + 0.5 * xp.tanh(0.5 * u)
