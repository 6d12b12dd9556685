"""numrnn.reversible: steps undone by fixed-point iteration, and backward through time without a tape."""

import tracemalloc

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, draw_params, draw_sequence, draw_step, make_cells, worst

import gradcheck
import numrnn
from numrnn import reversible
from numrnn.backend import to_numpy
from numrnn.cells.euler import EulerCell
from numrnn.ode import with_step_size

# Steps of 0.1 keep eps norm(A) below 1 for the parameters that draw_params makes.
EULER = {k: with_step_size(v, 0.1) for k, v in make_cells().items() if isinstance(v, EulerCell)}
euler_cells = pytest.mark.parametrize("cell", EULER.values(), ids=EULER.keys())


@euler_cells
def test_a_step_is_undone_to_rounding(cell, rng):
    params, x, h = draw_step(cell, rng, batch=50)
    found = reversible.invert_step(cell, params, x, cell.step(params, x, h))
    # A rounding of h_next comes back magnified by 1 / (1 - q) at most.
    assert np.max(np.abs(found.h - h)) < 4 * np.max(np.abs(h)) * EPS64 / (1 - found.contraction)
    assert 0 < found.contraction < 1


@euler_cells
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
def test_a_step_is_undone_wherever_it_contracts(cell, q, rng):
    params, x, h = draw_step(cell, rng, batch=50)
    cell = with_step_size(cell, cell.step_size * q / reversible.contraction_factor(cell, params))
    found = reversible.invert_step(cell, params, x, cell.step(params, x, h))
    assert abs(found.contraction - q) < 50 * EPS64
    size = np.max(np.abs(h)) + cell.step_size
    assert np.max(np.abs(found.h - h)) < 10 * size * EPS64 / (1 - q)
    assert found.iterations <= 2 + np.ceil(np.log(EPS64) / np.log(q))


@euler_cells
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_states_whose_squares_leave_the_range_are_undone_to_rounding(cell, dtype, rng):
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    params, x, h = draw_step(cell, rng, batch=5)
    params = {name: (0.0 if name[0] in "Vb" else 1.0) * value for name, value in params.items()}  # h = 0 stays
    cell = with_step_size(cell, cell.step_size * 0.5 / reversible.contraction_factor(cell, params))
    params = {name: value.astype(dtype) for name, value in params.items()}
    for exponent in rng.uniform(np.log10(tiny) + 8, -np.log10(tiny) - 8, 20):
        small = (h * 10.0**exponent).astype(dtype)
        found = reversible.invert_step(cell, params, x.astype(dtype), cell.step(params, x.astype(dtype), small))
        assert np.max(np.abs(found.h - small)) < 40 * eps * np.max(np.abs(small)), exponent


@euler_cells
def test_iterates_contract_by_the_stated_factor(cell, rng):
    params, x, y = draw_step(cell, rng, batch=20)
    q = reversible.contraction_factor(cell, params)
    a, b = rng.standard_normal((2, *y.shape))
    images = [y - (cell.step(params, x, h) - h) for h in (a, b)]
    ratio = np.linalg.norm(images[0] - images[1], axis=1) / np.linalg.norm(a - b, axis=1)
    assert np.all(ratio <= q * (1 + 100 * EPS64))


def test_no_slope_of_the_gate_and_candidate_exceeds_one():
    # The hypothesis behind the gated cell's contraction, on a grid of every c and z.
    c, z = np.meshgrid(np.linspace(-1, 1, 2001), np.linspace(0, 1, 1001))
    d = z * (1 - c * c) + c * z * (1 - z)
    assert d.max() == 1
    assert d.min() == -0.25


@euler_cells
def test_a_sequence_is_undone_from_its_last_state(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=100)
    states, _ = numrnn.forward(cell, params, x, h0)
    found = reversible.invert(cell, params, x, states[-1])
    # Rounding, magnified by 1 + eps norm(A) a step at the very worst; here by far less.
    assert np.max(np.abs(found.h - h0)) < 1e4 * np.max(np.abs(states)) * EPS64


def test_single_precision_is_undone_to_single_precision(rng):
    cell = EULER["gated, full"]
    params, x, h = draw_step(cell, rng, dtype=np.float32)
    found = reversible.invert_step(cell, params, x, cell.step(params, x, h))
    assert found.h.dtype == np.float32
    assert np.max(np.abs(found.h - h)) < 50 * np.finfo(np.float32).eps


@pytest.mark.parametrize("lengths", [None, [30, 1, 17]], ids=["full rows", "padded rows"])
@euler_cells
def test_gradients_without_a_tape_are_those_with_one(cell, lengths, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=30)
    states, tape = numrnn.forward(cell, params, x, h0, lengths=lengths)
    h, lean = reversible.forward(cell, params, x, h0, lengths=lengths)
    d_states, d_final = rng.standard_normal(states.shape), rng.standard_normal(h0.shape)
    wrt = ("params", "x", "h0", "states")
    wanted = numrnn.backward(tape, d_states, d_final=d_final, wrt=wrt)
    got = numrnn.backward(lean, d_states, d_final=d_final, wrt=wrt)
    assert worst(h, states[-1]) < 100 * EPS64
    pairs = [(got.x, wanted.x), (got.h0, wanted.h0), (got.states, wanted.states)]
    for got_, wanted_ in pairs + [(got.params[k], wanted.params[k]) for k in params]:
        assert worst(got_, wanted_) < 30 * 100 * EPS64


