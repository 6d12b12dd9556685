"""The CUDA engine on a GPU gives the numbers of the float64 reference on the host."""

import numpy as np
import pytest
from helpers import draw_params

import numrnn
from benchmarks.gpu.coverage import cases, not_reached
from benchmarks.workloads import draw, select
from numrnn import backward, forward
from numrnn.backend import is_array, to_numpy, trusted_values
from numrnn.bptt import GRADIENTS
from numrnn.engines.cuda import CudaTape
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.kernels import cupy_launcher

SINGLE = 2e-5  # of the largest element: 168 roundings of float32, for sums over up to 784 steps and 131 rows
DOUBLE = 1e-11
WIDTHS = [1, 33, 128, 200, 256]
PAPER = [f"{task}-{kind}" for task in ("mnist", "cifar", "noise") for kind in ("ungated", "gated")]


@pytest.fixture(autouse=True)
def covered(cupy, monkeypatch):
    """Take the kernels that have run on a card; skip where the GPU is older than their first one."""
    monkeypatch.delenv(VARIABLE, raising=False)
    major = cupy.cuda.runtime.getDeviceProperties(0)["major"]
    if major < 8:
        pytest.skip(f"the CUDA engine needs compute capability 8.0, found {major}.x")


def results(engine, cell, params, x, h0, d_states, d_final, **options):
    """Return a dict of all that a pass gives, on the host."""
    states, tape = forward(cell, params, x, h0, engine=engine, **options)
    grads = backward(tape, d_states, d_final=d_final, wrt=GRADIENTS)
    named = {"states": states, **grads.params, "dx": grads.x, "dh0": grads.h0, "dh": grads.states}
    return tape, {k: to_numpy(v) if is_array(v) else np.asarray(v) for k, v in named.items()}


def assert_agrees(cupy, limit, cell, params, x, h0, d_states=None, d_final=None, **options):
    arrays = [params, x, h0, d_states, d_final]
    tape, got = results("fused", cell, *(move(cupy.asarray, a) for a in arrays), **options)
    assert isinstance(tape, CudaTape)
    options.pop("recompute_every", None)
    _, wanted = results("reference", cell, *(move(lambda a: a.astype(np.float64), a) for a in arrays), **options)
    # Gradients of parameters are sums of cotangents times states, which may cancel: of one unit dW is zero.
    term = np.max(np.abs(wanted["dh"])) * max(1, np.max(np.abs(wanted["states"])))
    sizes = {k: max(np.max(np.abs(v)), term if k in params else 0) for k, v in wanted.items()}
    errors = {k: np.max(np.abs(got[k] - v)) / sizes[k] for k, v in wanted.items()}
    worst = max(errors, key=lambda k: errors[k] if errors[k] == errors[k] else np.inf)
    assert errors[worst] <= limit, f"{worst}: {errors[worst]:.3g}"
    return tape


def move(to, array):
    """Return the array, or each of a mapping, as `to` makes it."""
    if isinstance(array, dict):
        return {k: move(to, v) for k, v in array.items()}
    return None if array is None else to(array)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_workloads_agree_to_2e_5(name, cupy):
    data = draw(select([name])[0])
    assert_agrees(cupy, SINGLE, data.cell, data.params, data.x, data.h0, d_final=data.d_final)


def draw_ragged(kind, n, batch, n_steps, dtype, rng, m=3):
    """Return a cell, params, x, h0, cotangents of all states, and lengths."""
    cell = numrnn.CELLS[kind](m, n, step_size=0.01, diffusion=0.01)
    params = draw_params(cell, rng, dtype)
    params["W"] = (params["W"] / n**0.5).astype(dtype)
    x, h0 = rng.standard_normal((n_steps, batch, m)).astype(dtype), rng.standard_normal((batch, n)).astype(dtype)
    d_states = rng.standard_normal((n_steps + 1, batch, n)).astype(dtype)
    return cell, params, x, h0, d_states, rng.integers(1, n_steps + 1, batch)


@pytest.mark.parametrize("kind", ["antisymmetric", "gated"])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("batch", [1, 3, 131])
@pytest.mark.parametrize("n_steps", [1, 7, 784])
def test_ragged_sizes_agree_to_2e_5(kind, n, batch, n_steps, cupy, rng):
    *case, lengths = draw_ragged(kind, n, batch, n_steps, np.float32, rng)
    assert_agrees(cupy, SINGLE, *case, lengths=lengths)


