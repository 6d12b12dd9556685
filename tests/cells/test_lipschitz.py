"""The Lipschitz RNN: its step by the definition, its matrix, the order of its methods, what is known of stability."""

import numpy as np
import pytest
from helpers import EPS64, LIPSCHITZ, draw_params, draw_sequence, draw_step, worst
from scipy.integrate import solve_ivp

import gradcheck
import numrnn
from numrnn import stability
from numrnn.cells.lipschitz import SymmetricSkewMatrix
from numrnn.training import Checkpoint, Classifier, save_checkpoint

METHODS = pytest.mark.parametrize("method", ["euler", "rk2"])


def drawn_cell(rng, **changes):
    """Return a cell of random size and random beta, gamma and step size, and its parameters."""
    n = int(rng.integers(2, 9))
    options = {
        "step_size": 10 ** rng.uniform(-2, 0),
        "beta_A": rng.uniform(0, 1),
        "beta_W": rng.uniform(0, 1),
        "diffusion_A": rng.uniform(0, 2),
        "diffusion_W": rng.uniform(0, 1),
    }
    cell = numrnn.LipschitzCell(3, n, **{**options, **changes})
    params = {name: 10 ** rng.uniform(-1, 0) * value for name, value in draw_params(cell, rng).items()}
    return cell, params


def symmetric_skew(M, beta, gamma):
    """Return S by its definition."""
    return (1 - beta) * (M + M.T) + beta * (M - M.T) - gamma * np.eye(len(M))


def test_steps_are_those_of_the_paper_in_its_columns(rng):
    for method in ("euler", "rk2"):
        cell, params = drawn_cell(rng, method=method)
        n, eps = cell.hidden_size, cell.step_size
        A = symmetric_skew(params["M_A"], cell.matrix_A.beta, cell.matrix_A.diffusion)
        W = symmetric_skew(params["M_W"], cell.matrix_W.beta, cell.matrix_W.diffusion)
        x, h = rng.standard_normal((5, 3)), rng.standard_normal((5, n))
        got = cell.step(params, x, h)
        for i in range(5):

            def f(y, x_i=x[i], A=A, W=W, params=params):
                return A @ y + np.tanh(W @ y + params["V"] @ x_i + params["b"])

            wanted = h[i] + eps * f(h[i]) if method == "euler" else h[i] + eps * f(h[i] + eps / 2 * f(h[i]))
            assert worst(got[i], wanted) < 50 * EPS64


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 0.75, 1.0])
def test_the_matrix_is_its_definition_and_its_adjoint_the_transpose_of_its_tangent(beta, rng):
    matrix = SymmetricSkewMatrix(6, beta, 0.4)
    M, dS = rng.standard_normal((2, 6, 6))
    assert worst(matrix.value(M), symmetric_skew(M, beta, 0.4)) < 4 * EPS64
    assert worst(matrix.tangent(M), symmetric_skew(M, beta, 0.0)) < 4 * EPS64
    report = gradcheck.adjoint_test(lambda M, M_dot: matrix.tangent(M_dot), lambda M, dS: matrix.adjoint(dS), (M,))
    assert report.passed, str(report)
    assert np.sum(dS * matrix.tangent(M)) == pytest.approx(np.sum(matrix.adjoint(dS) * M), rel=1e3 * EPS64)


def test_beta_is_how_antisymmetric_the_matrix_is(rng):
    M = rng.standard_normal((5, 5))
    antisymmetric, itself, symmetric = (SymmetricSkewMatrix(5, beta, 0.0).value(M) for beta in (1.0, 0.5, 0.0))
    assert np.array_equal(antisymmetric, M - M.T)
    assert np.array_equal(itself, M)
    assert np.array_equal(symmetric, M + M.T)


