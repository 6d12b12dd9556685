"""Properties 26 to 33: symmetries, limits, and what storage, checkpoints, engines and padding must not change."""

import numpy as np
import pytest
from hypothesis import strategies as st
from properties.strategies import (
    BOTH,
    GAMMA_ZERO,
    assert_same_gradients,
    assert_within,
    bits_equal,
    bounded,
    cases,
    for_all,
)

import numrnn

pytestmark = pytest.mark.usefixtures("short_chunks")
LONG = {"n_steps": (1, 36), "step_sizes": (0.01, 0.08), "gains": (0.2, 1.0)}  # two chunks of the fused engine and more


@for_all(examples=250, case=cases(BOTH))
def test_property_26_signed_permutations_of_the_units_permute_the_states(case):
    """For a signed permutation P, the parameters (P M P^T, P V, P b) and the start P h_0 give the states P h_k. Of a
    gated cell for permutations only, with P V_z and P b_z: its gate is no odd function.

    Hypotheses: ungated, any signed permutation; gated, any permutation; either storage (a triangular W holds the
    upper triangle of P M P^T).
    """
    rng = case.rng("P")
    order, signs = rng.permutation(case.n), rng.choice([-1.0, 1.0], case.n)
    P = np.eye(case.n)[order] * (1 if case.gated else signs)
    moved = {name: P @ value for name, value in case.params.items() if name != "W"}
    moved["W"] = np.triu(P @ case.M @ P.T, 1) if case.triangular else P @ case.params["W"] @ P.T
    states = np.asarray(case.forward()[0])
    assert_within(np.asarray(case.forward(moved, h0=case.h0 @ P.T)[0]) - states @ P.T, 2 * case.state_tolerance)


@for_all(examples=250, case=cases())
def test_property_27_turning_all_signs_turns_the_states(case):
    """(-x, -b, -h_0) gives -h_k.

    Hypotheses: ungated only: tanh is odd and the gate's sigmoid is not.
    """
    states = np.asarray(case.forward()[0])
    turned = np.asarray(case.forward({**case.params, "b": -case.params["b"]}, -case.x, -case.h0)[0])
    assert_within(turned + states, 2 * case.state_tolerance)


@for_all(examples=250, case=cases(BOTH, **{**LONG, "n_steps": (2, 36)}), at=st.floats(0, 0.999))
def test_property_28_a_sequence_may_be_cut_anywhere(case, at):
    """The states over T1 + T2 steps are those over T1 steps and then those over T2 steps from h_T1; and the adjoint of
    the whole is that of the second part, handed across the cut, and that of the first.

    Hypotheses: ungated and gated, either storage, any cut.
    """
    cut = 1 + int(at * (case.n_steps - 1))
    states, whole = case.gradients()
    first, second = case.x[:cut], case.x[cut:]
    middle = np.asarray(case.forward(x=first)[0])[-1]
    own = case.d_states[cut:].copy()
    own[0] = 0  # the loss's own derivative at the cut is counted once, in the first part
    states_2, grads_2 = case.gradients(own, x=second, h0=middle)
    states_1, grads_1 = case.gradients(case.d_states[: cut + 1], d_final=grads_2.h0, x=first)
    joined = np.concatenate([states_1, states_2[1:]])
    assert_within(joined - states, case.state_tolerance, "states")
    summed = {k: grads_1.params[k] + grads_2.params[k] for k in case.params}
    both = numrnn.Gradients(summed, np.concatenate([grads_1.x, grads_2.x]), grads_1.h0, None)
    assert_same_gradients(both, whole, case.gradient_tolerance)


OPEN, SHUT = 100.0, -100.0  # (1 + tanh(u / 2)) / 2 is 1, and 0, in every bit


@for_all(examples=250, case=cases(("gated",), spreads=(0.1, 1.0)))
def test_property_29_a_gate_that_is_open_or_shut_leaves_the_ungated_cell_or_nothing(case):
    """With V_z = 0 and a large b_z (the gate is 1) states and gradients are those of the ungated cell; with a large
    negative b_z (the gate is 0) h_T = h_0.

    Hypotheses: |A h| small beside |b_z|; either storage.
    """
    gate = {"V_z": np.zeros_like(case.params["V_z"]), "b_z": np.full(case.n, OPEN)}
    plain = case.but(kind="antisymmetric")
    states, grads = case.gradients(params={**case.params, **gate})
    wanted, wanted_grads = plain.gradients()
    assert not np.any(grads.params["b_z"])
    assert_within(np.asarray(states) - wanted, case.state_tolerance, "open gate, states")
    assert_same_gradients(grads, wanted_grads, case.gradient_tolerance, "open gate, gradients")
    gate["b_z"] = np.full(case.n, SHUT)
    states = np.asarray(case.forward({**case.params, **gate})[0])
    assert_within(states - case.h0, 4 * case.unit * np.max(np.abs(case.h0)), "shut gate, states")