@pytest.mark.parametrize("kind", ["antisymmetric", "gated", "unstructured", "gated-unstructured"])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("batch", [3, 1000])
def test_every_cell_agrees_in_float64(kind, n, batch, cupy, rng):
    if n > 128 and cupy.cuda.runtime.getDeviceProperties(0)["major"] < 9:
        pytest.skip("256 units in float64 need clusters of blocks, of compute capability 9.0")
    *case, lengths = draw_ragged(kind, n, batch, 7, np.float64, rng)
    assert_agrees(cupy, DOUBLE, *case, lengths=lengths)


@pytest.mark.parametrize("storage", ["antisymmetric", "unstructured"])
def test_every_layout_agrees(storage, cupy, rng):
    """tests/cuda/test_cuda_coverage.py shows which these are: every tile and number of rows, both precisions.

    test_cuda_unproven.py has those of the families that have not run on a card.
    """
    launcher = cupy_launcher(cupy, cupy.cuda.Device().id)
    found = cases(launcher.device, launcher.blocks_per_processor)
    assert not_reached(launcher.device, found) == set()
    for case in (one for one in found if one.family == "euler"):
        gated = "gated" if storage == "antisymmetric" else "gated-unstructured"
        kind = {"antisymmetric": storage, "gated": gated}[case.cell]
        *problem, lengths = draw_ragged(kind, case.n, case.batch, 9, np.dtype(case.dtype), rng)
        limit = SINGLE if case.dtype == "float32" else DOUBLE
        tape = assert_agrees(cupy, limit, *problem, lengths=lengths)
        assert tape._recurrence.layout == case.layout


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [1, 3, 131, 200, 264, 512, 1024])
def test_batches_of_every_kind_agree_with_ragged_lengths(batch, dtype, cupy, rng):
    *case, lengths = draw_ragged("gated", 100, batch, 33, dtype, rng)
    assert_agrees(cupy, SINGLE if dtype == np.float32 else DOUBLE, *case, lengths=lengths)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_streams_do_not_meet(dtype, cupy, rng):
    """Passes in line on two streams at once give, bit for bit, what they give one after the other."""
    problems = [draw_ragged(kind, 120, 100, 200, dtype, rng) for kind in ("antisymmetric", "gated")]
    moved = [[move(cupy.asarray, a) for a in case[1:5]] for case in problems]
    plain = [passes(case[0], *arrays, case[5]) for case, arrays in zip(problems, moved, strict=True)]
    cupy.cuda.Device().synchronize()
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in problems]
    for _ in range(3):
        found = []
        for case, arrays, stream in zip(problems, moved, streams, strict=True):
            with stream, trusted_values():
                found.append(passes(case[0], *arrays, case[5]))
        for stream in streams:
            stream.synchronize()
        for got, wanted in zip(found, plain, strict=True):
            assert all(np.array_equal(to_numpy(g), to_numpy(w)) for g, w in zip(got, wanted, strict=True))


def passes(cell, params, x, h0, d_states, lengths):
    """Return all arrays of a pass, on the device."""
    states, tape = forward(cell, params, x, h0, lengths=lengths, engine="fused")
    grads = backward(tape, d_states, wrt=GRADIENTS)
    return [states, *grads.params.values(), grads.x, grads.h0, grads.states]


@pytest.mark.parametrize("every", [1, 10, "sqrt"])
def test_checkpoints_agree(every, cupy, rng):
    cell = numrnn.GatedAntisymmetricCell(3, 64, step_size=0.05, diffusion=0.01)
    params, x = draw_params(cell, rng), rng.standard_normal((77, 5, 3))
    d_states = rng.standard_normal((78, 5, 64))
    assert_agrees(cupy, DOUBLE, cell, params, x, d_states[0], d_states, recompute_every=every)


def test_two_runs_give_the_same_bits(cupy):
    data = draw(select(["cifar-gated"])[0])
    arrays = [move(cupy.asarray, a) for a in (data.params, data.x, data.h0, None, data.d_final)]
    (_, first), (_, second) = (results("fused", data.cell, *arrays) for _ in range(2))
    assert all(np.array_equal(first[k], second[k]) for k in first)


def test_auto_takes_the_engine_and_says_so_where_it_cannot(cupy, rng):
    for cell in (numrnn.AntisymmetricCell(2, 8), numrnn.UnstructuredCell(2, 8, step_size=0.1)):
        params = move(cupy.asarray, draw_params(cell, rng))
        assert isinstance(forward(cell, params, cupy.ones((3, 2, 2)))[1], CudaTape)
    wide = numrnn.AntisymmetricCell(2, 513)
    params = move(cupy.asarray, draw_params(wide, rng))
    with pytest.warns(
        numrnn.ReferenceLoopWarning, match="more than 512 units in float32|more than 256 units in float64"
    ):
        forward(wide, params, cupy.ones((3, 2, 2)))