@METHODS
def test_initial_values_are_the_papers_and_keep_states_in_bounds(method):
    n = 128
    cell = numrnn.LipschitzCell(1, n, method=method)
    params = cell.init_params(np.random.default_rng(0), dtype=np.float64)
    for name in ("M_A", "M_W"):
        # The sample deviation of n^2 normal numbers is right to a relative 1 / sqrt(2 n^2); five of those are allowed.
        assert abs(params[name].std() / (0.1 / n) - 1) < 5 / (2 * n**2) ** 0.5
    assert params["V"].std() == pytest.approx(1.0, rel=5 / (2 * n) ** 0.5)
    assert not params["b"].any()
    # |f| <= norm(A) |h| + sqrt(n), so that T steps of eps take a state no further than this.
    T, growth = 784, stability.contraction_rate(cell, params)
    x = np.random.default_rng(1).random((T, 8, 1))
    states, tape = numrnn.forward(cell, params, x)
    time = T * cell.step_size
    assert np.linalg.norm(states, axis=2).max() < 1.1 * np.sqrt(n) * (np.exp(growth * time) - 1) / growth
    totals = numrnn.backward(tape, d_final=np.ones((8, n)), wrt=("states",)).states
    norms = np.linalg.norm(totals, axis=(1, 2))
    assert 0.3 < norms[0] / norms[-1] < 3  # the gradient neither vanishes nor explodes at the start


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beta_A": 1.5}, ValueError, "beta_A must be a finite number >= 0 and <= 1, got 1.5"),
        ({"beta_W": -0.1}, ValueError, "beta_W must be a finite number >= 0 and <= 1, got -0.1"),
        ({"beta_W": float("nan")}, ValueError, "beta_W must be a finite number >= 0 and <= 1, got nan"),
        ({"beta_A": "high"}, TypeError, "beta_A must be a finite number >= 0 and <= 1, got 'high'"),
        ({"diffusion_A": -1.0}, ValueError, "diffusion_A must be a finite number >= 0, got -1.0"),
        ({"diffusion_W": float("inf")}, ValueError, "diffusion_W must be a finite number >= 0, got inf"),
        ({"step_size": 0.0}, ValueError, "step_size must be a finite number > 0, got 0.0"),
        ({"method": "rk4"}, ValueError, "method must be one of 'euler', 'rk2', got 'rk4'"),
        ({"method": None}, TypeError, "method must be one of 'euler', 'rk2', got None"),
    ],
)
def test_arguments_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        numrnn.LipschitzCell(1, 2, **options)


@METHODS
def test_a_step_converges_to_the_ode_with_the_order_of_its_method(method, rng):
    cell = numrnn.LipschitzCell(3, 5, method=method, **LIPSCHITZ)
    params, x, h = draw_step(cell, rng, batch=1)
    A, W = cell.matrix_A.value(params["M_A"]), cell.matrix_W.value(params["M_W"])
    p = params["V"] @ x[0] + params["b"]
    exact = solve_ivp(lambda t, y: A @ y + np.tanh(W @ y + p), (0, 1), h[0], method="DOP853", rtol=1e-13, atol=1e-14)
    counts, errors = np.array([64, 128, 256]), []
    for count in counts:
        fine = numrnn.LipschitzCell(3, 5, method=method, **{**LIPSCHITZ, "step_size": 1 / count})
        states, _ = numrnn.forward(fine, params, np.broadcast_to(x, (count, 1, 3)).copy(), h)
        errors.append(np.abs(states[-1, 0] - exact.y[:, -1]).max())
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    # Each order is off by a multiple of the step, 1/64 at the most.
    assert order == pytest.approx({"euler": 1, "rk2": 2}[method], abs=0.05)


def test_real_parts_of_eigenvalues_lie_where_the_symmetric_part_puts_them(rng):
    for _ in range(100):
        n, beta, gamma = int(rng.integers(1, 9)), rng.choice([rng.uniform(0, 1), 1.0]), rng.uniform(0, 2)
        M = rng.standard_normal((n, n))
        S = SymmetricSkewMatrix(n, beta, gamma).value(M)
        real = np.linalg.eigvals(S).real
        ends = 2 * (1 - beta) * np.linalg.eigvalsh((M + M.T) / 2)[[0, -1]] - gamma
        rounding = 50 * n * EPS64 * np.linalg.norm(S, 2)
        assert real.min() >= ends[0] - rounding
        assert real.max() <= ends[1] + rounding
        if beta == 1:
            assert np.abs(real + gamma).max() <= rounding


