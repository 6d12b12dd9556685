"""Properties 10 to 18: the spectrum and the norm of the Jacobian, and where the paper's argument ends.

D = diag(1 - tanh^2 u) is computed here as 1 / cosh^2 u, from A, V and b as they are defined; D A is read off the
library's own Jacobian of a step, I + eps D A.
"""

import numpy as np
from hypothesis import example
from properties.strategies import (
    GAMMA_POSITIVE,
    GAMMA_ZERO,
    TO_THE_CRITICAL_STEP,
    Case,
    assert_within,
    bounded,
    cases,
    for_all,
)

import numrnn

STATES = {"batch": (1, 1), "n_steps": (1, 1), "spreads": (0.01, 1.5)}


def step_jacobian(case):
    """Return I + eps D A and d, the diagonal of D, at the first step."""
    u = case.pre_activation(case.x[0], case.h0)[0]
    return case.cell.jacobian(case.params, case.x[0], case.h0)[0], 1 / np.cosh(u) ** 2


def product(case):
    """Return D A, d and the rounding of D A.

    The rounding has three parts: that of I + eps D A, which the subtraction of I uncovers and the division by eps
    magnifies; that of A h + V x + b; and that of d.
    """
    J, d = step_jacobian(case)
    rounding = 16 * case.n * case.unit * (1 / case.eps + case.norm_A) * (1 + case.u_max)
    return (J - np.eye(case.n)) / case.eps, d, rounding


@for_all(examples=300, case=cases(gammas=GAMMA_POSITIVE, **STATES))
def test_property_10_spectrum_of_DA_lies_between_bounds_of_the_diffusion(case):
    """Re lambda(D A) lies in [-gamma d_max, -gamma d_min], since D A is similar to D^1/2 A D^1/2, whose symmetric part
    is -gamma D.

    Hypotheses: ungated; gamma > 0; no unit saturated (d_min > 0).
    """
    DA, d, rounding = product(case)
    real = np.linalg.eigvals(DA).real
    tolerance = rounding * np.sqrt(d.max() / d.min())
    assert_within(max(0, real.max() + case.diffusion * d.min()), tolerance, "above -gamma d_min")
    assert_within(max(0, -case.diffusion * d.max() - real.min()), tolerance, "below -gamma d_max")


@for_all(examples=300, case=cases(gammas=GAMMA_ZERO, **STATES))
def test_property_11_spectrum_of_DM_is_imaginary(case):
    """All eigenvalues of the Jacobian D M of the ODE are imaginary.

    Hypotheses: ungated; gamma = 0; no unit saturated.
    """
    DM, d, rounding = product(case)
    assert_within(np.linalg.eigvals(DM).real, rounding * np.sqrt(d.max() / d.min()), "real part")


@for_all(examples=300, case=cases(**STATES))
def test_property_12_only_diffusion_does_work_in_the_D_inverse_product(case):
    """v^T D^-1 (D A) v = -gamma norm(v)^2 for every v.

    Hypotheses: ungated; gamma >= 0; no unit saturated.
    """
    DA, d, rounding = product(case)
    v = case.normal("v", case.n)
    work = (v / d) @ DA @ v + case.diffusion * v @ v
    assert_within(work, rounding / d.min() * np.sum(np.abs(v)) ** 2, "v^T D^-1 (D A) v + gamma norm(v)^2")


def critical_step(case):
    return 2 * case.diffusion / (case.diffusion**2 + case.omega**2)


BELOW_OR_ABOVE = bounded(0.2, 0.99) | bounded(1.01, 3)


def jacobian_at_rest(case):
    """Return I + eps A: the Jacobian of a step at h = 0 without input and bias."""
    params = {**case.params, "b": np.zeros(case.n)}
    return case.cell.jacobian(params, np.zeros((1, case.m)), np.zeros((1, case.n)))[0]


@for_all(examples=300, case=cases(gammas=GAMMA_POSITIVE), ratio=BELOW_OR_ABOVE)
def test_property_13_linear_euler_is_stable_just_up_to_the_critical_step(case, ratio):
    """|1 + eps lambda_j|^2 = (1 - eps gamma)^2 + eps^2 omega_j^2, and that is <= 1 for all j if and only if
    eps <= 2 gamma / (gamma^2 + omega^2).

    Hypotheses: h = 0, no input, no bias (D = I); gamma > 0; omega the spectral norm of M.
    """
    case = case.but(step_size=ratio * critical_step(case))
    squares = np.sort(np.abs(np.linalg.eigvals(jacobian_at_rest(case))) ** 2)
    omegas = np.linalg.eigvalsh(1j * case.M)
    wanted = np.sort((1 - case.eps * case.diffusion) ** 2 + case.eps**2 * omegas**2)
    assert_within(squares - wanted, 16 * case.n * case.unit * (1 + case.eps * case.norm_A) ** 2, "squared modulus")
    assert bool(squares[-1] <= 1) == (ratio <= 1), f"largest modulus^2 - 1 = {squares[-1] - 1:.3g} at {ratio} of eps*"


