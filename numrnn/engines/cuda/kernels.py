"""The kernels of the CUDA engine: their text, the layouts that they are compiled for, and how CuPy launches them.

docs/cuda_engine.md explains the layouts. Only this file chooses the layout for a problem and the size of its shared
memory.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

# The families of kernels, each with its files and the steps by which it prefetches inputs: a memory access takes longer
# than a step.
FILES = {
    "euler": ("device.cuh", "product.cuh", "exchange.cuh", "euler.cu"),
    "lean": ("device.cuh", "product.cuh", "loop.cuh", "inputs.cuh", "gradients.cuh", "lean.cu"),
    "lstm": ("device.cuh", "product.cuh", "loop.cuh", "lstm.cu"),
}
AHEAD = {"euler": 3, "lean": 4, "lstm": 4}
KERNELS = ("forward", "backward")
OPTIONS = ("-std=c++17",)
PACK_BYTES = 16  # the widest load from shared memory
FIRST_CAPABILITY = 80  # asynchronous copies, which the kernels of euler.cu need
CLUSTER_CAPABILITY = 90  # clusters of blocks
MESSAGES_NVRTC = (12, 1)  # the first NVRTC that compiles the messages between blocks of a cluster: PTX ISA 8.1
NEWEST_NVRTC = (99, 0)
COUNTERS_BYTES = 16  # two arrival counters, of the kernels that exchange messages
SCALARS = {"float32": "float", "float64": "double"}
INPUT_WIDTHS = (1, 4)  # M of inputs.cuh besides 0: up to so many inputs, the kernels of lean.cu compute V x + b
GROUPS = {90: 8}  # most groups of processors (GPC) of a device, by compute capability
MOST_GROUPS = 12  # of any other device


# enum Cell of lean.cu: the cells that euler.cu and lean.cu run. For the two of euler.cu the number is also that of
# pre-activations per unit; the Elman network has one.
ELMAN, UNGATED, GATED = range(3)


def gates_of(variant: int) -> int:
    """Return the pre-activations per unit of a cell of enum Cell."""
    return max(variant, 1)


def family_of(kernel: str) -> str:
    """Return the family of a kernel, from its name: `forward<...>` is of "euler", `lean_forward<...>` of "lean"."""
    return kernel.partition("<")[0].rpartition("_")[0] or "euler"


@functools.cache
def source(family: str = "euler", *, device: bool = True) -> str:
    """Return the text of a family as one translation unit: it includes nothing, so no toolkit is needed.

    Without `device`, device.cuh is left out: the tests put their own functions in its place.
    """
    folder = pathlib.Path(__file__).parent
    files = FILES[family] if device else FILES[family][1:]
    texts = [(folder / name).read_text(encoding="utf-8") for name in files]
    return "\n".join([f"constexpr int AHEAD = {AHEAD[family]};", *texts])


@dataclass(frozen=True)
class Device:
    """What a layout depends on.

    Attributes
    ----------
    capability : int
        Compute capability, 80 for 8.0.
    processors : int
        Streaming multiprocessors.
    shared_bytes : int
        Shared memory that a block may ask for.
    nvrtc : (int, int)
        Version of the compiler, such as (12, 8).
    """

    capability: int
    processors: int
    shared_bytes: int
    nvrtc: tuple[int, int] = NEWEST_NVRTC

    @property
    def has_messages(self) -> bool:
        """Whether the blocks of a cluster can send messages: what the clusters of lean.cu and lstm.cu need."""
        return self.capability >= CLUSTER_CAPABILITY and self.nvrtc >= MESSAGES_NVRTC

    def clusters(self, blocks: int) -> int:
        """Return a lower bound of the clusters of so many blocks that run at once, one block per processor.

        The driver can count them, but CuPy 14 does not offer its function. Processors come in pairs, and a cluster lies
        within one group of them, so each group has at most `blocks` - 2 processors to spare. Exact for clusters of two.
        """
        spare = GROUPS.get(self.capability, MOST_GROUPS) * max(blocks - 2, 0)
        return max((self.processors - spare) // blocks, 1)


class Blocks:
    """What a layout says of a batch: `rows` of it are in a block, and `cluster` blocks share the matrix."""

    rows: int
    cluster: int

    def blocks(self, batch: int) -> int:
        """Return the number of blocks for a batch."""
        return -(-batch // self.rows) * self.cluster

    def waves(self, batch: int, device: Device, per_processor: int = 1) -> int:
        """Return how often the device is filled with blocks until all have run.

        Parameters
        ----------
        batch : int
            Rows.
        device : Device
        per_processor : int
            Blocks that run at once on a processor; those of clusters are counted as one.
        """
        at_once = device.processors * per_processor if self.cluster == 1 else device.clusters(self.cluster)
        return -(-batch // (self.rows * at_once))


Occupancy = Callable[[Any, int], int]  # of a layout and a number of enum Cell: `Launcher.blocks_per_processor`
Chosen = TypeVar("Chosen", bound=Blocks)


def one_block(layout: Any, variant: int) -> int:
    """Return 1: blocks per processor where nothing is known of it."""
    return 1


def fewest_waves(
    layouts: Sequence[Chosen], variant: int, batch: int, device: Device, per_processor: Occupancy
) -> Chosen:
    """Return the layout with the fewest rows per block with which all blocks run at once, or else the fewest waves.

    All at once means each on a processor of its own: fewer rows make a step shorter, more rows let the processors hold
    the whole batch. If the batch is too large for that, waves are counted with the blocks that share a processor, and
    of layouts with equally many the one with the most rows is taken: it uses a weight more often.
    """
    for layout in layouts:
        if layout.waves(batch, device) == 1:
            return layout
    return min(layouts, key=lambda one: (one.waves(batch, device, per_processor(one, variant)), -one.rows))


@dataclass(frozen=True)
class Layout(Blocks):
    """How the matrix is spread over threads: the template parameters, as numrnn/engines/cuda/product.cuh explains.

    `inputs` is M of inputs.cuh, 0 for the kernels of euler.cu.
    """

    dtype: str
    units: int
    rows: int
    cluster: int
    outputs: int
    lanes: int
    held: int
    inputs: int = 0
    first_capability: ClassVar[int] = FIRST_CAPABILITY
    by_messages: ClassVar[bool] = False  # whether the blocks of a cluster exchange messages
    most_held: ClassVar[int] = 45  # packs of weights in registers, without spilling others
    most_rows: ClassVar[int] = 8  # per block, without spilling

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.units // self.cluster // self.outputs * self.lanes

    @property
    def packs(self) -> int:
        """Packs of weights of a thread."""
        return self.units * self.outputs // self.lanes * np.dtype(self.dtype).itemsize // PACK_BYTES

    def name(self, kernel: str, variant: int) -> str:
        """Return the C++ name of an instantiation; `variant` is a number of enum Cell."""
        numbers = (variant, self.units, self.rows, self.cluster, self.outputs, self.lanes, self.held)
        return f"{kernel}<{SCALARS[self.dtype]}, {', '.join(map(str, numbers))}>"

    def shared_bytes(self, kernel: str, variant: int) -> int:
        """Return the shared memory of a block: weights beyond the registers, vectors, prefetched inputs."""
        size = np.dtype(self.dtype).itemsize
        rest = (self.packs - self.held) * self.threads * PACK_BYTES
        vectors = 2 * self.rows * self.units * size
        kept = max(1, self.rows * self.outputs // self.lanes)
        arrays = gates_of(variant) + (kernel == "backward")
        return rest + vectors + AHEAD["euler"] * arrays * kept * self.threads * size


@dataclass(frozen=True)
class Tile:
    """A layout without the rows per block; `rows` lists those for which it compiles without spilling registers.

    `inputs` is the largest M of inputs.cuh for which the kernels of lean.cu do.
    """

    dtype: str
    units: int
    outputs: int
    lanes: int
    held: int
    cluster: int = 1
    rows: tuple[int, ...] = (1, 2, 4, 8)
    inputs: int = INPUT_WIDTHS[-1]

    def with_rows(self, rows: int, kind: type[Layout] = Layout, inputs: int = 0) -> Layout:
        """Return the layout with this many rows per block, for the kernels of euler.cu or of lean.cu (M inputs)."""
        held = min(self.held, kind.most_held)
        inputs = inputs if inputs <= self.inputs else 0
        return kind(self.dtype, self.units, rows, self.cluster, self.outputs, self.lanes, held, inputs)


# Per dtype by width, then by preference: a device gets the first tile of a width that it can run.
TILES = (
    Tile("float32", 32, outputs=4, lanes=8, held=4),
    Tile("float32", 64, outputs=4, lanes=8, held=8),
    Tile("float32", 128, outputs=4, lanes=8, held=16),
    Tile("float32", 256, outputs=4, lanes=8, held=32, cluster=2),
    # Without clusters: a quarter of the matrix is in shared memory, and two rows make reading it worthwhile.
    Tile("float32", 256, outputs=8, lanes=8, held=45, rows=(2,), inputs=0),
    Tile("float32", 512, outputs=4, lanes=16, held=32, cluster=8),
    Tile("float64", 32, outputs=4, lanes=8, held=8),
    Tile("float64", 64, outputs=4, lanes=8, held=16, inputs=1),
    Tile("float64", 128, outputs=4, lanes=8, held=32, inputs=0),
    Tile("float64", 256, outputs=4, lanes=16, held=32, cluster=4),
)
MOST_UNITS = {dtype: max(tile.units for tile in TILES if tile.dtype == dtype) for dtype in SCALARS}


def tiles_for(capability: int, kind: type[Layout] = Layout) -> list[Tile]:
    """Return the tiles for devices of this compute capability, one for each dtype and width."""
    tiles: dict[tuple[str, int], Tile] = {}
    for tile in TILES:
        if capability >= (kind.first_capability if tile.cluster == 1 else CLUSTER_CAPABILITY):
            tiles.setdefault((tile.dtype, tile.units), tile)
    return list(tiles.values())


def choose_layout(
    dtype: str,
    n: int,
    variant: int,
    batch: int,
    device: Device,
    per_processor: Occupancy = one_block,
    kind: type[Layout] = Layout,
    inputs: int = 0,
) -> Layout | None:
    """Return the layout for a problem, with rows by `fewest_waves`, or None if the device supports none.

    Parameters
    ----------
    dtype, n, variant, batch
        The problem: float32 or float64, units, a number of enum Cell, rows of the batch.
    device : Device
    per_processor : callable
        `Launcher.blocks_per_processor`, called only for a batch too large for one block per processor: it may have to
        compile. By default one block.
    kind : type
        Layout or lean.LeanLayout: for the kernels of euler.cu or of lean.cu.
    inputs : int
        `input_width` of the cell for the kernels of lean.cu.
    """
    for tile in tiles_for(device.capability, kind):
        layouts = [tile.with_rows(rows, kind, inputs) for rows in tile.rows if rows <= kind.most_rows]
        fit = [layout for layout in layouts if layout.shared_bytes("backward", variant) <= device.shared_bytes]
        if kind.by_messages and tile.cluster > 1 and not device.has_messages:
            continue
        if tile.dtype == dtype and tile.units >= n and fit:
            return fewest_waves(fit, variant, batch, device, per_processor)
    return None


class Launcher(Protocol):
    """Runs kernels on a device; the tests have one that runs them on the CPU."""

    device: Device

    def blocks_per_processor(self, layout: Any, variant: int) -> int:
        """Return how many blocks of both kernels of a layout run at once on a processor, at least 1."""

    def __call__(self, kernel: str, blocks: int, threads: int, shared_bytes: int, arguments: tuple[Any, ...]) -> None:
        """Start a kernel, named as by `Layout.name`; arguments are C-contiguous arrays and NumPy scalars."""


class CupyLauncher:
    """Launches the kernels; CuPy compiles them with NVRTC at first use and caches them on disk."""

    def __init__(self, cupy: Any, index: int) -> None:
        self._cupy = cupy
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        self.device = Device(
            capability=10 * properties["major"] + properties["minor"],
            processors=properties["multiProcessorCount"],
            shared_bytes=properties["sharedMemPerBlockOptin"],
            nvrtc=tuple(cupy.cuda.nvrtc.getVersion()),
        )
        self._kernels: dict[tuple[str, int], Any] = {}

    def __call__(self, kernel: str, blocks: int, threads: int, shared_bytes: int, arguments: tuple[Any, ...]) -> None:
        """Start a kernel on the current stream; see `Launcher`."""
        self._function(kernel, shared_bytes)((blocks,), (threads,), arguments, shared_mem=shared_bytes)

    def blocks_per_processor(self, layout: Any, variant: int) -> int:
        """Return what the driver says of both kernels, compiled at the first call for a layout; see `Launcher`."""
        occupancy = self._cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
        counts = []
        for name in KERNELS if layout.cluster == 1 else ():
            shared_bytes = layout.shared_bytes(name, variant)
            function = self._function(layout.name(name, variant), shared_bytes).kernel
            counts.append(occupancy(function.ptr, layout.threads, shared_bytes))
        return max(min(counts, default=1), 1)

    def _function(self, kernel: str, shared_bytes: int) -> Any:
        """Return a compiled kernel that may use so much shared memory."""
        key = kernel, shared_bytes
        if key not in self._kernels:
            module = self._cupy.RawModule(code=source(family_of(kernel)), options=OPTIONS, name_expressions=[kernel])
            function = module.get_function(kernel)
            function.max_dynamic_shared_size_bytes = shared_bytes
            self._kernels[key] = function
        return self._kernels[key]


@functools.cache
def cupy_launcher(cupy: Any, index: int) -> CupyLauncher:
    """Return the launcher of a device, one per process."""
    return CupyLauncher(cupy, index)
