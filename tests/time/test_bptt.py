"""The time loop and its adjoint."""

import functools
import gc
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from helpers import EPS64, draw_sequence, worst

import gradcheck
import numrnn
from numrnn import backward
from numrnn.cells.antisymmetric import AntisymmetricMatrix

forward = functools.partial(numrnn.forward, engine="reference")

LENGTHS = [6, 1, 4]
VARIANTS = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "checkpoints": {"recompute_every": 4},
    "lengths and checkpoints": {"lengths": LENGTHS, "recompute_every": "sqrt"},
}


def split(point, params):
    return {k: point[k] for k in params}, point["x"], point["h0"]


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_gradients_are_those_of_a_loss_of_all_states(cell, options, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, **options)
    d_states, d_final = rng.standard_normal(states.shape), rng.standard_normal(h0.shape)
    grads = backward(tape, d_states, d_final=d_final)

    def loss(point):
        p, x_, h_ = split(point, params)
        out = np.asarray(forward(cell, p, x_, h_, **options)[0])
        return np.sum(d_states * out) + np.sum(d_final * out[-1])

    gradcheck.assert_gradient(loss, {**grads.params, "x": grads.x, "h0": grads.h0}, {**params, "x": x, "h0": h0})


def test_final_cotangent_alone_is_a_cotangent_of_the_last_state(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0)
    d_states = np.zeros(states.shape)
    d_states[-1] = rng.standard_normal(h0.shape)
    by_final, by_states = backward(tape, d_final=d_states[-1]), backward(tape, d_states)
    assert all(np.array_equal(by_final.params[k], by_states.params[k]) for k in params)
    assert np.array_equal(by_final.x, by_states.x)
    assert np.array_equal(by_final.h0, by_states.h0)


