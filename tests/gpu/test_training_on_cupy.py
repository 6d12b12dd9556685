"""Training on a GPU: the run that the CPU makes, batches made on the device, and a host that waits for nothing."""

import time

import numpy as np
import pytest
from helpers import worst

import numrnn
from numrnn.backend import to_numpy, trusted_values
from numrnn.datasets import PixelEncoder, RowNoiseEncoder, load_embedded_mnist
from numrnn.training import SGD, Adagrad, Adam, AdamW, Classifier, Trainer, TrainingConfig, softmax_cross_entropy
from numrnn.training.batches import batches_of
from numrnn.training.clipping import clip_on_device
from numrnn.training.ledger import WAIT_EVERY, Ledger

EPS32 = float(np.finfo(np.float32).eps)
HOLD = """
extern "C" __global__ void hold(long long cycles) {
    const long long start = clock64();
    while (clock64() - start < cycles) { }
}
"""
READERS = ("__bool__", "__float__", "__int__", "__complex__", "get", "item", "tolist")


@pytest.fixture(autouse=True)
def covered(cupy):
    """Skip where the CUDA engine has no kernels: a reference loop launches more than a device queues."""
    major = cupy.cuda.runtime.getDeviceProperties(0)["major"]
    if major < 8:
        pytest.skip(f"the CUDA engine needs compute capability 8.0, found {major}.x")


@pytest.fixture
def waits(cupy, monkeypatch):
    """Count every reading of an array's elements by the host."""
    counted = []
    for name in READERS:
        original = getattr(cupy.ndarray, name)

        def read(self, *arguments, original=original, name=name, **named):
            counted.append(name)
            return original(self, *arguments, **named)

        monkeypatch.setattr(cupy.ndarray, name, read)
    return counted


def trainer(out, backend, *, cell="antisymmetric", encoder=None, images=600, **changes):
    data = load_embedded_mnist()
    encoder = encoder or PixelEncoder(data.image_shape, permutation_seed=92)
    config = {"epochs": 1, "batch_size": 8, "clip": 1.0, "checkpoint_interval": 10_000, "log_interval": 10}
    return Trainer(
        Classifier(numrnn.CELLS[cell](encoder.input_size, 32, step_size=0.03, diffusion=0.001), data.n_classes),
        Adam(0.001, beta2=0.99),
        encoder,
        (data.train_images[:images], data.train_labels[:images]),
        TrainingConfig(backend=backend, **config | changes),
        out,
        show_progress=False,
    )


@pytest.mark.parametrize("cell", ["antisymmetric", "gated"])
def test_the_losses_are_those_of_the_cpu(cupy, tmp_path, cell):
    """To 1,000 roundings of float32; two engines of the CPU differ by about one, for 63 updates through 784 steps."""
    device, host = (
        trainer(tmp_path / backend, backend, cell=cell, validation_size=100).run() for backend in ("cupy", "numpy")
    )
    growth = 1000 * EPS32
    for kind in ("training", "validation"):
        got, wanted = ([record["loss"] for record in run.history(kind)] for run in (device, host))
        assert len(got) == len(wanted) > 0
        assert worst(got, wanted) < growth
    assert all(isinstance(p, cupy.ndarray) for p in device.params.values())


@pytest.mark.parametrize("noise", [False, True], ids=["pixels", "noise"])
def test_a_resumed_run_is_the_run(cupy, tmp_path, noise):
    """To 1,000 roundings: a GPU may add the terms of a large sum in another order each time."""
    encoder = RowNoiseEncoder((28, 28), length=60) if noise else None
    whole = trainer(tmp_path / "whole", "cupy", encoder=encoder, epochs=None, iterations=70).run()
    trainer(tmp_path / "cut", "cupy", encoder=encoder, epochs=None, iterations=37).run()
    resumed = trainer(tmp_path / "cut", "cupy", encoder=encoder, epochs=None, iterations=70).run(resume=True)
    for name in whole.params:
        assert worst(to_numpy(resumed.params[name]), to_numpy(whole.params[name])) < 1000 * EPS32


def test_updates_wait_once_every_fifty(cupy, waits, tmp_path):
    counts = []
    for n in (WAIT_EVERY, 4 * WAIT_EVERY):
        waits.clear()
        trainer(tmp_path / str(n), "cupy", epochs=None, iterations=n, images=4000).run()
        counts.append(len(waits))
    assert counts[1] - counts[0] == 3


def hold_for_a_second(cupy):
    """Queue a kernel that runs for a second, compiled before."""
    hold = cupy.RawKernel(HOLD, "hold")
    hold((1,), (1,), (np.int64(1000),))
    cupy.cuda.get_current_stream().synchronize()
    hold((1,), (1,), (np.int64(1000 * cupy.cuda.Device().attributes["ClockRate"]),))  # kHz: a second


