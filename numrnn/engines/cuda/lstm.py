"""What the kernels of lstm.cu compute, and their layouts.

In W, V, b, activations and deltas the kernels have the four gates of a unit side by side; in the parameters, all units
of a gate are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, array_namespace, astype, empty
from numrnn.engines.cuda.euler import Outputs, Recurrence
from numrnn.engines.cuda.kernels import (
    AHEAD,
    CLUSTER_CAPABILITY,
    COUNTERS_BYTES,
    FIRST_CAPABILITY,
    PACK_BYTES,
    SCALARS,
    Blocks,
    Device,
    Occupancy,
    fewest_waves,
    one_block,
)
from numrnn.problem import Problem

GATES = 4
ROWS = (1, 2)  # per block: a lane finishes one of the four gates of a row, so that eight lanes have two rows at most
WITHOUT_COPIES = 75  # the first capability of layouts that need no asynchronous copies


@dataclass(frozen=True)
class LSTMLayout(Blocks):
    """How W (4n, n) is spread over threads: the template parameters of lstm.cu."""

    dtype: str
    units: int
    rows: int
    cluster: int
    group: int
    lanes: int
    held: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.units // self.cluster // self.group * self.lanes

    @property
    def packs(self) -> int:
        """Packs of weights of a thread."""
        return GATES * self.group * self.units // self.lanes * np.dtype(self.dtype).itemsize // PACK_BYTES

    def name(self, kernel: str, gates: int = GATES) -> str:
        """Return the C++ name of an instantiation."""
        numbers = (self.units, self.rows, self.cluster, self.group, self.lanes, self.held)
        return f"lstm_{kernel}<{SCALARS[self.dtype]}, {', '.join(map(str, numbers))}>"

    def shared_bytes(self, kernel: str, gates: int = GATES) -> int:
        """Return the shared memory of a block: weights beyond the registers, vectors, counters, prefetched inputs."""
        rest = (self.packs - self.held) * self.threads * PACK_BYTES
        size, units_here = np.dtype(self.dtype).itemsize, self.units // self.cluster
        # Forward a vector is h and a thread's input one gate; backward it is delta, and the inputs are the gates, c and
        # the loss's direct derivatives with respect to h and c.
        vector, inputs = (self.units, GATES) if kernel == "forward" else (GATES * self.units, GATES + 3)
        return rest + size * self.rows * (2 * vector + AHEAD["lstm"] * inputs * units_here) + COUNTERS_BYTES


@dataclass(frozen=True)
class LSTMTile:
    """A layout without the rows per block; `rows` lists those that it is for.

    Forward, `lanes` threads have the rows of W of `group` units. `held` is the number of packs of weights that a thread
    has in registers, by default all.
    """

    dtype: str
    units: int
    group: int = 1
    lanes: int = 8
    held: int | None = None
    cluster: int = 1
    rows: tuple[int, ...] = ROWS
    first_capability: int = WITHOUT_COPIES

    def with_rows(self, rows: int) -> LSTMLayout:
        """Return the layout with this many rows per block."""
        layout = LSTMLayout(self.dtype, self.units, rows, self.cluster, self.group, self.lanes, self.held or 0)
        return layout if self.held else replace(layout, held=layout.packs)


LSTM_TILES = (
    LSTMTile("float32", 32),
    LSTMTile("float32", 64),
    LSTMTile("float32", 128, cluster=2, first_capability=CLUSTER_CAPABILITY),
    # Without clusters: one row with as many weights in registers as can be, so that 99 KB of shared memory have the
    # rest; two rows, of which a thread has twice as many sums, with 163 KB.
    LSTMTile("float32", 128, lanes=2, held=44, rows=(1,), first_capability=FIRST_CAPABILITY),
    LSTMTile("float32", 128, group=4, held=35, rows=(2,), first_capability=FIRST_CAPABILITY),
    LSTMTile("float64", 32),
    LSTMTile("float64", 64, first_capability=FIRST_CAPABILITY),  # before, it spills
    LSTMTile("float64", 128, cluster=4, first_capability=CLUSTER_CAPABILITY),
)
MOST_UNITS = max(tile.units for tile in LSTM_TILES)


def lstm_tiles_for(capability: int) -> list[LSTMTile]:
    """Return the tiles for devices of this compute capability: of each dtype and width those with the most blocks."""
    able = [tile for tile in LSTM_TILES if capability >= tile.first_capability]
    most = {(tile.dtype, tile.units): tile.cluster for tile in reversed(able)}
    return [tile for tile in able if tile.cluster == most[tile.dtype, tile.units]]


def choose_lstm_layout(
    dtype: str, n: int, batch: int, device: Device, per_processor: Occupancy = one_block
) -> LSTMLayout | None:
    """Return the layout for a problem, or None if the device supports none; see `kernels.choose_layout`."""
    tiles = [tile for tile in lstm_tiles_for(device.capability) if tile.dtype == dtype and tile.units >= n]
    layouts = [tile.with_rows(rows) for tile in tiles for rows in tile.rows if tile.units == tiles[0].units]
    fit = [layout for layout in layouts if layout.shared_bytes("backward") <= device.shared_bytes]
    if not fit or (fit[0].cluster > 1 and not device.has_messages):
        return None
    return fewest_waves(fit, GATES, batch, device, per_processor)


class LSTMRecurrence(Recurrence):
    """The LSTM; see numrnn/cells/lstm.py."""

    gates = GATES

    def __init__(self, problem: Problem, layout: LSTMLayout) -> None:
        self._n, self.layout = problem.cell.hidden_size, layout

    def launch(self, kernel: str, batch: int) -> tuple[str, int, int, int]:
        """See `Recurrence.launch`."""
        layout: LSTMLayout = self.layout
        return layout.name(kernel), layout.blocks(batch), layout.threads, layout.shared_bytes(kernel)

    def weights(self, params: Params, dtype: Any) -> tuple[Array, Array, Array]:
        """See `Recurrence.weights`."""
        W, V, b = (self._by_unit(params[name]) for name in ("W", "V", "b"))
        return array_namespace(W).ascontiguousarray(W, dtype), astype(V, dtype), astype(b, dtype)

    def scalars(self) -> tuple[np.generic, ...]:
        """Nothing."""
        return ()

    def hidden(self, states: Array) -> Array:
        """See `Recurrence.hidden`."""
        return states[..., : self._n]

    def outputs(self, acts: Array, x: Array, wrt: Collection[str]) -> Outputs:
        """See `Recurrence.outputs`."""
        deltas = empty(acts.shape, like=acts)
        return Outputs(deltas, deltas)

    def backward_arguments(self, states: Array, acts: Array, x: Array, direct: Any, to: Outputs) -> tuple[Any, ...]:
        """See `Recurrence.backward_arguments`."""
        return states, acts, direct, to.deltas

    def gradients(self, dA: Array, dV: Array, db: Array) -> dict[str, Array]:
        """See `Recurrence.gradients`."""
        as_rows = array_namespace(dA).ascontiguousarray
        return {name: as_rows(self._by_gate(one)) for name, one in (("W", dA), ("V", dV), ("b", db))}

    def _by_unit(self, rows: Array) -> Array:
        """Return the 4n rows with the gates of a unit side by side."""
        return array_namespace(rows).swapaxes(rows.reshape(GATES, self._n, -1), 0, 1).reshape(rows.shape)

    def _by_gate(self, rows: Array) -> Array:
        """Return the 4n rows with the units of a gate side by side."""
        return array_namespace(rows).swapaxes(rows.reshape(self._n, GATES, -1), 0, 1).reshape(rows.shape)