def test_states_are_the_steps_one_after_the_other(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, _ = forward(cell, params, x, h0)
    assert states.shape == (7, 3, cell.state_size)
    assert np.array_equal(states[0], h0)
    for t in range(6):
        assert np.array_equal(states[t + 1], cell.step(params, x[t], states[t]))


def test_first_state_is_zero_unless_given(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    assert np.array_equal(forward(cell, params, x)[0], forward(cell, params, x, np.zeros_like(h0))[0])


def test_total_derivative_of_a_state_is_the_derivative_of_a_restart_there(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0)
    d_states = rng.standard_normal(states.shape)
    totals = backward(tape, d_states, wrt=("states",)).states
    for t in range(7):
        if t < 6:
            restart = forward(cell, params, x[t:], states[t])[1]
            wanted = backward(restart, d_states[t:], wrt=("h0",)).h0
        else:
            wanted = d_states[-1]
        assert worst(totals[t], wanted) < 100 * EPS64


@pytest.mark.parametrize("every", [1, 2, 4, 6, 7, 100, "sqrt"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full rows", "padded rows"])
def test_checkpoints_change_no_bit_of_states_or_gradients(cell, every, lengths, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, lengths=lengths)
    lean_states, lean_tape = forward(cell, params, x, h0, lengths=lengths, recompute_every=every)
    d_states = rng.standard_normal(states.shape)
    plain, lean = (backward(t, d_states, wrt=("params", "x", "h0", "states")) for t in (tape, lean_tape))
    assert np.array_equal(np.asarray(lean_states), states)
    assert all(np.array_equal(plain.params[k], lean.params[k]) for k in params)
    assert np.array_equal(plain.x, lean.x)
    assert np.array_equal(plain.h0, lean.h0)
    assert np.array_equal(plain.states, lean.states)


def test_checkpointed_states_are_a_sequence(rng):
    cell = numrnn.AntisymmetricCell(3, 4, step_size=0.3)
    params, x, h0 = draw_sequence(cell, rng)
    states, _ = forward(cell, params, x, h0)
    lean, _ = forward(cell, params, x, h0, recompute_every=4)
    assert len(lean) == 7
    assert lean.shape == states.shape
    assert lean.dtype == states.dtype
    assert all(np.array_equal(lean[t], states[t]) for t in range(-7, 7))
    assert np.array_equal(lean[1:6:2], states[1:6:2])
    assert all(np.array_equal(a, b) for a, b in zip(lean, states, strict=True))
    with pytest.raises(IndexError):
        lean[7]
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(lean, copy=False)


def test_looking_at_the_states_of_a_tape_one_by_one_recomputes_each_segment_once(rng, monkeypatch):
    cell = numrnn.AntisymmetricCell(3, 4, step_size=0.3)
    params, x, h0 = draw_sequence(cell, rng)
    states, _ = forward(cell, params, x, h0)
    _, tape = forward(cell, params, x, h0, recompute_every=2)
    starts, segment = [], tape.segment
    monkeypatch.setattr(tape, "segment", lambda start: starts.append(start) or segment(start))
    assert all(np.array_equal(tape.states[t], states[t]) for t in range(7))
    assert starts == [0, 2, 4]


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("every", [None, 3, "sqrt"])
def test_what_a_tape_holds_is_let_go_with_it_and_not_when_garbage_is_next_collected(cell, every, engine, rng):
    params, x, _ = draw_sequence(cell, rng, n_steps=7)
    gc.disable()
    try:
        states, tape = numrnn.forward(cell, params, x, engine=engine, recompute_every=every)
        backward(tape, d_final=np.array(states[2]))
        watched = [weakref.ref(tape), weakref.ref(x)]
        del states, tape, x
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()


def peak_memory(n_steps, every):
    """Return the peak of one forward and backward pass beyond its arguments, in bytes."""
    cell = numrnn.AntisymmetricCell(1, 16)
    rng = np.random.default_rng(0)
    params = cell.init_params(rng)
    x = rng.standard_normal((n_steps, 8, 1), dtype=np.float32)
    d_final = np.ones((8, 16), np.float32)
    tracemalloc.start()
    _, tape = forward(cell, params, x, recompute_every=every)
    backward(tape, d_final=d_final, wrt=("params", "h0"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_memory_with_sqrt_checkpoints_is_two_sqrt_of_the_states(rng):
    n_steps, state_bytes = 10_000, 8 * 16 * 4
    peak = peak_memory(n_steps, "sqrt")
    finite_check = n_steps * 8 * 1  # one boolean an element of x
    assert peak < 1.5 * 2 * np.sqrt(n_steps) * state_bytes + finite_check
    assert peak_memory(n_steps, None) > n_steps * state_bytes  # the yardstick sees the states of a plain tape


@pytest.mark.slow
def test_hundred_thousand_steps_run_and_cost_is_linear_in_them():
    cell = numrnn.AntisymmetricCell(1, 16, step_size=0.01, diffusion=0.01)
    rng = np.random.default_rng(0)
    params = cell.init_params(rng)

    def seconds(n_steps):
        x = rng.standard_normal((n_steps, 2, 1), dtype=np.float32)
        start = time.process_time()
        states, tape = forward(cell, params, x)
        grads = backward(tape, d_final=np.ones((2, 16), np.float32))
        stop = time.process_time()
        assert np.isfinite(states).all()
        assert all(np.isfinite(g).all() and g.any() for g in grads.params.values())
        return stop - start

    seconds(100)
    short, long = seconds(20_000), seconds(100_000)
    # Quadratic cost would be five times more for each step; a busy machine is allowed a factor of two.
    assert long / short < 5 * 2


def test_a_sequence_cut_in_two_gives_the_same_states_and_gradients(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    whole_states, whole_tape = forward(cell, params, x, h0)
    d_states = rng.standard_normal(whole_states.shape)
    whole = backward(whole_tape, d_states)
    first_states, first_tape = forward(cell, params, x[:4], h0)
    second_states, second_tape = forward(cell, params, x[4:], first_states[-1])
    assert np.array_equal(np.concatenate([first_states, second_states[1:]]), whole_states)
    own = d_states[4:].copy()
    own[0] = 0  # the loss's own derivative at the cut is counted once, in the first part
    second = backward(second_tape, own)
    first = backward(first_tape, d_states[:5], d_final=second.h0)
    assert worst(first.h0, whole.h0) < 20 * EPS64
    assert worst(np.concatenate([first.x, second.x]), whole.x) < 20 * EPS64
    for k in params:
        assert worst(first.params[k] + second.params[k], whole.params[k]) < 50 * EPS64


def test_truncation_leaves_out_just_what_crosses_the_cut(rng):
    cell = numrnn.AntisymmetricCell(3, 4, step_size=0.3)
    params, x, h0 = draw_sequence(cell, rng)
    first_states, first_tape = forward(cell, params, x[:4], h0)
    _, second_tape = forward(cell, params, x[4:], first_states[-1])
    d_final = rng.standard_normal(h0.shape)
    second = backward(second_tape, d_final=d_final)
    across = backward(first_tape, d_final=second.h0)
    whole = backward(forward(cell, params, x, h0)[1], d_final=d_final)
    for k in params:
        assert np.linalg.norm(across.params[k]) > 0
        assert worst(whole.params[k] - second.params[k], across.params[k]) < 100 * EPS64


@pytest.mark.parametrize("filling", [7.0, np.nan, np.inf])
def test_padding_after_a_length_changes_nothing(cell, filling, rng):
    params, x, h0 = draw_sequence(cell, rng)
    padded = x.copy()
    for row, length in enumerate(LENGTHS):
        padded[length:, row] = filling
    d = rng.standard_normal((7, 3, cell.state_size))
    results = []
    for sequence in (x, padded):
        states, tape = forward(cell, params, sequence, h0, lengths=LENGTHS)
        results.append((states, backward(tape, d)))
    (states, grads), (padded_states, padded_grads) = results
    assert np.array_equal(states, padded_states)
    assert np.array_equal(grads.x, padded_grads.x)
    assert np.array_equal(grads.h0, padded_grads.h0)
    assert all(np.array_equal(grads.params[k], padded_grads.params[k]) for k in params)


def test_a_padded_row_is_the_row_run_alone_to_its_length(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, lengths=LENGTHS)
    d_final = rng.standard_normal(h0.shape)
    grads = backward(tape, d_final=d_final)
    total = {k: np.zeros_like(v) for k, v in params.items()}
    for row, length in enumerate(LENGTHS):
        alone_states, alone_tape = forward(cell, params, x[:length, row : row + 1], h0[row : row + 1])
        alone = backward(alone_tape, d_final=d_final[row : row + 1])
        assert worst(states[: length + 1, row], alone_states[:, 0]) < 20 * EPS64
        assert np.array_equal(states[length:, row], np.broadcast_to(states[length, row], states[length:, row].shape))
        assert worst(grads.x[:length, row], alone.x[:, 0]) < 50 * EPS64
        assert not grads.x[length:, row].any()
        assert worst(grads.h0[row], alone.h0[0]) < 50 * EPS64
        total = {k: total[k] + alone.params[k] for k in params}
    for k in params:
        assert worst(grads.params[k], total[k]) < 100 * EPS64


def test_lengths_may_be_a_list_or_an_array_of_any_integer_type(rng):
    cell = numrnn.ElmanCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    wanted = forward(cell, params, x, h0, lengths=LENGTHS)[0]
    for lengths in (tuple(LENGTHS), np.array(LENGTHS, np.uint8), np.array(LENGTHS, np.int64)):
        assert np.array_equal(forward(cell, params, x, h0, lengths=lengths)[0], wanted)


def test_only_the_gradients_asked_for_are_returned(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    tape = forward(cell, params, x, h0)[1]
    default, some = backward(tape, d_final=h0), backward(tape, d_final=h0, wrt={"h0", "states"})
    assert default.states is None
    assert some.params is None
    assert some.x is None
    assert np.array_equal(some.h0, default.h0)
    assert np.array_equal(some.states[0], default.h0)


def test_a_tape_can_be_used_twice_and_its_cotangent_is_left_alone(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0, lengths=LENGTHS)
    d_states = rng.standard_normal(states.shape)
    before = d_states.copy()
    first, second = backward(tape, d_states), backward(tape, d_states)
    assert np.array_equal(d_states, before)
    assert all(np.array_equal(first.params[k], second.params[k]) for k in params)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sequence_results_keep_the_dtype_of_the_arguments(cell, dtype, rng):
    params, x, h0 = draw_sequence(cell, rng, dtype=dtype)
    for options in VARIANTS.values():
        states, tape = forward(cell, params, x, **options)
        grads = backward(tape, d_final=h0, wrt=numrnn.bptt.GRADIENTS)
        arrays = [states, *grads.params.values(), grads.x, grads.h0, grads.states]
        assert {a.dtype for a in arrays} == {np.dtype(dtype)}


def test_complex_step_through_backward_gives_a_symmetric_second_derivative(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    d_final = rng.standard_normal(h0.shape)
    u, v = ({k: rng.standard_normal(a.shape) for k, a in params.items()} for _ in range(2))

    def gradient_along(direction):
        def function(p):
            grads = backward(forward(cell, p, x, h0)[1], d_final=d_final)
            return sum(np.sum(grads.params[k] * direction[k]) for k in params)

        return function

    by_u, by_v = (gradcheck.numerical_gradient(gradient_along(direction), params) for direction in (u, v))
    uv, vu = (sum(np.vdot(g[k], d[k]) for k in params) for g, d in ((by_u, v), (by_v, u)))
    assert uv != 0
    assert abs(uv - vu) < 1e-12 * abs(uv)


def test_the_old_name_of_recompute_every_still_works_and_says_so(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    with pytest.warns(DeprecationWarning, match="checkpoint_every is now called recompute_every"):
        states, tape = forward(cell, params, x, h0, checkpoint_every=2)
    assert tape.every == 2
    assert np.array_equal(states, forward(cell, params, x, h0)[0])
    with pytest.raises(ValueError, match="give recompute_every alone"):
        forward(cell, params, x, h0, recompute_every=2, checkpoint_every=2)


def test_a_subclass_that_replaces_a_part_of_the_step_runs_on_the_reference_engine(rng):
    class Doubled(numrnn.LSTMCell):
        def _gates(self, params, x, h):
            i, f, g, o = super()._gates(params, x, h)
            return i, f, 2 * g, o

    class Renamed(numrnn.LSTMCell):
        def config(self):
            return super().config()

    for kind, fused in ((Doubled, False), (Renamed, True)):
        cell = kind(3, 4)
        params, x, h0 = draw_sequence(cell, rng)
        states, tape = numrnn.forward(cell, params, x, h0)
        assert isinstance(tape, numrnn.bptt.ReferenceTape) is not fused
        np.testing.assert_allclose(states[1], cell.step(params, x[0], h0), rtol=1e3 * EPS64)


def test_a_matrix_of_ones_own_runs_on_the_fused_engine_too(rng):
    class Halved(AntisymmetricMatrix):
        def value(self, W):
            return super().value(W) / 2

        def adjoint(self, dA):
            return super().adjoint(dA) / 2

    cell = numrnn.AntisymmetricCell(3, 4)
    cell.matrix = Halved(4)
    params, x, h0 = draw_sequence(cell, rng)
    d_final = rng.standard_normal(h0.shape)
    fast, plain = (
        backward(numrnn.forward(cell, params, x, h0, engine=engine)[1], d_final=d_final)
        for engine in ("fused", "reference")
    )
    assert np.any(plain.params["W"])
    for name in params:
        error, size = np.abs(fast.params[name] - plain.params[name]).max(), np.abs(plain.params[name]).max()
        assert error <= 1e3 * EPS64 * size, name
