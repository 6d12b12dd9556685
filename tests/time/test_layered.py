"""A stack through time, layer by layer: the numbers of the plain loop over its steps, by the engine of each layer."""

import numpy as np
import pytest
from helpers import draw_params, draw_sequence, make_stacks
from hypothesis import given
from hypothesis import strategies as st

import gradcheck
import numrnn
from numrnn import backward, forward
from numrnn.bptt import GRADIENTS, ReferenceTape
from numrnn.engines.cpu.tape import CpuTape
from numrnn.layered import SHORTEST_SEGMENT, LayeredTape

STACKS = make_stacks()
EVERY_STACK = pytest.mark.parametrize("name", STACKS)


class Own(numrnn.ElmanCell):
    """A cell that no fused engine supports."""

    def step(self, params, x, h):
        return -numrnn.ElmanCell.step(self, params, x, h)

    def step_vjp(self, params, x, h, dh_next):
        return numrnn.ElmanCell.step_vjp(self, params, x, h, -dh_next)


def run(engine, cell, params, x, h0, d_states, wrt=GRADIENTS, **options):
    """Return a dict of all that a pass gives."""
    states, tape = forward(cell, params, x, h0, engine=engine, **options)
    grads = backward(tape, d_states, wrt=wrt)
    return {"states": np.asarray(states), "x": grads.x, "h0": grads.h0, "dh": grads.states, **(grads.params or {})}


def assert_close(got, wanted, growth, x):
    """Check every array to `growth` roundings of its largest element, or of the largest term of the sum that it is."""
    term = np.max(np.abs(wanted["dh"])) * max(1, np.max(np.abs(x)), np.max(np.abs(wanted["states"])))
    for key, value in wanted.items():
        assert (got[key].dtype, got[key].shape) == (value.dtype, value.shape), key
        error = np.max(np.abs(got[key] - value))
        size = np.max(np.abs(value)) if key == "states" else max(np.max(np.abs(value)), term)
        assert error <= growth * np.finfo(value.dtype).eps * size, (key, error)


def expansion(cell, params, x, states):
    """Return a bound of how much the steps can expand a perturbation of any row."""
    pairs = zip(x, states[:-1], strict=True)
    norms = [np.linalg.norm(cell.jacobian(params, x_t, h), 2, axis=(1, 2)).max() for x_t, h in pairs]
    return np.prod(np.maximum(norms, 1.0))


