"""Stacks of cells: what they compute, their parameters, and what is refused; test_cells.py runs on them too."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import EPS64, draw_step, make_stacks, worst

import numrnn
from numrnn.cells import CELLS, cell_from_config
from numrnn.initializers import InitialValues
from numrnn.stability import linearize, saturation, stability_report
from numrnn.training import Adam, Checkpoint, Classifier, load_checkpoint, save_checkpoint

STACKS = make_stacks()
MIXED = STACKS["mixed stack"]


def test_a_layer_reads_what_the_layer_below_has_just_computed(rng):
    lower, upper = numrnn.LSTMCell(3, 5), numrnn.AntisymmetricCell(5, 4, step_size=0.3)
    cell = numrnn.Stack([lower, upper])
    params, x, state = draw_step(cell, rng)
    first = {k: params[f"1.{k}"] for k in lower.parameter_shapes}
    second = {k: params[f"2.{k}"] for k in upper.parameter_shapes}
    h_c = lower.step(first, x, state[:, 4:])
    h = upper.step(second, h_c[:, :5], state[:, :4])
    assert np.array_equal(cell.step(params, x, state), np.hstack([h, h_c]))


def test_a_stack_of_one_cell_is_that_cell(rng):
    for cell in CELLS.values():
        alone = cell(3, 4)
        stack = numrnn.Stack([alone])
        params, x, h = draw_step(alone, rng)
        named = stack.named([params])
        assert np.array_equal(stack.step(named, x, h), alone.step(params, x, h))
        for got, wanted in zip(stack.step_vjp(named, x, h, h)[1:], alone.step_vjp(params, x, h, h)[1:], strict=True):
            assert np.array_equal(got, wanted)
        assert np.array_equal(stack.jacobian(named, x, h), alone.jacobian(params, x, h))
        assert (stack.hidden_size, stack.state_size) == (alone.hidden_size, alone.state_size)


def test_a_stack_of_stacks_is_the_stack_of_their_layers(rng):
    a, b, c = numrnn.ElmanCell(3, 2), numrnn.LSTMCell(2, 3), numrnn.ElmanCell(3, 4)
    flat, nested = numrnn.Stack([a, b, c]), numrnn.Stack([numrnn.Stack([a, b]), c])
    params, x, h = draw_step(flat, rng)
    other = dict(zip(nested.parameter_shapes, params.values(), strict=True))
    assert [*other] == ["1.1.W", "1.1.V", "1.1.b", "1.2.W", "1.2.V", "1.2.b", "2.W", "2.V", "2.b"]
    assert np.array_equal(nested.step(other, x, h), flat.step(params, x, h))
    assert nested.columns == (slice(4, 12), slice(0, 4))
    assert flat.columns == (slice(10, 12), slice(4, 10), slice(0, 4))


@pytest.mark.parametrize("name", STACKS)
def test_no_layer_depends_on_one_above_it(name, rng):
    cell = STACKS[name]
    J = cell.jacobian(*draw_step(cell, rng))
    for columns in cell.columns:
        assert not J[:, columns, : columns.start].any()
        for below in (other for other in cell.columns if other.start >= columns.start):
            assert J[:, columns, below].any()


@pytest.mark.parametrize("name", STACKS)
def test_eigenvalues_of_the_jacobian_are_those_of_its_layers(name, rng):
    cell = STACKS[name]
    for J in cell.jacobian(*draw_step(cell, rng)):
        own = np.concatenate([np.linalg.eigvals(J[columns, columns]) for columns in cell.columns])
        distances = np.abs(np.linalg.eigvals(J)[:, None] - own)
        # An eigenvalue moves by the rounding times its condition; those of a defective one by the root of it.
        assert distances.min(axis=1).max() < 1e4 * EPS64 * np.linalg.norm(J, 2)


def test_sizes_and_counts_are_sums_over_the_layers():
    layers = [numrnn.AntisymmetricCell(1, 8), numrnn.LSTMCell(8, 5), numrnn.GatedAntisymmetricCell(5, 3)]
    cell = numrnn.Stack(layers)
    assert (cell.input_size, cell.hidden_size, cell.state_size) == (1, 3, 8 + 10 + 3)
    assert cell.parameter_count() == sum(layer.parameter_count() for layer in layers)
    assert cell.parameter_shapes["1.W"] == (8, 8)
    assert cell.parameter_shapes["2.b"] == (20,)
    assert cell.parameter_shapes["3.V_z"] == (3, 5)
    assert numrnn.Stack(iter(layers)).cells == cell.cells == tuple(layers)


def test_initial_values_are_the_layers_own_drawn_one_after_the_other():
    layers = [numrnn.GatedAntisymmetricCell(2, 6), numrnn.LSTMCell(6, 4), numrnn.ElmanCell(4, 3)]
    options = {"weight_std": 2.0, "gate_bias": 1.0, "forget_bias": "chrono", "t_max": 50, "bias_std": 0.5}
    params = numrnn.Stack(layers).init_params(np.random.default_rng(4), **options)
    uses = (("gate_bias", "bias_std"), ("forget_bias", "t_max"), ("bias_std",))
    rng = np.random.default_rng(4)
    for number, (layer, names) in enumerate(zip(layers, uses, strict=True), 1):
        own = layer.init_params(rng, weight_std=2.0, **{name: options[name] for name in names})
        for name, value in own.items():
            assert params[f"{number}.{name}"].dtype == np.float32
            assert np.array_equal(params[f"{number}.{name}"], value), name


@pytest.mark.parametrize("name", [*CELLS, *STACKS])
def test_a_cell_takes_just_the_initial_values_that_it_has_a_use_for(name):
    cell = CELLS[name](3, 4) if name in CELLS else STACKS[name]
    changed = {
        "gate_bias": 1.0,
        "gate_spread": 1.0,
        "rotations": (1.0, 2.0),
        "input_gains": (1.0, 2.0),
        "bias_std": 1.0,
        "forget_bias": 2.0,
    }
    plain = cell.init_params(np.random.default_rng(0))
    for argument, value in changed.items():
        if argument in cell.unused_initial_values():
            with pytest.raises(ValueError, match=f"{argument} must be .* for the {cell.name} cell, got "):
                cell.init_params(np.random.default_rng(0), **{argument: value})
        else:
            params = cell.init_params(np.random.default_rng(0), **{argument: value})
            assert not all(np.array_equal(params[key], plain[key]) for key in plain), argument
    assert cell.unused_initial_values() <= set(vars(replace(InitialValues())))


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        (3, TypeError, "cells must be numrnn cells, from the bottom to the top, got int"),
        ([], ValueError, "cells must be one cell or more, got none"),
        ([numrnn.ElmanCell(1, 2), "lstm"], TypeError, "cells must be numrnn cells, got str as layer 2"),
        ([numrnn.ElmanCell], TypeError, "got ABCMeta as layer 1"),
        (
            [numrnn.ElmanCell(1, 2), numrnn.LSTMCell(2, 3), numrnn.ElmanCell(6, 2)],
            ValueError,
            "layer 3 must have input_size 3, the hidden_size of layer 2, got 6",
        ),
    ],
)
def test_layers_that_make_no_stack_are_refused(cells, error, message):
    with pytest.raises(error, match=message):
        numrnn.Stack(cells)


def test_a_wrong_parameter_is_named_with_its_layer(rng):
    params, x, h = draw_step(MIXED, rng)
    with pytest.raises(ValueError, match=r"params\['2.V_z'\] must be \(3, 2\), got \(2, 3\)"):
        MIXED.step({**params, "2.V_z": params["2.V_z"].T}, x, h)
    with pytest.raises(ValueError, match="params must have the names 1.W, 1.V, 1.b, 2.W, .* got"):
        MIXED.step({k.removeprefix("1."): v for k, v in params.items()}, x, h)


def test_a_dot_in_a_name_goes_through_optimisers_and_checkpoints(tmp_path, rng):
    model = Classifier(MIXED, 3)
    params = model.init_params(rng)
    assert "W_out" in params
    assert params["W_out"].shape == (3, MIXED.hidden_size)
    optimizer = Adam(0.01, multipliers={"1.W": 0.5}, step_scales={"2.V": np.full((3, 1), 2.0)})
    x, labels = rng.standard_normal((7, 5, 3)).astype(np.float32), rng.integers(0, 3, 5)
    _, gradient, _ = model.loss_and_gradient(params, x, labels)
    params, state = optimizer.update(params, gradient, optimizer.init(params))
    config = {"model": model.config(), "optimizer": optimizer.config()}
    path = save_checkpoint(tmp_path / "c.npz", Checkpoint(step=1, params=params, optimizer=state, config=config))
    again = load_checkpoint(path, backend="numpy")
    assert all(np.array_equal(again.params[name], params[name]) for name in params)
    assert {*again.optimizer["mean"]} == {*params}
    assert cell_from_config(again.config["model"]["cell"]).config() == MIXED.config()
    assert json.loads(json.dumps(MIXED.config())) == MIXED.config()


@pytest.mark.parametrize("name", STACKS)
def test_the_linear_map_of_a_stack_is_its_jacobian(name, rng):
    cell = STACKS[name]
    params, x, h = draw_step(cell, rng, batch=2)
    lin = linearize(cell, params, np.stack([x, x + 1]), h)
    v = rng.standard_normal((2, 3, cell.state_size))
    J = cell.jacobian(params, x + 1, lin.states[1])
    assert worst(lin.apply(2, v), np.einsum("bij,bkj->bki", J, v)) < 100 * EPS64
    assert worst(lin.apply_adjoint(2, v), np.einsum("bij,bki->bkj", J, v)) < 100 * EPS64
    assert worst(lin.row(1).apply(2, v[1:]), lin.apply(2, v)[1:]) < 100 * EPS64


def test_saturation_of_a_stack_is_over_all_layers(rng):
    lower, upper = numrnn.ElmanCell(3, 4), numrnn.LSTMCell(4, 4)
    cell = numrnn.Stack([lower, upper])
    params, x, h0 = draw_step(cell, rng, batch=6)
    params = {name: 8 * value for name, value in params.items()}
    x = np.stack([x] * 5)
    states = numrnn.forward(cell, params, x, h0)[0]
    of_lower, of_upper = cell.layer_params(params)
    low = saturation(lower, of_lower, x, states[:, :, 8:])
    up = saturation(upper, of_upper, states[1:, :, 8:], states[:, :, :8])
    found = saturation(cell, params, x, states)
    assert found.candidate == pytest.approx((low.candidate + up.candidate) / 2, rel=4 * EPS64)
    assert (found.closed, found.open) == (up.closed, up.open)


def test_a_trained_stack_has_a_stability_report(tmp_path, rng):
    model = Classifier(MIXED, 3)
    config = {"model": model.config()}
    path = save_checkpoint(tmp_path / "c.npz", Checkpoint(step=1, params=model.init_params(rng), config=config))
    report = stability_report(path, steps=20)
    assert report.cell.config() == MIXED.config()
    assert report.exponents.shape == (2, MIXED.state_size)
    assert report.saturation.open is not None
    assert "Stack is not an Euler step" in str(report)