@euler_cells
def test_gradients_without_a_tape_pass_gradcheck(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=12)
    weights = rng.standard_normal(h0.shape)

    def loss(p):
        states, _ = numrnn.forward(cell, p, x, h0, engine="reference")
        return np.sum(weights * states[-1] ** 2) / 2

    def gradient(p):
        h, tape = reversible.forward(cell, p, x, h0)
        return numrnn.backward(tape, d_final=weights * h).params

    gradcheck.assert_gradient(loss, gradient, params)


def test_the_drift_is_the_distance_of_the_states_found_from_the_true_ones(rng):
    cell = EULER["antisymmetric, full"]
    params, x, h0 = draw_sequence(cell, rng, n_steps=200)
    h, tape = reversible.forward(cell, params, x, h0, check_every=60)
    drift = numrnn.backward(tape, d_final=h).drift
    back = reversible.invert(cell, params, x, h)
    assert drift.h0 == np.max(np.abs(back.h - h0))
    assert sorted(drift.checks) == [60, 120, 180]
    states, _ = numrnn.forward(cell, params, x, h0, engine="reference")
    at_120 = reversible.invert(cell, params, x[120:], h).h
    assert drift.checks[120] == np.max(np.abs(at_120 - states[120]))
    assert (drift.contraction, drift.iterations) == (back.contraction, back.iterations)


def test_strong_diffusion_makes_the_way_back_drift_and_the_report_says_so(rng):
    # Forward, each step damps by about 1 - eps gamma; back, it magnifies rounding by as much.
    cell = numrnn.AntisymmetricCell(3, 4, step_size=0.1, diffusion=3.0)
    params, x, h0 = draw_sequence(cell, rng, n_steps=100)
    h, tape = reversible.forward(cell, params, x, h0, check_every=50)
    drift = numrnn.backward(tape, d_final=h).drift
    assert drift.h0 > 1e-8
    assert drift.h0 > 10 * drift.checks[50]


def test_memory_does_not_grow_with_the_length(rng):
    cell = EULER["antisymmetric, triangular"]
    params = draw_params(cell, rng)

    def peak(n_steps):
        x, ones = np.zeros((n_steps, 2, 3)), np.ones((2, 4))
        h0 = np.ones((2, 4))
        tracemalloc.start()
        _, tape = reversible.forward(cell, params, x, h0)
        numrnn.backward(tape, d_final=ones, wrt=("params", "h0"))
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    peak(10)
    # What `forward` checks of x is a pass over it, a byte a number; states would be 64 bytes a step.
    assert peak(2000)[0] - peak(200)[0] < 1800 * 2 * 3 * 2 + 20_000


def test_the_tape_gives_its_states_when_asked(rng):
    cell = EULER["gated, triangular"]
    params, x, h0 = draw_sequence(cell, rng)
    _, tape = reversible.forward(cell, params, x, h0)
    assert np.array_equal(tape.segment(0), numrnn.forward(cell, params, x, h0, engine="reference")[0])


@euler_cells
def test_it_runs_on_another_librarys_device(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    device = xp.Device("device1")

    def move(array):
        return xp.asarray(array, device=device)

    moved = {k: move(v) for k, v in params.items()}
    h, tape = reversible.forward(cell, moved, move(x), move(h0))
    grads = numrnn.backward(tape, d_final=h)
    wanted = numrnn.backward(numrnn.forward(cell, params, x, h0)[1], d_final=to_numpy(h))
    assert grads.h0.device == device
    assert worst(to_numpy(grads.h0), wanted.h0) < 1000 * EPS64
    assert grads.drift.h0 < 1000 * EPS64


@euler_cells
def test_steps_that_do_not_contract_are_refused_with_the_numbers(cell, rng):
    params, x, h = draw_step(cell, rng)
    limit = 0.1 / reversible.contraction_factor(cell, params)
    long = with_step_size(cell, 1.01 * limit)
    message = (
        rf"steps of this {type(cell).__name__} cannot .* needs eps norm\(A\) < 1, got 1\.01 = .* below {limit:.6g}"
    )
    with pytest.raises(ValueError, match=message):
        reversible.invert_step(long, params, x, h)
    with pytest.raises(ValueError, match=message):
        reversible.forward(long, params, x[None], h)
    short = with_step_size(cell, 0.99 * limit)
    assert reversible.invert_step(short, params, x, h).contraction < 1


@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_a_cell_that_is_no_euler_step(name, rng):
    cell = numrnn.CELLS[name](3, 4)
    params, x, h = draw_step(cell, rng)
    for call in (reversible.invert_step, lambda c, p, x, h: reversible.forward(c, p, x[None], h)):
        with pytest.raises(TypeError, match=f"cell must be an Euler cell, .* got {type(cell).__name__}"):
            call(cell, params, x, h)


def test_bad_input(rng):
    cell = EULER["gated, full"]
    params, x, h = draw_step(cell, rng)
    with pytest.raises(ValueError, match=r"x must be \(B, m\)"):
        reversible.invert_step(cell, params, x[0], h)
    with pytest.raises(ValueError, match=r"h_next must be \(B=5, n=4\), got \(4, 4\)"):
        reversible.invert_step(cell, params, x, h[:4])
    with pytest.raises(TypeError, match="one precision"):
        reversible.invert_step(cell, params, x.astype(np.float32), h)
    with pytest.raises(TypeError, match="must be of float32 or float64, got complex128"):
        reversible.invert_step(cell, params, x, h + 0j)
    with pytest.raises(ValueError, match="h_next must be finite"):
        reversible.invert_step(cell, params, x, np.full_like(h, np.inf))
    with pytest.raises(ValueError, match="check_every must be an integer >= 1, got 0"):
        reversible.forward(cell, params, x[None], h, check_every=0)