def test_two_solutions_of_the_ode_come_apart_no_faster_than_the_contraction_rate(rng):
    found = set()
    for _ in range(200):
        cell, params = drawn_cell(rng)
        mu = stability.contraction_rate(cell, params)
        rate = cell.rate(params, rng.standard_normal((20, 3)))
        h, other = rng.standard_normal((2, 20, cell.hidden_size))
        e = h - other
        growth = np.sum(e * (rate.value(h)[0] - rate.value(other)[0]), axis=1)  # 1/2 d/dt |e|^2
        size = np.sum(e * e, axis=1)
        scale = np.linalg.norm(rate.A, 2) + np.linalg.norm(rate.W, 2) + 1
        assert np.all(growth <= mu * size + 50 * EPS64 * scale * (np.sum(h * h, axis=1) + np.sum(other**2, axis=1) + 1))
        found.add(mu < 0)
    assert found == {True, False}


@METHODS
def test_a_step_expands_no_distance_by_more_than_its_bound(method, rng):
    found = set()
    for _ in range(200):
        cell, params = drawn_cell(rng, method=method)
        rho = stability.step_bound(cell, params)
        x, (h, other) = rng.standard_normal((20, 3)), rng.standard_normal((2, 20, cell.hidden_size))
        apart = np.linalg.norm(h - other, axis=1)
        after = np.linalg.norm(cell.step(params, x, h) - cell.step(params, x, other), axis=1)
        assert np.all(after <= rho * apart + 50 * EPS64 * (1 + rho) * np.linalg.norm(np.hstack([h, other]), axis=1))
        norms = np.linalg.norm(cell.jacobian(params, x, h), 2, axis=(1, 2))
        assert np.all(norms <= rho * (1 + 50 * EPS64))
        found.add(rho < 1)
    assert found == {True, False}


@METHODS
def test_the_bound_of_a_step_is_reached_without_input_at_zero(method):
    # At h = 0 tanh has the slope 1; with M_A = M_W = 0 every matrix is a multiple of I.
    cell = numrnn.LipschitzCell(1, 3, step_size=0.5, diffusion_A=3.0, diffusion_W=0.0, method=method)
    params = {name: np.zeros(shape) for name, shape in cell.parameter_shapes.items()}
    factor = {"euler": 1 - 1.5, "rk2": 1 - 1.5 + 1.5**2 / 2}[method]
    assert stability.step_bound(cell, params) == pytest.approx(abs(factor), rel=4 * EPS64)
    assert worst(cell.jacobian(params, np.zeros((1, 1)), np.zeros((1, 3)))[0], factor * np.eye(3)) < 4 * EPS64


def test_a_linear_part_alone_is_stable_up_to_the_critical_step_size_of_proposition_2(rng):
    for _ in range(50):
        n, gamma = int(rng.integers(2, 9)), rng.uniform(0.1, 1)
        M = rng.standard_normal((n, n))
        omega = np.linalg.norm(M - M.T, 2)
        critical = stability.critical_step_size(gamma, omega)
        for factor, contracts in ((0.99, True), (1.01, False)):
            eps = factor * critical
            cell = numrnn.LipschitzCell(1, n, step_size=eps, beta_A=1.0, diffusion_A=gamma, diffusion_W=0.0)
            none = {name: np.zeros(shape) for name, shape in cell.parameter_shapes.items()}
            params = {**none, "M_A": M}
            rho = stability.step_bound(cell, params)
            assert rho == pytest.approx(np.hypot(1 - eps * gamma, eps * omega), rel=50 * n * EPS64)
            assert (rho < 1) == contracts
            # The ODE contracts all the same: the condition of the paper's theorem says nothing of the step.
            assert stability.contraction_rate(cell, params) == pytest.approx(-gamma, rel=50 * n * EPS64 * omega / gamma)


