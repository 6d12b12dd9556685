"""Which engine runs, and what is said where the CUDA engine does not."""

import types
from dataclasses import replace

import numpy as np
import pytest
from helpers import EPS64, draw_sequence, make_cells, worst
from problems import make_cell
from standin import A100, H200, T4, Device, StandinLauncher, missing

import numrnn
from numrnn import bptt, forward
from numrnn.cells.antisymmetric import AntisymmetricMatrix, EulerStep
from numrnn.engines import cpu, cuda
from numrnn.engines.cuda.families import RUN_ON_A_CARD, VARIABLE, has_run
from numrnn.engines.cuda.kernels import FILES, TILES, CupyLauncher, choose_layout, source
from numrnn.problem import check_problem


def reason(cell, rng, device=H200, dtype=np.float32):
    params, x, h0 = draw_sequence(cell, rng, dtype=dtype)
    return cuda.kernels_reason(check_problem(cell, params, x, h0, None, None), StandinLauncher(device))


@pytest.mark.parametrize("name", make_cells())
def test_its_kernels_cover_every_cell_but_the_lipschitz(name, rng):
    cell = make_cells()[name]
    wanted = f"the cell {type(cell).__name__}" if name.startswith("lipschitz") else None
    assert reason(cell, rng) == wanted


def test_a_subclass_with_a_step_or_a_matrix_of_its_own_is_not_covered(rng):
    class OtherStep(numrnn.AntisymmetricCell):
        def step(self, params, x, h):
            return 2 * EulerStep.step(self, params, x, h)

    class OtherMatrix(AntisymmetricMatrix):
        def value(self, W):
            return 2 * W

    other = numrnn.AntisymmetricCell(3, 4)
    other.matrix = OtherMatrix(4)

    class OtherLSTM(numrnn.LSTMCell):
        def step_vjp(self, params, x, h, dh_next):
            return super().step_vjp(params, x, h, dh_next)

    class OtherElman(numrnn.ElmanCell):
        def step(self, params, x, h):
            return super().step(params, x, h)

    for kind in (OtherStep, OtherLSTM, OtherElman):
        assert reason(kind(3, 4), rng) == f"the cell {kind.__name__}"
    assert reason(other, rng) == "the cell AntisymmetricCell with the matrix OtherMatrix"


def test_what_a_device_cannot_run_is_named(rng):
    assert reason(make_cell("gated", 3, 513), rng) == "more than 512 units in float32 (there are 513)"
    assert reason(make_cell("gated", 3, 257), rng, dtype=np.float64) == "more than 256 units in float64 (there are 257)"
    assert reason(make_cell("lstm", 3, 129), rng) == "more than 128 units in float32 (there are 129)"
    old = Device(70, 80, 98_304)
    assert reason(make_cell("gated", 3, 4), rng, old) == "arrays on a GPU of compute capability 7.0; it needs 7.5"
    text = reason(make_cell("gated", 3, 200), rng, A100, np.float64)
    wanted = "200 units in float64 on a GPU of compute capability 8.0 with 166912 bytes of shared memory per block"
    assert text == wanted
    assert reason(make_cell("gated", 3, 257), rng, A100) == wanted.replace("200", "257").replace("64 on", "32 on")
    assert reason(make_cell("gated", 3, 128), rng, A100, np.float64) is None


def test_a_compiler_without_messages_is_named_where_a_cluster_needs_them(monkeypatch, rng):
    """NVRTC 12.0 compiles all but the messages; the Euler cells have a cluster with a barrier too."""
    old, new = replace(H200, nvrtc=(12, 0)), replace(H200, nvrtc=(12, 1))
    wanted = "128 units in float32 on a GPU of compute capability 9.0 with NVRTC 12.0; it needs 12.1"
    assert reason(make_cell("lstm", 3, 128), rng, old) == wanted
    assert reason(make_cell("elman", 3, 256), rng, old) == wanted.replace("128", "256")
    assert reason(make_cell("elman", 3, 512), rng, old) == wanted.replace("128", "512")
    for unproven in ("0", "1"):
        monkeypatch.setenv(VARIABLE, unproven)
        for kind, n in (("lstm", 64), ("elman", 128), ("gated", 256), ("antisymmetric", 512)):
            assert reason(make_cell(kind, 3, n), rng, old) is None
    for kind, n in (("lstm", 128), ("elman", 512)):
        assert reason(make_cell(kind, 3, n), rng, new) is None
    too_old = replace(A100, nvrtc=(12, 0))
    assert reason(make_cell("lstm", 3, 128), rng, too_old) is None
    text = reason(make_cell("lstm", 3, 128), rng, too_old, np.float64)
    assert text.endswith("with 166912 bytes of shared memory per block")


