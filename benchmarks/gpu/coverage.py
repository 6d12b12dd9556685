"""Problems that together reach every layout of the CUDA engine on a device: for the tests and the sanitizer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numrnn
from numrnn.cells.base import Cell
from numrnn.engines.cuda import lstm
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.kernels import (
    ELMAN,
    GATED,
    UNGATED,
    Device,
    Layout,
    Occupancy,
    choose_layout,
    tiles_for,
)
from numrnn.engines.cuda.lean import LeanLayout, input_width

BATCHES = (1, 3, 131, 200, 264, 512, 1024)  # tried first
PADDING = 3  # units by which n falls short of a layout's width
# Families of kernels and cells that they run; of lean.cu all three that have kernels of their own.
FAMILIES = (
    ("euler", "antisymmetric"),
    ("euler", "gated"),
    ("lean", "antisymmetric"),
    ("lean", "gated"),
    ("lean", "elman"),
    ("lstm", "lstm"),
)
VARIANTS = {"elman": ELMAN, "antisymmetric": UNGATED, "gated": GATED}
# Inputs of a cell: of all families, and of lean.cu one for each number to which its kernels round them up.
INPUTS = 5
FEW_INPUTS = {input_width(m): m for m in (INPUTS, 1, 3)}


@dataclass(frozen=True)
class Case:
    """A problem, and the layout that the engine chooses for it.

    Attributes
    ----------
    family, cell : str
        Of the kernels, as in `numrnn.engines.cuda.kernels.FILES`, and the name of a cell.
    dtype : str
    m, n, batch : int
        Inputs, units and rows of the batch.
    layout : Layout or LSTMLayout
    """

    family: str
    cell: str
    dtype: str
    m: int
    n: int
    batch: int
    layout: Any

    def make_cell(self) -> Cell:
        """Return the cell."""
        return numrnn.CELLS[self.cell](self.m, self.n)

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Let engine="fused" choose this family where two families have the cell."""
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = "0" if self.family == "euler" else "1"
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def wanted(device: Device, family: str, cell: str) -> set[Any]:
    """Return every layout of a family that the device has the shared memory for."""
    layouts: list[Any]
    if family == "lstm":
        tiles = lstm.lstm_tiles_for(device.capability)
        layouts = [tile.with_rows(rows) for tile in tiles for rows in tile.rows]
    else:
        kind = _kind(family)
        pairs = [(tile, rows) for tile in tiles_for(device.capability, kind) for rows in tile.rows]
        inputs = FEW_INPUTS if family == "lean" else (0,)
        layouts = [tile.with_rows(rows, kind, M) for tile, rows in pairs for M in inputs if rows <= kind.most_rows]
    variant = VARIANTS.get(cell, lstm.GATES)
    return {layout for layout in layouts if layout.shared_bytes("backward", variant) <= device.shared_bytes}


def cases(device: Device, per_processor: Occupancy) -> list[Case]:
    """Return a problem for every layout of every family and cell; n is no width of a layout.

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
    for family, cell in FAMILIES:
        for layout in sorted(wanted(device, family, cell), key=str):
            n, limit = layout.units - PADDING, 16 * device.processors
            m = FEW_INPUTS[layout.inputs] if family == "lean" else INPUTS
            for batch in (*BATCHES, *range(1, limit)):
                if _choice(family, cell, layout.dtype, m, n, batch, device, per_processor) == layout:
                    found.append(Case(family, cell, layout.dtype, m, n, batch, layout))
                    break
            else:
                raise ValueError(f"no batch up to {limit} gets {layout} of {family} for the cell {cell}")
    return found


def not_reached(device: Device, some: Sequence[Case]) -> set[tuple[str, str, Any]]:
    """Return the families, cells and layouts that a device can run and no case reaches."""
    reached = {(case.family, case.cell, case.layout) for case in some}
    possible = {(*pair, layout) for pair in FAMILIES for layout in wanted(device, *pair)}
    return possible - reached


def _kind(family: str) -> type[Layout]:
    return LeanLayout if family == "lean" else Layout


def _choice(
    family: str, cell: str, dtype: str, m: int, n: int, batch: int, device: Device, per_processor: Occupancy
) -> Layout | lstm.LSTMLayout | None:
    """Return the layout that the engine chooses."""
    if family == "lstm":
        return lstm.choose_lstm_layout(dtype, n, batch, device, per_processor)
    inputs = input_width(m) if family == "lean" else 0
    return choose_layout(dtype, n, VARIANTS[cell], batch, device, per_processor, _kind(family), inputs)