def test_two_trajectories_of_a_contracting_cell_meet_and_of_another_need_not(rng):
    near = numrnn.LipschitzCell(2, 6, step_size=0.1, beta_A=1.0, diffusion_A=2.0, diffusion_W=0.1)
    params = draw_params(near, rng)
    params["M_W"] *= 0.3
    assert stability.step_bound(near, params) < 0.95
    x, h0 = rng.standard_normal((100, 2, 2)), 5 * rng.standard_normal((2, 6))
    x[:, 1] = x[:, 0]
    states, _ = numrnn.forward(near, params, x, h0)
    apart = np.linalg.norm(states[:, 0] - states[:, 1], axis=1)
    rho = stability.step_bound(near, params)
    assert np.all(apart <= apart[0] * rho ** np.arange(101) + 1000 * EPS64 * np.abs(states).max())
    far = numrnn.LipschitzCell(2, 6, step_size=0.1, beta_A=1.0, diffusion_A=0.001, diffusion_W=0.001)
    assert stability.contraction_rate(far, params) > 0
    states, _ = numrnn.forward(far, params, x, h0)
    assert np.linalg.norm(states[-1, 0] - states[-1, 1]) > 0.1


def test_beta_of_one_needs_more_diffusion_than_the_norm_of_w(rng):
    for _ in range(20):
        cell, params = drawn_cell(rng, beta_A=1.0)
        size = np.linalg.norm(cell.matrix_W.value(params["M_W"]), 2)
        got = stability.contraction_rate(cell, params)
        scale = size + np.linalg.norm(cell.matrix_A.value(params["M_A"]), 2)
        assert abs(got - (size - cell.matrix_A.diffusion)) <= 100 * EPS64 * scale


@pytest.mark.parametrize("function", [stability.contraction_rate, stability.step_bound])
def test_bounds_of_another_cell_are_refused(function, rng):
    cell = numrnn.ElmanCell(3, 4)
    params, _, _ = draw_sequence(cell, rng)
    with pytest.raises(TypeError, match="cell must be a Lipschitz cell, got ElmanCell"):
        function(cell, params)
    lipschitz = numrnn.LipschitzCell(3, 4)
    with pytest.raises(ValueError, match="params must have the names M_A, M_W, V, b, got W, V, b"):
        function(lipschitz, params)


@METHODS
def test_the_linear_map_of_a_step_is_its_jacobian(method, rng):
    cell = numrnn.LipschitzCell(3, 4, method=method, **LIPSCHITZ)
    params, x, h = draw_step(cell, rng, batch=2)
    lin = stability.linearize(cell, params, np.stack([x, x + 1]), h)
    v = rng.standard_normal((2, 3, 4))
    J = cell.jacobian(params, x + 1, lin.states[1])
    assert worst(lin.apply(2, v), np.einsum("bij,bkj->bki", J, v)) < 100 * EPS64
    assert worst(lin.apply_adjoint(2, v), np.einsum("bij,bki->bkj", J, v)) < 100 * EPS64
    assert worst(lin.row(1).apply_adjoint(2, v[1:]), lin.apply_adjoint(2, v)[1:]) < 100 * EPS64


@METHODS
def test_the_stability_report_has_the_bounds_of_both(method, tmp_path, rng):
    pages = {}
    for name, diffusion in (("forgets", 1.0), ("need not forget", 0.001)):
        cell = numrnn.LipschitzCell(2, 5, beta_A=1.0, diffusion_A=diffusion, method=method)
        model = Classifier(cell, 3)
        params = model.init_params(rng)
        checkpoint = Checkpoint(step=1, params=params, config={"model": model.config()})
        report = stability.stability_report(save_checkpoint(tmp_path / f"{diffusion}.npz", checkpoint), steps=10)
        own = {key: params[key].astype(np.float64) for key in cell.parameter_shapes}
        assert report.contraction_rate == stability.contraction_rate(cell, own)
        assert report.step_bound == stability.step_bound(cell, own)
        assert f"the ODE {name} its first state" in str(report)
        pages[name] = report
    assert pages["forgets"].step_bound < 1 < pages["need not forget"].step_bound
