"""numrnn's cells as a layer of torch: the same bits as numrnn alone, and what torch's autograd may ask of a layer."""

import dataclasses
import doctest
import importlib

import numpy as np
import pytest
import standin_cupy
from helpers import draw_sequence, make_cells

import numrnn
from numrnn.engines.cpu import tape as cpu_tape

torch = pytest.importorskip("torch", reason="an optional oracle: make oracle")

from interop_layers import B, M, N, T, differing, first_of, gradients, layer_of, leaf  # noqa: E402

from numrnn.interop.torch import tensors  # noqa: E402


def both(cell, rng, loss, *, dtype=np.float64, sizes=(T, B), lengths=None, h0_given=True, **options):
    """Return results and gradients of the layer and of numrnn alone, for the loss "every", "last" or "both"."""
    params, x, h0 = draw_sequence(cell, rng, *sizes, dtype)
    weights = rng.standard_normal((sizes[0], sizes[1], cell.hidden_size)).astype(dtype)
    d_final = rng.standard_normal(h0.shape).astype(dtype)
    layer, x_, h0_ = layer_of(cell, params, **options), leaf(x), leaf(h0[None])
    output, h_n = layer(x_, h0_ if h0_given else None, lengths)
    terms = {
        "every": torch.from_numpy(weights) * output,
        "last": torch.from_numpy(d_final) * h_n[0],
    }
    sum(torch.sum(term) for name, term in terms.items() if loss in (name, "both")).backward()
    got = {"output": output.detach().numpy(), "h_n": h_n[0].detach().numpy(), **gradients(layer, x=x_, h0=h0_)}

    engine, every = options.get("engine", "auto"), options.get("recompute_every")
    states, tape = numrnn.forward(
        cell, params, x, h0 if h0_given else None, lengths=lengths, engine=engine, recompute_every=every
    )
    d_states = np.zeros((sizes[0] + 1, *h0.shape), dtype)
    d_states[1:, :, : cell.hidden_size] = weights
    grads = numrnn.backward(tape, d_states if loss != "last" else None, d_final=d_final if loss != "every" else None)
    wanted = {"output": states[1:][:, :, : cell.hidden_size], "h_n": states[-1], "x": grads.x, **grads.params}
    return got, wanted | ({"h0": grads.h0[None]} if h0_given else {})


# --- the same bits as numrnn alone


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["every", "last", "both"])
def test_outputs_and_gradients_are_numrnns_bit_for_bit(cell, loss, dtype, rng):
    got, wanted = both(cell, rng, loss, dtype=dtype)
    assert differing(got, wanted) == []


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "reference"},
        {"engine": "fused"},
        {"recompute_every": 2},
        {"recompute_every": "sqrt", "engine": "reference"},
        {"lengths": [6, 1, 4]},
        {"lengths": torch.tensor([2, 6, 3])},
        {"h0_given": False},
    ],
    ids=str,
)
def test_every_option_gives_numrnns_bits(cell, options, rng):
    got, wanted = both(cell, rng, "both", **options)
    assert differing(got, wanted) == []


def test_a_large_problem_on_worker_processes_gives_the_same_bits(monkeypatch, rng):
    monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", 0)
    for _ in range(3):  # the workers start meanwhile; threads run until then
        got, wanted = both(make_cells()["lstm"], rng, "both", sizes=(40, 70))
        assert differing(got, wanted) == []


def test_gradients_find_their_parameters_in_whatever_order_an_engine_has_them(cell, monkeypatch, rng):
    propagate = cpu_tape.CpuTape.propagate

    def reversed_order(*arguments):
        grads = propagate(*arguments)
        return dataclasses.replace(grads, params=dict(reversed(grads.params.items())))

    monkeypatch.setattr(cpu_tape.CpuTape, "propagate", reversed_order)
    got, wanted = both(cell, rng, "both")
    assert differing(got, wanted) == []


