"""Weights between torch's layers and numrnn's cells: the same outputs and gradients on both sides."""

import numpy as np
import pytest
from helpers import EPS64, draw_params, worst

import numrnn

torch = pytest.importorskip("torch", reason="an optional oracle: make oracle")

from numrnn.interop.torch import RecurrentLayer, cell_from_torch, params_from_torch, params_to_torch  # noqa: E402

T, B, M, N = 20, 4, 3, 6
GROWTH = 1000 * EPS64  # twenty steps of sums of a dozen products each


def antisymmetric(**options):
    torchrecurrent = pytest.importorskip("torchrecurrent", reason="an optional oracle: make oracle")
    return torchrecurrent.AntisymmetricRNN(M, N, epsilon=0.3, gamma=0.2, **options)


MODULES = {
    "RNN": lambda **options: torch.nn.RNN(M, N, **options),
    "LSTM": lambda **options: torch.nn.LSTM(M, N, **options),
    "AntisymmetricRNN": antisymmetric,
}
CELLS = {
    "RNN": numrnn.ElmanCell(M, N),
    "LSTM": numrnn.LSTMCell(M, N),
    "AntisymmetricRNN": numrnn.AntisymmetricCell(M, N, step_size=0.3, diffusion=0.2, triangular=False),
}
EACH = pytest.mark.parametrize("name", MODULES)