def test_complex_numbers_are_not_covered(rng):
    assert reason(make_cell("gated", 3, 4), rng, dtype=np.complex128) == "dtype complex128"


def test_numpy_arrays_are_not_covered_without_the_stand_in(rng):
    cell = make_cell("gated", 3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    assert cuda.unsupported_reason(check_problem(cell, params, x, h0, None, None)) == "arrays of numpy"


def test_every_tile_is_reached_by_some_problem():
    reached = {
        (layout.dtype, layout.units, layout.cluster)
        for device in (H200, A100)
        for dtype in ("float32", "float64")
        for n in (32, 64, 128, 256, 512)
        if (layout := choose_layout(dtype, n, 1, 8, device))
    }
    assert reached == {(tile.dtype, tile.units, tile.cluster) for tile in TILES}


def test_the_text_of_the_kernels_needs_no_header():
    assert not any("#include" in source(family) for family in FILES)


@pytest.fixture
def as_if_on_a_gpu(monkeypatch):
    """Let `forward` take the CUDA engine for NumPy arrays, on the stand-in; returns the launcher."""
    launcher = StandinLauncher()
    monkeypatch.delenv(VARIABLE, raising=False)
    plain = cuda.unsupported_reason
    monkeypatch.setattr(bptt, "_fused_engine", lambda x: cuda)
    monkeypatch.setattr(cuda.tape, "_launcher_of", lambda x: launcher)
    monkeypatch.setattr(cuda, "unsupported_reason", lambda problem: plain(problem, launcher))
    monkeypatch.setattr(bptt, "_warned", set())
    return launcher


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("engine", ["auto", "fused"])
def test_auto_and_fused_take_it_where_it_covers_the_case(engine, as_if_on_a_gpu, rng):
    cell = make_cells()["antisymmetric, full"]
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, engine=engine)
    assert isinstance(tape, cuda.CudaTape)
    assert np.allclose(states, forward(cell, params, x, h0, engine="reference")[0], rtol=1e-13, atol=1e-15)


def test_auto_says_once_for_every_reason_that_the_reference_loop_runs(as_if_on_a_gpu, rng):
    for name in ("lipschitz, euler", "elman", "lstm"):
        cell = make_cells()[name]
        params, x, h0 = draw_sequence(cell, rng)
        with pytest.warns(numrnn.ReferenceLoopWarning, match=f"CUDA engine supports the cell {type(cell).__name__}"):
            first = forward(cell, params, x, h0)[0]
        assert np.array_equal(forward(cell, params, x, h0)[0], first)  # and not again: warnings are errors here


UNPROVEN = {"elman": "lean_", "lstm": "lstm_"}


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("name", UNPROVEN)
def test_kernels_that_have_not_run_on_a_card_are_used_where_they_are_asked_for(name, as_if_on_a_gpu, monkeypatch, rng):
    cell = make_cells()[name]
    params, x, h0 = draw_sequence(cell, rng)
    words = (
        f"the CUDA engine supports the cell {type(cell).__name__} with 4 units on a GPU of compute capability 9.0 by "
        "kernels that have not run on a GPU yet: the reference loop runs, one step at a time; engine='fused' runs "
        "them, and so does 'auto' with NUMRNN_CUDA_UNPROVEN=1 in the environment"
    )
    with pytest.warns(numrnn.ReferenceLoopWarning) as told:
        assert isinstance(forward(cell, params, x, h0)[1], bptt.ReferenceTape)
    assert [str(one.message) for one in told] == [words]
    assert isinstance(forward(cell, params, x, h0, engine="fused")[1], cuda.CudaTape)
    monkeypatch.setenv(VARIABLE, "1")
    assert isinstance(forward(cell, params, x, h0)[1], cuda.CudaTape)
    assert as_if_on_a_gpu.launched
    assert all(kernel.startswith(UNPROVEN[name]) for kernel in as_if_on_a_gpu.launched)


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_cell_whose_kernels_have_run_on_a_card_keeps_them_unless_the_variable_says_so(
    as_if_on_a_gpu, monkeypatch, rng
):
    cell = make_cells()["antisymmetric, full"]
    params, x, h0 = draw_sequence(cell, rng)
    for engine in ("auto", "fused"):
        forward(cell, params, x, h0, engine=engine)
    monkeypatch.setenv(VARIABLE, "1")
    forward(cell, params, x, h0)
    names = [kernel.partition("<")[0] for kernel in as_if_on_a_gpu.launched]
    assert names == ["forward", "forward", "lean_forward"]


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_an_older_card_runs_only_kernels_that_have_not_run_on_one(as_if_on_a_gpu, rng):
    as_if_on_a_gpu.device = T4
    cell = make_cells()["antisymmetric, full"]
    params, x, h0 = draw_sequence(cell, rng)
    with pytest.warns(
        numrnn.ReferenceLoopWarning, match="4 units on a GPU of compute capability 7.5 by kernels that have"
    ):
        forward(cell, params, x, h0)
    forward(cell, params, x, h0, engine="fused")
    assert [kernel.partition("<")[0] for kernel in as_if_on_a_gpu.launched] == ["lean_forward"]


