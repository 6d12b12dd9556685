"""numrnn's layer in the hands of torch: gradients where they are needed, memory, training, workers, the compiler."""

import copy
import gc
import importlib
import io
import subprocess
import sys
import weakref

import numpy as np
import pytest
from helpers import draw_sequence, make_cells

import numrnn
from numrnn.engines.cpu import tape as cpu_tape
from numrnn.tape import Tape

torch = pytest.importorskip("torch", reason="an optional oracle: make oracle")

from interop_layers import B, M, N, T, differing, first_of, gradients, layer_of, torch_names  # noqa: E402

from numrnn.interop.torch import RecurrentLayer  # noqa: E402

# --- gradients only where they are needed


def wanted_gradients(monkeypatch):
    """Return a list that grows by the names of the gradients whenever the CPU engine is asked for some."""
    found, propagate = [], cpu_tape.CpuTape.propagate

    def noted(tape, g, direct, wrt):
        found.append(sorted(wrt))
        return propagate(tape, g, direct, wrt)

    monkeypatch.setattr(cpu_tape.CpuTape, "propagate", noted)
    return found


@pytest.mark.parametrize(
    ("needed", "wrt"),
    [
        (["W", "V", "b"], ["params"]),
        (["x"], ["x"]),
        (["h0"], ["h0"]),
        (["b", "x"], ["params", "x"]),
    ],
    ids=str,
)
def test_numrnn_is_asked_for_what_torch_needs(needed, wrt, monkeypatch, rng):
    asked = wanted_gradients(monkeypatch)
    cell = make_cells()["elman"]
    params, x, h0 = draw_sequence(cell, rng)
    layer = layer_of(cell, params)
    tensors_ = {"x": torch.from_numpy(x), "h0": torch.from_numpy(h0[None]), **layer.named_cell_parameters()}
    for name, tensor in tensors_.items():
        tensor.requires_grad_(name in needed)
    layer(tensors_["x"], tensors_["h0"])[0].sum().backward()
    assert asked == [wrt]
    assert sorted(name for name, tensor in tensors_.items() if tensor.grad is not None) == sorted(needed)


def test_outputs_that_no_loss_reads_cost_no_backward_pass(monkeypatch, rng):
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, d):
            return None

    asked = wanted_gradients(monkeypatch)
    cell = make_cells()["elman"]
    params, x, _ = draw_sequence(cell, rng)
    layer = layer_of(cell, params)
    (Stop.apply(layer(torch.from_numpy(x))[0]).sum() + layer.b.sum()).backward()
    assert asked == []
    assert layer.W.grad is None
    assert torch.equal(layer.b.grad, torch.ones_like(layer.b))


@pytest.fixture
def tapes(monkeypatch):
    """Return weak references to all tapes that are made."""
    made, start = [], Tape.__init__

    def noted(tape, *arguments, **options):
        made.append(weakref.ref(tape))
        start(tape, *arguments, **options)

    monkeypatch.setattr(Tape, "__init__", noted)
    return made


@pytest.mark.parametrize("way", ["no_grad", "inference_mode", "frozen"])
def test_no_tape_is_kept_where_no_gradient_can_be_asked_for(way, tapes, rng):
    cell = make_cells()["lstm"]
    params, x, _ = draw_sequence(cell, rng)
    layer = layer_of(cell, params).requires_grad_(way != "frozen")
    with getattr(torch, way, torch.enable_grad)():
        output, h_n = layer(torch.from_numpy(x))
    assert not output.requires_grad
    assert not h_n.requires_grad
    assert [tape() for tape in tapes] == [None]


def test_the_tape_goes_with_the_graph_without_the_garbage_collector(tapes, rng):
    cell = make_cells()["lstm"]
    params, x, _ = draw_sequence(cell, rng)
    layer = layer_of(cell, params)
    gc.disable()
    try:
        output, h_n = layer(torch.from_numpy(x))
        h_n.sum().backward()
        assert tapes[0]() is not None
        del output, h_n
        assert tapes[0]() is None
    finally:
        gc.enable()


# --- memory


def test_states_are_handed_out_without_a_copy_and_the_input_is_read_where_it_lies(monkeypatch, rng):
    seen, forward = {}, numrnn.forward
    layer_module = importlib.import_module("numrnn.interop.torch.layer")

    def spied(cell, params, x, *rest, **options):
        states, tape = forward(cell, params, x, *rest, **options)
        seen.update(params, x=x, states=states)
        return states, tape

    monkeypatch.setattr(layer_module, "forward", spied)
    cell = make_cells()["lstm"]
    params, x, _ = draw_sequence(cell, rng)
    layer, x_ = layer_of(cell, params), torch.from_numpy(x)
    output, h_n = layer(x_)
    assert np.shares_memory(seen["x"], x)
    assert all(np.shares_memory(seen[k], v.detach().numpy()) for k, v in layer.named_cell_parameters().items())
    assert np.shares_memory(seen["states"], output.detach().numpy())
    assert not np.shares_memory(seen["states"], h_n.detach().numpy())


