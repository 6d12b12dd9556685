"""The kernels that have not run on a card, on a card: the numbers of the float64 reference, and of the proven kernels.

When all of this passes, add the families to `RUN_ON_A_CARD` in numrnn/engines/cuda/families.py.
"""

import numpy as np
import pytest
from helpers import draw_params
from own_cells import OWN
from test_cuda_engine import DOUBLE, SINGLE, assert_agrees, draw_ragged, move, results

import numrnn
from benchmarks.gpu.coverage import FAMILIES, cases
from numrnn import backward, forward
from numrnn.backend import to_numpy
from numrnn.bptt import ReferenceTape
from numrnn.engines import cuda
from numrnn.engines.cuda import CudaTape
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.kernels import cupy_launcher
from numrnn.problem import check_problem

EULER = ["antisymmetric", "gated", "unstructured", "gated-unstructured"]


@pytest.fixture(autouse=True)
def wanted(cupy, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")


def draw_case(kind, n, batch, n_steps, dtype, rng, m=3):
    """Return a cell, params, x, h0, cotangents of all states, and lengths."""
    if kind in EULER:
        return draw_ragged(kind, n, batch, n_steps, dtype, rng, m)
    cell = numrnn.CELLS[kind](m, n)
    params = draw_params(cell, rng, dtype)
    params["W"] = (params["W"] / n**0.5).astype(dtype)
    shapes = (n_steps, batch, m), (batch, cell.state_size), (n_steps + 1, batch, cell.state_size)
    x, h0, d_states = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return cell, params, x, h0, d_states, rng.integers(1, n_steps + 1, batch)


def skip_where_it_does_not_fit(cupy, cell, params, x, h0):
    """Skip a problem that this card cannot run, with the engine's reason."""
    reason = cuda.kernels_reason(check_problem(cell, *(move(cupy.asarray, a) for a in (params, x, h0)), None, None))
    if reason is not None:
        pytest.skip(f"the CUDA engine does not support {reason}")


@pytest.mark.parametrize(
    ("kind", "n"),
    [("elman", n) for n in (1, 33, 128, 200, 256)] + [("lstm", n) for n in (1, 32, 33, 64, 100, 128)],
)
@pytest.mark.parametrize("batch", [1, 3, 131, 600])
@pytest.mark.parametrize("n_steps", [1, 7, 784])
def test_ragged_sizes_agree_to_2e_5(kind, n, batch, n_steps, cupy, rng):
    *case, lengths = draw_case(kind, n, batch, n_steps, np.float32, rng)
    skip_where_it_does_not_fit(cupy, *case[:4])
    assert_agrees(cupy, SINGLE, *case, lengths=lengths)


@pytest.mark.parametrize(("kind", "n"), [(k, n) for k in ("elman", "lstm") for n in (5, 33, 64, 100, 128)])
@pytest.mark.parametrize("batch", [3, 1000])
def test_they_agree_in_float64(kind, n, batch, cupy, rng):
    *case, lengths = draw_case(kind, n, batch, 7, np.float64, rng)
    skip_where_it_does_not_fit(cupy, *case[:4])
    assert_agrees(cupy, DOUBLE, *case, lengths=lengths)


@pytest.mark.parametrize("kind", EULER)
@pytest.mark.parametrize("n", [1, 33, 128, 200, 256])
@pytest.mark.parametrize("batch", [3, 131, 600])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_leaner_loop_gives_the_bits_of_the_proven_one(kind, n, batch, dtype, cupy, monkeypatch, rng):
    """With more inputs than the kernels take; but not dL/dA, which the leaner loop may add up in another order."""
    *case, lengths = draw_case(kind, n, batch, 77, dtype, rng, m=5)
    skip_where_it_does_not_fit(cupy, *case[:4])
    arrays, passes = [move(cupy.asarray, array) for array in case[1:]], []
    for value in ("0", "1"):
        monkeypatch.setenv(VARIABLE, value)
        passes.append(results("fused", case[0], *arrays, None, lengths=lengths)[1])
    assert all(np.array_equal(passes[0][name], passes[1][name]) for name in passes[0] if name != "W")
    limit = (SINGLE if dtype is np.float32 else DOUBLE) * np.max(np.abs(passes[0]["W"]))
    assert np.max(np.abs(passes[1]["W"] - passes[0]["W"])) <= limit


@pytest.mark.parametrize("kind", [*EULER, "elman"])
@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 128, 200])
@pytest.mark.parametrize("wrt", [("params",), ("params", "x"), ("x", "h0"), ("h0",)], ids=" ".join)
def test_few_inputs_agree_whatever_gradients_are_wanted(kind, m, n, wrt, cupy, rng):
    *case, lengths = draw_case(kind, n, 131, 77, np.float32, rng, m)
    arrays = [move(cupy.asarray, array) for array in case[1:]]
    _, everything = results("fused", case[0], *arrays, None, lengths=lengths)
    _, tape = forward(case[0], *arrays[:3], lengths=lengths, engine="fused")
    some = backward(tape, arrays[3], wrt=wrt)
    named = {**(some.params or {}), "dx": some.x, "dh0": some.h0}
    for name, value in named.items():
        assert value is None or np.array_equal(to_numpy(value), everything[name]), name
    assert_agrees(cupy, SINGLE, *case, lengths=lengths)


