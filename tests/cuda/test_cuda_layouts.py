"""Which layout a problem gets: wide enough, and with the fewest waves that any layout needs."""

import types

import numpy as np
import pytest
from problems import KINDS, draw, make_cell
from standin import A100, H200, RTX_3090, Device

from numrnn.engines.cuda import make_tape
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.kernels import FIRST_CAPABILITY, KERNELS, TILES, CupyLauncher, Layout, choose_layout, tiles_for
from numrnn.problem import check_problem

H100_PCIE = Device(capability=90, processors=114, shared_bytes=232_448)
T4 = Device(capability=75, processors=40, shared_bytes=65_536)
DEVICES = {"H200": H200, "H100 PCIe": H100_PCIE, "A100": A100, "RTX 3090": RTX_3090, "T4": T4}
BATCHES = range(1, 1057)


def one(layout, gates):
    return 1


def by_registers(layout, gates):
    """Blocks by threads and registers, with a plausible number of these: a weight each, and what sums and rows need."""
    weights = 4 * layout.held * (1 if layout.dtype == "float32" else 2)
    registers = min(weights // 2 + 40 + 12 * layout.rows, 255)
    return max(min(65_536 // (registers * layout.threads), 2048 // layout.threads, 32), 1)


def drawn(layout, gates):
    return int(np.random.default_rng([layout.units, layout.rows, gates, layout.threads]).integers(1, 9))


def waves_of(layout, batch, device, blocks):
    """Count by filling the device: a block, or a cluster of blocks, for every group of rows."""
    groups = -(-batch // layout.rows)
    room = device.clusters(layout.cluster) if layout.cluster > 1 else device.processors * blocks
    waves = 0
    while groups > 0:
        groups, waves = groups - room, waves + 1
    return waves


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("occupancy", [one, by_registers, drawn])
def test_no_layout_needs_fewer_waves(device, occupancy):
    for tile in tiles_for(device.capability):
        candidates = [tile.with_rows(rows) for rows in tile.rows]
        gates = 2
        fit = [c for c in candidates if c.shared_bytes("backward", gates) <= device.shared_bytes]
        for batch in BATCHES:
            chosen = choose_layout(tile.dtype, tile.units, gates, batch, device, occupancy)
            assert (chosen is None) == (not fit)
            if chosen is None:
                continue
            assert chosen in fit
            needed = {c: waves_of(c, batch, device, occupancy(c, gates)) for c in fit}
            assert needed[chosen] == min(needed.values()), (batch, needed)
            apart = [c.rows for c in fit if waves_of(c, batch, device, 1) == 1]
            if apart:  # the shortest steps, where every block has a processor
                assert chosen.rows == min(apart)
    assert tiles_for(device.capability) or device.capability < FIRST_CAPABILITY


@pytest.mark.parametrize("n", [1, 32, 33, 128, 129, 256, 257, 512])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layout_is_wide_enough_and_holds_every_row(n, dtype):
    for device in (H200, A100, Device(89, 128, 101_376)):
        for batch in (1, 3, 128, 131, 512, 5000):
            layout = choose_layout(dtype, n, 2, batch, device)
            if layout is None:
                assert n > (128 if dtype == "float64" else 256) * (1 + (device.capability >= 90))
                continue
            assert layout.units >= n
            assert layout.blocks(batch) * layout.rows >= batch * layout.cluster
            assert layout.shared_bytes("backward", 2) <= device.shared_bytes
            assert layout.threads <= 1024


def test_256_units_stay_in_one_wave_up_to_eight_rows_a_cluster():
    rows = {
        batch: choose_layout("float32", 256, 2, batch, H200).rows for batch in (66, 67, 132, 133, 264, 265, 512, 528)
    }
    assert rows == {66: 1, 67: 2, 132: 2, 133: 4, 264: 4, 265: 8, 512: 8, 528: 8}


def test_the_driver_is_asked_only_where_a_wave_is_not_enough():
    asked = []

    def occupancy(layout, gates):
        asked.append(layout.rows)
        return 2

    assert choose_layout("float32", 128, 1, 1056, H200, occupancy).rows == 8
    assert asked == []
    assert choose_layout("float32", 128, 1, 1057, H200, occupancy).rows == 8
    assert asked == [1, 2, 4, 8]


@pytest.mark.parametrize("processors", [114, 132, 148, 170])
@pytest.mark.parametrize("capability", [90, 100, 120])
def test_the_bound_of_clusters_holds_however_processors_are_grouped(processors, capability, rng):
    device = Device(capability, processors, 232_448)
    assert device.clusters(2) == processors // 2
    for _ in range(200):
        groups = 8 if capability == 90 else rng.integers(7, 13)
        pairs = rng.multinomial(processors // 2, rng.dirichlet(np.full(groups, 30.0)))
        for size in (2, 4, 8):
            assert sum(2 * pairs // size) >= device.clusters(size) or device.clusters(size) == 1


def test_the_launcher_asks_the_driver_for_both_kernels_and_takes_the_fewer():
    """CuPy's interface, recorded; clusters are not asked for, as it has no function for them."""
    compiled, asked = [], []

    class Module:
        def __init__(self, *, code, options, name_expressions):
            compiled.extend(name_expressions)

        def get_function(self, name):
            return types.SimpleNamespace(kernel=types.SimpleNamespace(ptr=name.split("<")[0]))

    def occupancy(pointer, threads, shared_bytes):
        asked.append((pointer, threads, shared_bytes))
        return {"forward": 3, "backward": 2}[pointer]

    properties = {"major": 8, "minor": 0, "multiProcessorCount": 108, "sharedMemPerBlockOptin": 166_912}
    cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceProperties=lambda index: properties),
        nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 0)),
        driver=types.SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=occupancy),
    )
    launcher = CupyLauncher(types.SimpleNamespace(RawModule=Module, cuda=cuda), 0)
    layout = TILES[2].with_rows(4)
    assert launcher.blocks_per_processor(layout, 2) == 2
    assert asked == [(name, 256, layout.shared_bytes(name, 2)) for name in KERNELS]
    assert compiled == [layout.name(name, 2) for name in KERNELS]
    assert launcher.blocks_per_processor(Layout("float32", 256, 1, 2, 4, 8, 32), 1) == 1
    assert len(asked) == 2


@pytest.mark.parametrize("unproven", ["0", "1"])
@pytest.mark.parametrize("kind", [*KINDS, "elman", "lstm"])
def test_the_driver_is_asked_about_the_kernels_that_are_launched(kind, unproven, monkeypatch, rng):
    """The Elman network has as many inputs as an ungated cell, and other kernels; no other cell may confuse two."""
    monkeypatch.setenv(VARIABLE, unproven)
    asked, launched = set(), []

    class Launcher:
        device = Device(86, 2, 101_376)

        def blocks_per_processor(self, layout, variant):
            asked.update((layout.name(name, variant), layout.shared_bytes(name, variant)) for name in KERNELS)
            return int(rng.integers(1, 4))

        def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
            launched.append((kernel, shared_bytes))
            for array in (a for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "f"):
                array[...] = 0

    for n, dtype in ((int(rng.integers(1, 65)), np.float32), (int(rng.integers(1, 33)), np.float64)):
        cell = make_cell(kind, 2, n)
        params, x, h0, d_states = draw(cell, rng, 2, 101, dtype)
        tape = make_tape(check_problem(cell, params, x, h0, None, None), Launcher())
        tape.run()
        tape.propagate(d_states[-1], d_states, ("params",))
    assert len(launched) == 4
    assert set(launched) <= asked
