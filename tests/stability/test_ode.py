"""numrnn.ode: the continuous system, and how Euler's method converges to it."""

import numpy as np
import pytest
from helpers import EPS64, draw_params, draw_sequence, make_cells, worst

import numrnn
from numrnn import forward, ode, stability
from numrnn.cells.euler import EulerCell

EULER = {k: v for k, v in make_cells().items() if isinstance(v, EulerCell)}
# DOP853 keeps the error of a step below rtol = 1e-13; over some tens of steps it adds up.
SOLVER_ERROR = 100 * ode.RTOL

euler_cells = pytest.mark.parametrize("cell", EULER.values(), ids=EULER.keys())


def test_one_unit_with_diffusion_has_a_closed_form():
    # h' = tanh(-gamma h): sinh(gamma h(t)) = sinh(gamma h_0) exp(-gamma t)
    gamma, h0 = 0.7, np.array([[2.0], [-0.3]])
    cell = numrnn.AntisymmetricCell(1, 1, step_size=0.25, diffusion=gamma)
    params = {"W": np.zeros((1, 1)), "V": np.zeros((1, 1)), "b": np.zeros(1)}
    solution = ode.solve(cell, params, np.zeros((12, 2, 1)), h0, sensitivity=True)
    decay = np.exp(-gamma * solution.times)[:, None, None]
    wanted = np.arcsinh(np.sinh(gamma * h0) * decay) / gamma
    assert worst(solution.states, wanted) < SOLVER_ERROR
    derivative = np.cosh(gamma * h0) * decay / np.cosh(gamma * wanted)
    assert worst(solution.sensitivity[..., 0], derivative) < SOLVER_ERROR
    assert np.allclose(solution.times, 0.25 * np.arange(13), rtol=EPS64)


def test_without_weights_each_piece_adds_tanh_of_its_input(rng):
    cell = numrnn.AntisymmetricCell(1, 3, diffusion=0.0)
    params = {"W": np.zeros((3, 3)), "V": rng.standard_normal((3, 1)), "b": rng.standard_normal(3)}
    x = rng.standard_normal((5, 2, 1))
    wanted = 0.4 * np.cumsum(np.tanh(x @ params["V"].T + params["b"]), axis=0)
    assert worst(ode.solve(cell, params, x, piece=0.4).states[1:], wanted) < SOLVER_ERROR


def test_without_diffusion_the_energy_is_conserved(rng):
    cell = numrnn.AntisymmetricCell(3, 6, step_size=0.5, diffusion=0.0)
    params, x, h0 = draw_sequence(cell, rng, n_steps=40)
    x[:] = x[0]
    states = ode.solve(cell, params, x, h0).states
    energies = stability.energy(cell, params, x, states[1:])
    assert worst(energies, np.broadcast_to(energies[0], energies.shape)) < 1e-12


def test_with_diffusion_the_energy_falls(rng):
    cell = numrnn.AntisymmetricCell(3, 6, step_size=0.5, diffusion=0.3)
    params, x, h0 = draw_sequence(cell, rng, n_steps=40)
    x[:] = x[0]
    energies = stability.energy(cell, params, x, ode.solve(cell, params, x, h0).states[1:])
    assert np.all(np.diff(energies, axis=0) < 0)