@for_all(examples=250, case=cases(gammas=GAMMA_ZERO, n_steps=(1, 36), dtypes=("float32", "float64")))
def test_property_30_without_weights_and_diffusion_the_state_walks_straight(case):
    """W = 0, V = 0 and gamma = 0 give h_T = h_0 + eps T tanh b.

    Hypotheses: ungated; any b, h_0 and input.
    """
    params = {"W": np.zeros_like(case.params["W"]), "V": np.zeros_like(case.params["V"]), "b": case.params["b"]}
    states = np.asarray(case.forward(params)[0])
    T = case.n_steps
    walked = case.h0.astype(np.float64) + case.eps * T * np.tanh(case.params["b"].astype(np.float64))
    rounding = 4 * case.unit * T * (np.max(np.abs(case.h0)) + case.eps * T)
    assert_within(states[-1] - walked, rounding)


@for_all(examples=250, case=cases(BOTH, storages=(True,)))
def test_property_31_both_storages_of_one_M_are_one_function_and_two_gradients(case):
    """The same M in triangular and in full storage gives the same states. With G = dL/dA the full gradient is G - G^T
    and the triangular one its strict upper triangle, so that one gradient step moves the M of full storage twice as
    far.

    Hypotheses: ungated and gated; any full W with W - W^T = M. Entries of a triangular W on and below its diagonal
    are not read.
    """
    full, upper = case.but(triangular=False), np.triu(case.params["W"], 1)
    states, grads = case.gradients()
    clean_states, clean = case.gradients(params={**case.params, "W": upper})
    assert bits_equal((states, grads), (clean_states, clean))
    for W in (upper, case.M / 2):
        full_states, full_grads = full.gradients(params={**case.params, "W": W})
        assert_within(np.asarray(full_states) - states, case.state_tolerance, f"states, {W[1, 0] != 0}")
        dW, dW_full = grads.params["W"], full_grads.params["W"]
        assert_within(dW - np.triu(dW_full, 1), case.gradient_tolerance, f"dW, {W[1, 0] != 0}")
        moved = dW_full - dW_full.T - 2 * (dW - dW.T)
        assert_within(moved, 4 * case.gradient_tolerance, f"movement of M, {W[1, 0] != 0}")


@for_all(
    examples=300,
    case=cases(BOTH, **LONG, dtypes=("float32", "float64")),
    every=st.integers(1, 40) | st.just("sqrt"),
    padded=st.booleans(),
)
def test_property_32_checkpoints_change_no_bit_and_engines_only_rounding(case, every, padded):
    """Forward and backward with checkpoints give every bit of what they give without, and every engine gives what the
    reference gives, to a stated multiple of rounding.

    Hypotheses: ungated and gated, either storage, float32 and float64, rows of full length or padded.
    """
    lengths = case.lengths if padded else None
    plain = case.gradients(lengths=lengths)
    assert bits_equal(case.gradients(lengths=lengths, recompute_every=every), plain)
    other = case.but(engine="reference" if case.engine == "fused" else "fused").gradients(lengths=lengths)
    assert_within(other[0] - plain[0], case.state_tolerance, "states of the engines")
    assert_same_gradients(other[1], plain[1], case.gradient_tolerance, "gradients of the engines")


@for_all(
    examples=250,
    case=cases(BOTH, **LONG, dtypes=("float32", "float64")),
    filling=st.sampled_from([np.nan, np.inf]) | bounded(-1e3, 1e3),
)
def test_property_33_what_stands_after_a_row_ends_changes_nothing(case, filling):
    """A row of length L gives the same states and gradients, bit for bit, whatever stands in x after L, NaN and
    infinity included; they are those of the row run alone for L steps, to rounding.

    Hypotheses: ungated and gated, either storage; 1 <= L <= T.
    """
    padded = case.x.copy()
    for row, length in enumerate(case.lengths):
        padded[length:, row] = filling
    result = case.gradients(x=padded, lengths=case.lengths)
    assert bits_equal(result, case.gradients(lengths=case.lengths))
    states, grads = result
    row, length = 0, int(case.lengths[0])
    d_states = case.d_states[: length + 1, :1].copy()
    d_states[-1] += np.sum(case.d_states[length + 1 :, :1], axis=0)  # the held state is used by the loss again
    alone, alone_grads = case.gradients(d_states, x=case.x[:length, :1], h0=case.h0[:1])
    assert_within(states[: length + 1, row] - alone[:, 0], case.state_tolerance, "states of a row alone")
    assert_within(grads.x[:length, row] - alone_grads.x[:, 0], case.gradient_tolerance, "dx of a row alone")
    assert_within(grads.h0[row] - alone_grads.h0[0], case.gradient_tolerance, "dh_0 of a row alone")
    assert np.array_equal(states[length:, row], np.broadcast_to(states[length, row], states[length:, row].shape))
    assert not np.any(grads.x[length:, row])
