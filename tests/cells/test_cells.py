"""One step: its value, its tangent, its adjoint, its Jacobian, its parameters."""

import json

import numpy as np
import pytest
from helpers import EPS64, draw_params, draw_step, make_cells, worst

import gradcheck
import numrnn
from numrnn.cells import cell_from_config
from numrnn.cells.base import unchecked


def test_step_vjp_is_the_adjoint_of_a_step(cell, rng):
    report = gradcheck.check_vjp(cell.step, cell.step_vjp, draw_step(cell, rng))
    assert report.passed, str(report)


def test_step_jvp_is_the_tangent_of_a_step(cell, rng):
    report = gradcheck.check_jvp(cell.step, cell.step_jvp, draw_step(cell, rng), rtol=50 * EPS64)
    assert report.passed, str(report)


def test_tangent_and_adjoint_are_transposes_of_each_other(cell, rng):
    report = gradcheck.adjoint_test(cell.step_jvp, cell.step_vjp, draw_step(cell, rng), rtol=100 * EPS64)
    assert report.passed, str(report)


def test_adjoint_is_linear_in_its_cotangent(cell, rng):
    params, x, h = draw_step(cell, rng)
    report = gradcheck.check_linearity(cell.step_vjp, (params, x, h), h)
    assert report.passed, str(report)


def test_jacobian_is_the_derivative_of_a_step_by_the_state(cell, rng):
    params, x, h = draw_step(cell, rng)

    def times_jacobian(h, h_dot):
        return np.einsum("bij,bj->bi", cell.jacobian(params, x, h), h_dot)

    report = gradcheck.check_jvp(lambda h: cell.step(params, x, h), times_jacobian, (h,), rtol=50 * EPS64)
    assert report.passed, str(report)


def test_jacobian_is_the_tangent_map_of_the_state(cell, rng):
    params, x, h = draw_step(cell, rng)
    J = cell.jacobian(params, x, h)
    nothing = {k: np.zeros_like(v) for k, v in params.items()}
    for k in range(cell.state_size):
        unit = np.zeros_like(h)
        unit[:, k] = 1
        column = cell.step_jvp(params, x, h, nothing, np.zeros_like(x), unit)
        assert worst(J[:, :, k], column) < 50 * EPS64


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (4, 1)])
def test_smallest_sizes_have_right_shapes_and_gradients(m, n, batch, rng):
    for cell in make_cells(m, n).values():
        params, x, h = draw_step(cell, rng, batch)
        dparams, dx, dh = cell.step_vjp(params, x, h, rng.standard_normal(h.shape))
        assert cell.step(params, x, h).shape == dh.shape == h.shape
        assert dx.shape == x.shape
        assert {k: v.shape for k, v in dparams.items()} == cell.parameter_shapes
        assert cell.jacobian(params, x, h).shape == (batch, cell.state_size, cell.state_size)
        report = gradcheck.check_vjp(cell.step, cell.step_vjp, (params, x, h))
        # W - W^T of one unit is zero, whatever W is: there is nothing to test, and no other reason not to pass.
        silent = {"params.W"} if n == 1 and "triangular" in cell.config() else set()
        assert {entry.parameter for entry in report.entries if entry.verdict != "passed"} == silent, str(report)
        assert not report.failed


def test_float32_adjoint_is_the_float64_adjoint_to_rounding(cell, rng):
    report = gradcheck.check_vjp(cell.step, cell.step_vjp, draw_step(cell, rng, dtype=np.float32))
    assert report.passed, str(report)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_result_keeps_the_dtype_of_the_arguments(cell, dtype, rng):
    params, x, h = draw_step(cell, rng, dtype=dtype)
    dparams, dx, dh = cell.step_vjp(params, x, h, h)
    results = [cell.step(params, x, h), cell.step_jvp(params, x, h, params, x, h), cell.jacobian(params, x, h)]
    assert {a.dtype for a in [*results, *dparams.values(), dx, dh]} == {np.dtype(dtype)}


def test_float32_step_is_the_float64_step_to_rounding(cell, rng):
    params, x, h = draw_step(cell, rng, dtype=np.float32)
    double = cell.step({k: v.astype(np.float64) for k, v in params.items()}, x.astype(np.float64), h.astype(np.float64))
    assert 0 < worst(cell.step(params, x, h), double) < 20 * np.finfo(np.float32).eps


