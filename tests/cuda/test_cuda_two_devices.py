"""With two GPUs, everything is done on the device of the arrays given, whichever device is the current one.

The devices are the stand-in's (standin_cupy.py), which raises where an operation or a launch runs on the current device
and its arrays lie on another one.
"""

import numpy as np
import pytest
import standin_cupy
from helpers import EPS64, draw_params, draw_sequence, draw_step, make_cells, worst
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin import StandinLauncher, missing
from standin_cupy import Device, WrongDeviceError, current

import numrnn
from numrnn import backward, bptt, forward
from numrnn.backend import to_numpy, trusted_values
from numrnn.bptt import GRADIENTS
from numrnn.datasets import PixelEncoder, RowNoiseEncoder
from numrnn.engines.cuda import CudaTape, tape
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Classifier,
    Regressor,
    accuracy,
    clip_by_global_norm,
    global_norm,
    mean_squared_error,
    softmax_cross_entropy,
)
from numrnn.training.averaging import move_average
from numrnn.training.batches import batches_of
from numrnn.training.clipping import clip_on_device
from numrnn.training.dropout import drop_inputs
from numrnn.training.evaluation import evaluate_rows
from numrnn.training.ledger import Ledger

pytestmark = pytest.mark.skipif(
    missing() is not None or standin_cupy.COMPILER is None, reason="the stand-ins need g++ on the path"
)
GROWTH = 1000 * EPS64
OTHER = 1  # device 0 is the current one
EULER = [name for name in make_cells() if name.startswith(("antisymmetric", "gated", "unstructured"))]


class LauncherOfADevice:
    """Runs the kernels on the CPU, and refuses to where another device is the current one."""

    def __init__(self, index, seed=0):
        self.index, self.inner = index, StandinLauncher(seed=seed)
        self.device, self.blocks_per_processor = self.inner.device, self.inner.blocks_per_processor

    def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
        assert current[-1] == self.index, f"device {current[-1]} is current at a launch on device {self.index}"
        plain = tuple(a if isinstance(a, np.generic) else standin_cupy.bare(a) for a in arguments)
        self.inner(kernel, blocks, threads, shared_bytes, plain)


@pytest.fixture
def cupy(monkeypatch):
    module = standin_cupy.install(monkeypatch)
    monkeypatch.setattr(tape, "cupy_launcher", lambda xp, index: LauncherOfADevice(index))
    yield module
    assert current == [0]


def move(cupy, value):
    """Return arrays on the other device."""
    if isinstance(value, dict):
        return {key: move(cupy, one) for key, one in value.items()}
    with Device(OTHER):
        return None if value is None else cupy.asarray(value)


def on_other(value):
    """Return an array of the other device on the host."""
    assert value.device == Device(OTHER)
    return to_numpy(value)


def passes(engine, cell, params, x, h0, d_states, d_final, **options):
    states, tape = forward(cell, params, x, h0, engine=engine, **options)
    grads = backward(tape, d_states, d_final=d_final, wrt=GRADIENTS)
    return tape, {
        "h_T": states[-1],
        "h": states[0:2],
        **grads.params,
        "dx": grads.x,
        "dh0": grads.h0,
        "dh": grads.states,
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(make_cells())),
    engine=st.sampled_from(["reference", "fused"]),
    padded=st.booleans(),
    every=st.sampled_from([None, 2, "sqrt"]),
    cotangents=st.sampled_from([(True, False), (False, True), (True, True)]),
    first=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_both_engines_stay_on_the_device_of_the_arrays(cupy, name, engine, padded, every, cotangents, first, seed):
    cell, rng = make_cells()[name], np.random.default_rng(seed)
    engine = engine if name in EULER else "reference"
    params, x, h0 = draw_sequence(cell, rng)
    h0 = h0 if first else None
    shape = len(x) + 1, x.shape[1], cell.state_size
    d_states = rng.standard_normal(shape) if cotangents[0] else None
    d_final = rng.standard_normal(shape[1:]) if cotangents[1] else None
    lengths = rng.integers(1, len(x) + 1, x.shape[1]) if padded else None
    _, wanted = passes("reference", cell, params, x, h0, d_states, d_final, lengths=lengths)
    arrays = (move(cupy, value) for value in (params, x, h0, d_states, d_final))
    kept, got = passes(engine, cell, *arrays, lengths=lengths, recompute_every=every)
    assert isinstance(kept, CudaTape if engine == "fused" else bptt.ReferenceTape)
    for key, value in wanted.items():
        assert worst(on_other(got[key]), value) < GROWTH, key


