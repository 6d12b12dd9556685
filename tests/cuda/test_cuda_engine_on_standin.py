"""The CUDA engine, its kernels run by the CPU stand-in, gives the numbers of the float64 reference."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import KINDS, assert_agrees, assert_gradients_of_own_loss, draw, make_cell, results, standin_tape
from standin import A100, H200, RTX_3090, Device, StandinLauncher, missing

from numrnn import backward
from numrnn.bptt import GRADIENTS
from numrnn.engines.cuda.kernels import TILES, tiles_for

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def launcher_of(tile, seed=0):
    """Return a launcher for a device that runs a tile."""
    return StandinLauncher(Device(90 if tile in tiles_for(90) else 80, 132, H200.shared_bytes), seed=seed)


def rows_of(tile, gates):
    """Return rows per block, so that all tiles and numbers of gates together meet them all."""
    return tile.rows[(TILES.index(tile) + 2 * gates) % len(tile.rows)]


def test_all_rows_are_met():
    met = {rows_of(tile, gates) for tile in TILES for gates in (1, 2)}
    assert met == {rows for tile in TILES for rows in tile.rows}


def widths(tile):
    """Return the smallest and the largest n that a tile is taken for."""
    return max((t.units for t in TILES if t.units < tile.units), default=0) + 1, tile.units


@settings(max_examples=60)
@given(
    tile=st.sampled_from(TILES),
    kind=st.sampled_from(KINDS),
    width=st.floats(0, 1),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 4)),
    triangular=st.booleans(),
    padded=st.booleans(),
    every=st.sampled_from([None, None, 1, 2, "sqrt"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_engine_equals_the_reference_to_rounding(tile, kind, width, sizes, triangular, padded, every, seed):
    n_steps, batch, m = sizes
    low, high = widths(tile)
    cell = make_cell(kind, m, low + round(width * (high - low)), triangular=triangular)
    rng = np.random.default_rng(seed)
    case = draw(cell, rng, n_steps, batch, np.dtype(tile.dtype))
    lengths = rng.integers(1, n_steps + 1, batch) if padded else None
    rows = rows_of(tile, 2 if "gated" in kind else 1)
    assert_agrees(cell, *case, lengths=lengths, every=every, launcher=launcher_of(tile, seed), rows=rows)


@pytest.mark.parametrize("tile", TILES, ids=lambda t: f"{t.dtype}-{t.units}-{t.cluster}")
@pytest.mark.parametrize("kind", ["antisymmetric", "gated"])
def test_every_layout_is_right_at_its_full_width(tile, kind, rng):
    cell = make_cell(kind, 2, tile.units)
    launcher, lengths = launcher_of(tile), rng.integers(1, 5, 9)
    rows = rows_of(tile, 2 if kind == "gated" else 1)
    assert_agrees(cell, *draw(cell, rng, 4, 9, np.dtype(tile.dtype)), lengths=lengths, launcher=launcher, rows=rows)
    assert all(
        name.split("<")[1].startswith("float" if tile.dtype == "float32" else "double") for name in launcher.launched
    )
    assert all(f" {tile.units}, " in name for name in launcher.launched)


@pytest.mark.parametrize("n", [1, 33, 128, 200, 256])
@pytest.mark.parametrize("batch", [1, 3, 131])
@pytest.mark.parametrize("n_steps", [1, 7])
def test_ragged_sizes_agree_to_2e_5(n, batch, n_steps, rng):
    cell = make_cell("antisymmetric", 3, n)
    lengths = rng.integers(1, n_steps + 1, batch)
    assert_agrees(cell, *draw(cell, rng, n_steps, batch, np.float32), lengths=lengths, limit=2e-5)


@pytest.mark.parametrize("kind", ["antisymmetric", "gated"])
def test_a_sequence_of_784_steps_agrees_to_2e_5(kind, rng):
    cell = make_cell(kind, 1, 128, step_size=0.01, diffusion=0.01)
    _, x, h0, d_states = draw(cell, rng, 784, 3, np.float32)
    d_states[:-1] = 0  # as a classifier of the last state has it
    assert_agrees(cell, cell.init_params(rng, weight_std=4.0), x, h0, d_states, limit=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every", [None, 3])
def test_the_engines_gradients_are_those_of_its_own_loss(kind, every, rng):
    cell = make_cell(kind, 3, 5, triangular=False)
    assert_gradients_of_own_loss(cell, rng, every)


def test_the_order_of_threads_changes_no_bit(rng):
    cell = make_cell("gated", 2, 200)
    params, x, h0, d_states = draw(cell, rng, 5, 3, np.float32)
    first, second = (
        results(standin_tape(cell, params, x, h0, launcher=StandinLauncher(seed=seed)), d_states) for seed in (1, 2)
    )
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_a_row_does_not_depend_on_the_others_of_its_batch(rng):
    cell = make_cell("antisymmetric", 2, 40)
    params, x, h0, _ = draw(cell, rng, 5, 6, np.float64)
    whole = standin_tape(cell, params, x, h0, rows=4).states
    single = [standin_tape(cell, params, x[:, i : i + 1], h0[i : i + 1], rows=4).states for i in range(6)]
    assert np.allclose(whole, np.concatenate(single, axis=1), rtol=1e-13, atol=0)


def test_a_pass_is_one_launch_for_all_steps(rng):
    cell = make_cell("gated", 1, 128)
    launcher = StandinLauncher()
    params, x, h0, d_states = draw(cell, rng, 300, 1, np.float32)
    backward(standin_tape(cell, params, x, h0, launcher=launcher), d_states)
    assert [name.split("<")[0] for name in launcher.launched] == ["forward", "backward"]


def test_checkpoints_hold_every_kth_state_and_recompute_the_rest(rng):
    cell = make_cell("antisymmetric", 2, 20)
    params, x, h0, d_states = draw(cell, rng, 10, 3, np.float64)
    plain = results(standin_tape(cell, params, x, h0), d_states)
    tape = standin_tape(cell, params, x, h0, every=4)
    assert len(tape._checkpoints) == 4  # h_0, h_4, h_8 and h_T
    lean = results(tape, d_states)
    assert all(np.allclose(lean[key], plain[key], rtol=1e-12, atol=1e-14) for key in plain)


@pytest.mark.parametrize("every", [None, 4])
def test_what_a_tape_holds_is_let_go_with_it_and_not_when_garbage_is_next_collected(every, rng):
    cell = make_cell("antisymmetric", 2, 20)
    params, x, h0, d_states = draw(cell, rng, 10, 3, np.float64)
    gc.disable()
    try:
        tape = standin_tape(cell, params, x, h0, every=every)
        results(tape, d_states)
        watched = [weakref.ref(tape), weakref.ref(x)]
        del tape, x
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()


def test_a_tape_can_be_used_twice(rng):
    cell = make_cell("gated", 2, 20)
    params, x, h0, d_states = draw(cell, rng, 6, 3, np.float64)
    tape = standin_tape(cell, params, x, h0)
    first, second = results(tape, d_states), results(tape, d_states)
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_only_the_gradients_asked_for_are_made(rng):
    cell = make_cell("gated", 2, 20)
    params, x, h0, _ = draw(cell, rng, 6, 3, np.float64)
    tape = standin_tape(cell, params, x, h0)
    everything = backward(tape, d_final=h0, wrt=GRADIENTS)
    for wanted in GRADIENTS:
        some = backward(tape, d_final=h0, wrt=(wanted,))
        assert [field for field in GRADIENTS if getattr(some, field) is not None] == [wanted]
        if wanted != "params":
            assert np.array_equal(getattr(some, wanted), getattr(everything, wanted))
        else:
            assert all(np.array_equal(some.params[k], everything.params[k]) for k in params)


def test_arguments_of_any_layout_are_taken_and_left_alone(rng):
    cell = make_cell("gated", 2, 20, triangular=False)
    params, x, h0, d_states = draw(cell, rng, 6, 3, np.float64)
    plain = results(standin_tape(cell, params, x, h0), d_states)
    params = {k: np.asfortranarray(v) for k, v in params.items()}
    x, h0, d_states = (np.repeat(a, 2, axis=-1)[..., ::2] for a in (x, h0, d_states))
    for array in (*params.values(), x, h0, d_states):
        array.flags.writeable = False
    got = results(standin_tape(cell, params, x, h0), d_states)
    assert all(np.allclose(got[key], plain[key], rtol=1e-12, atol=1e-14) for key in plain)


def test_a_complex_cotangent_of_a_real_pass_is_propagated_too(rng):
    cell = make_cell("antisymmetric", 2, 5)
    params, x, h0, _ = draw(cell, rng, 6, 3, np.float64)
    tape = standin_tape(cell, params, x, h0)
    u, v = rng.standard_normal(h0.shape), rng.standard_normal(h0.shape)
    both, real, imaginary = (backward(tape, d_final=d).params["W"] for d in (u + 1j * v, u, v))
    assert np.allclose(both, real + 1j * imaginary, rtol=1e-12, atol=1e-14)


def test_500_units_need_padding_and_a_cluster_of_eight(rng):
    """The rows are those of the gated case above: what is compiled once serves twice."""
    cell = make_cell("gated", 3, 500)
    tile = next(tile for tile in TILES if tile.units == 512)
    case, lengths = draw(cell, rng, 3, 10, np.float32), rng.integers(1, 4, 10)
    launcher = assert_agrees(cell, *case, lengths=lengths, rows=rows_of(tile, 2))
    assert all(f", 512, {rows_of(tile, 2)}, 8, " in name for name in launcher.launched)


@pytest.mark.parametrize("device", [A100, RTX_3090], ids=["A100", "RTX 3090"])
@pytest.mark.parametrize("kind", ["antisymmetric", "gated"])
def test_256_units_fit_a_device_without_clusters(device, kind, rng):
    cell = make_cell(kind, 3, 256)
    launcher = assert_agrees(cell, *draw(cell, rng, 5, 5, np.float32), launcher=StandinLauncher(device))
    assert all(", 256, 2, 1, " in name for name in launcher.launched)
