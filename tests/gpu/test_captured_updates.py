"""Whole training updates as a CUDA graph, on a card: the bits of updates that are launched kernel by kernel."""

import time

import numpy as np
import pytest
from test_training_on_cupy import hold_for_a_second

import numrnn
from numrnn.backend import to_numpy
from numrnn.datasets import PixelEncoder, RowNoiseEncoder, load_embedded_mnist
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN
from numrnn.engines.cuda.trace.capture import VARIABLE
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Classifier,
    CosineSchedule,
    DivergenceError,
    Trainer,
    TrainingConfig,
    captured_update,
    capturing,
    load_checkpoint,
    why_not_captured,
)
from numrnn.training.config import walk
from numrnn.training.ledger import Ledger

PIXELS = PixelEncoder((28, 28))


@pytest.fixture(autouse=True)
def replays(cupy, monkeypatch):
    """Return a list that grows by one with every replay."""
    if cupy.cuda.runtime.getDeviceProperties(0)["major"] < 8:
        pytest.skip("the layouts of a device before compute capability 8.0 are not those of these tests")
    monkeypatch.setenv(UNPROVEN, "1")
    made, replay = [], captured_update.CapturedUpdate.replay
    monkeypatch.setattr(
        captured_update.CapturedUpdate, "replay", lambda self, *given: made.append(1) or replay(self, *given)
    )
    return made


def trainer(out, *, cell=None, optimizer=None, encoder=PIXELS, images=300, **changes):
    """Three epochs of batches of 64 and a last one of 44, so that both forms are captured."""
    data = load_embedded_mnist()
    config = {"epochs": 3, "batch_size": 64, "clip": 1.0, "log_interval": 1, "backend": "cupy"}
    return Trainer(
        Classifier(cell or numrnn.AntisymmetricCell(1, 128, step_size=0.03, diffusion=0.001), data.n_classes),
        optimizer or Adam(CosineSchedule(learning_rate=0.002, total_steps=15, warmup_steps=3), beta2=0.99),
        encoder,
        (data.train_images[:images], data.train_labels[:images]),
        TrainingConfig(**config | changes),
        out,
        show_progress=False,
    )


CASES = {
    "sequential MNIST": {},
    "gated, SGD, average": {
        "cell": numrnn.GatedAntisymmetricCell(1, 100, step_size=0.03),
        "optimizer": SGD(0.05, momentum=0.9),
        "average": "exponential",
        "clip": None,
    },
    "Elman, AdamW, dropout, recomputation": {
        "cell": numrnn.ElmanCell(1, 32),
        "optimizer": AdamW(0.001),
        "input_dropout": 0.2,
        "recompute_every": "sqrt",
    },
    "unstructured in float64, Adagrad": {
        "cell": numrnn.UnstructuredCell(1, 30, step_size=0.03),
        "optimizer": Adagrad(0.01),
        "dtype": "float64",
    },
}


def outcome(out, **options):
    """Return the arrays of the last checkpoint, and the lines of metrics."""
    result = trainer(out, **options).run()
    last = load_checkpoint(result.checkpoint)
    arrays = dict(walk({"params": last.params, "optimizer": last.optimizer, "average": last.average}))
    return {name: np.asarray(value) for name, value in arrays.items()}, result.metrics.read_text()


@pytest.mark.parametrize("name", CASES)
def test_a_run_of_captured_updates_has_the_bits_of_a_plain_one(name, replays, monkeypatch, tmp_path):
    got = outcome(tmp_path / "captured", **CASES[name])
    assert len(replays) == 10 + 1  # of twelve batches of 64 the third and later ones, of three of 44 the third
    monkeypatch.setenv(VARIABLE, "0")
    wanted = outcome(tmp_path / "plain", **CASES[name])
    assert len(replays) == 11
    assert got[1] == wanted[1]
    for key, value in wanted[0].items():
        assert np.array_equal(got[0][key], value), key


def test_sequential_mnist_in_batches_of_128_is_captured(tmp_path):
    assert why_not_captured(trainer(tmp_path, batch_size=128)) is None


def test_what_needs_cublas_runs_without_a_capture(replays, tmp_path):
    """Rows of 28 pixels: more inputs than the kernels multiply."""
    made = trainer(tmp_path, cell=numrnn.AntisymmetricCell(28, 128), encoder=RowNoiseEncoder((28, 28), length=40))
    assert why_not_captured(made).startswith("products by cuBLAS")
    made.run()
    assert not replays


@pytest.mark.parametrize("update", [3, 9])
def test_a_number_that_is_not_finite_is_noticed_at_its_update(update, replays, tmp_path):
    with pytest.raises(DivergenceError, match=f"parameter W is not finite at step {update}"):
        trainer(tmp_path, optimizer=SGD(lambda step: 1e39 if step == update - 1 else 0.01)).run()
    assert replays


def test_memory_of_others_is_not_touched(cupy, tmp_path):
    """Arrays that are made while a run goes on keep their numbers, and its parameters theirs."""
    kept = []

    def callback(end):
        noise = cupy.random.default_rng(end.epoch).standard_normal((64, 1_000_003))
        kept.append((noise, noise.sum().get(), end.params, {k: to_numpy(p) for k, p in end.params.items()}))

    made = trainer(tmp_path, epochs=6)
    made.callbacks = (callback,)
    made.run()
    assert len(kept) == 6
    for noise, total, params, before in kept:
        assert np.array_equal(noise.sum().get(), total)
        assert all(np.array_equal(to_numpy(params[name]), value) for name, value in before.items())


def test_the_host_runs_ahead_of_a_busy_device(cupy, replays, tmp_path):
    """Replays are put in line while the device is held up for a second: had one waited, it would have taken as long."""
    made = trainer(tmp_path, images=640)
    run = made._start(resume=False, overwrite=False)
    update, batches = capturing.CapturedUpdates(made), made.source.batches(run.params["W"])
    ledger = Ledger(run.params, run.optimizer)
    for _ in range(5):
        update(run, batches, ledger)
    ledger.read()
    hold_for_a_second(cupy)
    start = time.perf_counter()
    for _ in range(5):
        update(run, batches, ledger)
    elapsed = time.perf_counter() - start
    busy = not cupy.cuda.get_current_stream().done
    updates, failure = ledger.read()
    assert busy, f"five updates took {elapsed:.2f} s"
    assert elapsed < 0.5
    assert failure is None
    assert len(updates) == 5
    assert len(replays) == 8
