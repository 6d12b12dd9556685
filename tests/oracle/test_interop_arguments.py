"""The parameters of numrnn's layer for torch, and errors that name the argument."""

from typing import ClassVar

import numpy as np
import pytest

import numrnn

torch = pytest.importorskip("torch", reason="an optional oracle: make oracle")

from interop_layers import B, M, N, T, differing, first_of, torch_names  # noqa: E402

from numrnn.interop.torch import RecurrentLayer  # noqa: E402

# --- parameters


def test_parameters_are_torchs_under_the_cells_names(cell):
    layer = RecurrentLayer(cell)
    shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
    assert shapes == dict(zip(torch_names(cell), cell.parameter_shapes.values(), strict=True))
    assert {type(parameter) for parameter in layer.parameters()} == {torch.nn.Parameter}
    assert repr(cell) in repr(layer)


class Dotted(numrnn.ElmanCell):
    """A cell whose parameters have other names."""

    names: ClassVar = {"0.W": "W", "V": "V", "b": "b"}

    @property
    def parameter_shapes(self):
        shapes = super().parameter_shapes
        return {ours: shapes[name] for ours, name in self.names.items()}

    def draw_params(self, rng, initial):
        return {name: rng.standard_normal(shape) for name, shape in self.parameter_shapes.items()}

    def _output(self, params, x, h):
        return super()._output({name: params[ours] for ours, name in self.names.items()}, x, h)

    def step_vjp(self, params, x, h, dh_next):
        plain = {name: params[ours] for ours, name in self.names.items()}
        dparams, dx, dh = numrnn.ElmanCell(M, N).step_vjp(plain, x, h, dh_next)
        return {ours: dparams[name] for ours, name in self.names.items()}, dx, dh


def test_a_dot_in_a_name_becomes_two_underscores(rng):
    layer = RecurrentLayer(Dotted(M, N)).double()
    assert set(layer.state_dict()) == {"0__W", "V", "b"}
    x = torch.from_numpy(rng.standard_normal((T, B, M)))
    layer(x)[0].sum().backward()
    plain = RecurrentLayer(numrnn.ElmanCell(M, N), engine="reference").double()
    plain.load_state_dict({"W": layer.state_dict()["0__W"], "V": layer.V, "b": layer.b})
    plain(x)[0].sum().backward()
    assert torch.equal(getattr(layer, "0__W").grad, plain.W.grad)


def test_a_name_that_a_module_has_already_is_refused():
    class Taken(Dotted):
        names: ClassVar = {"training": "W", "V": "V", "b": "b"}

    with pytest.raises(ValueError, match="parameter 'training' must have another name"):
        RecurrentLayer(Taken(M, N))


def test_initial_values_are_those_of_the_cell_for_the_same_seed(cell):
    layer = RecurrentLayer(cell).double()
    for rng in (7, np.random.default_rng(7)):
        layer.reset_parameters(rng, weight_std=2.0)
        wanted = cell.init_params(np.random.default_rng(7), weight_std=2.0, dtype=np.float64)
        assert differing({k: v.detach().numpy() for k, v in layer.named_cell_parameters().items()}, wanted) == []


def test_torchs_seed_decides_the_initial_values(cell):
    layers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        layers.append(RecurrentLayer(cell))
    first, second, third = (first_of(layer) for layer in layers)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_layer_made_without_memory_gets_it_later(cell, rng):
    with torch.device("meta"):
        layer = RecurrentLayer(cell)
    layer.to_empty(device="cpu").reset_parameters(3)
    wanted = cell.init_params(np.random.default_rng(3))
    assert differing({k: v.detach().numpy() for k, v in layer.named_cell_parameters().items()}, wanted) == []


# --- wrong arguments