@pytest.mark.parametrize(("family", "cell"), [pair for pair in FAMILIES if pair[0] != "euler"])
def test_every_layout_agrees(family, cell, cupy, rng):
    """tests/cuda/test_cuda_coverage.py shows which these are: every tile and number of rows, both precisions."""
    launcher = cupy_launcher(cupy, cupy.cuda.Device().id)
    for case in cases(launcher.device, launcher.blocks_per_processor):
        if (case.family, case.cell) != (family, cell):
            continue
        *problem, lengths = draw_case(cell, case.n, case.batch, 9, np.dtype(case.dtype), rng, case.m)
        tape = assert_agrees(cupy, SINGLE if case.dtype == "float32" else DOUBLE, *problem, lengths=lengths)
        assert tape._recurrence.layout == case.layout


TRACED = {**{f"lipschitz, {m}": numrnn.LipschitzCell(3, 100, method=m) for m in ("euler", "rk2")}, **OWN}
TRACED |= {"lstm, 300 units": numrnn.LSTMCell(3, 300), "gated, 700 units": numrnn.GatedAntisymmetricCell(3, 700)}


@pytest.mark.parametrize("name", TRACED)
@pytest.mark.parametrize("every", [None, 5])
def test_a_traced_cell_agrees(name, every, cupy, rng):
    """The kernels that are generated from a trace, for cells and sizes that no other kernel has."""
    cell = TRACED[name]
    params = {k: v / cell.hidden_size**0.5 for k, v in draw_params(cell, rng).items()}
    x, h0 = rng.standard_normal((13, 7, 3)), rng.standard_normal((7, cell.state_size))
    d_states, lengths = rng.standard_normal((14, 7, cell.state_size)), rng.integers(1, 14, 7)
    arrays = [move(cupy.asarray, array) for array in (params, x, h0, d_states)]
    tape, got = results("fused", cell, *arrays, None, lengths=lengths, recompute_every=every)
    assert isinstance(tape, cuda.TracedTape)
    _, wanted = results("reference", cell, params, x, h0, d_states, None, lengths=lengths)
    for key, value in wanted.items():
        assert np.max(np.abs(got[key] - value)) <= DOUBLE * np.max(np.abs(value)), key


@pytest.mark.parametrize("kind", ["elman", "lstm"])
@pytest.mark.parametrize("every", [1, 10, "sqrt"])
def test_checkpoints_agree(kind, every, cupy, rng):
    *case, lengths = draw_case(kind, 60, 5, 77, np.float64, rng)
    assert_agrees(cupy, DOUBLE, *case, lengths=lengths, recompute_every=every)


@pytest.mark.parametrize(("kind", "n"), [("elman", 256), ("gated", 256), ("lstm", 128)])
def test_two_runs_give_the_same_bits(kind, n, cupy, rng):
    *case, lengths = draw_case(kind, n, 300, 784, np.float32, rng)
    skip_where_it_does_not_fit(cupy, *case[:4])
    arrays = [move(cupy.asarray, array) for array in case[1:]]
    first, second = (results("fused", case[0], *arrays, None, lengths=lengths)[1] for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["elman", "lstm"])
def test_auto_takes_them_only_where_they_are_wanted_until_they_are_listed(kind, cupy, monkeypatch, rng):
    cell = numrnn.CELLS[kind](2, 8)
    params, x = move(cupy.asarray, draw_params(cell, rng)), cupy.ones((3, 2, 2))
    assert isinstance(forward(cell, params, x)[1], CudaTape)
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.setattr(numrnn.bptt, "_warned", set())
    with pytest.warns(numrnn.ReferenceLoopWarning, match="by kernels that have not run on a GPU yet"):
        assert isinstance(forward(cell, params, x)[1], ReferenceTape)