def test_no_method_writes_into_its_arguments(cell, rng):
    params, x, h = draw_step(cell, rng)
    for array in (*params.values(), x, h):
        array.flags.writeable = False
    cell.step(params, x, h)
    cell.step_vjp(params, x, h, h)
    cell.step_jvp(params, x, h, params, x, h)
    cell.jacobian(params, x, h)


def test_antisymmetric_step_is_equation_12_in_the_papers_columns(rng):
    cell = numrnn.AntisymmetricCell(3, 4, step_size=0.3, diffusion=0.2, triangular=False)
    params, x, h = draw_step(cell, rng)
    A = params["W"] - params["W"].T - 0.2 * np.eye(4)
    for i in range(len(x)):
        wanted = h[i] + 0.3 * np.tanh(A @ h[i] + params["V"] @ x[i] + params["b"])
        assert worst(cell.step(params, x, h)[i], wanted) < 10 * EPS64


def test_gated_step_is_equation_13_in_the_papers_columns(rng):
    cell = numrnn.GatedAntisymmetricCell(3, 4, step_size=0.3, diffusion=0.2, triangular=False)
    params, x, h = draw_step(cell, rng)
    A = params["W"] - params["W"].T - 0.2 * np.eye(4)
    for i in range(len(x)):
        z = 1 / (1 + np.exp(-(A @ h[i] + params["V_z"] @ x[i] + params["b_z"])))
        wanted = h[i] + 0.3 * z * np.tanh(A @ h[i] + params["V"] @ x[i] + params["b"])
        assert worst(cell.step(params, x, h)[i], wanted) < 10 * EPS64


def test_triangular_storage_reads_only_what_stands_above_the_diagonal(rng):
    cell = numrnn.AntisymmetricCell(3, 4, triangular=True)
    params, x, h = draw_step(cell, rng)
    upper = {**params, "W": np.triu(params["W"], 1)}
    assert not np.array_equal(upper["W"], params["W"])
    assert np.array_equal(cell.step(params, x, h), cell.step(upper, x, h))


@pytest.mark.parametrize("kind", [numrnn.AntisymmetricCell, numrnn.GatedAntisymmetricCell])
def test_triangular_and_full_storage_of_one_matrix_give_one_step_and_related_gradients(kind, rng):
    triangular, full = (kind(3, 4, step_size=0.3, diffusion=0.2, triangular=t) for t in (True, False))
    params, x, h = draw_step(triangular, rng)
    params["W"] = np.triu(params["W"], 1)
    cotangent = rng.standard_normal(h.shape)
    assert np.array_equal(triangular.step(params, x, h), full.step(params, x, h))
    dW_full = full.step_vjp(params, x, h, cotangent)[0]["W"]
    dW_triangular = triangular.step_vjp(params, x, h, cotangent)[0]["W"]
    assert np.array_equal(dW_full, -dW_full.T)
    assert np.array_equal(dW_triangular, np.triu(dW_full, 1))


def test_lstm_keeps_its_hidden_part_in_the_first_columns(rng):
    cell = numrnn.LSTMCell(3, 4)
    params, x, state = draw_step(cell, rng)
    h, c = state[:, :4], state[:, 4:]
    u_i, u_f, u_g, u_o = np.split(h @ params["W"].T + x @ params["V"].T + params["b"], 4, axis=1)
    c_next = c / (1 + np.exp(-u_f)) + np.tanh(u_g) / (1 + np.exp(-u_i))
    wanted = np.hstack([np.tanh(c_next) / (1 + np.exp(-u_o)), c_next])
    assert worst(cell.step(params, x, state), wanted) < 20 * EPS64


READ_OUT = {128: 1290, 196: 1970, 256: 2570}  # 10 classes: 10 n weights and 10 biases


@pytest.mark.parametrize(
    ("kind", "m", "n", "published"),
    [
        (numrnn.AntisymmetricCell, 1, 128, 9_674),
        (numrnn.GatedAntisymmetricCell, 1, 128, 9_930),
        (numrnn.AntisymmetricCell, 3, 256, 36_234),
        (numrnn.GatedAntisymmetricCell, 3, 256, 37_258),
        (numrnn.GatedUnstructuredCell, 3, 196, 41_954),
        (numrnn.LSTMCell, 1, 128, 67_850),
        (numrnn.LSTMCell, 3, 128, 68_874),
    ],
)
def test_parameter_counts_with_read_out_are_those_of_the_paper(kind, m, n, published):
    assert kind(m, n).parameter_count() + READ_OUT[n] == published


