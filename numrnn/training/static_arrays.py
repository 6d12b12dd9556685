"""Arrays at fixed addresses for a captured update: many arrays, or numbers of the host, in one block of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, asarray, zeros

ALIGNMENT = 512  # bytes, as of memory from CuPy's pool


class Block:
    """Where arrays of one dtype are in one block of memory, so that one copy moves all of them."""

    def __init__(self, groups: Mapping[str, Params]) -> None:
        self.size = 0
        self._places: dict[str, dict[str, tuple[int, tuple[int, ...]]]] = {}
        for group, arrays in groups.items():
            self._places[group] = {}
            for name, array in arrays.items():
                self._places[group][name] = self.size, tuple(array.shape)
                self.size += -(-array.size * array.itemsize // ALIGNMENT) * ALIGNMENT // array.itemsize

    def views(self, block: Array) -> dict[str, dict[str, Array]]:
        """Return the arrays in a block, (size,)."""

        def view(first: int, shape: tuple[int, ...]) -> Array:
            return block[first : first + int(np.prod(shape))].reshape(shape)

        return {group: {name: view(*place) for name, place in places.items()} for group, places in self._places.items()}


class Numbers:
    """Numbers of the host as arrays of shape () on the device, in one block that one copy fills, 8 bytes for each."""

    def __init__(self, dtypes: Sequence[Any], like: Array) -> None:
        self._host = np.zeros(len(dtypes))
        self._device = zeros(self._host.shape, like=like, dtype=np.float64)
        self._to = [self._host[k : k + 1].view(dtype) for k, dtype in enumerate(dtypes)]
        self.arrays = [self._device[k : k + 1].view(dtype)[0] for k, dtype in enumerate(dtypes)]

    def fill(self, values: Sequence[float]) -> None:
        """Copy numbers, which are rounded to the dtypes as a kernel rounds its arguments."""
        for to, value in zip(self._to, values, strict=True):
            to[0] = value
        self._device[...] = asarray(self._host, like=self._device)
