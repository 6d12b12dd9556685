"""Which kernels have run on a card, and whether the others may be used.

A kernel that only a compiler and the tests' stand-in for CUDA have seen is not used unless the user asks for it: by
engine="fused", or with engine="auto" by the environment variable NUMRNN_CUDA_UNPROVEN=1. Whoever has run a family on a
card, with `make gpu-proof`, adds it to `RUN_ON_A_CARD`.
"""

from __future__ import annotations

from dataclasses import dataclass

from numrnn.checks import check_switch

VARIABLE = "NUMRNN_CUDA_UNPROVEN"


@dataclass(frozen=True)
class CardRun:
    """A family of kernels that has run on a card and passed tests/gpu there.

    Attributes
    ----------
    family : str
        Key of `numrnn.engines.cuda.kernels.FILES`.
    exchange : str
        How the blocks of a cluster exchange the vector.
    capability : int
        Lowest compute capability for which it is taken as proven, 80 for 8.0: that of the instructions it uses.
    most_units : int
        Largest n that ran.
    device, date : str
        Where and when it ran.
    """

    family: str
    exchange: str
    capability: int
    most_units: int
    device: str
    date: str


RUN_ON_A_CARD = (
    CardRun("euler", "cluster barrier", 80, 256, "NVIDIA H100 80GB HBM3, compute capability 9.0", "2026-11-26"),
)


def has_run(family: str, capability: int, units: int) -> bool:
    """Tell whether a family has run on a card, for devices of this compute capability and this many units."""
    return any(
        run.family == family and capability >= run.capability and units <= run.most_units for run in RUN_ON_A_CARD
    )


def unproven_are_wanted() -> bool:
    """Tell whether NUMRNN_CUDA_UNPROVEN asks for kernels that have not run on a card.

    Raises
    ------
    ValueError
        If the variable is neither "0" nor "1".
    """
    return check_switch(VARIABLE, default=False)
