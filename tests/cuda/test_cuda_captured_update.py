"""Whole training updates as a CUDA graph, on the stand-ins for CuPy, its streams and the kernels: the same bits."""

import inspect
import json
import types
import warnings

import numpy as np
import pytest
import standin_cupy
import standin_graph
from standin import missing

import numrnn
from numrnn.backend import to_numpy
from numrnn.datasets import PixelEncoder
from numrnn.engines.cuda import tape
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN
from numrnn.engines.cuda.trace import capture
from numrnn.training import SGD, Adagrad, Adam, AdamW, Classifier, CosineSchedule, Regressor, Trainer, TrainingConfig
from numrnn.training import capturing, captured_update, static_arrays

pytestmark = pytest.mark.skipif(
    missing() is not None or standin_cupy.COMPILER is None, reason="the stand-ins need g++ on the path"
)


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setenv(UNPROVEN, "1")
    monkeypatch.setattr(capturing, "_warned", set())
    cupy = standin_graph.install(monkeypatch)
    launcher = standin_graph.launcher()
    monkeypatch.setattr(tape, "cupy_launcher", lambda xp, index: launcher)
    return cupy


def images(count=23):
    """Return images of 2 x 3 pixels and labels that their mean decides."""
    pixels = np.random.default_rng(1).integers(0, 256, (count, 2, 3), np.uint8)
    return pixels, np.digitize(pixels.mean(axis=(1, 2)), [105, 150])


def trainer(out, *, optimizer=None, model=None, data=None, encoder=None, **changes):
    """Twelve epochs of four batches of five images and one of three."""
    config = {"epochs": 12, "batch_size": 5, "clip": 0.8, "log_interval": 1, "backend": "cupy"} | changes
    cell = numrnn.AntisymmetricCell(1, 4, step_size=0.5)
    return Trainer(
        model or Classifier(cell, 3),
        optimizer or Adam(CosineSchedule(learning_rate=0.05, total_steps=60, warmup_steps=7)),
        encoder or PixelEncoder((2, 3), mean=0.5, std=0.25),
        data or images(),
        TrainingConfig(**config),
        out,
        show_progress=False,
    )


def outcome(out, **options):
    result = trainer(out, **options).run()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {name: to_numpy(p) for name, p in result.params.items()}, lines


def test_it(cupy, monkeypatch, tmp_path):
    a = outcome(tmp_path / "a")
    print(standin_graph.state.captures, standin_graph.state.replays)
    monkeypatch.setenv(capture.VARIABLE, "0")
    b = outcome(tmp_path / "b")
    print(standin_graph.state.captures, standin_graph.state.replays)
    assert a[1] == b[1]
    for k in a[0]:
        assert np.array_equal(a[0][k], b[0][k])
    print(a[1][:3], a[1][-3:])
