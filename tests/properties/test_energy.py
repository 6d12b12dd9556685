"""Properties 19 to 21: the energy Phi = sum log cosh u_i of the pre-activations u = A h + V x + b, constant input."""

import numpy as np
from properties.strategies import (
    GAMMA_ANY,
    GAMMA_POSITIVE,
    TO_THE_CRITICAL_STEP,
    assert_within,
    bounded,
    cases,
    for_all,
)
from scipy.integrate import solve_ivp

CONSTANT_INPUT = {"batch": (1, 1), "spreads": (0.01, 1.5)}


def energy(u):
    """Return sum log cosh u_i without overflow."""
    return np.sum(np.logaddexp(u, -u) - np.log(2), axis=-1)


@for_all(examples=100, case=cases(n=(2, 5), gammas=GAMMA_ANY, **CONSTANT_INPUT), end=bounded(0.5, 3))
def test_property_19_diffusion_alone_takes_energy_from_the_ode(case, end):
    """Along h' = tanh(A h + V x + b), dPhi/dt = -gamma norm(tanh u)^2; at gamma = 0 Phi is conserved.

    Hypotheses: ungated ODE; constant input; gamma >= 0. DOP853 at its tightest keeps it to 1e-12 of 1 + Phi.
    """
    A, c = case.cell.matrix.value(case.params["W"]), case.x[0, 0] @ case.params["V"].T + case.params["b"]

    def field(_, state):
        """Return h' and the growth of the integral of norm(tanh u)^2."""
        tau = np.tanh(A @ state[:-1] + c)
        return np.append(tau, tau @ tau)

    start = np.append(case.h0[0], 0)
    slope = (case.cell.step(case.params, case.x[0], case.h0) - case.h0)[0] / case.eps
    tolerance = 16 * case.unit * (case.n + case.m) * (case.u_max + np.max(np.abs(case.h0)) / case.eps)
    assert_within(slope - field(0, start)[:-1], tolerance, "the step's slope and the field's")
    tightest = 100 * case.unit  # solve_ivp takes no smaller rtol
    solution = solve_ivp(field, (0, end), start, method="DOP853", rtol=tightest, atol=case.unit)
    end_state, work = solution.y[:-1, -1], solution.y[-1, -1]
    before, after = energy(A @ case.h0[0] + c), energy(A @ end_state + c)
    growth = 50 * (1 + case.norm_A * end) * case.n**0.5  # 1e-12 is 45 tightest
    assert_within(after - before + case.diffusion * work, growth * tightest * (1 + before), "energy")


def run_with_constant_input(case):
    """Return the energies (T + 1,), the squared norms of tau and of A tau (T,), and the rounding of an energy."""
    x = np.repeat(case.x[:1], case.n_steps, axis=0)
    states = np.asarray(case.forward(x=x)[0])[:, 0]
    u = case.pre_activation(x[0], states)
    tau = np.tanh(u[:-1])
    rounding = 16 * case.unit * case.n * (case.n + case.m) * (1 + case.u_max)
    return energy(u), np.sum(tau**2, axis=1), np.sum((tau @ case.A.T) ** 2, axis=1), rounding


@for_all(examples=300, case=cases(n_steps=(1, 20), step_sizes=(0.02, 1.0), **CONSTANT_INPUT))
def test_property_20_change_of_energy_in_an_euler_step_lies_between_two_bounds(case):
    """-eps gamma norm(tau)^2 <= Delta Phi <= -eps gamma norm(tau)^2 + eps^2/2 norm(A tau)^2, tau = tanh u.

    Hypotheses: ungated; constant input; any eps > 0 and gamma >= 0.
    """
    phi, tau2, A_tau2, rounding = run_with_constant_input(case)
    excess = np.diff(phi) + case.eps * case.diffusion * tau2
    assert_within(max(0, -excess.min()), rounding, "below the lower bound")
    assert_within(max(0, (excess - case.eps**2 / 2 * A_tau2).max()), rounding, "above the upper bound")


@for_all(examples=300, case=cases(n_steps=(1, 20), gammas=GAMMA_POSITIVE, **CONSTANT_INPUT), ratio=TO_THE_CRITICAL_STEP)
def test_property_21_energy_falls_below_the_critical_step_and_never_without_diffusion(case, ratio):
    """eps <= 2 gamma / (gamma^2 + omega^2) makes Phi non-increasing along Euler's steps; with gamma = 0 Phi never
    decreases, whatever eps.

    Hypotheses: ungated; constant input.
    """
    stable = case.but(step_size=ratio * 2 * case.diffusion / (case.diffusion**2 + case.omega**2))
    phi, _, _, rounding = run_with_constant_input(stable)
    assert_within(max(0, np.diff(phi).max()), rounding, "rise with diffusion")
    phi, _, _, rounding = run_with_constant_input(case.but(diffusion=0.0))
    assert_within(max(0, -np.diff(phi).min()), rounding, "fall without diffusion")
