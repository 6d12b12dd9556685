"""Blocks: the elements of a parameter that have about the same size.

One step and one norm suit all elements of an array only if their sizes are similar. In an array that holds both 1e5 and
1e-5, a step that is small for one is ten thousand million times the other, and in their common norm the gradient with
respect to the small one hides that with respect to the large one. Such an array is split, and each block is tried
separately.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradcheck.arrays import Host
from gradcheck.directions import gaussian, rms

FAR = 1e-3  # below this share of the root mean square an element is far from the others ...
SHARE = 0.15  # ... if more than this share of them is (of normally distributed ones, 0.0008 are) ...
RARE = 2e-3  # ... or below this, divided by their number: by chance, less than this share of arrays has such an element
SMALLEST = 1e-292  # size of elements: steps far below it can still be divided by
MOST = 16  # largest number of blocks per array


@dataclass(frozen=True, eq=False)
class Block:
    """Some elements of one parameter.

    Attributes
    ----------
    name : str
        The parameter.
    mask : ndarray of bool
        Which elements.
    size : float
        Root mean square of the elements that are not zero, 1 if all are.
    key : int
        Distinguishes its random directions from those of other blocks.
    """

    name: str
    mask: Host
    size: float
    key: int

    def direction(self, *key: int) -> Host:
        """Return Gaussian numbers in the elements of the block, 0 elsewhere."""
        return np.where(self.mask, gaussian(self.mask.shape, *key), 0.0)

    def without(self, mask: Host) -> Block:
        """Return the block without some of its elements."""
        return Block(self.name, self.mask & ~mask, self.size, self.key)


def blocks(name: str, values: Host, key: int) -> list[Block]:
    """Return the elements of a parameter, grouped by size; zeros belong to the group of the largest."""
    size = np.abs(values)
    left, found = np.ones(values.shape, bool), []
    while np.any(left):
        here = left & (size > 0)
        if not np.any(here):
            found.append((left, 1.0))
            break
        middle = rms(size[here])
        far = here & (size < middle * _limit(size[here] / middle)) if len(found) < MOST - 1 else np.zeros_like(left)
        found.append((left & ~far, rms(size[left & ~far & (size > 0)])))
        left = far
    return [Block(name, mask, max(scale, SMALLEST), key + (part << 32)) for part, (mask, scale) in enumerate(found)]


def sizes(found: list[Block]) -> Host:
    """Return, for each element of a parameter, the size of its block."""
    return np.sum([np.where(block.mask, block.size, 0.0) for block in found], axis=0)


def _limit(relative: Host) -> float:
    """Return the relative size below which elements are far from the others."""
    return FAR if np.mean(relative < FAR) > SHARE else RARE / relative.size
