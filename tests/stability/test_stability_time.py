"""numrnn.stability: Jacobians through time, Lyapunov exponents, energy, gradients over time, saturation."""

import array_api_strict as xp
import numpy as np
import pytest
from helpers import EPS64, draw_params, draw_sequence, draw_step, make_cells, worst
from linear_systems import cell_with, planar

import numrnn
from numrnn import forward, stability
from numrnn.backend import to_numpy

CELLS = make_cells()
DEVICE = xp.Device("device1")


@pytest.fixture
def medium(rng):
    """A cell with 24 units over 60 steps, float64: large enough for Lanczos, small enough for explicit products."""
    cell = numrnn.AntisymmetricCell(3, 24, step_size=0.05, diffusion=0.1)
    params = cell.init_params(rng, dtype=np.float64)
    return cell, params, rng.standard_normal((60, 2, 3))


def product_of_jacobians(cell, params, x, states):
    """Return dh_T/dh_0 by the plainest product, (B, s, s)."""
    J = np.broadcast_to(np.eye(cell.state_size), (x.shape[1], cell.state_size, cell.state_size))
    for t in range(len(x)):
        J = cell.jacobian(params, x[t], states[t]) @ J
    return J


def unscaled(product):
    return product.matrix * np.exp(product.log_scale)[:, None, None]


