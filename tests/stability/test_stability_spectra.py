"""numrnn.stability: spectra, critical step size, slopes, Jacobians of steps."""

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, draw_params, draw_sequence, draw_step, make_cells, worst
from linear_systems import cell_with, planar

import numrnn
from numrnn import forward, stability
from numrnn.backend import to_numpy
from numrnn.cells.antisymmetric import AntisymmetricMatrix
from numrnn.cells.euler import EulerCell

CELLS = make_cells()
EULER = {k: v for k, v in CELLS.items() if isinstance(v, EulerCell)}
ANTISYMMETRIC = {k: v for k, v in CELLS.items() if isinstance(getattr(v, "matrix", None), AntisymmetricMatrix)}
# Backward error of eigvalsh: a modest multiple of n units of rounding of the norm.
GROWTH = 50

euler_cells = pytest.mark.parametrize("cell", EULER.values(), ids=EULER.keys())
antisymmetric_cells = pytest.mark.parametrize("cell", ANTISYMMETRIC.values(), ids=ANTISYMMETRIC.keys())
other_cells = pytest.mark.parametrize("name", ["elman", "lstm"])


def test_frequencies_of_a_matrix_made_from_known_planes():
    got = stability.frequencies(planar(3.0, 0.5, 1e-6))
    assert np.max(np.abs(got - [-3, -0.5, -1e-6, 1e-6, 0.5, 3])) < GROWTH * 3 * EPS64


def test_frequencies_come_in_pairs_and_odd_sizes_have_a_zero(rng):
    M = rng.standard_normal((4, 5, 5))
    got = stability.frequencies(M - M.swapaxes(1, 2))
    assert got.shape == (4, 5)
    assert np.max(np.abs(got + got[:, ::-1])) < GROWTH * np.max(np.abs(got)) * EPS64


def test_frequencies_of_a_batch_are_those_of_its_matrices(rng):
    M = rng.standard_normal((3, 4, 4))
    M = M - M.swapaxes(1, 2)
    assert np.array_equal(stability.frequencies(M), np.stack([stability.frequencies(one) for one in M]))


def test_frequencies_keep_single_precision(rng):
    M = np.asarray(planar(1.0, 2.0), np.float32)
    M = (M - M.T) / 2
    got = stability.frequencies(M)
    assert got.dtype == np.float32
    assert np.max(np.abs(got - [-2, -1, 1, 2])) < GROWTH * 2 * np.finfo(np.float32).eps


@antisymmetric_cells
def test_the_spectrum_is_that_of_a_general_solver(cell, rng):
    params = draw_params(cell, rng)
    found = stability.spectrum(cell, params)
    A = cell.matrix.value(params["W"])
    wanted = np.linalg.eigvals(A)
    order = np.argsort(wanted.imag)
    assert worst(found.eigenvalues, wanted[order]) < GROWTH * EPS64
    assert np.all(found.eigenvalues.real == -cell.diffusion)
    assert abs(found.norm - np.linalg.norm(A, 2)) < GROWTH * found.norm * EPS64


@euler_cells
def test_the_spectral_norm_is_the_largest_singular_value(cell, rng):
    params = draw_params(cell, rng)
    wanted = np.linalg.norm(cell.matrix.value(params["W"]), 2)
    assert abs(stability.spectral_norm(cell, params) - wanted) < GROWTH * wanted * EPS64


def test_at_the_critical_step_size_the_largest_amplification_is_one():
    for gamma, omega in ((0.15, 2.0), (1.0, 1.0), (3.0, 0.1), (1e-3, 9.0)):
        eps = stability.critical_step_size(gamma, omega)
        factors = stability.amplification_factors(np.array([-gamma + 1j * omega, -gamma - 1j * omega]), eps)
        assert np.max(np.abs(factors - 1)) < 4 * EPS64


def test_critical_step_size_at_its_ends():
    assert stability.critical_step_size(0.0, 1.0) == 0
    assert stability.critical_step_size(0.0, 0.0) == np.inf
    assert stability.critical_step_size(2.0, 0.0) == 1
    assert abs(stability.critical_step_size(1e-200, 1e-200) / 1e200 - 1) < 4 * EPS64


def test_the_required_diffusion_makes_the_step_critical_and_is_the_smallest():
    for eps, omega in ((0.1, 2.0), (1e-8, 1.0), (0.5, 1.9)):
        gamma = stability.required_diffusion(eps, omega)
        # d(eps*)/d(gamma) has no bound near eps omega = 1; away from it rounding is not magnified.
        assert abs(stability.critical_step_size(gamma, omega) / eps - 1) < 100 * EPS64
        assert stability.critical_step_size(0.99 * gamma, omega) < eps
        assert gamma <= 1 / eps