@pytest.mark.parametrize("noise", [False, True], ids=["pixels", "noise"])
def test_the_host_runs_ahead_of_a_busy_device(cupy, tmp_path, noise):
    """Updates are put in line while the device is held up for a second: had one waited, it would have taken as long."""
    encoder = RowNoiseEncoder((28, 28), length=60) if noise else None
    made = trainer(tmp_path, "cupy", encoder=encoder, images=4000)
    run = made._start(resume=False, overwrite=False)
    batches, ledger = batches_of(made.encoder, made.images, made.labels, run.params["W_out"]), None
    for _ in range(3):  # kernels are compiled, and memory is found, the first time
        ledger = Ledger(run.params, run.optimizer)
        for _ in range(5):
            made._update(run, batches, ledger)
        ledger.read()
    hold_for_a_second(cupy)
    start = time.perf_counter()
    for _ in range(5):
        made._update(run, batches, ledger)
    elapsed = time.perf_counter() - start
    busy = not cupy.cuda.get_current_stream().done
    updates, failure = ledger.read()
    assert busy, f"five updates took {elapsed:.2f} s"
    assert elapsed < 0.5
    assert (len(updates), failure) == (5, None)


# ---------------------------------------------------------------- kernels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("permuted", [None, 92])
def test_pixels_made_on_the_device_are_those_of_the_host(cupy, dtype, permuted, rng):
    images = rng.integers(0, 256, (50, 3, 32, 32), np.uint8)
    statistics = {"mean": (0.49, 0.48, 0.45), "std": (0.25, 0.24, 0.26)}
    encoder = PixelEncoder((3, 32, 32), permutation_seed=permuted, dtype=dtype, **statistics)
    rows = rng.integers(0, 50, 33)
    got = encoder.on_device(images, cupy.zeros(1))(cupy.asarray(rows), rng)
    assert got.flags.c_contiguous
    assert worst(to_numpy(got), encoder(images[rows])) < 2 * float(np.finfo(dtype).eps)


@pytest.mark.parametrize("noise", ["fixed", "independent"])
def test_rows_made_on_the_device_are_those_of_the_host(cupy, noise, rng):
    images = rng.integers(0, 256, (50, 3, 32, 32), np.uint8)
    encoder = RowNoiseEncoder((3, 32, 32), length=1000, noise=noise)
    rows = rng.integers(0, 50, 33)
    got, wanted = (
        to_numpy(encoder.on_device(images, cupy.zeros(1))(cupy.asarray(rows), rng)),
        encoder(images[rows], rng),
    )
    known = 1000 if noise == "fixed" else 32
    assert worst(got[:known], wanted[:known]) < 2 * EPS32
    if noise == "independent":
        bound = 6 / np.sqrt(wanted[32:].size)
        assert abs(got[32:].mean()) < bound
        assert abs(got[32:].var() - 1) < 2 * bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1, momentum=0.9, nesterov=True), Adagrad(0.1), Adam(0.1, beta2=0.99), AdamW(0.1, weight_decay=0.5)],
    ids=repr,
)
def test_an_update_in_one_launch_a_parameter_is_that_of_the_host(cupy, optimizer, dtype, rng):
    params = {"W": rng.standard_normal((30, 50)).astype(dtype), "b": rng.standard_normal(40).astype(dtype)}
    moved = {name: cupy.asarray(p) for name, p in params.items()}
    state, moved_state = optimizer.init(params), optimizer.init(moved)
    for _ in range(4):
        grads = {name: 10 * rng.standard_normal(p.shape).astype(dtype) for name, p in params.items()}
        moved_grads = {name: cupy.asarray(g) for name, g in grads.items()}
        (clipped, norm), (clipped_, norm_) = clip_on_device(grads, 3.0), clip_on_device(moved_grads, 3.0)
        assert abs(float(norm_) - float(norm)) < 1e-12 * float(norm)
        params, state = optimizer.update(params, clipped, state)
        moved, moved_state = optimizer.update(moved, clipped_, moved_state)
    eps = float(np.finfo(dtype).eps)
    assert all(worst(to_numpy(moved[name]), params[name]) < 50 * eps for name in params)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_in_one_launch_is_that_of_the_host(cupy, dtype, rng):
    z, y = (5 * rng.standard_normal((131, 10))).astype(dtype), rng.integers(0, 10, 131)
    loss, d = softmax_cross_entropy(z, y)
    with trusted_values():
        loss_, d_ = softmax_cross_entropy(cupy.asarray(z), cupy.asarray(y))
    eps = float(np.finfo(dtype).eps)
    assert abs(float(loss_) - float(loss)) < 50 * eps * float(loss)
    assert worst(to_numpy(d_), d) < 50 * eps