# --- training


def test_training_with_torchs_optimizer_is_the_loop_by_hand(cell, rng):
    params, x, _ = draw_sequence(cell, rng)
    target = rng.standard_normal((B, N))
    layer = layer_of(cell, params)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.25)
    for _ in range(5):
        optimizer.zero_grad()
        loss = 0.5 * torch.sum((layer(torch.from_numpy(x))[1][0, :, :N] - torch.from_numpy(target)) ** 2)
        loss.backward()
        optimizer.step()
    for _ in range(5):
        states, tape = numrnn.forward(cell, params, x)
        d_final = np.zeros(states[-1].shape)
        d_final[:, :N] = states[-1][:, :N] - target
        grads = numrnn.backward(tape, d_final=d_final, wrt=("params",)).params
        params = {name: value - 0.25 * grads[name] for name, value in params.items()}
    got = {name: value.detach().numpy() for name, value in layer.named_cell_parameters().items()}
    assert differing(got, params) == []


def test_a_state_dict_brings_a_layer_back(cell, rng):
    layer, other = (RecurrentLayer(cell).double() for _ in range(2))
    x = torch.from_numpy(rng.standard_normal((T, B, M)))
    assert not torch.equal(layer(x)[0], other(x)[0])
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(layer(x)[0], other(x)[0])
    assert list(layer.state_dict()) == torch_names(cell)


def test_a_copied_and_a_pickled_layer_are_layers_of_their_own(cell, rng):
    layer = RecurrentLayer(cell, batch_first=True).double()
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    x = torch.from_numpy(rng.standard_normal((B, T, M)))
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(layer(x)[0], other(x)[0])
        with torch.no_grad():
            first_of(other).zero_()
        assert first_of(layer).any()


class Rows(torch.utils.data.Dataset):
    """Sequences by number, each with what a layer makes of it in the worker, a fork of this process."""

    def __init__(self, layer):
        self.layer = layer

    def __len__(self):
        return 256

    def __getitem__(self, i):
        x = torch.from_numpy(np.random.default_rng(i).standard_normal((40, M)))
        with torch.no_grad():
            return x, self.layer(x[:, None])[1][0, 0]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_data_loader_may_fork_between_a_forward_and_a_backward_pass(monkeypatch, rng):
    monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", 0)  # so that a batch of 64 rows runs on worker processes
    cell = make_cells()["antisymmetric, full"]
    params, x, _ = draw_sequence(cell, rng, 40, 64)
    layer = layer_of(cell, params)

    def epoch(workers):
        before = layer(torch.from_numpy(x))[1]
        # "fork" is the default on Linux up to Python 3.13.
        context = "fork" if workers else None
        loader = torch.utils.data.DataLoader(Rows(layer), 64, num_workers=workers, multiprocessing_context=context)
        results = [(batch, made, layer(batch.transpose(0, 1))[1][0]) for batch, made in loader]
        layer.zero_grad()
        (before.sum() + sum(h.sum() for _, _, h in results)).backward()
        return [made for _, made, _ in results], [h.detach() for _, _, h in results], gradients(layer)

    for workers in (0, 2):
        made, h, grads = epoch(workers)
        torch.testing.assert_close(torch.cat(made), torch.cat(h), rtol=1e-12, atol=1e-13)
        if workers == 0:
            wanted = grads
    assert differing(grads, wanted) == []


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's compiler asks for it itself
def test_a_compiled_model_runs_the_layer_as_it_is(rng):
    cell = make_cells()["antisymmetric, triangular"]
    layer = RecurrentLayer(cell, output="last")
    model = torch.nn.Sequential(torch.nn.Linear(M, M), Last(layer), torch.nn.Linear(N, 2))
    x = torch.randn(T, B, M)
    compiled = torch.compile(model, backend="eager")
    for run in (model, compiled):
        model.zero_grad()
        run(x).square().sum().backward()
        if run is model:
            wanted = [p.grad.clone() for p in model.parameters()]
    for p, w in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, w)


def test_the_layer_does_not_import_torchs_compiler():
    program = "import sys, torch\nbefore = set(sys.modules)\nimport numrnn.interop.torch\n"
    program += "assert not {'torch._dynamo', 'torch._inductor'} & (set(sys.modules) - before)"
    subprocess.run([sys.executable, "-c", program], check=True)


class Last(torch.nn.Module):
    """The first result of a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]