def test_initial_values_have_the_papers_variances(rng):
    m, n = 40, 200
    params = numrnn.UnstructuredCell(m, n).init_params(rng, weight_std=2.0, dtype=np.float64)
    # The sample variance of N numbers is right to a relative sqrt(2/N); five of those are allowed.
    assert abs(np.var(params["W"]) / (4 / n) - 1) < 5 * np.sqrt(2 / n**2)
    assert abs(np.var(params["V"]) / (1 / m) - 1) < 5 * np.sqrt(2 / (n * m))
    assert not params["b"].any()


def test_spectral_radius_at_initialisation_is_2_8_full_and_2_triangular_in_the_limit(rng):
    radius = {}
    for triangular in (True, False):
        cell = numrnn.AntisymmetricCell(1, 400, triangular=triangular, diffusion=0.0)
        A = cell.matrix.value(cell.init_params(rng, dtype=np.float64)["W"])
        radius[triangular] = np.linalg.norm(A, 2)
    assert abs(radius[True] - 2.0) < 0.1
    assert abs(radius[False] - 2 * np.sqrt(2)) < 0.15


def test_triangular_initial_values_are_zero_where_there_is_no_parameter(rng):
    W = numrnn.AntisymmetricCell(1, 6).init_params(rng)["W"]
    assert not np.tril(W).any()
    assert np.count_nonzero(W) == 15


def test_lstm_starts_with_forget_bias_one_and_other_biases_zero(rng):
    b = numrnn.LSTMCell(1, 3).init_params(rng)["b"]
    assert b.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_one_seed_draws_one_network_in_every_dtype(cell):
    single = cell.init_params(np.random.default_rng(3), dtype=np.float32)
    double = cell.init_params(np.random.default_rng(3), dtype=np.float64)
    assert all(np.array_equal(single[k], double[k].astype(np.float32)) for k in double)


def test_config_makes_the_same_cell_again(cell):
    config = json.loads(json.dumps(cell.config()))
    again = cell_from_config(config)
    assert type(again) is type(cell)
    assert again.config() == cell.config()
    assert repr(again) == repr(cell)
    assert eval(repr(cell), vars(numrnn)).config() == cell.config()


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (["elman"], TypeError, "config must be a mapping, as returned by Cell.config, got list"),
        ({}, ValueError, "config must name one of antisymmetric, .*, stack as its cell, got None"),
        ({"cell": "gru", "input_size": 1}, ValueError, "as its cell, got 'gru'"),
        ({"cell": "elman", "input_size": 1, "hidden_size": 2, "colour": 3}, TypeError, "colour"),
        (
            {"cell": "elman", "input_size": 1, "hidden_size": 0},
            ValueError,
            "hidden_size must be an integer >= 1, got 0",
        ),
        ({"cell": "stack"}, ValueError, "a stack must have a list under 'cells', and nothing else, got {}"),
        ({"cell": "stack", "cells": 3}, ValueError, "a list under 'cells', and nothing else, got {'cells': 3}"),
        ({"cell": "stack", "cells": [3]}, TypeError, "config must be a mapping, .* got int"),
        ({"cell": "stack", "cells": [], "hidden_size": 4}, ValueError, "nothing else, got .*hidden_size"),
    ],
)
def test_a_configuration_of_no_cell_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        cell_from_config(config)


def test_ablation_is_no_antisymmetric_cell():
    assert not isinstance(numrnn.UnstructuredCell(1, 1), numrnn.AntisymmetricCell)
    assert not isinstance(numrnn.GatedUnstructuredCell(1, 1), numrnn.GatedAntisymmetricCell)


def test_unchecked_step_is_the_step_without_its_checks(cell, rng):
    params, x, h = draw_step(cell, rng)
    assert np.array_equal(unchecked(cell.step)(params, x, h), cell.step(params, x, h))
    x[0, 0] = np.nan
    assert np.isnan(unchecked(cell.step)(params, x, h)).any()


def test_a_complex_direction_in_one_parameter_only_is_enough(cell, rng):
    params, x, h = draw_step(cell, rng)
    for name in (name for name in params if name.endswith("V")):
        step = cell.step({**params, name: params[name] + 1e-30j}, x, h)
        assert step.dtype == np.complex128
        assert np.any(step.imag != 0)


def test_points_of_the_tests_have_no_zeros(cell, rng):
    assert all(np.all(v != 0) for v in draw_params(cell, rng).values())
