"""The kernels of lean.cu and lstm.cu, run by the CPU stand-in, give the numbers of the float64 reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import KINDS, assert_agrees, assert_gradients_of_own_loss, draw, make_cell, results, standin_tape
from standin import A100, H200, RTX_3090, T4, Device, StandinLauncher, missing
from test_cuda_divergence import growing_states

from numrnn import backward
from numrnn.bptt import GRADIENTS
from numrnn.engines.cuda import kernels_reason
from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.kernels import TILES, tiles_for
from numrnn.engines.cuda.lean import LeanLayout, input_width
from numrnn.engines.cuda.lstm import LSTM_TILES, LSTMLayout, choose_lstm_layout, lstm_tiles_for
from numrnn.problem import check_problem

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 3))
ANY_INPUTS = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
MANY_INPUTS = st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(5, 6))


@pytest.fixture(autouse=True)
def wanted(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")


def width_in(tiles, tile, width):
    """Return a number of units, from the smallest (0) to the largest (1) that a tile is taken for."""
    low = max((t.units for t in tiles if t.units < tile.units), default=0) + 1
    return low + round(width * (tile.units - low))


def launcher_for(tile, tiles_of, seed):
    """Return the launcher of a device that takes a tile, without asynchronous copies for the narrowest float32 one."""
    oldest = next(capability for capability in (75, 80, 90) if tile in tiles_of(capability))
    capability = 75 if tile.units == 32 and tile.dtype == "float32" else max(oldest, 80)
    return StandinLauncher(Device(capability, 132, H200.shared_bytes), seed=seed)


def rows_of(tile):
    """Return rows per block, so that all tiles together meet all that the leaner loop has."""
    rows = [rows for rows in tile.rows if rows <= LeanLayout.most_rows]
    return rows[TILES.index(tile) % len(rows)]


SEGMENTS = st.sampled_from([None, None, 1, 2, "sqrt"])
ANY = {"width": st.floats(0, 1), "padded": st.booleans(), "seed": st.integers(0, 2**32 - 1)}


def draw_case(kind, n, sizes, dtype, padded, seed):
    n_steps, batch, m = sizes
    rng = np.random.default_rng(seed)
    cell = make_cell(kind, m, n)
    return (
        cell,
        draw(cell, rng, n_steps, batch, np.dtype(dtype)),
        rng.integers(1, n_steps + 1, batch) if padded else None,
    )


@settings(max_examples=20)
@given(
    tile_rows=st.sampled_from([(tile, rows) for tile in LSTM_TILES for rows in tile.rows]),
    sizes=SIZES,
    every=SEGMENTS,
    **ANY,
)
def test_the_lstm_equals_the_reference_to_rounding(tile_rows, width, sizes, padded, every, seed):
    tile, rows = tile_rows
    n = width_in([t for t in LSTM_TILES if t.dtype == tile.dtype], tile, width)
    cell, case, lengths = draw_case("lstm", n, sizes, tile.dtype, padded, seed)
    launcher = launcher_for(tile, lstm_tiles_for, seed)
    assert_agrees(cell, *case, lengths=lengths, every=every, launcher=launcher, layout=tile.with_rows(rows))


@settings(max_examples=12)
@given(
    tile=st.sampled_from(TILES),
    sizes=ANY_INPUTS,
    every=SEGMENTS,
    **ANY,
)
def test_the_elman_network_equals_the_reference_to_rounding(tile, width, sizes, padded, every, seed):
    cell, case, lengths = draw_case("elman", width_in(TILES, tile, width), sizes, tile.dtype, padded, seed)
    launcher = launcher_for(tile, lambda capability: tiles_for(capability, LeanLayout), seed)
    assert_agrees(cell, *case, lengths=lengths, every=every, launcher=launcher, rows=rows_of(tile))


@settings(max_examples=8)
@given(
    tile=st.sampled_from(TILES),
    kind=st.sampled_from(KINDS),
    sizes=ANY_INPUTS,
    every=SEGMENTS,
    **ANY,
)
def test_the_leaner_loop_equals_the_reference_to_rounding(tile, kind, width, sizes, padded, every, seed):
    cell, case, lengths = draw_case(kind, width_in(TILES, tile, width), sizes, tile.dtype, padded, seed)
    launcher = launcher_for(tile, lambda capability: tiles_for(capability, LeanLayout), seed)
    some = [rows for rows in tile.rows if rows <= LeanLayout.most_rows]
    rows = some[seed % len(some)]
    assert_agrees(cell, *case, lengths=lengths, every=every, launcher=launcher, rows=rows)
    M = tile.with_rows(rows, LeanLayout, input_width(cell.input_size)).inputs
    assert all(name.endswith(f", {M}>") for name in launcher.launched)


@settings(max_examples=8)
@given(
    tile=st.sampled_from(TILES),
    kind=st.sampled_from(KINDS),
    sizes=MANY_INPUTS,
    every=st.sampled_from([None, 2]),
    **ANY,
)
def test_the_leaner_loop_gives_the_bits_of_the_loop_that_has_run_on_a_card(
    tile, kind, width, sizes, padded, every, seed
):
    """With more inputs than its kernels take, all but dL/dA, which its kernels may add up, in another order."""
    cell, case, lengths = draw_case(kind, width_in(TILES, tile, width), sizes, tile.dtype, padded, seed)
    device = Device(90 if tile in tiles_for(90) else 80, 132, H200.shared_bytes)
    passes = []
    for value in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, value)
            launcher = StandinLauncher(device, seed=seed)
            options = {"lengths": lengths, "every": every, "rows": rows_of(tile)}
            tape = standin_tape(cell, *case[:3], launcher=launcher, **options)
            passes.append(results(tape, case[3]))
        assert launcher.launched[0].startswith("lean_" if value == "1" else "forward")
    assert all(np.array_equal(passes[0][name], passes[1][name]) for name in passes[0] if name != "dW")
    adds_dA = tile.with_rows(rows_of(tile), LeanLayout).adds_dA
    assert adds_dA or np.array_equal(passes[0]["dW"], passes[1]["dW"])


@pytest.mark.parametrize(("kind", "n", "dtype"), [("antisymmetric", 29, "float32"), ("gated", 130, "float64")])
@pytest.mark.parametrize("m", [2, 5])
def test_it_gives_those_bits_where_a_pass_overflows_too(kind, n, dtype, m, monkeypatch, rng):
    """Or numbers that differ by rounding, infinite and NaN at the same places, where it computes V x + b or dL/dA."""
    case = growing_states(kind, n, np.dtype(dtype), rng, m)
    passes = []
    for value in ("0", "1"):
        monkeypatch.setenv(VARIABLE, value)
        with np.errstate(all="ignore"):
            passes.append(results(standin_tape(*case[:4]), case[4]))
    assert np.isinf(passes[0]["states"]).any()
    for name, wanted in passes[0].items():
        if m == 5 and name != "dW":
            assert np.array_equal(passes[1][name], wanted, equal_nan=True), name
        else:
            limit = 1000 * np.finfo(dtype).eps
            np.testing.assert_allclose(passes[1][name], wanted, rtol=limit, err_msg=name)


@pytest.mark.parametrize("m", [1, 5])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("every", [None, 4])
def test_only_the_gradients_asked_for_are_made_and_alone_they_are_the_same(m, rows, every, rng):
    cell = make_cell("gated", m, 20)
    params, x, h0, d_states = draw(cell, rng, 6, 6, np.float32)
    tape = standin_tape(cell, params, x, h0, lengths=[6, 1, 3, 5, 2, 4], rows=rows, every=every)
    everything = backward(tape, d_states, wrt=GRADIENTS)
    for number in range(1, 2 ** len(GRADIENTS)):
        wrt = tuple(name for bit, name in enumerate(GRADIENTS) if number >> bit & 1)
        some = backward(tape, d_states, wrt=wrt)
        assert [name for name in GRADIENTS if getattr(some, name) is not None] == list(wrt)
        for name in wrt:
            if name == "params":
                assert all(np.array_equal(some.params[k], everything.params[k]) for k in params)
            else:
                assert np.array_equal(getattr(some, name), getattr(everything, name)), name


@pytest.mark.parametrize("kind", ["elman", "lstm", "gated"])
@pytest.mark.parametrize("every", [None, 3])
def test_the_gradients_are_those_of_the_engines_own_loss(kind, every, rng):
    cell = make_cell(kind, 3, 5)
    assert_gradients_of_own_loss(cell, rng, every)


# The forms of those layouts of the LSTM that keep weights in shared memory, narrower and in float64.
PAIRS = LSTMLayout("float64", 32, rows=1, cluster=1, group=1, lanes=2, held=22)
QUARTETS = LSTMLayout("float64", 32, rows=2, cluster=1, group=4, lanes=8, held=17)


@pytest.mark.parametrize("layout", [PAIRS, QUARTETS], ids=["two gates of a lane", "four gates of a lane"])
def test_the_gradients_are_those_of_the_engines_own_loss_with_weights_in_shared_memory(layout, rng):
    assert layout.held < layout.packs
    assert_gradients_of_own_loss(make_cell("lstm", 2, 3), rng, 3, layout)


@pytest.mark.parametrize("device", [A100, RTX_3090])
def test_the_lstm_with_128_units_runs_on_cards_without_clusters(device, rng):
    """With 99 KB of shared memory a block has one row; with 163 KB two, where the rows are more than processors."""
    cell, launcher = make_cell("lstm", 2, 125), StandinLauncher(device)
    for batch in (3, 2 * device.processors):
        layout = choose_lstm_layout("float32", 125, batch, device)
        assert (layout.units, layout.cluster, layout.rows) == (128, 1, 2 if device is A100 and batch > 3 else 1)
    lengths = [7, 2, 6]
    assert_agrees(cell, *draw(cell, rng, 7, 3, np.float32), lengths=lengths, launcher=launcher)
    assert launcher.launched == [f"lstm_{name}<float, 128, 1, 1, 1, 2, 44>" for name in ("forward", "backward")]


@pytest.mark.parametrize(("kind", "n"), [("lstm", 100), ("gated", 200)])
def test_neither_the_order_of_threads_nor_that_of_messages_changes_a_bit(kind, n, rng):
    cell = make_cell(kind, 2, n)
    params, x, h0, d_states = draw(cell, rng, 9, 3, np.float32)
    passes = [results(standin_tape(cell, params, x, h0, launcher=StandinLauncher(seed=s)), d_states) for s in range(4)]
    assert all(np.array_equal(passes[0][key], other[key]) for key in passes[0] for other in passes[1:])


@pytest.mark.parametrize("kind", ["elman", "lstm"])
def test_a_long_sequence_agrees_and_is_one_launch_forward_and_one_backward(kind, rng):
    cell = make_cell(kind, 1, 30)
    _, x, h0, d_states = draw(cell, rng, 301, 3, np.float32)
    d_states[:-1] = 0
    params = cell.init_params(rng, weight_std=0.5)
    launcher = assert_agrees(cell, params, x, h0, d_states, lengths=[301, 300, 1], limit=2e-5)
    family = {"elman": "lean", "lstm": "lstm"}[kind]
    assert [name.partition("<")[0] for name in launcher.launched] == [f"{family}_forward", f"{family}_backward"]


def test_the_memory_of_the_lstm_follows_its_initial_forget_bias(rng):
    cell = make_cell("lstm", 2, 20)
    _, x, h0, d_states = draw(cell, rng, 12, 3, np.float64)
    for forget_bias in (-2.0, 5.0):
        params = cell.init_params(rng, forget_bias=forget_bias, dtype=np.float64)
        assert_agrees(cell, params, x, h0, d_states)


@pytest.mark.parametrize("n", [1, 32, 33, 64, 65, 128])
@pytest.mark.parametrize("batch", [1, 3, 128, 131, 512])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layout_of_the_lstm_is_wide_enough_and_fills_the_device_before_it_makes_steps_longer(n, batch, dtype):
    for device in (H200, Device(89, 128, 101_376), T4):
        layout = choose_lstm_layout(dtype, n, batch, device)
        if layout is None:
            assert device.capability < 90
            assert n > (32 if dtype == "float64" else 64 if device.capability < 80 else 128)
            continue
        assert layout.units >= n
        assert layout.blocks(batch) * layout.rows >= batch * layout.cluster
        assert max(layout.shared_bytes(kernel) for kernel in ("forward", "backward")) <= device.shared_bytes
        assert layout.threads <= 1024
        tiles = [t for t in lstm_tiles_for(device.capability) if (t.dtype, t.units) == (dtype, layout.units)]
        others = [tile.with_rows(rows) for tile in tiles for rows in tile.rows]
        fit = [other for other in others if other.shared_bytes("backward") <= device.shared_bytes]
        assert layout in fit
        assert layout.waves(batch, device) == min(other.waves(batch, device) for other in fit)


def test_a_card_without_asynchronous_copies_runs_what_fits_it(rng):
    def reason(kind, n, dtype=np.float32):
        cell = make_cell(kind, 3, n)
        problem = check_problem(cell, *draw(cell, rng, 2, 3, dtype)[:3], None, None)
        return kernels_reason(problem, StandinLauncher(T4))

    for kind, n in (("antisymmetric", 128), ("gated", 64), ("elman", 128), ("lstm", 64)):
        assert reason(kind, n) is None
        assert_agrees(cell := make_cell(kind, 3, n), *draw(cell, rng, 6, 3, np.float32), launcher=StandinLauncher(T4))
    for kind, n in (("gated", 200), ("lstm", 65)):
        wanted = f"{n} units in float32 on a GPU of compute capability 7.5 with 65536 bytes of shared memory per block"
        assert reason(kind, n) == wanted