def test_property_13_counterexample_the_papers_wdiff_leaves_the_unit_disc():
    """Figure 1's Wdiff with eps = 0.1 and gamma = 0.15 violates Proposition 2 at h = 0: |1 + eps lambda| = 1.0051."""
    cell = numrnn.AntisymmetricCell(1, 2, step_size=0.1, diffusion=0.15, triangular=True)
    params = {"W": np.array([[0.0, -2.0], [0.0, 0.0]]), "V": np.zeros((2, 1)), "b": np.zeros(2)}
    Wdiff = np.array([[-0.15, -2], [2, -0.15]])
    assert np.max(np.abs(cell.matrix.value(params["W"]) - Wdiff)) <= 8 * np.finfo(np.float64).eps
    J = cell.jacobian(params, np.zeros((1, 1)), np.zeros((1, 2)))[0]
    moduli = np.abs(np.linalg.eigvals(J))
    assert [f"{modulus:.4f}" for modulus in moduli] == ["1.0051", "1.0051"]
    assert 0.1 > 2 * 0.15 / (0.15**2 + 2**2)


@for_all(examples=300, case=cases(gammas=GAMMA_POSITIVE, **STATES), ratio=TO_THE_CRITICAL_STEP)
@example(case=Case(diffusion=0.1, spread=0.01), ratio=1.0)
def test_property_14_one_step_is_nonexpansive_in_the_D_inverse_norm(case, ratio):
    """norm(I + eps D A) <= 1 in the norm of D^-1, norm(v)^2 = v^T D^-1 v, if eps <= 2 gamma / (gamma^2 + omega^2).

    Hypotheses: ungated; gamma > 0; one step: D moves with t, and so does its norm.
    """
    case = case.but(step_size=ratio * critical_step(case))
    J, d = step_jacobian(case)
    root = np.sqrt(d)
    norm = np.linalg.norm(J * root / root[:, None], 2)
    unit = 16 * case.n * case.unit * (1 + case.eps * case.norm_A) * (1 + case.u_max)
    assert_within(max(0, norm - 1), unit * root.max() / root.min(), "norm - 1")


@for_all(examples=300, case=cases(), share=bounded(0, 2.5))
def test_property_15_norm_of_a_linear_step_is_that_of_its_fastest_plane(case, share):
    """norm_2(I + eps A) = sqrt((1 - eps gamma)^2 + eps^2 omega^2).

    Hypotheses: D = I; 0 <= eps gamma <= 1 is usually asked for and not needed: A is normal, so that the norm is the
    largest modulus of an eigenvalue, and tests go up to eps gamma = 2.5.
    """
    case = case.but(diffusion=share / case.eps)
    norm = np.linalg.norm(jacobian_at_rest(case), 2)
    wanted = np.hypot(1 - case.eps * case.diffusion, case.eps * case.omega)
    assert_within(norm - wanted, 16 * case.n * case.unit * (1 + case.eps * case.norm_A), "norm")


@for_all(examples=300, case=cases(batch=(1, 1), n_steps=(1, 8), spreads=(0.01, 1.5)), reach=bounded(0.05, 1.5))
def test_property_16_singular_values_over_T_steps_lie_between_powers(case, reach):
    """The singular values of dh_T / dh_0 lie in [(1 - eps norm(A))^T, (1 + eps norm(A))^T].

    Hypotheses: ungated; any input; the lower bound only if eps norm(A) < 1.
    """
    case = case.but(step_size=reach / case.norm_A)
    x, h0 = np.repeat(case.x, case.n, axis=1), np.repeat(case.h0, case.n, axis=0)
    _, grads = case.gradients(d_final=np.eye(case.n), x=x, h0=h0)
    values = np.linalg.svd(grads.h0, compute_uv=False)
    T, tolerance = case.n_steps, 16 * case.n * case.n_steps * case.unit * (1 + case.u_max) * (1 + reach) ** case.n_steps
    assert_within(max(0, values[0] - (1 + reach) ** T), tolerance, "above the upper bound")
    if reach < 1:
        assert_within(max(0, (1 - reach) ** T - values[-1]), tolerance, "below the lower bound")


