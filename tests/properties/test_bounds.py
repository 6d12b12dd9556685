"""Properties 22 to 25: what a step can do at most, how to undo it, and how fast Euler comes to the ODE."""

import math

import numpy as np
import pytest
from properties.strategies import BOTH, Case, assert_within, bounded, cases, for_all
from scipy.integrate import solve_ivp
from scipy.special import expit

TANH_CURVATURE = 4 / (3 * math.sqrt(3))  # the largest second derivative of tanh


@for_all(
    examples=300,
    case=cases(BOTH, n_steps=(1, 12), gains=(0.2, 50), spreads=(0.1, 20), dtypes=("float32", "float64")),
)
def test_property_22_a_state_moves_by_at_most_the_step_size(case):
    """max |h_k - h_{k-1}| <= eps, so max |h_T| <= max |h_0| + eps T. Of a gated cell eps max z, z the gate.

    Hypotheses: none on W, input or saturation; <= and not <, since tanh in floating point reaches 1.
    """
    states = np.asarray(case.forward()[0]).astype(np.float64)
    x, bound = case.x.astype(np.float64), np.ones(case.n_steps)
    z_rounding = 0.0
    if case.gated:
        u_z = case.pre_activation(x, states[:-1], "V_z", "b_z")
        bound = np.max(expit(u_z), axis=(1, 2))
        z_rounding = 4 * case.unit * (case.n + case.m) * (1 + case.u_max)
    moves = np.max(np.abs(np.diff(states, axis=0)), axis=(1, 2))
    rounding = 4 * case.unit * (np.max(np.abs(states)) + case.eps) + case.eps * z_rounding
    assert_within(max(0, np.max(moves - case.eps * bound)), rounding, "beyond a step")
    reach = np.max(np.abs(states[-1])) - np.max(np.abs(states[0])) - case.eps * np.sum(bound)
    assert_within(max(0, reach), rounding * case.n_steps, "beyond T steps")


@for_all(examples=200, case=cases(n_steps=(1, 1)), contraction=bounded(0.05, 0.9))
def test_property_23_a_step_is_a_bijection_that_fixed_point_iteration_inverts(case, contraction):
    """If eps norm(A) < 1 the step is a bijection: two states come no closer than by the factor 1 - eps norm(A), and
    h <- y - eps tanh(A h + c) converges to the state that steps to y, by the factor eps norm(A) an iteration.

    Hypotheses: ungated; eps norm(A) < 1; any input.
    """
    case = case.but(step_size=contraction / case.norm_A)
    params, x, h = case.params, case.x[0], case.h0
    y = case.cell.step(params, x, h)
    rounding = 16 * case.unit * (case.n + case.m) * (np.max(np.abs(h)) + case.eps * (1 + case.u_max)) * case.n**0.5

    other = h + case.normal("other", h.shape)
    apart = np.linalg.norm(case.cell.step(params, x, other) - y, axis=1)
    nearest = (1 - contraction) * np.linalg.norm(other - h, axis=1)
    assert_within(max(0, np.max(nearest - apart)), rounding, "two states come too close")

    guess, error = y, np.linalg.norm(y - h, axis=1)
    for _ in range(math.ceil(math.log(case.unit) / math.log(contraction))):
        guess = y - (case.cell.step(params, x, guess) - guess)
        previous, error = error, np.linalg.norm(guess - h, axis=1)
        assert np.all(error <= contraction * previous + rounding), "an iteration contracts too little"
    assert_within(error, rounding / (1 - contraction), "inverse")


@for_all(examples=300, case=cases(n_steps=(1, 1), batch=(1, 1), step_sizes=(1e-4, 1.0)))
def test_property_24_a_step_forward_and_one_back_miss_by_the_square_of_the_step(case):
    """A step by eps and one by -eps from where it leads miss the start by at most eps^2 norm(A) sqrt(n), and by eps^2
    D A tanh(u) but for eps^3/2 max|tanh''| (A tanh u)^2 in each element: the slope of the miss is 2.

    Hypotheses: ungated; the same input both ways; any eps > 0.
    """
    h, there = case.h0, case.cell.step(case.params, case.x[0], case.h0)
    back = there - (case.cell.step(case.params, case.x[0], there) - there)
    miss = (h - back)[0]
    rounding = 16 * case.unit * (case.n + case.m) * (np.max(np.abs(h)) + case.eps * (1 + case.u_max))
    bound = case.eps**2 * case.norm_A * case.n**0.5
    assert_within(max(0, np.linalg.norm(miss) - bound), rounding * case.n**0.5, "beyond eps^2 norm(A) sqrt(n)")
    u = case.pre_activation(case.x[0], h)[0]
    A_tau = case.A @ np.tanh(u)
    remainder = np.abs(miss - case.eps**2 * A_tau / np.cosh(u) ** 2)
    excess = remainder - case.eps**3 / 2 * TANH_CURVATURE * A_tau**2
    assert_within(max(0, np.max(excess)), rounding, "beyond the third order")