def test_a_stack_stays_there_with_an_engine_for_each_layer(cupy, monkeypatch, rng):
    monkeypatch.setattr(bptt, "_warned", set())
    cell = numrnn.Stack([numrnn.LSTMCell(3, 4), numrnn.AntisymmetricCell(4, 5, step_size=0.3)])
    params, x, h0 = draw_sequence(cell, rng)
    d_states = rng.standard_normal((len(x) + 1, *h0.shape))
    _, wanted = passes("reference", cell, params, x, h0, d_states, h0)
    for every in (None, 3):
        arrays = [move(cupy, value) for value in (params, x, h0, d_states, h0)]
        if every is None:
            with pytest.warns(numrnn.ReferenceLoopWarning, match="the cell LSTMCell"):
                _, got = passes("auto", cell, *arrays)
        else:
            _, got = passes("auto", cell, *arrays, recompute_every=every)
        assert all(worst(on_other(got[key]), value) < GROWTH for key, value in wanted.items())


@pytest.mark.parametrize("name", make_cells())
def test_the_methods_of_a_cell_stay_there(cupy, name, rng):
    cell = make_cells()[name]
    params, x, h = draw_step(cell, rng)
    moved = [move(cupy, value) for value in (params, x, h)]
    assert worst(on_other(cell.step(*moved)), cell.step(params, x, h)) < GROWTH
    assert worst(on_other(cell.step_jvp(*moved, *moved)), cell.step_jvp(params, x, h, params, x, h)) < GROWTH
    (dparams, *others), (wanted, *plain) = cell.step_vjp(*moved, moved[2]), cell.step_vjp(params, x, h, h)
    for got, value in zip([*dparams.values(), *others], [*wanted.values(), *plain], strict=True):
        assert worst(on_other(got), value) < GROWTH


def test_reversed_sequences_stay_there(cupy, rng):
    x = rng.standard_normal((5, 3, 2))
    assert np.array_equal(on_other(numrnn.reverse(move(cupy, x), [5, 2, 1])), numrnn.reverse(x, [5, 2, 1]))


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("output", ["last", "every"])
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_model_its_loss_and_its_predictions_stay_there(cupy, kind, output, trusted, rng):
    cell = numrnn.GatedAntisymmetricCell(2, 4, step_size=0.3)
    model = kind(cell, 3, output=output)
    params = draw_params(cell, rng) | {"W_out": rng.standard_normal((3, 4)), "b_out": rng.standard_normal(3)}
    x, lengths = rng.standard_normal((6, 5, 2)), [6, 2, 4, 1, 6]
    shape = (5,) if output == "last" else (6, 5)
    y = rng.integers(0, 3, shape) if kind is Classifier else rng.standard_normal((*shape, 3))
    moved = [move(cupy, value) for value in (params, x, y)]

    def results(params, x, y):
        loss, grads, outputs = model.loss_and_gradient(params, x, y, lengths=lengths, engine="reference")
        found = [loss, *grads.values(), outputs, model.predict(params, x, lengths, engine="reference")]
        found.append(model.state_gradients(params, x, y, lengths=lengths, engine="reference"))
        return [*found, model.probabilities(outputs)] if kind is Classifier else found

    wanted = results(params, x, y)
    if trusted:
        with trusted_values():
            got = results(*moved)
    else:
        got = results(*moved)
        if kind is Classifier:
            options = {"lengths": lengths, "engine": "reference"}
            assert model.accuracy(*moved, **options) == model.accuracy(params, x, y, **options)
    for one, value in zip(got, wanted, strict=True):
        assert np.allclose(on_other(one), value, rtol=GROWTH, atol=GROWTH * np.max(np.abs(value)))


