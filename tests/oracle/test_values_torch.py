"""States and gradients beside those of torch.nn and torchrecurrent, in float64."""

import numpy as np
import pytest
from helpers import EPS64, draw_params, worst

import numrnn

torch = pytest.importorskip("torch", reason="an optional oracle: make oracle")

T, B, M, N = 20, 4, 3, 6
GROWTH = 1000 * EPS64  # twenty steps of sums of a dozen products each


@pytest.fixture
def case(rng):
    return rng.standard_normal((T, B, M)), rng.standard_normal((T, B, N)), rng.standard_normal((B, N))


def leaf(array):
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def set_parameters(module, values):
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(torch.tensor(value))


def compare(cell, params, case, module, theirs, c0=None):
    """Compare states and all gradients of sum(weights * h_t); `theirs` maps our names to gradients of theirs."""
    x, weights, h0 = case
    state0 = h0 if c0 is None else np.hstack([h0, c0])
    states, tape = numrnn.forward(cell, params, x, state0)
    d_states = np.zeros(states.shape)
    d_states[1:, :, :N] = weights
    grads = numrnn.backward(tape, d_states)

    x_, h0_ = leaf(x), leaf(h0)
    first = h0_[None] if c0 is None else (h0_[None], torch.tensor(c0)[None])
    output, _ = module(x_, first)
    torch.sum(torch.tensor(weights) * output).backward()
    assert worst(states[1:, :, :N], output.detach().numpy()) < GROWTH
    assert worst(grads.x, x_.grad.numpy()) < GROWTH
    assert worst(grads.h0[:, :N], h0_.grad.numpy()) < GROWTH
    for name, gradient in theirs(module).items():
        assert worst(grads.params[name], gradient.numpy()) < GROWTH, name


def test_elman_is_torchs_rnn(case, rng):
    cell = numrnn.ElmanCell(M, N)
    params = draw_params(cell, rng)
    module = torch.nn.RNN(M, N).double()
    values = {"weight_hh_l0": params["W"], "weight_ih_l0": params["V"], "bias_ih_l0": params["b"]}
    set_parameters(module, values | {"bias_hh_l0": np.zeros(N)})
    compare(
        cell,
        params,
        case,
        module,
        lambda m: {"W": m.weight_hh_l0.grad, "V": m.weight_ih_l0.grad, "b": m.bias_ih_l0.grad},
    )


def test_lstm_is_torchs_lstm(case, rng):
    cell = numrnn.LSTMCell(M, N)
    params = draw_params(cell, rng)
    module = torch.nn.LSTM(M, N).double()
    values = {"weight_hh_l0": params["W"], "weight_ih_l0": params["V"], "bias_ih_l0": params["b"]}
    set_parameters(module, values | {"bias_hh_l0": np.zeros(4 * N)})
    compare(
        cell,
        params,
        case,
        module,
        lambda m: {"W": m.weight_hh_l0.grad, "V": m.weight_ih_l0.grad, "b": m.bias_ih_l0.grad},
        c0=rng.standard_normal((B, N)),
    )


def test_antisymmetric_is_torchrecurrents(case, rng):
    torchrecurrent = pytest.importorskip("torchrecurrent", reason="an optional oracle: make oracle")
    cell = numrnn.AntisymmetricCell(M, N, step_size=0.3, diffusion=0.2, triangular=False)
    params = draw_params(cell, rng)
    module = torchrecurrent.AntisymmetricRNN(M, N, epsilon=0.3, gamma=0.2).double()
    values = {"weight_hh": params["W"], "weight_ih": params["V"], "bias_ih": params["b"], "bias_hh": np.zeros(N)}
    set_parameters(module.cells[0], values)
    compare(
        cell,
        params,
        case,
        module,
        lambda m: {"W": m.cells[0].weight_hh.grad, "V": m.cells[0].weight_ih.grad, "b": m.cells[0].bias_ih.grad},
    )


def test_gated_is_torchrecurrents_with_its_second_bias_at_zero(case, rng):
    # torchrecurrent adds bias_hh to the candidate and not to the gate: at zero that makes no difference.
    torchrecurrent = pytest.importorskip("torchrecurrent", reason="an optional oracle: make oracle")
    cell = numrnn.GatedAntisymmetricCell(M, N, step_size=0.3, diffusion=0.2, triangular=False)
    params = draw_params(cell, rng)
    module = torchrecurrent.GatedAntisymmetricRNN(M, N, epsilon=0.3, gamma=0.2).double()
    values = {
        "weight_hh": params["W"],
        "weight_ih": np.vstack([params["V_z"], params["V"]]),
        "bias_ih": np.concatenate([params["b_z"], params["b"]]),
        "bias_hh": np.zeros(N),
    }
    set_parameters(module.cells[0], values)

    def theirs(m):
        weight, bias = m.cells[0].weight_ih.grad, m.cells[0].bias_ih.grad
        named = {"W": m.cells[0].weight_hh.grad, "V_z": weight[:N], "V": weight[N:]}
        return named | {"b_z": bias[:N], "b": bias[N:]}

    compare(cell, params, case, module, theirs)


def test_packed_sequences_are_torchs(rng):
    cell = numrnn.LSTMCell(M, N)
    params = draw_params(cell, rng)
    module = torch.nn.LSTM(M, N).double()
    values = {"weight_hh_l0": params["W"], "weight_ih_l0": params["V"], "bias_ih_l0": params["b"]}
    set_parameters(module, values | {"bias_hh_l0": np.zeros(4 * N)})
    x, lengths = rng.standard_normal((T, B, M)), [20, 3, 11, 1]
    states, tape = numrnn.forward(cell, params, x, lengths=lengths)
    weights = rng.standard_normal((B, N))
    d_final = np.hstack([weights, np.zeros((B, N))])
    grads = numrnn.backward(tape, d_final=d_final)
    x_ = leaf(x)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x_, lengths, enforce_sorted=False)
    h_n = module(packed)[1][0][0]
    torch.sum(torch.tensor(weights) * h_n).backward()
    assert worst(states[-1][:, :N], h_n.detach().numpy()) < GROWTH
    assert worst(grads.x, x_.grad.numpy()) < GROWTH
    assert worst(grads.params["W"], module.weight_hh_l0.grad.numpy()) < GROWTH