RTOL = 1e-11
SOLVER_ERROR = 100 * RTOL  # rtol is for a step of solve_ivp; a solution has some dozen


def solve(case, length, sensitivity=False):
    """Return h at the end of intervals of constant input, x[k] over the k-th of so long, by DOP853; and dh/dh_0."""
    n, A = case.n, case.A
    state = np.append(case.h0[0], np.eye(n).ravel() if sensitivity else [])
    for x in case.x[:, 0]:
        c = case.params["V"] @ x + case.params["b"]

        def field(_, y, c=c):
            tau = np.tanh(A @ y[:n] + c)
            S = y[n:].reshape(n, -1)
            return np.append(tau, ((1 - tau**2)[:, None] * (A @ S)).ravel() if S.size else [])

        state = solve_ivp(field, (0, length), state, method="DOP853", rtol=RTOL, atol=RTOL).y[:, -1]
    return state[:n], state[n:].reshape(n, -1)


def euler(case, length, steps, sensitivity=False):
    """Return h after so many Euler steps an interval, and dh/dh_0 by backpropagation."""
    fine = case.but(step_size=length / steps)
    x = np.repeat(case.x, steps, axis=0)
    if not sensitivity:
        return np.asarray(fine.forward(x=x)[0])[-1, 0], None
    x, h0 = np.repeat(x, case.n, axis=1), np.repeat(case.h0, case.n, axis=0)
    states, grads = fine.gradients(d_final=np.eye(case.n), x=x, h0=h0)
    return states[-1, 0], grads.h0


ODE_CASES = {"n": (2, 4), "batch": (1, 1), "n_steps": (1, 3), "gains": (0.2, 0.8)}


# By hand no more than 2,000: the ODE, with its n^2 sensitivities, is solved in every example.
@for_all(examples=60, by_hand=2_000, case=cases(**ODE_CASES), length=bounded(0.2, 1))
def test_property_25_euler_converges_to_the_ode_with_piecewise_constant_input(case, length):
    """After a time T the state of Euler's steps is no farther from the ODE's than eps/2 sqrt(n) (exp(norm(A) T) - 1);
    state and sensitivity dh_T/dh_0 converge at order 1: halving eps halves their error.

    Hypotheses: ungated; input constant over intervals that are multiples of eps, with the ODE solved interval by
    interval.
    """
    wanted, wanted_S = solve(case, length, sensitivity=True)
    time, coarse = case.n_steps * length, 16
    growth = math.exp(case.norm_A * time)
    errors, errors_S = [], []
    for steps in (coarse, 2 * coarse):
        got, got_S = euler(case, length, steps, sensitivity=True)
        errors.append(got - wanted)
        errors_S.append(got_S - wanted_S)
        bound = length / steps / 2 * case.n**0.5 * (growth - 1)
        assert_within(np.linalg.norm(errors[-1]), bound + SOLVER_ERROR * growth, f"distance at {steps} steps")
    # Order 1 says that error(eps) - 2 error(eps/2) is of order eps^2. Its size is no theorem: the factor is that of the
    # bound with one derivative of the flow more, and without the exponential.
    reach = case.norm_A * time
    second = (length / coarse) ** 2 * case.norm_A * reach * (1 + reach) * case.n**0.5
    solver = 4 * SOLVER_ERROR * (1 + reach)
    assert_within(np.linalg.norm(errors[0] - 2 * errors[1]), second + solver, "state, second order")
    assert_within(
        np.linalg.norm(errors_S[0] - 2 * errors_S[1]), second * case.norm_A + solver, "sensitivity, second order"
    )


@pytest.mark.parametrize("seed", range(3))
def test_property_25_slope_of_the_error_is_one_for_states_and_sensitivity(seed):
    """The measured order is 1.00 +- 0.02 for both."""
    case, length = Case(n=4, batch=1, n_steps=2, seed=seed, gain=0.8, diffusion=0.1, engine="fused"), 0.5
    wanted, wanted_S = solve(case, length, sensitivity=True)
    steps = 2 ** np.arange(6, 11)
    found = [euler(case, length, count, sensitivity=True) for count in steps]
    errors = [[np.linalg.norm(h - wanted), np.linalg.norm(S - wanted_S)] for h, S in found]
    slopes = np.polyfit(np.log(length / steps), np.log(errors), 1)[0]
    assert np.all(np.abs(slopes - 1) < 0.02), slopes


def test_property_24_slope_of_the_miss_is_two():
    """The measured order of forward and back is 2.00 +- 0.05."""
    sizes, misses = 2.0 ** -np.arange(4, 12), []
    for eps in sizes:
        case = Case(n=6, seed=1, step_size=float(eps), diffusion=0.1)
        there = case.cell.step(case.params, case.x[0], case.h0)
        misses.append(np.linalg.norm(2 * there - case.cell.step(case.params, case.x[0], there) - case.h0))
    slope = np.polyfit(np.log(sizes), np.log(misses), 1)[0]
    assert abs(slope - 2) < 0.05