@given(
    name=st.sampled_from(sorted(STACKS)),
    sizes=st.tuples(st.integers(1, 150), st.integers(1, 70), st.integers(1, 5), st.integers(1, 9)),
    dtype=st.sampled_from([np.float32, np.float64]),
    padded=st.booleans(),
    every=st.sampled_from([None, 1, 20, 65, 100, "sqrt"]),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.slow
def test_layer_by_layer_equals_step_by_step_to_rounding(name, sizes, dtype, padded, every, seed):
    n_steps, batch, m, n = sizes
    rng = np.random.default_rng(seed)
    cell = make_stacks(m, n)[name]
    params, x, h0 = draw_sequence(cell, rng, n_steps, batch, dtype)
    params = {key: (0.5 * value).astype(dtype) for key, value in params.items()}
    options = {"recompute_every": every}
    if padded:
        options["lengths"] = rng.integers(1, n_steps + 1, batch)
    d_states = rng.standard_normal((n_steps + 1, batch, cell.state_size)).astype(dtype)
    wanted = run("reference", cell, params, x, h0, d_states, **options)
    got = run("fused", cell, params, x, h0, d_states, **options)
    # Sums of some 20 products in every step, of T B in the gradients, carried through steps that expand them.
    growth = 32 * (20 + n_steps) * expansion(cell, params, x, wanted["states"])
    assert_close(got, wanted, growth, x)


@EVERY_STACK
@pytest.mark.parametrize("every", [None, 64])
def test_gradients_are_those_of_the_reference_loss(name, every, rng):
    cell, lengths = STACKS[name], [70, 5, 66]
    params, x, h0 = draw_sequence(cell, rng, n_steps=70, batch=3)
    states, tape = forward(cell, params, x, h0, lengths=lengths, recompute_every=every)
    d_states = rng.standard_normal(states.shape)
    grads = backward(tape, d_states)

    def loss(point):
        named = {k: point[k] for k in params}
        out, _ = forward(cell, named, point["x"], point["h0"], lengths=lengths, engine="reference")
        return np.sum(d_states * out)

    gradcheck.assert_gradient(loss, {**grads.params, "x": grads.x, "h0": grads.h0}, {**params, "x": x, "h0": h0})


@EVERY_STACK
def test_every_layer_has_the_engine_that_supports_it(name, rng):
    cell = STACKS[name]
    params, x, h0 = draw_sequence(cell, rng)
    tape = forward(cell, params, x, h0)[1]
    assert isinstance(tape, LayeredTape)
    flat = [inner for layer in tape._layers for inner in (getattr(layer, "_layers", None) or [layer])]
    assert {type(layer) for layer in flat} == {CpuTape}
    assert isinstance(forward(cell, params, x, h0, engine="reference")[1], ReferenceTape)


def test_a_layer_that_no_engine_supports_runs_on_the_reference_and_the_others_do_not(rng):
    cell = numrnn.Stack([numrnn.AntisymmetricCell(3, 5), Own(5, 4), numrnn.LSTMCell(4, 2)])
    params, x, h0 = draw_sequence(cell, rng, n_steps=20)
    d_states = rng.standard_normal((21, *h0.shape))
    tape = forward(cell, params, x, h0)[1]
    assert [type(layer) for layer in tape._layers] == [CpuTape, ReferenceTape, CpuTape]
    wanted = run("reference", cell, params, x, h0, d_states)
    assert_close(run("auto", cell, params, x, h0, d_states), wanted, 5000, x)
    with pytest.raises(ValueError, match="engine='fused' does not support the cell Own"):
        forward(cell, params, x, engine="fused")


def test_a_subclass_with_a_step_of_its_own_is_left_to_the_reference(rng):
    class Doubled(numrnn.Stack):
        def step(self, params, x, h):
            return 2 * numrnn.Stack.step(self, params, x, h)

    cell = Doubled([numrnn.ElmanCell(3, 2), numrnn.ElmanCell(2, 4)])
    params, x, h0 = draw_sequence(cell, rng)
    states, tape = forward(cell, params, x, h0)
    assert isinstance(tape, ReferenceTape)
    assert np.array_equal(states[1], 2 * numrnn.Stack.step(cell, params, x[0], h0))


@EVERY_STACK
@pytest.mark.parametrize("every", [None, 1])
def test_only_the_gradients_asked_for_are_made(name, every, rng):
    cell = STACKS[name]
    params, x, h0 = draw_sequence(cell, rng, n_steps=100)
    _, tape = forward(cell, params, x, h0, recompute_every=every)
    everything = backward(tape, d_final=h0, wrt=GRADIENTS)
    for wanted in GRADIENTS:
        some = backward(tape, d_final=h0, wrt=(wanted,))
        assert [field for field in GRADIENTS if getattr(some, field) is not None] == [wanted]
        if wanted == "params":
            assert [*some.params] == [*params]
            assert all(np.array_equal(some.params[k], everything.params[k]) for k in params)
        else:
            assert np.array_equal(getattr(some, wanted), getattr(everything, wanted))


@EVERY_STACK
def test_recomputed_states_are_those_of_the_pass_bit_for_bit(name, rng):
    cell = STACKS[name]
    params, x, h0 = draw_sequence(cell, rng, n_steps=150, batch=4)
    states, tape = forward(cell, params, x, h0, recompute_every=1)
    assert tape.every == SHORTEST_SEGMENT
    assert states.shape == (151, 4, cell.state_size)
    recomputed = np.asarray(states)
    for t in (0, SHORTEST_SEGMENT, 2 * SHORTEST_SEGMENT):
        assert np.array_equal(recomputed[t], tape._kept[t // SHORTEST_SEGMENT])
    assert np.array_equal(states[-1], tape.final_state)
    again = forward(cell, params, x, h0, recompute_every=1)[0]
    assert np.array_equal(np.asarray(again), recomputed)


def test_two_runs_give_the_same_bits_and_arguments_are_left_alone(rng):
    cell = STACKS["mixed stack"]
    params, x, h0 = draw_sequence(cell, rng, n_steps=70, batch=66)
    d_states = rng.standard_normal((71, *h0.shape))
    for array in (*params.values(), x, h0, d_states):
        array.flags.writeable = False
    first, second = (run("fused", cell, params, x, h0, d_states) for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_a_tape_can_be_used_twice_and_its_cotangents_are_left_alone(rng):
    cell = STACKS["stack of two"]
    params, x, h0 = draw_sequence(cell, rng)
    _, tape = forward(cell, params, x, h0)
    d_states, d_final = rng.standard_normal((7, *h0.shape)), rng.standard_normal(h0.shape)
    before = d_states.copy(), d_final.copy()
    first, second = (backward(tape, d_states, d_final=d_final) for _ in range(2))
    assert all(np.array_equal(first.params[k], second.params[k]) for k in params)
    assert np.array_equal(d_states, before[0])
    assert np.array_equal(d_final, before[1])


def test_a_complex_step_through_one_layer_and_back_gives_second_derivatives(rng):
    cell = STACKS["mixed stack"]
    params, x, h0 = draw_sequence(cell, rng)
    u, v = draw_params(cell, rng), draw_params(cell, rng)

    def along(direction, other):
        moved = {k: value + 1e-30j * direction[k] for k, value in params.items()}
        _, tape = forward(cell, moved, x, h0)
        grads = backward(tape, d_final=h0).params
        return sum(np.sum(grads[k].imag / 1e-30 * other[k]) for k in params)

    assert along(u, v) == pytest.approx(along(v, u), rel=1e-11)
    _, tape = forward(cell, {**params, "2.V": params["2.V"] + 1e-30j}, x, h0)
    assert backward(tape, d_final=h0).params["1.V"].dtype == np.complex128


def test_a_sequence_cut_in_two_gives_the_same_gradients(rng):
    cell = STACKS["mixed stack"]
    params, x, h0 = draw_sequence(cell, rng, n_steps=30)
    d_final = rng.standard_normal(h0.shape)
    whole = backward(forward(cell, params, x, h0)[1], d_final=d_final)
    middle, first = forward(cell, params, x[:13], h0)
    second = backward(forward(cell, params, x[13:], middle[-1])[1], d_final=d_final)
    rest = backward(first, d_final=second.h0)
    for key in params:
        total = rest.params[key] + second.params[key]
        bound = 1000 * np.finfo(float).eps * np.max(np.abs(whole.params[key]))
        np.testing.assert_allclose(total, whole.params[key], rtol=0, atol=bound)


def test_memory_with_recomputation_is_that_of_the_segments(rng):
    cell = STACKS["stack of two"]
    params, x, h0 = draw_sequence(cell, rng, n_steps=1000, batch=2)
    _, tape = forward(cell, params, x, h0, recompute_every=100)
    assert tape._layers is None
    assert len(tape._kept) == 11
    assert sum(h.size for h in tape._kept) == 11 * 2 * cell.state_size