def test_what_the_kernels_do_not_cover_is_traced_where_it_is_asked_for(as_if_on_a_gpu, monkeypatch, rng):
    wide = numrnn.LSTMCell(3, 129)
    for cell, reason in (
        (make_cells()["lipschitz, rk2"], "the cell LipschitzCell"),
        (wide, "more than 128 units in float64 (there are 129)"),
    ):
        params, x, h0 = draw_sequence(cell, rng)
        monkeypatch.delenv(VARIABLE, raising=False)
        with pytest.warns(numrnn.ReferenceLoopWarning) as told:
            states, tape = forward(cell, params, x, h0)
        assert isinstance(tape, bptt.ReferenceTape)
        assert f"supports {reason} by kernels that have not run on a GPU yet" in str(told[0].message)
        _, fused = forward(cell, params, x, h0, engine="fused")
        monkeypatch.setenv(VARIABLE, "1")
        for other in (fused, forward(cell, params, x, h0)[1]):
            assert isinstance(other, cuda.TracedTape)
            assert worst(other.states, states) < 1000 * EPS64
    assert as_if_on_a_gpu.launched == []


@pytest.mark.parametrize(("device", "dtype"), [(T4, np.float32), (A100, np.float64)], ids=["7.5", "8.0"])
def test_an_lstm_too_wide_for_the_kernels_of_an_older_card_is_traced(device, dtype, as_if_on_a_gpu, rng):
    """Its weights fit neither in registers nor in shared memory: docs/cuda_engine.md counts them."""
    as_if_on_a_gpu.device, cell = device, numrnn.LSTMCell(3, 65)
    params, x, h0 = draw_sequence(cell, rng)
    arrays = {name: value.astype(dtype) for name, value in params.items()}, x.astype(dtype), h0.astype(dtype)
    states, tape = forward(cell, *arrays, engine="fused")
    assert isinstance(tape, cuda.TracedTape)
    assert worst(states, forward(cell, params, x, h0, engine="reference")[0]) < 1000 * np.finfo(dtype).eps
    assert as_if_on_a_gpu.launched == []