def test_batch_first_swaps_the_axes_of_input_and_output_and_of_nothing_else(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    first, second = layer_of(cell, params), layer_of(cell, params, batch_first=True)
    x_, y_, h0_ = leaf(x), leaf(np.ascontiguousarray(x.transpose(1, 0, 2))), torch.from_numpy(h0[None])
    (output, h_n), (swapped, again) = first(x_, h0_), second(y_, h0_)
    weights = torch.from_numpy(rng.standard_normal(output.shape))
    torch.sum(output * weights).backward()
    torch.sum(swapped * weights.transpose(0, 1)).backward()
    assert torch.equal(output, swapped.transpose(0, 1))
    assert torch.equal(h_n, again)
    assert torch.equal(x_.grad, y_.grad.transpose(0, 1))
    assert differing(gradients(second), gradients(first)) == []


def test_tensors_that_are_not_contiguous_give_the_bits_of_those_that_are(cell, rng):
    params, _, _ = draw_sequence(cell, rng)
    layer, state = layer_of(cell, params), cell.state_size
    wide, h0 = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((2 * T, B, 2 * M), (1, 2 * B, 2 * state)))
    for x in (wide[::2, :, :M], wide[:T, :, ::2], wide[:1, :, :M].expand(T, B, M), wide[:T, :1, M:].expand(T, B, M)):
        x_, h0_ = x.detach().requires_grad_(), h0[:, ::2, ::2].detach().requires_grad_()
        plain, plain_h0 = (t.detach().contiguous().requires_grad_() for t in (x_, h0_))
        found = [gradients_of_sum(layer, *inputs) for inputs in ((x_, h0_), (plain, plain_h0))]
        assert differing(*found) == []


def test_tensors_that_torch_negates_when_it_reads_them_have_their_values(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    layer, results = layer_of(cell, params), []
    for negated in (False, True):
        x_, h0_ = leaf(x), leaf(h0[None])
        seen = [torch.complex(torch.zeros_like(t), -t).conj().imag if negated else t for t in (x_, h0_)]
        assert [t.is_neg() for t in seen] == [negated] * 2
        layer.zero_grad()
        output, h_n = layer(*seen)
        h_n = torch.complex(torch.zeros_like(h_n), -h_n).conj().imag if negated else h_n  # and their cotangents
        (output.square().sum() + h_n.square().sum()).backward()
        results.append({"output": output.detach().numpy(), **{k: v.copy() for k, v in gradients(layer, x=x_).items()}})
    assert differing(*results) == []


def gradients_of_sum(layer, x, h0):
    layer.zero_grad()
    output, h_n = layer(x, h0)
    (output.sum() + h_n[:, :1].sum()).backward()  # cotangents that torch expands from a number
    return {"output": output.detach().numpy(), **{k: v.copy() for k, v in gradients(layer, x=x, h0=h0).items()}}


@pytest.mark.parametrize("every", [None, "sqrt"])
def test_the_last_output_alone_is_that_of_the_last_valid_step(cell, every, rng):
    params, x, _ = draw_sequence(cell, rng)
    whole, lean = layer_of(cell, params), layer_of(cell, params, output="last", recompute_every=every)
    lengths = [6, 1, 4]
    output, h_n = whole(torch.from_numpy(x), lengths=lengths)
    last, again = lean(torch.from_numpy(x), lengths=lengths)
    assert torch.equal(last, torch.stack([output[length - 1, row] for row, length in enumerate(lengths)]))
    assert torch.equal(h_n, again)
    weights = torch.from_numpy(rng.standard_normal(last.shape))
    torch.sum(weights * last).backward()
    torch.sum(weights * h_n[0, :, :N]).backward()
    assert differing(gradients(lean), gradients(whole)) == []


def test_the_final_state_begins_the_next_part_of_a_sequence(cell, rng):
    params, x, h0 = draw_sequence(cell, rng)
    layer, x_ = layer_of(cell, params), torch.from_numpy(x)
    output, h_n = layer(x_, torch.from_numpy(h0[None]))
    first, h = layer(x_[:4], torch.from_numpy(h0[None]))
    second, last = layer(x_[4:], h)
    for got, wanted in ((torch.cat([first, second]), output), (last, h_n)):
        torch.testing.assert_close(got, wanted, rtol=1e-13, atol=0)
    weights = torch.from_numpy(rng.standard_normal(h_n.shape))
    whole = torch.autograd.grad(torch.sum(weights * h_n), list(layer.parameters()))
    in_parts = torch.autograd.grad(torch.sum(weights * last), list(layer.parameters()))
    for got, wanted in zip(in_parts, whole, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-13)


# --- torch's own checks


@pytest.mark.parametrize("lengths", [None, [6, 2, 5]])
def test_torchs_gradcheck_passes(cell, lengths, rng):
    params, x, h0 = draw_sequence(cell, rng)
    layer = layer_of(cell, params)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, h0, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, h0, lengths))

    inputs = (leaf(x), leaf(h0[None]), *(value.detach().requires_grad_() for value in layer.parameters()))
    assert torch.autograd.gradcheck(run, inputs)


