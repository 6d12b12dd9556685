"""Problems that together reach every layout of the CUDA engine on a device: for the tests and the sanitizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numrnn.engines.cuda.kernels import Device, Layout, Tile, choose_layout, tiles_for

BATCHES = (1, 3, 131, 200, 264, 512, 1024)  # tried first
PADDING = 3  # units by which n falls short of a layout's width


@dataclass(frozen=True)
class Case:
    """A problem, and the layout that the engine chooses for it.

    Attributes
    ----------
    dtype : str
    n, batch : int
        Units and rows of the batch.
    gates : int
        1, or 2 for a gated cell.
    layout : Layout
    """

    dtype: str
    n: int
    batch: int
    gates: int
    layout: Layout


Occupancy = Callable[[Layout, int], int]


def wanted(device: Device, gates: int) -> set[tuple[Tile, int]]:
    """Return every tile and number of rows that the device has the shared memory for."""
    return {
        (tile, rows)
        for tile in tiles_for(device.capability)
        for rows in tile.rows
        if tile.with_rows(rows).shared_bytes("backward", gates) <= device.shared_bytes
    }


def cases(device: Device, per_processor: Occupancy) -> list[Case]:
    """Return a problem for every tile, number of rows and number of gates; n is no width of a layout.

    Parameters
    ----------
    device : Device
    per_processor : callable
        `Launcher.blocks_per_processor`, by which a large batch gets its layout.

    Raises
    ------
    ValueError
        If a layout is chosen for no batch: then nobody ever gets it.
    """
    found = []
    for gates in (1, 2):
        for tile, rows in sorted(wanted(device, gates), key=str):
            n, limit = tile.units - PADDING, 2 * tile.rows[-1] * device.processors
            for batch in (*BATCHES, *range(1, limit)):
                layout = choose_layout(tile.dtype, n, gates, batch, device, per_processor)
                if layout == tile.with_rows(rows):
                    found.append(Case(tile.dtype, n, batch, gates, layout))
                    break
            else:
                raise ValueError(f"no batch up to {limit} gets {tile.with_rows(rows)}")
    return found


def not_reached(device: Device, some: Sequence[Case]) -> set[tuple[Tile, int, int]]:
    """Return the tiles, numbers of rows and of gates that a device can run and no case reaches."""
    reached = {(case.layout, case.gates) for case in some}
    return {
        (tile, rows, gates)
        for gates in (1, 2)
        for tile, rows in wanted(device, gates)
        if (tile.with_rows(rows), gates) not in reached
    }
