"""The steps of a traced cell as a CUDA graph, and the product kernel of these steps, on a card."""

import numpy as np
import pytest
from helpers import draw_params
from own_cells import OWN
from test_cuda_engine import DOUBLE, move, results

import numrnn
from numrnn.backend import to_numpy, trusted_values
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.trace import TracedTape, capture
from numrnn.engines.cuda.trace.kernels import CupyExecutor
from numrnn.engines.cuda.trace.product import TILES, CupyProducts, choose_tile
from numrnn.problem import check_problem

CELLS = {**{f"lipschitz, {m}": numrnn.LipschitzCell(3, 100, method=m) for m in ("euler", "rk2")}, **OWN}
CELLS |= {"lstm, 300 units": numrnn.LSTMCell(3, 300), "gated, 700 units": numrnn.GatedAntisymmetricCell(3, 700)}


@pytest.fixture(autouse=True)
def fresh(cupy, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(capture, "_loops", capture.Loops())


def draw(cell, rng, n_steps=13, batch=7):
    """Return params, x, h0 and cotangents of all states, in float64, and lengths."""
    params = {k: v / cell.hidden_size**0.5 for k, v in draw_params(cell, rng).items()}
    shapes = (n_steps, batch, 3), (batch, cell.state_size), (n_steps + 1, batch, cell.state_size)
    return params, *(rng.standard_normal(shape) for shape in shapes), rng.integers(1, n_steps + 1, batch)


def captured():
    return sum(entry.loop is not None for entry in capture._loops.by_key.values())


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("every", [None, 5])
def test_replays_on_other_data_agree_and_have_the_bits_of_the_steps_one_by_one(name, every, cupy, monkeypatch, rng):
    cell = CELLS[name]
    for turn in range(3):
        *case, lengths = draw(cell, rng)
        arrays, options = [move(cupy.asarray, array) for array in case], {"lengths": lengths, "recompute_every": every}
        tape, got = results("fused", cell, *arrays, None, **options)
        assert isinstance(tape, TracedTape)
        # With 5 of 13 steps a segment, loops come again in the first pass, but for the gradients of the last segment.
        assert captured() == ((0, 2, 2) if every is None else (3, 4, 4))[turn]
        _, wanted = results("reference", cell, *case, None, lengths=lengths)
        for key, value in wanted.items():
            assert np.max(np.abs(got[key] - value)) <= DOUBLE * np.max(np.abs(value)), key
    monkeypatch.setenv(capture.VARIABLE, "0")
    _, one_by_one = results("fused", cell, *arrays, None, **options)
    assert all(np.array_equal(got[key], value) for key, value in one_by_one.items())


def test_tapes_that_are_kept_do_not_change(cupy, rng):
    cell, tapes = CELLS["lstm, 300 units"], []
    for _ in range(4):
        params, x, h0, *_ = draw(cell, rng)
        states, tape = numrnn.forward(cell, *(move(cupy.asarray, a) for a in (params, x, h0)), engine="fused")
        tapes.append((tape, to_numpy(states)))
    for tape, before in tapes:
        assert np.array_equal(to_numpy(tape.states), before)


def test_streams_do_not_meet(cupy, rng):
    """Passes in line on two streams at once give, bit for bit, what they give one after the other."""
    cell = CELLS["gated, 700 units"]
    cases = [[move(cupy.asarray, array) for array in draw(cell, rng, 200)[:4]] for _ in range(6)]
    alone = [results("fused", cell, *case, None)[1]["dh0"] for case in cases]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    cupy.cuda.Device().synchronize()
    waiting = []
    for turn, case in enumerate(cases):
        with streams[turn % 2], trusted_values():
            _, tape = numrnn.forward(cell, *case[:3], engine="fused")
            waiting.append(numrnn.backward(tape, case[3], wrt=("h0",)).h0)
    for stream in streams:
        stream.synchronize()
    assert all(np.array_equal(to_numpy(got), wanted) for got, wanted in zip(waiting, alone, strict=True))


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("name", ["lipschitz, euler", "lstm, 300 units", "GRU", "rates"])
def test_products_and_what_reads_them_agree_as_one_kernel_and_as_two(name, tile, cupy, rng):
    """One to four parts, with one or two left operands, in blocks of every tile."""
    cell = CELLS[name]
    *case, lengths = draw(cell, rng, 5, 67)
    _, wanted = results("reference", cell, *case, None, lengths=lengths)
    for fuses in (True, False):
        params, x, h0, d_states = (move(cupy.asarray, array) for array in case)
        executor = CupyExecutor(cupy, fuses, lambda *shape: tile)
        tape = TracedTape(check_problem(cell, params, x, h0, lengths, None), executor)
        tape.run()
        grads = numrnn.backward(tape, d_states)
        got = {"states": tape.states, "dx": grads.x, "dh0": grads.h0}
        for key, value in got.items():
            assert np.max(np.abs(to_numpy(value) - wanted[key])) <= DOUBLE * np.max(np.abs(wanted[key])), (key, fuses)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [1, 3, 64, 131, 512])
@pytest.mark.parametrize("n", [32, 129, 1000, 2048])
def test_the_product_kernel_multiplies(dtype, batch, n, cupy, rng):
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((batch, n), (n, n + 1)))
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    bound = n * np.finfo(dtype).eps * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    for right in (cupy.asarray(b), cupy.asarray(np.ascontiguousarray(b.T)).T):
        out = cupy.full((batch, n + 3), np.nan, dtype)
        CupyProducts(cupy)(cupy.asarray(a), right, out[:, 1:-1])
        assert np.all(np.abs(to_numpy(out)[:, 1:-1] - wanted) <= bound)
        assert np.isnan(to_numpy(out)[:, [0, -1]]).all()


def test_every_tile_of_the_product_kernel_is_reached(cupy):
    processors = cupy.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"]
    sizes = [(batch, n + 1) for batch in (1, 3, 64, 131, 512) for n in (32, 129, 1000, 2048)]
    assert {choose_tile(*size, processors) for size in sizes} == set(TILES)