def test_second_derivatives_are_refused(rng):
    cell = make_cells()["elman"]
    params, x, _ = draw_sequence(cell, rng)
    layer = layer_of(cell, params)
    _, h_n = layer(leaf(x))
    (dW,) = torch.autograd.grad(h_n.square().sum(), layer.W, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        dW.sum().backward()


def test_a_second_backward_pass_gives_the_same_gradients_if_the_graph_is_retained(cell, rng):
    params, x, _ = draw_sequence(cell, rng)
    layer = layer_of(cell, params)
    loss = layer(torch.from_numpy(x))[0].square().sum()
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(layer.parameters()))
    assert all(map(torch.equal, first, second))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, list(layer.parameters()))


@pytest.mark.parametrize("what", ["W", "x", "h0", "output"])
def test_who_writes_between_the_passes_into_what_the_tape_reads_is_told(what, rng):
    cell = make_cells()["elman"]
    params, x, h0 = draw_sequence(cell, rng)
    layer, tensors_ = layer_of(cell, params), {"x": torch.from_numpy(x), "h0": torch.from_numpy(h0[None])}
    tensors_["output"], h_n = layer(tensors_["x"], tensors_["h0"])
    with torch.no_grad():
        (tensors_ | {"W": layer.W})[what].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h_n.sum().backward()


def test_the_final_state_may_be_written_into(cell, rng):
    params, x, _ = draw_sequence(cell, rng)
    for options in ({}, {"recompute_every": 2, "engine": "reference"}, {"output": "last"}):
        layer = layer_of(cell, params, **options)
        output, h_n = layer(torch.from_numpy(x))
        wanted = torch.autograd.grad(output.sum(), first_of(layer), retain_graph=True)[0]
        before = output.detach().clone()
        h_n.detach().zero_()
        assert torch.equal(output, before)
        assert torch.equal(torch.autograd.grad(output.sum(), first_of(layer))[0], wanted)


# --- another device, and the page


@pytest.fixture
def on_standin(monkeypatch):
    """Let the layer take its tensors for tensors on a GPU, and hand them by DLPack to the stand-in for CuPy."""
    standin_cupy.install(monkeypatch)
    monkeypatch.setattr(tensors, "HOST", "none")


@pytest.mark.parametrize("options", [{}, {"recompute_every": 2}, {"lengths": torch.tensor([6, 1, 4])}], ids=str)
def test_the_way_by_cupy_gives_the_same_numbers(cell, options, request, rng):
    options = dict(options)
    lengths = options.pop("lengths", None)
    params, x, h0 = draw_sequence(cell, rng)
    results = []
    for _ in range(2):
        layer = layer_of(cell, params, engine="reference", **options)
        x_, h0_ = leaf(x), leaf(h0[None])
        output, h_n = layer(x_, h0_, lengths)
        (output.square().sum() + h_n.sum()).backward()
        found = {"output": output.detach().numpy(), "h_n": h_n.detach().numpy()}
        results.append(found | gradients(layer, x=x_, h0=h0_))
        request.getfixturevalue("on_standin")  # for the second time round
    assert type(tensors.to_array(x_)) is standin_cupy.ndarray
    assert differing(results[1], results[0]) == []


@pytest.mark.parametrize("name", ["layer", "weights"])
def test_the_examples_of_the_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(f"numrnn.interop.torch.{name}"))
    assert found.attempted
    assert not found.failed