def test_losses_stay_there(cupy, rng):
    z, y, t = rng.standard_normal((4, 3)), rng.integers(0, 3, 4), rng.standard_normal((4, 3))
    z_, y_, t_ = (move(cupy, value) for value in (z, y, t))
    for got, wanted in (
        (softmax_cross_entropy(z_, y_), softmax_cross_entropy(z, y)),
        (mean_squared_error(z_, t_), mean_squared_error(z, t)),
    ):
        assert all(worst(on_other(one), value) < GROWTH for one, value in zip(got, wanted, strict=True))
    assert accuracy(z_, y_) == accuracy(z, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_updates_clipping_and_their_statistics_stay_there(cupy, dtype, rng):
    params = {"W": rng.standard_normal((3, 4)).astype(dtype), "b": rng.standard_normal(4).astype(dtype)}
    p = move(cupy, params)
    scaled, limit = Adam(0.1, step_scales={"b": np.linspace(1, 2, 4)}), 100 * float(np.finfo(dtype).eps)
    for optimizer in (SGD(0.1, momentum=0.9), Adagrad(0.1), scaled, AdamW(0.1, weight_decay=0.1)):
        grads, norm = clip_on_device(p, 0.5)
        clipped, size = clip_by_global_norm(p, 0.5)
        assert size == pytest.approx(global_norm(params), rel=limit)
        moved, state = optimizer.update(p, grads, optimizer.init(p))
        moved, state = optimizer.update(moved, clipped, state)
        plain, host = optimizer.update(params, clip_by_global_norm(params, 0.5)[0], optimizer.init(params))
        plain, host = optimizer.update(plain, clip_by_global_norm(params, 0.5)[0], host)
        for name in params:
            assert np.max(np.abs(on_other(moved[name]) - plain[name])) < 4 * limit
        ledger = Ledger(moved, state)
        ledger.note(1, 4, move(cupy, np.asarray(0.5, dtype)), None, norm, moved, state)
        assert ledger.read()[0][0].norm == pytest.approx(size, rel=limit)
        on_other(move_average(p, moved, 0.25)["W"])


def test_batches_encoded_on_the_device_or_on_the_host_and_dropout_stay_there(cupy, rng):
    images, labels = rng.integers(0, 256, (9, 2, 3), np.uint8), rng.integers(0, 3, 9)
    like = move(cupy, np.zeros(1, np.float32))
    encoders = PixelEncoder((2, 3)), RowNoiseEncoder((2, 3), length=5), lambda images, rng: images[None] / 255.0
    for encoder in encoders:
        batch = batches_of(encoder, images, labels, like)(np.array([1, 4]), rng)
        on_other(drop_inputs(batch.x, 0.5, rng))
        assert np.array_equal(on_other(batch.y), labels[[1, 4]])
    on_other(drop_inputs(move(cupy, np.ones((2, 3), np.float32)), 0.5, rng))


def test_an_evaluation_stays_there(cupy, rng):
    images, labels = rng.integers(0, 256, (9, 2, 3), np.uint8), rng.integers(0, 3, 9)
    model = Classifier(numrnn.AntisymmetricCell(1, 4), 3)
    params = move(cupy, model.init_params(rng, backend="numpy"))
    batches = batches_of(PixelEncoder((2, 3)), images, labels, params["W"])
    found = evaluate_rows(model, params, batches, np.arange(9), rng, size=4, engine="reference")
    assert found.predictions.shape == (9,)


def test_the_stand_in_refuses_what_runs_elsewhere(cupy):
    """Or it would prove nothing: an operation, an allocation beside, a write, and a launch."""
    array = move(cupy, np.ones((2, 3)))
    for wrong in (
        lambda: array + 1,
        lambda: cupy.tanh(array),
        lambda: array.copy(),
        lambda: array.__setitem__(..., 0.0),
        lambda: array @ array.T,
        lambda: move(cupy, np.ones(3)) + cupy.zeros(3),
        lambda: cupy.ElementwiseKernel("T x", "T y", "y = x", "copy")(array),
    ):
        with pytest.raises(WrongDeviceError, match="device 0 is current at an operation on an array of device 1"):
            wrong()
    with pytest.raises(AssertionError, match="device 0 is current at a launch on device 1"):
        LauncherOfADevice(OTHER)("forward<float, 1>", 1, 1, 0, (array,))
    assert array[0].T.reshape(3, 1).device == Device(OTHER)  # views run nowhere