def test_a_cell_that_cannot_be_traced_runs_the_reference_loop_and_says_why(as_if_on_a_gpu, rng):
    class Branching(numrnn.LipschitzCell):
        def step(self, params, x, h):
            return super().step(params, x, h) if np.sum(h) > 0 else h

    cell = Branching(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    reason = "the cell Branching, nor can its step be traced: the function numpy.sum"
    with pytest.warns(numrnn.ReferenceLoopWarning, match=f"does not support {reason}: the reference loop runs"):
        assert isinstance(forward(cell, params, x, h0)[1], bptt.ReferenceTape)
    with pytest.raises(ValueError, match=f"engine='fused' does not support {reason}; use 'auto' or 'reference'"):
        forward(cell, params, x, h0, engine="fused")


def test_a_value_of_the_variable_that_means_nothing_is_refused(as_if_on_a_gpu, monkeypatch, rng):
    monkeypatch.setenv(VARIABLE, "yes")
    cell = make_cells()["elman"]
    params, x, h0 = draw_sequence(cell, rng)
    with pytest.raises(ValueError, match="""NUMRNN_CUDA_UNPROVEN must be "1" or "0", got 'yes'"""):
        forward(cell, params, x, h0)


def test_only_what_ran_on_a_card_is_listed_as_proven():
    """The kernels with the cluster barrier, on the H100 of 26 November 2026; whoever proves more adds it here too."""
    assert [(run.family, run.exchange, run.capability, run.most_units) for run in RUN_ON_A_CARD] == [
        ("euler", "cluster barrier", 80, 256)
    ]
    assert has_run("euler", 80, 256)
    assert not has_run("euler", 80, 257)
    assert not has_run("euler", 75, 8)
    assert not any(has_run(family, 90, 8) for family in {*FILES, "trace"} - {"euler"})


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_layer_that_it_does_not_cover_is_told_at_the_callers_line_and_the_others_run_on_it(as_if_on_a_gpu, rng):
    lower = numrnn.Stack([numrnn.AntisymmetricCell(3, 4, step_size=0.3), numrnn.LSTMCell(4, 5)])
    cell = numrnn.Stack([lower, numrnn.AntisymmetricCell(5, 4, step_size=0.3)])
    params, x, h0 = draw_sequence(cell, rng)
    with pytest.warns(numrnn.ReferenceLoopWarning, match="supports the cell LSTMCell with 5 units") as told:
        states, tape = forward(cell, params, x, h0)
    assert [one.filename for one in told] == [__file__]
    assert [type(layer) for layer in tape._layers[0]._layers] == [cuda.CudaTape, bptt.ReferenceTape]
    assert isinstance(tape._layers[1], cuda.CudaTape)
    _, plain = forward(cell, params, x, h0, engine="reference")
    d_states = rng.standard_normal(states.shape)
    got, wanted = numrnn.backward(tape, d_states), numrnn.backward(plain, d_states)
    for name in params:
        assert worst(got.params[name], wanted.params[name]) < 1000 * EPS64
    assert worst(got.x, wanted.x) < 1000 * EPS64


def test_reference_says_nothing(as_if_on_a_gpu, rng):
    cell = make_cells()["elman"]
    params, x, h0 = draw_sequence(cell, rng)
    forward(cell, params, x, h0, engine="reference")


def test_fused_refuses_what_it_does_not_cover(as_if_on_a_gpu, rng):
    cell = make_cells()["lipschitz, euler"]
    params, x, h0 = draw_sequence(cell, rng, dtype=np.complex128)
    with pytest.raises(ValueError, match="'fused' does not support dtype complex128, nor can its step be traced"):
        forward(cell, params, x, h0, engine="fused")


def test_the_engine_is_that_of_the_arrays_library(monkeypatch, rng):
    assert bptt._fused_engine(np.ones(1)) is cpu
    monkeypatch.setattr(bptt, "array_namespace", lambda x: types.SimpleNamespace(__name__="cupy"))
    assert bptt._fused_engine(np.ones(1)) is cuda


def test_the_launcher_compiles_a_kernel_once_and_gives_it_its_shared_memory():
    """CuPy's interface, recorded: what it asks for templates and for more than 48 KB of shared memory."""
    compiled, launched = [], []
    families = {"forward<float, 1>": "euler", "lean_forward<float, 1>": "lean", "lstm_backward<float>": "lstm"}

    class Module:
        def __init__(self, *, code, options, name_expressions):
            assert code == source(families[name_expressions[0]])
            assert options == ("-std=c++17",)
            compiled.extend(name_expressions)

        def get_function(self, name):
            return Kernel()

    class Kernel:
        max_dynamic_shared_size_bytes = 48 * 1024

        def __call__(self, grid, block, arguments, *, shared_mem):
            assert shared_mem <= self.max_dynamic_shared_size_bytes
            launched.append((grid, block, arguments))

    properties = {"major": 9, "minor": 0, "multiProcessorCount": 132, "sharedMemPerBlockOptin": 232_448}
    cuda_ = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceProperties=lambda index: properties),
        nvrtc=types.SimpleNamespace(getVersion=lambda: (12, 4)),
    )
    launcher = CupyLauncher(types.SimpleNamespace(RawModule=Module, cuda=cuda_), 0)
    assert launcher.device == replace(H200, nvrtc=(12, 4))
    for _ in range(2):
        for kernel in families:
            launcher(kernel, 128, 256, 100_000, (np.int32(1),))
    assert compiled == list(families)
    assert launched == [((128,), (256,), (np.int32(1),))] * 6
