"""Runs of a trainer on the stand-ins for CuPy, its streams and the kernels of whole sequences."""

import functools

import numpy as np
import standin_graph

import numrnn
from numrnn.datasets import PixelEncoder, Sequences
from numrnn.engines.cuda import tape
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN
from numrnn.engines.cuda.trace import capture
from numrnn.training import Adam, Classifier, CosineSchedule, Trainer, TrainingConfig, load_checkpoint
from numrnn.training.config import walk

PIXELS = PixelEncoder((2, 3), mean=0.5, std=0.25)
CELL = numrnn.AntisymmetricCell(1, 4, step_size=0.5)


def install(monkeypatch):
    monkeypatch.setenv(UNPROVEN, "1")
    monkeypatch.setattr(capture, "_warned", set())
    module, launcher = standin_graph.install(monkeypatch), standin_graph.launcher()
    monkeypatch.setattr(tape, "cupy_launcher", lambda xp, index: launcher)
    return module


def counts():
    return standin_graph.state.captures, standin_graph.state.replays


@functools.cache
def images():
    """Return 23 images of 2 x 3 pixels and labels that their mean decides."""
    pixels = np.random.default_rng(1).integers(0, 256, (23, 2, 3), np.uint8)
    return pixels, np.digitize(pixels.mean(axis=(1, 2)), [105, 150])


def sequences():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((23, 7, 1))
    return Sequences(x, np.stack([x.mean(axis=(1, 2)), x[:, -1, 0]], axis=1))


def schedule():
    return CosineSchedule(learning_rate=0.05, total_steps=30, warmup_steps=7)


def trainer(out, *, model=None, optimizer=None, encoder=PIXELS, data=None, **changes):
    """By default six epochs of four batches of five images and one of three; clipping in half of the updates."""
    config = {"epochs": 6, "batch_size": 5, "clip": 0.7, "log_interval": 1, "backend": "cupy"}
    callbacks = changes.pop("callbacks", ())
    return Trainer(
        model or Classifier(CELL, 3),
        optimizer or Adam(schedule()),
        encoder,
        data or images(),
        TrainingConfig(**config | changes),
        out,
        callbacks=callbacks,
        show_progress=False,
    )


def outcome(out, *, resume=False, **options):
    """Return all that a run leaves behind: arrays of its last checkpoint, states of generators, lines of metrics."""
    result = trainer(out, **options).run(resume=resume)
    last = load_checkpoint(result.checkpoint)
    state = {"params": last.params, "optimizer": last.optimizer, "average": last.average, "rng": last.generators}
    return dict(walk(state)), (out / "metrics.jsonl").read_text()


def assert_same(got, wanted):
    assert got[1] == wanted[1]
    assert got[0].keys() == wanted[0].keys()
    for name, value in wanted[0].items():
        assert np.array_equal(got[0][name], value), name


def plain(monkeypatch, out, **options):
    """Return the outcome of a run without captures."""
    before = counts()
    with monkeypatch.context() as patch:
        patch.setenv(capture.VARIABLE, "0")
        found = outcome(out, **options)
    assert counts() == before
    return found
