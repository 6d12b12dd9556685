"""Properties 1 to 9: the antisymmetric matrix, and what it makes of the gradients."""

import numpy as np
from hypothesis import strategies as st
from properties.strategies import (
    BOTH,
    GAMMA_ZERO,
    assert_same_gradients,
    assert_within,
    bounded,
    cases,
    for_all,
)

import numrnn

COMPLEX_STEP = 1e-30  # its square vanishes beside 1, so that a complex step has no truncation error


@for_all(examples=200, case=cases(BOTH, n=(2, 9), gammas=GAMMA_ZERO, dtypes=("float32", "float64")))
def test_property_01_spectrum_of_M_is_imaginary_in_pairs(case):
    """M = W - W^T equals -M^T bit for bit; its eigenvalues are imaginary and come in pairs +-i omega_j; for odd n one
    of them is 0, and so is det M.

    Hypotheses: gamma = 0; any real W, either storage.
    """
    M = case.cell.matrix.value(case.params["W"])
    assert np.array_equal(M, -M.T)
    M = M.astype(np.float64)
    tolerance = 8 * case.n * np.finfo(np.float64).eps * case.omega
    assert_within(np.linalg.eigvals(M).real, tolerance, "real part")
    frequencies = np.linalg.eigvalsh(1j * M)
    assert_within(frequencies + frequencies[::-1], tolerance, "pairs")
    if case.n % 2:
        assert_within(frequencies[case.n // 2], tolerance, "middle of an odd spectrum")
        assert_within(np.linalg.det(M), tolerance * case.n * case.omega ** (case.n - 1), "det")


@for_all(examples=200, case=cases(BOTH, n=(2, 9)))
def test_property_02_A_is_normal_and_its_spectrum_lies_at_minus_gamma(case):
    """Every eigenvalue of A = M - gamma I has the real part -gamma, and A commutes with its transpose.

    Hypotheses: gamma >= 0; any real W, either storage.
    """
    A = case.cell.matrix.value(case.params["W"])
    unit = case.unit * 8 * case.n
    assert_within(np.linalg.eigvals(A).real + case.diffusion, unit * case.norm_A, "real part")
    assert_within(A @ A.T - A.T @ A, unit * case.norm_A**2, "commutator")


@for_all(examples=150, case=cases(BOTH, storages=(False,)), scale=bounded(0.1, 2))
def test_property_03_a_symmetric_part_of_W_changes_no_loss(case, scale):
    """L(W + S) = L(W) for every S = S^T, hence <dW, S> = 0.

    Hypotheses: full storage; ungated and gated; any loss of the states, to rounding.
    """
    S = case.normal("S", (case.n, case.n), scale)
    S = S + S.T
    states, grads = case.gradients()
    moved, _ = case.forward({**case.params, "W": case.params["W"] + S})
    size = 1 + np.max(np.abs(S))
    assert_within(np.asarray(moved) - states, case.state_tolerance * size, "states")
    assert_within(np.sum(grads.params["W"] * S), case.gradient_tolerance * case.n**2 * size, "<dW, S>")


@for_all(examples=150, case=cases(BOTH, storages=(False,), dtypes=("float32", "float64")))
def test_property_04_gradient_of_a_full_W_is_antisymmetric_bit_for_bit(case):
    """dW = G - G^T with G = dL/dA: dW = -dW^T in every bit, and its diagonal is zero.

    Hypotheses: full storage; ungated and gated; float32 and float64.
    """
    dW = case.gradients()[1].params["W"]
    assert np.any(dW), "a zero gradient shows nothing"
    assert np.array_equal(dW, -dW.T)
    assert not np.any(np.diag(dW))


def unstructured_twin(case):
    """Return the cell that has A itself for its parameter, and its parameters: dL/dA is its dW."""
    kind = {"antisymmetric": "unstructured", "gated": "gated-unstructured"}[case.kind]
    cell = numrnn.CELLS[kind](case.m, case.n, step_size=case.step_size, diffusion=case.diffusion)
    return cell, {**case.params, "W": case.M}


@for_all(examples=150, case=cases(BOTH))
def test_property_05_derivative_by_gamma_is_minus_the_trace_of_that_by_A(case):
    """dL/dgamma = -trace(dL/dA).

    Hypotheses: gamma >= 0; ungated and gated, either storage; dL/dgamma by a complex step in gamma, dL/dA as the
    gradient of the cell whose parameter is A itself.
    """
    cell, params = unstructured_twin(case)
    _, tape = numrnn.forward(cell, params, case.x, case.h0, engine=case.engine)
    dA = numrnn.backward(tape, case.d_states, wrt=("params",)).params["W"]
    moved = case.but(seed=case.seed).cell  # a cell of its own: the complex gamma goes past the checks of the arguments
    moved.matrix.diffusion = case.diffusion + 1j * COMPLEX_STEP
    states, _ = numrnn.forward(moved, case.params, case.x.astype(np.complex128), case.h0, engine="reference")
    d_gamma = np.sum(case.d_states * states).imag / COMPLEX_STEP
    assert_within(d_gamma + np.trace(dA), case.gradient_tolerance * case.n, "dL/dgamma + trace")


@for_all(examples=150, case=cases(BOTH, m=(1, 1)))
def test_property_06_with_a_constant_input_of_one_dV_is_db(case):
    """If m = 1 and x = 1 at every step, dL/dV = dL/db; of a gated cell also dL/dV_z = dL/db_z.

    Hypotheses: ungated and gated, either storage.
    """
    grads = case.gradients(x=np.ones_like(case.x))[1].params
    for V, b in [("V", "b"), ("V_z", "b_z")][: 1 + case.gated]:
        assert np.any(grads[b])
        assert_within(grads[V][:, 0] - grads[b], case.gradient_tolerance, f"d{V} - d{b}")


@for_all(examples=150, case=cases(BOTH), first=bounded(-2, 2), second=bounded(0.1, 2))
def test_property_07_adjoint_is_linear_in_the_cotangent_and_additive_over_time(case, first, second):
    """backward(a p + b q) = a backward(p) + b backward(q), and the gradient for cotangents of all states is the sum of
    the gradients for the cotangent of one state each.

    Hypotheses: any cell, either storage, any real a and b, to rounding.
    """
    _, tape = case.forward()
    p, q = case.d_states, case.normal("q", case.d_states.shape)

    def gradient(d_states):
        grads = numrnn.backward(tape, d_states)
        return np.concatenate([np.ravel(g) for g in [*grads.params.values(), grads.x, grads.h0]])

    size = case.gradient_tolerance * (1 + np.max(np.abs(q))) * (1 + abs(first) + second)
    combined = first * gradient(p) + second * gradient(q)
    assert_within(gradient(first * p + second * q) - combined, size, "linearity")
    singles = np.zeros(combined.shape)
    for t in range(case.n_steps + 1):
        single = np.zeros_like(p)
        single[t] = p[t]
        singles += gradient(single)
    assert_within(gradient(p) - singles, size * case.n_steps, "additivity")


@for_all(examples=200, case=cases(BOTH, engines=("reference",)))
def test_property_08_tangent_and_adjoint_are_transposes(case):
    """<J v, w> = <v, J^T w> for the derivative J of a step by parameters, input and state, and J v by the tangent is
    J v by the Jacobian.

    Hypotheses: ungated and gated, either storage, any v and w, to rounding.
    """
    params, x, h = case.params, case.x[0], case.h0
    params_dot = {k: case.normal("dot " + k, v.shape) for k, v in params.items()}
    x_dot, h_dot, w = case.normal("x_dot", x.shape), case.normal("h_dot", h.shape), case.normal("w", h.shape)
    forwards = np.sum(w * case.cell.step_jvp(params, x, h, params_dot, x_dot, h_dot))
    dparams, dx, dh = case.cell.step_vjp(params, x, h, w)
    terms = [*(dparams[k] * params_dot[k] for k in params), dx * x_dot, dh * h_dot]
    sizes = sum(np.sum(np.abs(t)) for t in terms) + np.sum(np.abs(w)) * (1 + np.max(np.abs(h_dot)))
    growth = 8 * (case.n + case.m + case.batch) * (1 + case.u_max)
    assert_within(forwards - sum(np.sum(t) for t in terms), growth * case.unit * sizes, "<Jv,w> - <v,JTw>")
    still = {k: np.zeros_like(v) for k, v in params.items()}
    by_tangent = case.cell.step_jvp(params, x, h, still, np.zeros_like(x), h_dot)
    by_matrix = np.einsum("bij,bj->bi", case.cell.jacobian(params, x, h), h_dot)
    scale = (1 + case.eps * np.sum(np.abs(case.A))) * np.max(np.abs(h_dot))
    assert_within(by_tangent - by_matrix, growth * case.unit * scale, "Jv")


@for_all(examples=150, case=cases(BOTH, n_steps=(2, 20), step_sizes=(0.02, 0.1), batch=(2, 4)), at=st.floats(0, 0.999))
def test_property_09_no_state_depends_on_later_input_and_no_row_on_another(case, at):
    """dh_k / dx_s = 0 for s > k, and another later input changes no bit of h_k. Another row of the batch changes a row
    by no more than rounding, and a permuted batch gives permuted results.

    Hypotheses: ungated and gated, either storage.
    """
    k = int(at * case.n_steps)  # 0 <= k < T; x[t] leads from h_t to h_{t+1}
    d_states = np.zeros_like(case.d_states)
    d_states[k] = case.d_states[k]
    states, grads = case.gradients(d_states)
    assert not np.any(grads.x[k:])
    later = case.x.copy()
    later[k:] += case.normal("later", later[k:].shape)
    assert np.array_equal(case.forward(x=later)[0][: k + 1], states[: k + 1])

    states, grads = case.gradients()
    others = case.x.copy()
    others[:, 1:] += case.normal("others", others[:, 1:].shape)
    other_states, other_grads = case.gradients(x=others)
    assert_within(other_states[:, 0] - states[:, 0], case.state_tolerance, "a row's states beside another")
    assert_within(other_grads.x[:, 0] - grads.x[:, 0], case.gradient_tolerance, "a row's dx beside another")
    order = case.rng("order").permutation(case.batch)
    moved_states, moved = case.gradients(case.d_states[:, order], x=case.x[:, order], h0=case.h0[order])
    assert_within(moved_states - states[:, order], case.state_tolerance, "states of a permuted batch")
    restored = numrnn.Gradients(moved.params, moved.x[:, np.argsort(order)], moved.h0[np.argsort(order)], None)
    assert_same_gradients(restored, grads, case.gradient_tolerance, "gradients of a permuted batch")
