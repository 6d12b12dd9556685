"""A fused engine never silently computes the plain cell where a part of a cell or of its matrix has been overridden.

What is overridden, and how, is drawn; "auto" must give the numbers of the reference, on either engine.
"""

import contextlib
import types
from typing import NamedTuple

import numpy as np
import pytest
from helpers import EPS64, draw_sequence, make_cells
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin import StandinLauncher, missing

import numrnn
from numrnn import backward, bptt, forward
from numrnn.bptt import GRADIENTS
from numrnn.cells.antisymmetric import AntisymmetricMatrix
from numrnn.cells.base import Cell, overrides
from numrnn.engines import cpu, cuda

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
FACTOR = 1.25
LEFT_ALONE = ("step_jvp", "jacobian", "draw_params")  # the passes do not use them
WAYS = ("subclass", "subclass of a subclass", "mixin", "object")


def scaled(value):
    """Return arrays, in whatever container, times a factor."""
    if isinstance(value, dict):
        return {key: scaled(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(map(scaled, value))
    return value * FACTOR if isinstance(value, float) or hasattr(value, "shape") else value


def override(one, name, way):
    """Return an object with its own version of one method or property, whose results differ by a factor."""
    plain = type(one)
    original = getattr(plain, name)
    if isinstance(original, property):
        own = property(lambda self: scaled(original.fget(self)))
    else:

        def own(self, *args, **kwargs):
            return scaled(original(self, *args, **kwargs))

    if way == "mixin":
        bases = type("Mixin", (), {name: own}), plain
    elif way == "subclass of a subclass":
        bases = (type(plain.__name__, (plain,), {name: own}),)
    else:
        bases = (plain,)
    kind = plain if way == "object" else type(plain.__name__, bases, {name: own} if way == "subclass" else {})
    other = kind.__new__(kind)
    vars(other).update(vars(one))
    if way == "object":
        setattr(other, name, types.MethodType(own, other))
    return other


class Part(NamedTuple):
    """What is overridden: an attribute of the cell, "" for the cell itself, and the name of a method or property."""

    cell: str
    owner: str
    name: str


def parts():
    """Return all methods of all cells and of their matrices, and the diffusion, which a subclass may redefine too."""
    found = []
    for name, cell in make_cells().items():
        if isinstance(cell, numrnn.Stack):
            continue
        for kind in type(cell).__mro__[: type(cell).__mro__.index(Cell)]:
            own = [k for k, v in vars(kind).items() if isinstance(v, types.FunctionType) and k[:2] != "__"]
            own = [k for k in own if k in ("step", "step_vjp", "rate", *LEFT_ALONE) or k[0] == "_"]
            found += [Part(name, "", k) for k in own]
        found += [Part(name, "", "diffusion")] * isinstance(getattr(type(cell), "diffusion", None), property)
        for owner in ("matrix", "matrix_A", "matrix_W"):
            if hasattr(cell, owner):
                methods = ("value", "tangent", "adjoint", "_free", "_linear")
                found += [Part(name, owner, k) for k in methods if hasattr(type(getattr(cell, owner)), k)]
    return found


@pytest.fixture(params=["CPU engine", "CUDA engine"])
def fused(request, monkeypatch):
    """Return the engine that `forward` takes for NumPy arrays."""
    monkeypatch.setattr(bptt, "_warned", set())
    if request.param == "CPU engine":
        return cpu
    launcher, reason = StandinLauncher(), cuda.unsupported_reason
    monkeypatch.setattr(bptt, "_fused_engine", lambda x: cuda)
    monkeypatch.setattr(cuda.tape, "_launcher_of", lambda x: launcher)
    monkeypatch.setattr(cuda, "unsupported_reason", lambda problem: reason(problem, launcher))
    return cuda


def results(cell, engine, params, x, h0, d_states):
    states, tape = forward(cell, params, x, h0, engine=engine)
    grads = backward(tape, d_states, wrt=GRADIENTS)
    named = {f"d{name}": value for name, value in grads.params.items()}
    return type(tape), {"states": states, **named, "dx": grads.x, "dh0": grads.h0, "dh": grads.states}


@pytest.mark.filterwarnings("ignore::numrnn.ReferenceLoopWarning")
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.sampled_from(parts()), way=st.sampled_from(WAYS), seed=st.integers(0, 2**32 - 1))
def test_an_override_is_computed_or_refused(fused, part, way, seed):
    cell, rng = make_cells()[part.cell], np.random.default_rng(seed)
    params, x, h0 = draw_sequence(cell, rng)
    d_states = rng.standard_normal((len(x) + 1, *h0.shape))
    way = "subclass" if part.name == "diffusion" and way == "object" else way
    if part.owner:
        setattr(cell, part.owner, override(getattr(cell, part.owner), part.name, way))
    else:
        cell = override(cell, part.name, way)
    _, wanted = results(cell, "reference", params, x, h0, d_states)
    tape, got = results(cell, "auto", params, x, h0, d_states)
    for name, value in wanted.items():
        error = np.max(np.abs(got[name] - value)) / np.max(np.abs(value))
        assert error < 1e4 * EPS64, f"{name}: {error:.2g}, by {tape.__name__}"
    if part.owner and fused is cuda:
        assert tape is bptt.ReferenceTape


@pytest.mark.parametrize("name", ["antisymmetric", "gated", "elman", "lstm"])
def test_parameters_that_the_step_does_not_know_have_a_gradient_of_zero(fused, name, rng):
    plain = numrnn.CELLS[name]

    class Wider(plain):
        @property
        def parameter_shapes(self):
            return super().parameter_shapes | {"V_z": (4, 3), "b_z": (4,), "b_more": (4,)}

    cell = Wider(3, 4)
    params, x, h0 = draw_sequence(cell, rng)
    _, tape = forward(cell, params, x, h0, engine="reference")
    wanted = backward(tape, d_final=h0).params
    with pytest.warns(numrnn.ReferenceLoopWarning) if fused is cuda else contextlib.nullcontext():
        _, tape = forward(cell, params, x, h0)
    got = backward(tape, d_final=h0).params
    assert got.keys() == wanted.keys()
    assert all(np.array_equal(got[key], wanted[key]) for key in wanted)


def test_a_part_that_the_passes_do_not_use_costs_no_engine(fused, rng):
    for name in LEFT_ALONE:
        cell = override(numrnn.AntisymmetricCell(3, 4), name, "subclass")
        params, x, h0 = draw_sequence(numrnn.AntisymmetricCell(3, 4), rng)
        assert type(forward(cell, params, x, h0)[1]).__module__.startswith(fused.__name__)


def test_every_way_to_override_is_seen():
    for way in WAYS:
        for name in ("value", "tangent", "adjoint", "_free"):
            matrix = AntisymmetricMatrix(4)
            assert not overrides(matrix, AntisymmetricMatrix)
            assert overrides(override(matrix, name, way), AntisymmetricMatrix)