def test_no_diffusion_makes_a_step_stable_that_is_longer_than_one_over_omega():
    assert stability.required_diffusion(0.5, 2.0) == 2.0
    assert stability.required_diffusion(0.5 * (1 + 1e-12), 2.0) is None
    diffusions = np.geomspace(1e-3, 1e3, 10_000)
    assert max(stability.critical_step_size(g, 2.0) for g in diffusions) <= 0.5


def test_the_papers_wdiff_is_not_stable_at_the_origin():
    M = np.array([[0.0, -2.0], [2.0, 0.0]])
    cell, params = cell_with(M, step_size=0.1, diffusion=0.15)
    found = stability.euler_stability(cell, params)
    assert not found.stable
    assert np.allclose(found.amplification, np.hypot(1 - 0.015, 0.2), rtol=4 * EPS64)
    assert round(float(found.amplification.max()), 4) == 1.0051
    damped, _ = cell_with(M, step_size=0.1, diffusion=found.required_diffusion * (1 + 1e-9))
    assert stability.euler_stability(damped, params).stable


@euler_cells
def test_slopes_and_the_matrix_make_the_jacobian_of_the_cell(cell, rng):
    params, x, h = draw_step(cell, rng)
    d = stability.slopes(cell, params, x, h)
    wanted = cell.jacobian(params, x, h)
    got = np.eye(4) + cell.step_size * d[:, :, None] * cell.matrix.value(params["W"])
    assert worst(got, wanted) < 10 * EPS64


def test_slopes_of_the_gated_cell_are_negative_somewhere_and_stay_above_minus_a_quarter(rng):
    cell = numrnn.GatedAntisymmetricCell(3, 4)
    params, x, h = draw_step(cell, rng, batch=2000)
    d = stability.slopes(cell, params, 20 * x, h)
    assert -0.25 <= d.min() < -0.1
    assert 0.9 < d.max() <= 1


def test_a_gated_cell_has_eigenvalues_with_positive_real_part_at_no_diffusion(rng):
    cell = numrnn.GatedAntisymmetricCell(3, 4, diffusion=0.0)
    params, x, h0 = draw_sequence(cell, rng, n_steps=50)
    states, _ = forward(cell, params, x, h0)
    values = stability.flow_eigenvalues(cell, params, 3 * x, states)
    assert np.mean(values.real.max(axis=-1) > 1e-6) > 0.5


def test_the_ungated_cell_has_none(rng):
    cell = numrnn.AntisymmetricCell(3, 4, diffusion=0.0)
    params, x, h0 = draw_sequence(cell, rng, n_steps=50)
    values = stability.flow_eigenvalues(cell, params, x, forward(cell, params, x, h0)[0])
    # Not normal: the similarity D^1/2 has a condition of up to 1e3 here, and a double eigenvalue its square root.
    assert np.max(values.real) < 1e3 * np.max(np.abs(values)) * EPS64**0.5
    assert stability.share_outside_disc(values, cell.step_size) == 1


def test_step_jacobians_are_those_of_the_cell_at_each_step(rng):
    for cell in CELLS.values():
        params, x, h0 = draw_sequence(cell, rng)
        states, _ = forward(cell, params, x, h0)
        got = stability.step_jacobians(cell, params, x, states)
        for t in range(len(x)):
            assert worst(got[t], cell.jacobian(params, x[t], states[t])) < 10 * EPS64


def test_step_eigenvalues_are_those_of_the_jacobians(rng):
    for cell in CELLS.values():
        params, x, h0 = draw_sequence(cell, rng)
        states, _ = forward(cell, params, x, h0)
        got = np.prod(stability.step_eigenvalues(cell, params, x, states), axis=-1)
        wanted = np.linalg.det(stability.step_jacobians(cell, params, x, states))
        assert worst(got, wanted) < 100 * EPS64


def test_chosen_times_are_rows_of_the_whole(rng):
    cell = CELLS["gated, full"]
    params, x, h0 = draw_sequence(cell, rng)
    states, _ = forward(cell, params, x, h0)
    whole = stability.flow_eigenvalues(cell, params, x, states)
    assert np.allclose(stability.flow_eigenvalues(cell, params, x, states, times=[2, 6]), whole[[1, 5]], rtol=1e-12)
    with pytest.raises(ValueError, match=r"times must be from 1 to T=6, got \[7\]"):
        stability.flow_eigenvalues(cell, params, x, states, times=[7])


