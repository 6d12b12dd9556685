"""What tests/gpu and the sanitizer's short run reach on a card: every layout of every family."""

import os

import numpy as np
import pytest
import standin_cupy
from standin import A100, H200, RTX_3090, Device, StandinLauncher, missing

from benchmarks.gpu import short_run
from benchmarks.gpu.coverage import BATCHES, FAMILIES, VARIANTS, cases, not_reached
from numrnn.engines.cuda import tape
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.kernels import KERNELS, TILES
from numrnn.engines.cuda.lean import LeanLayout
from numrnn.engines.cuda.lstm import LSTM_TILES, ROWS

DEVICES = {"H200": H200, "H100 PCIe": Device(90, 114, 232_448), "A100": A100, "RTX 3090": RTX_3090}


def one(layout, gates):
    return 1


def two(layout, gates):
    return 2


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("occupancy", [one, two])
def test_every_layout_is_reached_and_one_left_out_is_named(device, occupancy):
    found = cases(device, occupancy)
    assert not_reached(device, found) == set()
    for index, left_out in enumerate(found):
        named = not_reached(device, found[:index] + found[index + 1 :])
        assert named == {(left_out.family, left_out.cell, left_out.layout)}


def test_both_kinds_of_cards_together_reach_every_tile():
    found = [case for device in (H200, A100) for case in cases(device, one)]
    for family, cell in FAMILIES:
        layouts = [case.layout for case in found if (case.family, case.cell) == (family, cell)]
        reached = {(layout.dtype, layout.units, layout.cluster, layout.rows) for layout in layouts}
        if family == "lean":
            inputs = {(layout.units, layout.dtype, layout.rows, layout.cluster, layout.inputs) for layout in layouts}
            kept = [(t, rows, M) for t in TILES for rows in t.rows if rows <= 4 for M in (0, 1, 4) if t.inputs >= M]
            assert inputs == {(tile.units, tile.dtype, rows, tile.cluster, M) for tile, rows, M in kept}
            assert {case.m for case in found if case.family == "lean"} == {1, 3, 5}
        tiles, most = (LSTM_TILES, 8) if family == "lstm" else (TILES, 8 if family == "euler" else LeanLayout.most_rows)
        pairs = [(tile, rows) for tile in tiles for rows in getattr(tile, "rows", ROWS) if rows <= most]
        assert reached == {(tile.dtype, tile.units, tile.cluster, rows) for tile, rows in pairs}, (family, cell)
    assert {case.dtype for case in found} == {"float32", "float64"}
    assert set(BATCHES) >= {1, 3, 131, 200, 264, 512, 1024}
    assert all(case.n < case.layout.units for case in found)


@pytest.mark.skipif(missing() is not None or standin_cupy.COMPILER is None, reason="needs g++ on the path")
def test_the_short_run_compares_every_case_with_the_reference(monkeypatch, capsys):
    """On the stand-ins, with the smallest layouts for the many of a card; and a wrong number ends it with 1."""
    cupy = standin_cupy.install(monkeypatch)
    cupy.cuda.set_allocator = lambda allocator: None
    inner = StandinLauncher()

    class Launcher:
        device, blocks_per_processor = inner.device, staticmethod(one)

        def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
            plain = tuple(a if isinstance(a, np.generic) else standin_cupy.bare(a) for a in arguments)
            inner(kernel, blocks, threads, shared_bytes, plain)

    for module in (tape, short_run):
        monkeypatch.setattr(module, "cupy_launcher", lambda xp, index: Launcher())
    monkeypatch.delenv(VARIABLE, raising=False)
    trained = []
    monkeypatch.setattr(short_run, "train", lambda *_, epochs: trained.append((epochs, os.environ.get(VARIABLE))))
    for name in ("traced_errors", "tile_errors", "product_errors"):  # test_cuda_capture.py runs these
        monkeypatch.setattr(short_run, name, lambda cupy: [])
    inputs = {"euler": 0, "lean": 1, "lstm": None}
    some = [case for case in cases(H200, one) if case.layout.units == 32 and case.layout.rows == 1]
    some = [case for case in some if getattr(case.layout, "inputs", None) == inputs[case.family]]
    assert {(case.family, case.cell) for case in some} == set(FAMILIES)
    monkeypatch.setattr(short_run, "cases", lambda device, occupancy: some)
    assert short_run.main() == 0
    assert inner.launched == [case.layout.name(kernel, VARIANTS.get(case.cell)) for case in some for kernel in KERNELS]
    assert trained == [(1, None), (3, "1")]
    assert "worst error" in capsys.readouterr().out
    monkeypatch.setattr(short_run, "TOLERANCES", dict.fromkeys(short_run.TOLERANCES, 1e-30))
    assert short_run.main() == 1