def filled(module, rng):
    """Return a module in float64 with no zeros: biases of zero would hide that one was left out."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(0.5 * rng.standard_normal(tuple(parameter.shape))))
    return module


def run(module, x, h0, weights):
    """Return outputs, and gradients of sum(weights * outputs) by x, the state and the parameters."""
    x, h0 = x.clone().requires_grad_(), h0.clone().requires_grad_()
    pair = isinstance(module, torch.nn.LSTM)
    output, _ = module(x, tuple(part.contiguous() for part in h0.chunk(2, -1)) if pair else h0)
    module.zero_grad()
    torch.sum(weights * output).backward()
    return output.detach().numpy(), x.grad.numpy(), h0.grad.numpy()


def compare(theirs, ours, cell, rng):
    x, weights = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((T, B, M), (T, B, N)))
    h0 = torch.from_numpy(rng.standard_normal((1, B, cell.state_size)))
    for got, wanted in zip(run(ours, x, h0, weights), run(theirs, x, h0, weights), strict=True):
        assert worst(got, wanted) < GROWTH
    inner = theirs.cells[0] if hasattr(theirs, "cells") else theirs
    for name, parameter in inner.named_parameters():
        gradient = {"weight_hh": "W", "weight_ih": "V", "bias_hh": "b", "bias_ih": "b"}[name.removesuffix("_l0")]
        assert worst(getattr(ours, gradient).grad.numpy(), parameter.grad.numpy()) < GROWTH, name


@EACH
def test_weights_of_torch_give_the_same_outputs_and_gradients_here(name, rng):
    module = filled(MODULES[name](), rng)
    cell = cell_from_torch(module)
    assert cell.config() == CELLS[name].config()
    layer = RecurrentLayer(cell).double()
    params_to_torch(cell, params_from_torch(module), layer)
    compare(module, layer, cell, rng)


@EACH
def test_weights_from_here_give_the_same_outputs_and_gradients_in_torch(name, rng):
    module, cell = filled(MODULES[name](), rng), CELLS[name]
    layer = filled(RecurrentLayer(cell), rng)
    params_to_torch(cell, params_from_torch(layer), module)
    compare(module, layer, cell, rng)


@EACH
def test_there_and_back_no_bit_changes(name, rng):
    module, cell = MODULES[name]().double(), CELLS[name]
    params = draw_params(cell, rng)
    params_to_torch(cell, params, module)
    again = params_from_torch(module)
    assert {k: v.shape for k, v in again.items()} == cell.parameter_shapes
    assert all(np.array_equal(again[k], params[k]) for k in params)


@EACH
def test_copies_are_handed_out_of_the_dtype_of_the_layer(name):
    module = MODULES[name]()
    params = params_from_torch(module)
    assert {v.dtype for v in params.values()} == {np.dtype(np.float32)}
    before = {k: v.clone() for k, v in module.state_dict().items()}
    for value in params.values():
        value += 1
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_what_a_triangular_cell_does_not_read_is_not_written(rng):
    cell = numrnn.AntisymmetricCell(M, N, step_size=0.3, diffusion=0.2, triangular=True)
    params, module = draw_params(cell, rng), antisymmetric().double()
    assert np.tril(params["W"]).all(where=np.tri(N, dtype=bool))
    params_to_torch(cell, params, module)
    x = torch.from_numpy(rng.standard_normal((T, B, M)))
    states, _ = numrnn.forward(cell, params, x.numpy())
    assert worst(states[1:], module(x)[0].detach().numpy()) < GROWTH


@pytest.mark.parametrize("kind", [numrnn.AntisymmetricCell, numrnn.GatedAntisymmetricCell])
@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_the_storage_of_the_matrix_is_that_of_the_layer(kind, ours, theirs, rng):
    for units in (1, 2, N):
        cell, other = (kind(M, units, step_size=0.3, triangular=triangular) for triangular in (ours, theirs))
        params, layer = draw_params(cell, rng), RecurrentLayer(other).double()
        params["W"] = rng.standard_normal((units, units))  # also where a triangular cell does not read it
        params_to_torch(cell, params, layer)
        x = rng.standard_normal((T, B, M))
        states, _ = numrnn.forward(cell, params, x)
        assert worst(states[1:], layer(torch.from_numpy(x))[0].detach().numpy()) < GROWTH
        if ours == theirs:
            assert all(np.array_equal(params_from_torch(layer)[name], params[name]) for name in params)


@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_a_layer_without_biases_has_b_zero(name, rng):
    module, cell = filled(MODULES[name](bias=False), rng), CELLS[name]
    params = params_from_torch(module)
    assert not params["b"].any()
    params_to_torch(cell, params, module)
    with pytest.raises(ValueError, match=r"params\['b'\] must be 0, since the module has no bias"):
        params_to_torch(cell, {**params, "b": params["b"] + 1}, module)


@pytest.mark.parametrize("which", ["bias", "recurrent_bias"])
def test_an_antisymmetric_layer_with_one_bias_is_read_and_written(which, rng):
    module, cell = filled(antisymmetric(**{which: False}), rng), CELLS["AntisymmetricRNN"]
    layer = RecurrentLayer(cell).double()
    params_to_torch(cell, params_from_torch(module), layer)
    compare(module, layer, cell, rng)
    params = draw_params(cell, rng)
    params_to_torch(cell, params, module)
    assert all(np.array_equal(params_from_torch(module)[k], params[k]) for k in params)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: torch.nn.GRU(M, N), TypeError, "module must be a RecurrentLayer, torch.nn.RNN .* got GRU"),
        (lambda: torch.nn.RNN(M, N, nonlinearity="relu"), ValueError, "nonlinearity='tanh', got 'relu'"),
        (lambda: torch.nn.RNN(M, N, num_layers=2), ValueError, "num_layers=1, got 2"),
        (lambda: torch.nn.LSTM(M, N, bidirectional=True), ValueError, "bidirectional=False, got True"),
        (lambda: torch.nn.LSTM(M, N, proj_size=2), ValueError, "proj_size=0, got 2"),
        (lambda: antisymmetric(num_layers=2), ValueError, "num_layers=1, got 2"),
        (lambda: antisymmetric(nonlinearity="relu"), ValueError, r"nonlinearity tanh, got ReLU\(\)"),
    ],
)
def test_layers_of_another_kind_are_refused(make, error, message):
    module = make()
    for call in (cell_from_torch, params_from_torch):
        with pytest.raises(error, match=message):
            call(module)


def test_a_cell_of_another_kind_size_or_step_is_refused():
    for cell in (
        numrnn.ElmanCell(M, N),
        numrnn.AntisymmetricCell(M, N + 1, step_size=0.3, diffusion=0.2),
        numrnn.AntisymmetricCell(M, N, step_size=0.1, diffusion=0.2),
        numrnn.UnstructuredCell(M, N, step_size=0.3, diffusion=0.2),
    ):
        params = cell.init_params(np.random.default_rng(0))
        with pytest.raises(ValueError, match="cell must be that of the module, AntisymmetricCell"):
            params_to_torch(cell, params, antisymmetric())
    with pytest.raises(ValueError, match="params must have the names W, V, b"):
        params_to_torch(CELLS["RNN"], {}, MODULES["RNN"]())


@EACH
def test_complex_parameters_and_other_objects_are_refused(name, rng):
    module, cell = MODULES[name]().double(), CELLS[name]
    before = params_from_torch(module)
    params = {key: value + 0j for key, value in draw_params(cell, rng).items()}
    with pytest.raises(TypeError, match=r"^params\['W'\] must be of float32 or float64, got complex128$"):
        params_to_torch(cell, params, module)
    with pytest.raises(TypeError, match=r"^cell must be a numrnn cell, got str$"):
        params_to_torch("elman", draw_params(cell, rng), module)
    assert all(np.array_equal(params_from_torch(module)[key], before[key]) for key in before)