def test_the_share_outside_the_disc_counts_steps_not_eigenvalues():
    inside, outside = [-0.1 + 0.1j, -0.1 - 0.1j], [-0.1 + 0.1j, 0.1]
    assert stability.share_outside_disc(np.array([inside, inside, inside, outside]), 1.0) == 0.25
    assert stability.share_outside_disc(np.zeros((3, 2), complex), 1.0) == 0


@antisymmetric_cells
def test_spectrum_and_slopes_run_on_another_librarys_device(cell, rng):
    params, x, h = draw_step(cell, rng)
    device = xp.Device("device1")
    moved = {k: xp.asarray(v, device=device) for k, v in params.items()}
    found = stability.spectrum(cell, moved)
    assert found.frequencies.device == device
    wanted = stability.spectrum(cell, params)
    assert worst(to_numpy(found.frequencies), wanted.frequencies) < GROWTH * EPS64
    d = stability.slopes(cell, moved, xp.asarray(x, device=device), xp.asarray(h, device=device))
    assert worst(to_numpy(d), stability.slopes(cell, params, x, h)) < GROWTH * EPS64


@pytest.mark.parametrize("name", [*numrnn.CELLS])
def test_functions_that_do_not_apply_name_the_cell(name, rng):
    cell = numrnn.CELLS[name](3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    states, _ = forward(cell, params, x, h0)
    kind = type(cell).__name__
    refusals = [
        ((numrnn.AntisymmetricCell, numrnn.GatedAntisymmetricCell), lambda: stability.spectrum(cell, params)),
        (numrnn.AntisymmetricCell, lambda: stability.euler_stability(cell, params)),
        (numrnn.AntisymmetricCell, lambda: stability.energy(cell, params, x[0], states[0])),
        (numrnn.AntisymmetricCell, lambda: stability.energy_change_bounds(cell, params, x[0], states[0])),
        (EulerCell, lambda: stability.spectral_norm(cell, params)),
        (EulerCell, lambda: stability.slopes(cell, params, x[0], states[0])),
        (EulerCell, lambda: stability.flow_eigenvalues(cell, params, x, states)),
    ]
    for applies_to, call in refusals:
        if isinstance(cell, applies_to):
            call()
        else:
            with pytest.raises(TypeError, match=f"cell must be .* got {kind}"):
                call()


def test_a_cell_that_is_no_cell():
    with pytest.raises(TypeError, match="cell must be a numrnn cell, got str"):
        stability.spectrum("antisymmetric", {})


def test_a_matrix_that_is_not_antisymmetric():
    with pytest.raises(ValueError, match=r"M must be antisymmetric, got a largest entry of M \+ M\^T of 2"):
        stability.frequencies(np.eye(3))


def test_a_matrix_that_is_not_square():
    with pytest.raises(ValueError, match=r"M must be \(..., n, n\) with n >= 1, got \(2, 3\)"):
        stability.frequencies(np.zeros((2, 3)))


@pytest.mark.parametrize("M", [np.zeros((2, 2), int), [[0.0]], np.zeros((2, 2), complex)])
def test_a_matrix_of_a_wrong_type(M):
    with pytest.raises(TypeError, match="M must be an array of float32 or float64, got"):
        stability.frequencies(M)


def test_a_matrix_that_is_not_finite():
    with pytest.raises(ValueError, match="M must be finite"):
        stability.frequencies(np.full((2, 2), np.nan))


@pytest.mark.parametrize("function", [stability.critical_step_size, stability.required_diffusion])
@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_numbers_out_of_range(function, value):
    with pytest.raises(ValueError, match="must be a finite number"):
        function(value, 1.0)
    with pytest.raises(ValueError, match="omega must be a finite number >= 0"):
        function(1.0, value)


def test_a_step_size_of_zero_amplifies_nothing():
    with pytest.raises(ValueError, match="step_size must be a finite number > 0, got 0"):
        stability.amplification_factors(np.ones(2), 0)
    with pytest.raises(ValueError, match=r"eigenvalues must be \(..., n\) and not empty"):
        stability.share_outside_disc(np.ones((0, 2)), 0.1)


def test_states_of_another_length(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    states, _ = forward(cell, params, x, h0)
    with pytest.raises(ValueError, match=r"states must be \(T\+1=7, B=3, n=4\), got \(6, 3, 4\)"):
        stability.flow_eigenvalues(cell, params, x, states[1:])


def test_slopes_of_states_and_input_that_do_not_fit(rng):
    cell = numrnn.AntisymmetricCell(3, 4)
    params, x, h = draw_step(cell, rng)
    with pytest.raises(ValueError, match="x must be"):
        stability.slopes(cell, params, x[:2], h)
    with pytest.raises(TypeError, match="one precision"):
        stability.slopes(cell, params, x.astype(np.float32), h)
