"""One planted change and more for every property: one-line edits after which its test must fail.

A change of the code is an edit of numrnn, imported anew with the edit in it. A change of the statement is an edit of
the test: a bound made too tight, or a hypothesis dropped. It breaks just the one property, and shows that the test
would notice if the mathematics were otherwise; of the changes of the code, `also` names the properties that break too,
whichever examples are drawn. matrix.py finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from mutants.edits import Edit

MATRIX = "cells.antisymmetric:AntisymmetricMatrix"
EULER = "cells.antisymmetric:EulerStep"
GATED = "cells.gated:GatedEulerStep"


@dataclass(frozen=True)
class Change:
    """A planted change.

    Attributes
    ----------
    number : int
        The property whose test must fail.
    edit : Edit
        What is changed; of a statement, `place` is the test's module and name.
    of_code : bool
        Whether numrnn is edited, or the test.
    also : tuple of int
        The other properties whose tests fail.
    """

    number: int
    edit: Edit
    of_code: bool
    also: tuple[int, ...] = ()


def code(number: int, name: str, place: str, old: str, new: str, also: tuple[int, ...] = ()) -> Change:
    return Change(number, Edit(name, place, old, new), of_code=True, also=also)


def statement(number: int, name: str, place: str, old: str, new: str) -> Change:
    return Change(number, Edit(name, place, old, new), of_code=False)


CHANGES = (
    code(1, "W^T off in its last bits", f"{MATRIX}.value", "U - U.T", "U - U.T * (1 + 2**-50)"),
    code(
        1,
        "W^T too small by 1 %",
        f"{MATRIX}.value",
        "U - U.T",
        "U - 0.99 * U.T",
        also=(2, 3, 5, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 24, 25, 26, 31),
    ),
    code(
        2,
        "diffusion too small by 1 %",
        f"{MATRIX}.value",
        "self.diffusion *",
        "0.99 * self.diffusion *",
        also=(5, 10, 12, 13, 14, 15, 19, 20, 21, 24, 25),
    ),
    statement(
        2,
        "twice the diffusion",
        "test_algebra:test_property_02_A_is_normal_and_its_spectrum_lies_at_minus_gamma",
        ".real + case.diffusion",
        ".real + 2 * case.diffusion",
    ),
    code(3, "minus dA^T forgotten", f"{MATRIX}.adjoint", "dA - dA.T", "dA", also=(4, 8, 31)),
    code(4, "dA^T off in its last bits", f"{MATRIX}.adjoint", "dA - dA.T", "dA - dA.T * (1 + 2**-50)"),
    code(
        5,
        "gradient of an antisymmetric matrix for that of any",
        "cells.unstructured:UnstructuredMatrix.adjoint",
        "return dA",
        "return dA - dA.T",
    ),
    code(
        6,
        "db a mean over the batch",
        f"{EULER}.step_vjp",
        "xp.sum(delta, axis=0)",
        "xp.mean(delta, axis=0)",
        also=(8, 29, 32),
    ),
    code(
        7,
        "cotangent of the last state clipped",
        "problem:check_cotangents",
        "g + d_states[-1, ...]",
        "g + array_namespace(g).clip(d_states[-1, ...], -5, 5)",
        also=(33,),
    ),
    code(8, "c for c * c in the tangent", f"{EULER}.step_jvp", "1 - c * c", "1 - c"),
    code(
        9,
        "input of the next step",
        "bptt:ReferenceTape.run",
        "problem.x[t, ...]",
        "problem.x[min(t + 1, problem.x.shape[0] - 1), ...]",
        also=(5, 28, 32, 33),  # and 22 where the drawn input happens to close a gate that the next one opens
    ),
    code(10, "c for c * c in the Jacobian", f"{EULER}.jacobian", "(1 - c * c)[", "(1 - c)[", also=(8, 12, 14, 17)),
    statement(
        10,
        "d_min for d_max",
        "test_jacobian:test_property_10_spectrum_of_DA_lies_between_bounds_of_the_diffusion",
        "-case.diffusion * d.max()",
        "-case.diffusion * d.min()",
    ),
    code(
        11,
        "2 c^2 for c^2 in the Jacobian",
        f"{EULER}.jacobian",
        "(1 - c * c)[",
        "(1 - 2 * c * c)[",
        also=(8, 10, 12, 14, 17),
    ),
    statement(
        11,
        "gamma = 0.01",
        "test_jacobian:test_property_11_spectrum_of_DM_is_imaginary",
        "product(case)",
        "product(case.but(diffusion=0.01))",
    ),
    code(12, "A D for D A", f"{EULER}.jacobian", "[:, :, None] * A", "[:, None, :] * A", also=(8, 14)),
    statement(
        12,
        "without D^-1",
        "test_jacobian:test_property_12_only_diffusion_does_work_in_the_D_inverse_product",
        "(v / d)",
        "v",
    ),
    code(
        13,
        "step 1 % too long in the Jacobian",
        f"{EULER}.jacobian",
        "self.step_size * (",
        "1.01 * self.step_size * (",
        also=(8, 10, 12, 14, 15, 17),
    ),
    statement(
        13,
        "critical step 1.2 times as long",
        "test_jacobian:test_property_13_linear_euler_is_stable_just_up_to_the_critical_step",
        "(ratio <= 1)",
        "(ratio <= 1.2)",
    ),
    code(
        14,
        "step doubled in the Jacobian",
        f"{EULER}.jacobian",
        "self.step_size * (",
        "2 * self.step_size * (",
        also=(8, 10, 12, 13, 15, 17),
    ),
    statement(
        14,
        "critical step 1.1 times as long",
        "test_jacobian:test_property_14_one_step_is_nonexpansive_in_the_D_inverse_norm",
        "ratio * critical_step",
        "1.1 * ratio * critical_step",
    ),
    statement(
        15,
        "norm(A) for omega",
        "test_jacobian:test_property_15_norm_of_a_linear_step_is_that_of_its_fastest_plane",
        "case.eps * case.omega",
        "case.eps * case.norm_A",
    ),
    code(16, "identity forgotten", f"{EULER}.step_vjp", "dh_next + delta @ A", "delta @ A", also=(5, 8, 25, 29, 32)),
    statement(
        16,
        "upper bound of one step for T",
        "test_jacobian:test_property_16_singular_values_over_T_steps_lie_between_powers",
        "values[0] - (1 + reach) ** T",
        "values[0] - (1 + reach)",
    ),
    statement(
        17,
        "every pair counted twice",
        "test_jacobian:test_property_17_a_step_without_diffusion_never_shrinks_a_volume",
        "0.5 * np.sum",
        "np.sum",
    ),
    code(18, "the gate's part of the Jacobian forgotten", f"{GATED}.jacobian", " + c * z * (1 - z)", "", also=(8,)),
    statement(
        18,
        "d never negative",
        "test_jacobian:test_property_18_slopes_of_a_gated_cell_lie_between_minus_a_quarter_and_one",
        "-0.25 - d",
        "-d",
    ),
    code(
        19,
        "step 1 % too long",
        f"{EULER}.step",
        "self.step_size * c",
        "1.01 * self.step_size * c",
        also=(5, 20, 22, 23, 24, 25, 29, 30, 32),
    ),
    statement(
        19,
        "half the work of the diffusion",
        "test_energy:test_property_19_diffusion_alone_takes_energy_from_the_ode",
        "case.diffusion * work",
        "case.diffusion / 2 * work",
    ),
    statement(
        20,
        "upper bound 0.9 times as high",
        "test_energy:test_property_20_change_of_energy_in_an_euler_step_lies_between_two_bounds",
        "case.eps**2 / 2",
        "0.9 * case.eps**2 / 2",
    ),
    statement(
        21,
        "critical step 1.1 times as long",
        "test_energy:test_property_21_energy_falls_below_the_critical_step_and_never_without_diffusion",
        "ratio * 2",
        "1.1 * ratio * 2",
    ),
    code(22, "gate opened by 1 %", f"{GATED}.step", "z * c", "(z + 0.01) * c", also=(5, 29, 32)),
    statement(
        22,
        "0.99 of a step",
        "test_bounds:test_property_22_a_state_moves_by_at_most_the_step_size",
        "moves - case.eps * bound",
        "moves - 0.99 * case.eps * bound",
    ),
    statement(
        23,
        "contraction by 0.8 of eps norm(A)",
        "test_bounds:test_property_23_a_step_is_a_bijection_that_fixed_point_iteration_inverts",
        "error <= contraction * previous",
        "error <= 0.8 * contraction * previous",
    ),
    statement(
        24,
        "eps^3 for eps^2",
        "test_bounds:test_property_24_a_step_forward_and_one_back_miss_by_the_square_of_the_step",
        "bound = case.eps**2",
        "bound = case.eps**3",
    ),
    statement(
        25,
        "order 2 of the state",
        "test_bounds:test_property_25_euler_converges_to_the_ode_with_piecewise_constant_input",
        "errors[0] - 2 * errors[1]",
        "errors[0] - 4 * errors[1]",
    ),
    statement(
        25,
        "order 2 of the sensitivity",
        "test_bounds:test_property_25_euler_converges_to_the_ode_with_piecewise_constant_input",
        "errors_S[0] - 2 * errors_S[1]",
        "errors_S[0] - 4 * errors_S[1]",
    ),
    statement(
        26,
        "signs for a gated cell too",
        "test_symmetries:test_property_26_signed_permutations_of_the_units_permute_the_states",
        "(1 if case.gated else signs)",
        "signs",
    ),
    code(
        26,
        "biases in order of size",
        f"{EULER}.step",
        "(params, A, x, h)",
        '({**params, "b": array_namespace(h).sort(params["b"])}, A, x, h)',
        also=(5, 19, 20, 21, 24, 25, 27, 29, 30, 32),
    ),
    statement(
        27,
        "a gated cell",
        "test_symmetries:test_property_27_turning_all_signs_turns_the_states",
        "states = np",
        'case = case.but(kind="gated"); states = np',
    ),
    code(
        27,
        "modulus of the bias",
        f"{EULER}.step",
        "(params, A, x, h)",
        '({**params, "b": abs(params["b"])}, A, x, h)',
        also=(5, 19, 20, 21, 24, 25, 26, 29, 30, 32),
    ),
    code(
        28,
        "cotangent across the cut dropped beside others",
        "problem:check_cotangents",
        "g = g + d_final",
        "g = g + d_final * (d_states is None)",
    ),
    code(29, "gate that opens to 0.999", "cells.sigmoid:sigmoid", "0.5 + 0.5 *", "0.5 + 0.499 *", also=(5, 18, 32)),
    code(
        30,
        "bias halved",
        f"{EULER}.step",
        "(params, A, x, h)",
        '({**params, "b": params["b"] / 2}, A, x, h)',
        also=(5, 19, 20, 21, 24, 25, 29, 32),
    ),
    statement(
        30,
        "a step more",
        "test_symmetries:test_property_30_without_weights_and_diffusion_the_state_walks_straight",
        "case.eps * T * np.tanh",
        "case.eps * (T + 1) * np.tanh",
    ),
    code(
        31,
        "triangular gradient as large as if it moved M as far",
        f"{MATRIX}.adjoint",
        "self._free(dA - dA.T)",
        "self._free(dA - dA.T) * (1 + self.triangular)",
        also=(8,),
    ),
    code(
        32,
        "one input for a whole segment",
        "bptt:ReferenceTape.run",
        "problem.x[t, ...]",
        "problem.x[t if states is None else start, ...]",
    ),
    code(
        32,
        "factor 2 in the slopes of the fused gate",
        "engines.cpu.steps:GatedEulerSlice.fill_slopes",
        "slope_z *= 0.5",
        "slope_z *= 1.0",
        also=(5,),
    ),
    code(33, "one step too many of a padded row", "problem:_active_steps", "< host[None", "<= host[None"),
)