def test_each_step_and_its_adjoint_are_the_jacobian_of_the_cell(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    lin = stability.linearize(cell, params, x, h0)
    v = rng.standard_normal((3, 2, cell.state_size))
    for t in range(1, 7):
        J = cell.jacobian(params, x[t - 1], lin.states[t - 1])
        assert worst(lin.apply(t, v), np.einsum("bij,bkj->bki", J, v)) < 100 * EPS64
        assert worst(lin.apply_adjoint(t, v), np.einsum("bij,bki->bkj", J, v)) < 100 * EPS64


def test_the_explicit_product_is_the_product_of_the_cells_jacobians(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=20)
    lin = stability.linearize(cell, params, x, h0)
    got = unscaled(stability.end_to_end_jacobian(lin))
    assert worst(got, product_of_jacobians(cell, params, x, lin.states)) < 20 * 50 * EPS64


def test_the_end_to_end_jacobian_is_the_gradient_of_the_last_state(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=20)
    got = unscaled(stability.end_to_end_jacobian(stability.linearize(cell, params, x, h0)))
    _, tape = forward(cell, params, x, h0)
    for j in range(cell.state_size):
        d_final = np.zeros_like(h0)
        d_final[:, j] = 1
        assert worst(got[:, j], numrnn.backward(tape, d_final=d_final).h0) < 20 * 50 * EPS64


def test_a_linear_system_has_the_singular_values_of_its_planes():
    # At the origin without input the slopes are 1, A is normal and the singular values are |1 + eps lambda|^T.
    cell, params = cell_with(planar(3.0, 1.0, 0.2), step_size=0.1, diffusion=0.5)
    T = 300
    lin = stability.linearize(cell, params, np.zeros((T, 1, 1)))
    wanted = T * np.log(np.hypot(1 - 0.05, 0.1 * np.array([3, 3, 1, 1, 0.2, 0.2])))
    got = stability.end_to_end_jacobian(lin).log_singular_values()[0]
    # The smallest is 1e-6 of the largest: rounding of the largest, magnified by T steps, bounds what is seen of it.
    assert np.max(np.abs(got - wanted)) < 10 * T * EPS64 * np.exp(wanted[0] - wanted[-1])
    assert np.max(np.abs(got[:2] - wanted[:2])) < 10 * T * EPS64


def test_a_product_beyond_the_range_of_floating_point_is_exact_in_logs():
    # Elman at the origin: dh_T/dh_0 = W^T exactly, here 2^-3000 and 2^-2999.
    cell = numrnn.ElmanCell(1, 2)
    params = {"W": np.diag([0.5, 0.5]), "V": np.zeros((2, 1)), "b": np.zeros(2)}
    lin = stability.linearize(cell, params, np.zeros((3000, 1, 1)))
    product = stability.end_to_end_jacobian(lin)
    assert np.array_equal(product.matrix[0], np.eye(2))
    assert abs(product.log_scale[0] / (-3000 * np.log(2)) - 1) < 100 * EPS64
    assert np.all(np.abs(product.log_eigenvalues()[0] / (-3000 * np.log(2)) - 1) < 100 * EPS64)
    growing = {**params, "W": 4 * params["W"]}
    log_scale = stability.end_to_end_jacobian(stability.linearize(cell, growing, np.zeros((3000, 1, 1)))).log_scale
    assert abs(log_scale[0] / (3000 * np.log(2)) - 1) < 100 * EPS64


def test_matrix_free_products_beyond_the_range_are_exact_in_logs(rng):
    cell = numrnn.ElmanCell(1, 8)
    Q = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    W = Q @ np.diag([0.5, *np.linspace(0.49, 0.3, 7)]) @ Q.T
    params = {"W": W, "V": np.zeros((8, 1)), "b": np.zeros(8)}
    T = 2000
    lin = stability.linearize(cell, params, np.zeros((T, 1, 1)))
    assert abs(stability.log_singular_values(lin, 1)[0] - T * np.log(0.5)) < 10 * T * EPS64
    assert abs(stability.log_eigenvalues(lin, 1)[0] - T * np.log(0.5)) < 10 * T * EPS64


def test_a_jacobian_that_is_zero_has_logs_of_minus_infinity():
    cell = numrnn.ElmanCell(1, 4)
    params = {"W": np.zeros((4, 4)), "V": np.zeros((4, 1)), "b": np.zeros(4)}
    lin = stability.linearize(cell, params, np.zeros((3, 1, 1)))
    product = stability.end_to_end_jacobian(lin)
    assert np.all(product.matrix == 0)
    assert np.all(product.log_singular_values() == -np.inf)
    assert np.all(stability.log_singular_values(lin, 2) == -np.inf)
    assert np.all(stability.log_eigenvalues(lin, 2).real == -np.inf)
    assert np.all(stability.lyapunov_exponents(lin) == -np.inf)


def test_an_lstm_falls_by_34_orders_of_magnitude_and_is_seen_to(rng):
    cell = numrnn.LSTMCell(3, 8)
    params = draw_params(cell, rng)
    lin = stability.linearize(cell, params, rng.standard_normal((400, 1, 3)))
    log10 = stability.log_singular_values(lin, 1)[0] / np.log(10)
    explicit = stability.end_to_end_jacobian(lin).log_singular_values()[0, 0] / np.log(10)
    assert log10 < -34
    assert abs(log10 - explicit) < 400 * 100 * EPS64


def test_leading_singular_values_without_the_matrix_are_those_of_the_matrix(medium):
    cell, params, x = medium
    lin = stability.linearize(cell, params, x)
    wanted = stability.end_to_end_jacobian(lin).log_singular_values()
    for row in (0, 1):
        got = stability.log_singular_values(lin, 5, row=row)
        assert np.max(np.abs(got - wanted[row, :5])) < 60 * 100 * EPS64


@pytest.mark.parametrize("name", [*numrnn.CELLS])
def test_leading_singular_values_of_every_cell(name, rng):
    cell = numrnn.CELLS[name](3, 10)
    params, x, h0 = draw_sequence(cell, rng, n_steps=20)
    lin = stability.linearize(cell, params, x, h0)
    got = stability.log_singular_values(lin, 2)
    assert np.max(np.abs(got - stability.end_to_end_jacobian(lin).log_singular_values()[0, :2])) < 20 * 1000 * EPS64


def test_smallest_singular_values_without_the_matrix_are_those_of_the_matrix(medium):
    cell, params, x = medium
    lin = stability.linearize(cell, params, x)
    wanted = stability.end_to_end_jacobian(lin).log_singular_values()[0]
    got = stability.log_singular_values(lin, 4, which="smallest")
    assert np.max(np.abs(got - wanted[-4:])) < 60 * 1000 * EPS64 * np.exp(wanted[0] - wanted[-1])


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_singular_values_of_few_units_are_found(which):
    for n in (3, 4, 8, 9):
        for seed in range(4):
            draw = np.random.default_rng([n, seed])
            cell = (numrnn.UnstructuredCell, numrnn.AntisymmetricCell)[seed % 2](1, n, step_size=0.1)
            params = cell.init_params(draw, dtype=np.float64)
            lin = stability.linearize(cell, params, draw.standard_normal((5, 1, 1)))
            wanted = stability.end_to_end_jacobian(lin).log_singular_values()[0]
            for k in {1, n - 2}:
                got = stability.log_singular_values(lin, k, which=which)
                expected = wanted[:k] if which == "largest" else wanted[-k:]
                assert np.max(np.abs(got - expected)) < 1000 * n * EPS64


def test_smallest_singular_values_are_refused_where_steps_have_no_such_inverse(rng):
    cell = numrnn.AntisymmetricCell(3, 8, step_size=1.0)
    params, x, _ = draw_sequence(cell, rng)
    with pytest.raises(ValueError, match=r"needs eps max\|d\| norm\(A\) < 1, got .* AntisymmetricCell"):
        stability.log_singular_values(stability.linearize(cell, params, x), 1, which="smallest")
    elman = numrnn.ElmanCell(3, 8)
    params, x, _ = draw_sequence(elman, rng)
    with pytest.raises(ValueError, match="ElmanCell has no such form"):
        stability.log_singular_values(stability.linearize(elman, params, x), 1, which="smallest")


def test_leading_eigenvalues_without_the_matrix_are_those_of_the_matrix(rng):
    cell = numrnn.UnstructuredCell(3, 24, step_size=0.3)
    params = cell.init_params(rng, dtype=np.float64, weight_std=2.0)
    lin = stability.linearize(cell, params, rng.standard_normal((30, 1, 3)))
    got = stability.log_eigenvalues(lin, 4)
    wanted = stability.end_to_end_jacobian(lin).log_eigenvalues()[0]
    assert np.max(np.abs(got.real - wanted.real[:4])) < 1e5 * 30 * EPS64  # not normal: see the Notes
    assert np.max(np.abs(np.abs(got.imag) - np.abs(wanted.imag[:4]))) < 1e5 * 30 * EPS64


def test_the_operator_and_its_adjoint_agree(medium, rng):
    cell, params, x = medium
    operator, log_scale = stability.jacobian_operator(stability.linearize(cell, params, x), row=1)
    v, w = rng.standard_normal((2, 24))
    assert abs(w @ (operator @ v) - v @ (operator.H @ w)) < 60 * 100 * EPS64 * np.linalg.norm(v) * np.linalg.norm(w)
    both = operator @ np.stack([v, w], axis=1)
    assert worst(both[:, 0], operator @ v) < 60 * 50 * EPS64
    assert abs(log_scale) < 10


def test_the_history_ends_in_the_end_to_end_jacobian(medium):
    cell, params, x = medium
    lin = stability.linearize(cell, params, x)
    history = stability.log_singular_value_history(lin, [1, 7, 60])
    assert np.allclose(history[-1], stability.end_to_end_jacobian(lin).log_singular_values(), rtol=0, atol=1e-12)
    one = np.linalg.svd(cell.jacobian(params, x[0], np.zeros((2, 24))), compute_uv=False)
    assert np.max(np.abs(history[0] - np.log(one))) < 100 * EPS64


def test_lyapunov_exponents_of_a_diagonal_system_are_known_exactly():
    rates = np.array([1.5, 0.9, 0.5, 1e-3])
    cell = numrnn.ElmanCell(1, 4)
    params = {"W": np.diag(rates), "V": np.zeros((4, 1)), "b": np.zeros(4)}
    lin = stability.linearize(cell, params, np.zeros((500, 2, 1)))
    for every in (1, 7):
        got = stability.lyapunov_exponents(lin, every=every)
        assert got.shape == (2, 4)
        assert np.max(np.abs(got - np.log(rates))) < 500 * EPS64


def test_lyapunov_exponents_of_a_linear_rotation_are_known():
    cell, params = cell_with(planar(3.0, 1.0), step_size=0.1, diffusion=0.5)
    T = 2000
    got = stability.lyapunov_exponents(stability.linearize(cell, params, np.zeros((T, 1, 1))))[0]
    wanted = np.log(np.hypot(1 - 0.05, 0.1 * np.array([3, 3, 1, 1])))
    assert abs(np.sum(got) - np.sum(wanted)) < 100 * EPS64
    # Single exponents of a finite time depend on the first Q: as 1 / T, with the angle between it and the planes.
    assert np.max(np.abs(got - wanted)) < 5 / T


def test_the_sum_of_all_exponents_is_the_mean_log_determinant(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=30)
    lin = stability.linearize(cell, params, x, h0)
    J = stability.step_jacobians(cell, params, x, lin.states)
    wanted = np.sum(np.linalg.slogdet(J)[1], axis=0) / 30
    assert worst(np.sum(stability.lyapunov_exponents(lin), axis=1), wanted) < 30 * 100 * EPS64


def test_fewer_exponents_are_the_first_of_all(medium):
    lin = stability.linearize(*medium)
    few, all_ = stability.lyapunov_exponents(lin, 3), stability.lyapunov_exponents(lin)
    assert few.shape == (2, 3)
    # Sorting takes place last: the first three directions are among all, not the three largest exponents.
    assert all(np.min(np.abs(all_[0] - value)) < 1e-12 for value in few[0])


def test_log_cosh_is_accurate_from_the_smallest_to_the_largest():
    u = np.array([0.0, 1e-160, 1e-8, 0.5, 1.0, 2.0, 20.0])
    series = np.array([0.0, 0.0, 0.5e-16, np.log(np.cosh(0.5)), np.log(np.cosh(1.0)), np.log(np.cosh(2.0)), 0])
    series[-1] = 20 + np.log1p(np.exp(-40)) - np.log(2)
    assert np.max(np.abs(stability.log_cosh(u) - series)[2:] / series[2:]) < 8 * EPS64
    assert np.all(stability.log_cosh(np.array([-1e308, 1e308])) == 1e308)
    assert np.array_equal(stability.log_cosh(-u), stability.log_cosh(u))
    assert stability.log_cosh(np.float32([3.0])).dtype == np.float32


def test_energy_is_the_sum_of_log_cosh_of_the_pre_activations(rng):
    cell = CELLS["antisymmetric, full"]
    params, x, h = draw_step(cell, rng)
    u = h @ cell.matrix.value(params["W"]).T + x @ params["V"].T + params["b"]
    assert worst(stability.energy(cell, params, x, h), np.sum(np.log(np.cosh(u)), axis=1)) < 20 * EPS64


def test_the_change_of_energy_in_a_step_stays_within_its_bounds(rng):
    for diffusion in (0.0, 0.2, 3.0):
        cell = numrnn.AntisymmetricCell(3, 6, step_size=0.2, diffusion=diffusion)
        params, x, h = draw_step(cell, rng, batch=200)
        before = stability.energy(cell, params, x, h)
        change = stability.energy(cell, params, x, cell.step(params, x, h)) - before
        lower, upper = stability.energy_change_bounds(cell, params, x, h)
        rounding = 100 * EPS64 * before
        assert np.all(lower - rounding <= change)
        assert np.all(change <= upper + rounding)


def test_log_gradient_norms_are_those_of_backward(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, n_steps=20)
    d_final = rng.standard_normal(h0.shape)
    got = stability.log_gradient_norms(stability.linearize(cell, params, x, h0), d_final)
    _, tape = forward(cell, params, x, h0)
    states = numrnn.backward(tape, d_final=d_final, wrt=("states",)).states
    assert np.max(np.abs(got - np.log(np.linalg.norm(states, axis=-1)))) < 20 * 100 * EPS64


def test_gradient_norms_below_the_range_of_floating_point_have_logs(rng):
    cell = numrnn.ElmanCell(1, 2)
    params = {"W": np.diag([0.5, 0.5]), "V": np.zeros((2, 1)), "b": np.zeros(2)}
    lin = stability.linearize(cell, params, np.zeros((3000, 1, 1)))
    got = stability.log_gradient_norms(lin, np.array([[3.0, 4.0]]))
    wanted = np.log(5) - np.arange(3000, -1, -1) * np.log(2)
    assert np.max(np.abs(got[:, 0] - wanted)) < 3000 * 3000 * EPS64
    assert np.all(stability.log_gradient_norms(lin, np.zeros((1, 2))) == -np.inf)


def test_saturation_counts_units_and_steps():
    cell = numrnn.GatedAntisymmetricCell(1, 4)
    params = {
        "W": np.zeros((4, 4)),
        "V": np.zeros((4, 1)),
        "b": np.array([0.0, 5.0, -5.0, 2.0]),
        "V_z": np.zeros((4, 1)),
        "b_z": np.array([-9.0, 0.0, 9.0, 9.0]),
    }
    x = np.zeros((5, 2, 1))
    states, _ = forward(cell, params, x)
    found = stability.saturation(cell, params, x, states)
    assert (found.candidate, found.closed, found.open) == (0.5, 0.25, 0.5)


def test_saturation_of_the_baselines(rng):
    elman = numrnn.ElmanCell(1, 2)
    params = {"W": np.zeros((2, 2)), "V": np.zeros((2, 1)), "b": np.array([0.0, 9.0])}
    x = np.zeros((5, 2, 1))
    found = stability.saturation(elman, params, x, forward(elman, params, x)[0])
    assert (found.candidate, found.closed, found.open) == (0.5, None, None)
    lstm = numrnn.LSTMCell(1, 1)
    params = {"W": np.zeros((4, 1)), "V": np.zeros((4, 1)), "b": np.array([-9.0, 9.0, 0.0, 0.0])}
    found = stability.saturation(lstm, params, x, forward(lstm, params, x)[0])
    assert (found.candidate, found.closed, found.open) == (0, 1 / 3, 1 / 3)


def test_what_is_pure_array_code_runs_on_another_librarys_device(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)

    def move(array):
        return xp.asarray(array, device=DEVICE)

    # One engine for both: the smallest singular values of a product magnify what engines differ by.
    lin = stability.linearize(cell, params, x, h0, engine="reference")
    lin_ = stability.linearize(cell, {k: move(v) for k, v in params.items()}, move(x), move(h0))
    pairs = [
        (stability.end_to_end_jacobian(lin_).matrix, stability.end_to_end_jacobian(lin).matrix),
        (stability.lyapunov_exponents(lin_, every=2), stability.lyapunov_exponents(lin, every=2)),
        (stability.log_gradient_norms(lin_, move(h0)), stability.log_gradient_norms(lin, h0)),
        (stability.log_singular_value_history(lin_, [6]), stability.log_singular_value_history(lin, [6])),
    ]
    for got, wanted in pairs:
        assert got.device == DEVICE
        assert worst(to_numpy(got), wanted) < 1e4 * EPS64
    operator, _ = stability.jacobian_operator(lin_)
    assert worst(operator @ h0[0], stability.jacobian_operator(lin)[0] @ h0[0]) < 1e3 * EPS64


def test_single_precision_stays_single(cell, rng):
    params, x, h0 = draw_sequence(cell, rng, dtype=np.float32)
    lin = stability.linearize(cell, params, x, h0)
    product = stability.end_to_end_jacobian(lin)
    arrays = (product.matrix, product.log_scale, product.log_singular_values(), stability.lyapunov_exponents(lin))
    assert {a.dtype for a in (*arrays, stability.log_gradient_norms(lin, h0))} == {np.dtype(np.float32)}
    assert stability.jacobian_operator(lin)[0].dtype == np.float32


def test_arguments_that_do_not_fit(medium):
    cell, params, x = medium
    lin = stability.linearize(cell, params, x)
    with pytest.raises(TypeError, match="lin must be a Linearization, as linearize returns it, got ndarray"):
        stability.end_to_end_jacobian(lin.states)
    with pytest.raises(ValueError, match="k must be at most state_size - 2 = 22, got 24"):
        stability.log_singular_values(lin, 24)
    with pytest.raises(ValueError, match="k must be at most state_size - 2 = 22, got 23"):
        stability.log_eigenvalues(lin, 23)
    with pytest.raises(ValueError, match="k must be at most state_size=24, got 25"):
        stability.lyapunov_exponents(lin, 25)
    with pytest.raises(ValueError, match="row must be from 0 to B - 1 = 1, got 2"):
        stability.log_singular_values(lin, 1, row=2)
    with pytest.raises(ValueError, match="which must be one of 'largest', 'smallest', got 'SM'"):
        stability.log_singular_values(lin, 1, which="SM")
    with pytest.raises(ValueError, match="times must be ascending"):
        stability.log_singular_value_history(lin, [3, 2])
    with pytest.raises(ValueError, match=r"d_final must be \(B=2, n=24\)"):
        stability.log_gradient_norms(lin, x[0])
    with pytest.raises(TypeError, match="must be of float32 or float64, got complex128"):
        stability.linearize(cell, params, x + 0j)