@pytest.fixture
def elman(rng):
    return RecurrentLayer(numrnn.ElmanCell(M, N)), torch.randn(T, B, M), torch.randn(1, B, N)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, h: (x.double(), h), TypeError, r"one dtype, got W of torch.float32 and x of torch.float64"),
        (lambda x, h: (x, h.double()), TypeError, r"one dtype, got W of torch.float32 and h0 of torch.float64"),
        (lambda x, h: (x.half(), h), TypeError, r"x must be of dtype torch.float32 or .*64, got torch.float16"),
        (lambda x, h: (x.long(), h), TypeError, r"x must be of dtype torch.float32 or .*64, got torch.int64"),
        (lambda x, h: (x.to(torch.complex64), h), TypeError, r"x must be of dtype .* got torch.complex64"),
        (lambda x, h: (x.numpy(), h), TypeError, "x must be a torch.Tensor, got ndarray"),
        (lambda x, h: (x, [0.0]), TypeError, "h0 must be a torch.Tensor, got list"),
        (lambda x, h: (x.to("meta"), h), ValueError, "one device, got W on cpu and x on meta"),
        (lambda x, h: (x, h.to("meta")), ValueError, "one device, got W on cpu and h0 on meta"),
        (lambda x, h: (x[0], h), ValueError, r"x must be \(T, B, m=3\), got \(3, 3\)"),
        (lambda x, h: (x[..., :2], h), ValueError, r"x must be \(T, B, m=3\), got \(6, 3, 2\)"),
        (lambda x, h: (x[:0], h), ValueError, r"x must be .* with T, B >= 1, got \(0, 3, 3\)"),
        (lambda x, h: (x, h[0]), ValueError, r"h0 must be \(1, B=3, state_size=4\), got \(3, 4\)"),
        (lambda x, h: (x, h[:, :2]), ValueError, r"h0 must be \(1, B=3, state_size=4\), got \(1, 2, 4\)"),
        (lambda x, h: (x / 0, h), ValueError, "x must be finite"),
    ],
)
def test_wrong_input_is_named(elman, change, error, message):
    layer, x, h0 = elman
    with pytest.raises(error, match=message):
        layer(*change(x, h0))


def test_lengths_out_of_range_are_named(elman):
    layer, x, _ = elman
    for lengths in ([7, 1, 1], torch.tensor([0, 1, 2])):
        with pytest.raises(ValueError, match="lengths must be from 1 to T=6"):
            layer(x, lengths=lengths)


def test_the_axes_of_batch_first_stand_in_its_error():
    layer = RecurrentLayer(numrnn.ElmanCell(M, N), batch_first=True)
    with pytest.raises(ValueError, match=r"x must be \(B, T, m=3\), got \(2, 5, 4\)"):
        layer(torch.zeros(2, 5, 4))


def test_parameters_of_two_dtypes_and_of_a_third_are_named(elman):
    layer, x, _ = elman
    layer.b = torch.nn.Parameter(layer.b.double())
    with pytest.raises(TypeError, match=r"one dtype, got W of torch.float32 and b of torch.float64"):
        layer(x)
    with pytest.raises(TypeError, match=r"W must be of dtype torch.float32 or torch.float64, got torch.bfloat16"):
        layer.to(torch.bfloat16)(x.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cell": "elman"}, TypeError, "cell must be a numrnn cell, got str"),
        ({"engine": "fast"}, ValueError, "engine must be one of 'auto', 'reference', 'fused', got 'fast'"),
        ({"output": "first"}, ValueError, "output must be one of 'every', 'last', got 'first'"),
        ({"recompute_every": 0}, ValueError, "recompute_every must be an integer >= 1, got 0"),
        ({"recompute_every": "log"}, TypeError, "recompute_every must be an integer >= 1, got 'log'"),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        RecurrentLayer(**{"cell": numrnn.ElmanCell(M, N), **arguments})


@pytest.mark.parametrize("rng", [-1, 1.5, "seed"])
def test_a_wrong_seed_is_named(rng):
    with pytest.raises((TypeError, ValueError), match="rng must be an integer >= 0"):
        RecurrentLayer(numrnn.ElmanCell(M, N)).reset_parameters(rng)