@for_all(examples=300, case=cases(gammas=GAMMA_ZERO, **STATES))
def test_property_17_a_step_without_diffusion_never_shrinks_a_volume(case):
    """det(I + eps D M) = prod (1 + eps^2 nu_j^2) >= 1 over the pairs +-i nu_j of eigenvalues of D M.

    Hypotheses: ungated; gamma = 0; no unit saturated.
    """
    J, d = step_jacobian(case)
    sign, log_det = np.linalg.slogdet(J)
    root = np.sqrt(d)
    nu = np.linalg.eigvalsh(1j * root[:, None] * case.M * root)  # similar to i D M
    wanted = 0.5 * np.sum(np.log1p((case.eps * nu) ** 2))  # every pair stands in nu twice
    unit = 16 * case.n**2 * case.unit * (1 + case.eps * case.norm_A) * (1 + case.u_max)
    tolerance = unit * root.max() / root.min()
    assert sign == 1
    assert_within(log_det - wanted, tolerance, "log det")
    assert log_det >= -tolerance


def gated_counterexample():
    """Return a gated cell, its parameters and a state whose d has one negative and one positive entry."""
    cell = numrnn.GatedAntisymmetricCell(1, 2, step_size=0.1, diffusion=0.0)
    params = {
        "W": np.array([[0.0, 1.0], [0.0, 0.0]]),
        "V": np.zeros((2, 1)),
        "b": np.array([-2.0, 0.0]),
        "V_z": np.zeros((2, 1)),
        "b_z": np.array([-2.0, 0.0]),
    }
    return cell, params, np.zeros((1, 1)), np.zeros((1, 2))


def test_property_18_a_gated_state_has_an_eigenvalue_of_positive_real_part():
    """The Jacobian of the gated ODE is diag(d) A with d = z ((1 - c^2) + c (1 - z)) in [-1/4, 1]; where d has entries
    of both signs an eigenvalue may have a positive real part, even with gamma = 0: so it is for n = 2, M = [[0, 1],
    [-1, 0]], h = 0, b = b_z = (-2, 0).

    Hypotheses: gated; no claim of stability is made for it.
    """
    cell, params, x, h = gated_counterexample()
    dA = (cell.jacobian(params, x, h)[0] - np.eye(2)) / cell.step_size
    d = np.array([dA[0, 1], -dA[1, 0]])
    c, z = np.tanh(params["b"]), 1 / (1 + np.exp(-params["b_z"]))
    few = 8 * np.finfo(np.float64).eps / cell.step_size
    assert np.all(np.abs(d - z * ((1 - c**2) + c * (1 - z))) < few)
    assert d[0] < 0 < d[1]
    growth = np.linalg.eigvals(dA).real.max()
    assert abs(growth - np.sqrt(-d[0] * d[1])) < few
    assert growth > 0.2


def gated_slopes(case):
    """Return d for each row of the batch, read off the library's Jacobian where A has its largest entry."""
    J = case.cell.jacobian(case.params, case.x[0], case.h0)
    rows, columns = np.arange(case.n), np.argmax(np.abs(case.A), axis=1)
    largest = case.A[rows, columns]
    return (J - np.eye(case.n))[:, rows, columns] / (case.eps * largest), np.abs(largest)


@for_all(examples=300, case=cases(("gated",), spreads=(0.1, 4)))
def test_property_18_slopes_of_a_gated_cell_lie_between_minus_a_quarter_and_one(case):
    """d lies in [-1/4, 1] in every state."""
    d, largest = gated_slopes(case)
    rounding = 16 * case.unit * (1 + case.eps * largest) / (case.eps * largest)
    excess = np.maximum(d - 1, -0.25 - d) / rounding
    assert_within(max(0, excess.max()), 1, "outside [-1/4, 1], in units of rounding")


def share_of_unstable_states(n=8, draws=1000):
    """Return the share of random states of random gated cells with gamma = 0 whose Jacobian has an eigenvalue of
    positive real part, and the share of negative entries of d.
    """
    unstable, negative = 0, 0
    for case in [Case("gated", n=n, batch=1, n_steps=1, seed=seed) for seed in range(draws)]:
        d, _ = gated_slopes(case)
        real = np.linalg.eigvals(d[0][:, None] * case.A).real
        unstable += real.max() > 1e3 * case.unit * case.norm_A
        negative += np.sum(d < 0)
    return unstable / draws, negative / (draws * n)


def test_property_18_most_random_gated_states_are_unstable_without_diffusion():
    """Of 1,000 random states of random gated cells with n = 8 and gamma = 0 about 90 % have such an eigenvalue, and
    about a quarter of all entries of d are negative; for n = 2 it is a third of the states.
    """
    unstable, negative = share_of_unstable_states(n=8)
    assert 0.85 < unstable < 0.95
    assert 0.2 < negative < 0.35
    unstable, negative = share_of_unstable_states(n=2)
    assert 0.25 < unstable < 0.4