@euler_cells
def test_the_sensitivity_is_the_derivative_of_the_solution(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    solution = ode.solve(cell, params, x, h0, sensitivity=True)
    v = rng.standard_normal(h0.shape)
    # A central difference of step delta: truncation delta^2, rounding SOLVER_ERROR / delta.
    delta = 1e-4
    ends = [ode.solve(cell, params, x, h0 + sign * delta * v).states for sign in (1, -1)]
    numeric = (ends[0] - ends[1]) / (2 * delta)
    assert worst(np.einsum("tbij,bj->tbi", solution.sensitivity, v), numeric) < 10 * (delta**2 + SOLVER_ERROR / delta)


@euler_cells
def test_the_sensitivity_starts_at_the_identity_and_states_do_not_depend_on_it(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    with_, without = (ode.solve(cell, params, x, h0, sensitivity=flag) for flag in (True, False))
    assert np.array_equal(with_.sensitivity[0], np.broadcast_to(np.eye(4), (3, 4, 4)))
    assert without.sensitivity is None
    assert worst(with_.states, without.states) < SOLVER_ERROR


def test_solving_in_two_parts_is_solving_at_once(rng):
    cell = EULER["gated, full"]
    params, x, h0 = draw_sequence(cell, rng)
    whole = ode.solve(cell, params, x, h0).states
    first = ode.solve(cell, params, x[:2], h0).states
    assert worst(ode.solve(cell, params, x[2:], first[-1]).states[-1], whole[-1]) < SOLVER_ERROR


@euler_cells
def test_euler_converges_at_order_one_in_states_and_in_sensitivity(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    found = ode.convergence(cell, params, x, h0)
    assert abs(found.state_order - 1) <= 0.02, found
    assert abs(found.sensitivity_order - 1) <= 0.02, found


@euler_cells
def test_forward_and_back_misses_at_order_two(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, batch=8)
    sizes, defects, order = ode.forward_and_back_order(ode.with_step_size(cell, 0.05), params, x[0], h0)
    assert len(sizes) == len(defects) == 7
    assert abs(order - 2) <= 0.05, (sizes, defects)


@euler_cells
def test_eulers_distance_to_the_solution_stays_below_its_bound(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=10)
    distance = np.linalg.norm(forward(cell, params, x, h0)[0] - ode.solve(cell, params, x, h0).states, axis=-1)
    norm = stability.spectral_norm(cell, params)
    times = cell.step_size * np.arange(11)[:, None]
    # f changes along a solution by norm(A) sqrt(n) a unit of time: the hypotheses of the bound, for all four cells.
    assert np.all(distance <= cell.step_size / 2 * 4**0.5 * np.expm1(norm * times) + SOLVER_ERROR)


@euler_cells
def test_the_defect_is_that_of_two_steps_and_stays_below_its_bound(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    got = ode.forward_and_back_defect(cell, params, x[0], h0)
    h1 = cell.step(params, x[0], h0)
    back = h1 - (cell.step(params, x[0], h1) - h1)
    assert worst(got, np.linalg.norm(back - h0, axis=-1)) < 1e4 * EPS64
    assert np.all(got <= cell.step_size**2 * stability.spectral_norm(cell, params) * 4**0.5)


def test_single_precision_is_solved_in_double(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng, dtype=np.float32)
    assert ode.solve(cell, params, x, h0).states.dtype == np.float64


@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_a_cell_with_no_ode_behind_it(name, rng):
    cell = numrnn.CELLS[name](3, 4)
    params = draw_params(cell, rng)
    h = np.zeros((1, cell.state_size))
    for call in (ode.solve, ode.convergence):
        with pytest.raises(TypeError, match=f"cell must be an Euler cell, .* got {type(cell).__name__}"):
            call(cell, params, np.zeros((2, 1, 3)))
    for defect in (ode.forward_and_back_defect, ode.forward_and_back_order):
        with pytest.raises(TypeError, match=f"cell must be an Euler cell, .* got {type(cell).__name__}"):
            defect(cell, params, np.zeros((1, 3)), h)


def test_bad_input(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    with pytest.raises(ValueError, match=r"x must be \(T, B, m=3\)"):
        ode.solve(cell, params, x[0])
    with pytest.raises(ValueError, match=r"h0 must be \(B=3, n=4\)"):
        ode.solve(cell, params, x, h0[:2])
    with pytest.raises(ValueError, match="piece must be a finite number > 0, got 0"):
        ode.solve(cell, params, x, h0, piece=0)
    with pytest.raises(ValueError, match="rtol must be a finite number > 0"):
        ode.solve(cell, params, x, h0, rtol=-1)
    with pytest.raises(TypeError, match="x must be of dtype float32 or float64, got complex128"):
        ode.solve(cell, params, x + 0j)
    for refinements in ((8,), (16, 8), (8, 8)):
        with pytest.raises(ValueError, match="refinements must be two or more ascending integers"):
            ode.convergence(cell, params, x, refinements=refinements)


def test_an_order_where_nothing_moves():
    cell = numrnn.AntisymmetricCell(1, 2)
    params = {"W": np.zeros((2, 2)), "V": np.zeros((2, 1)), "b": np.zeros(2)}
    with pytest.raises(ValueError, match="an order needs errors > 0"):
        ode.forward_and_back_order(cell, params, np.zeros((1, 1)), np.zeros((1, 2)))
