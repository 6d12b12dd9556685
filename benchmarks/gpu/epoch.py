"""The seconds of an epoch of training: sequential MNIST, 60,000 images, as numrnn mnist trains it.

Also those of an update with the kernels that have not run on a card yet, captured as a CUDA graph and not.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any
from unittest import mock

import numpy as np

import numrnn
from numrnn.datasets import PixelEncoder, load_embedded_mnist
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN
from numrnn.engines.cuda.trace.capture import VARIABLE as CAPTURE
from numrnn.training import Adam, Classifier, Trainer, TrainingConfig, read_json_lines
from numrnn.typing import Backend

IMAGES = 60_000
BATCH, UNITS = 128, 128


def measure_epoch(
    backend: Backend = "cupy", *, images: int = IMAGES, batch: int = BATCH, units: int = UNITS
) -> dict[str, Any]:
    """Train two epochs; return the seconds of the second, in which nothing is compiled any more, and what was trained.

    The images are those that come with the package, over and over: what is in an image takes no time. The clock is
    read where the run reads its metrics, at the end of an epoch, which is when the device has done all of it.
    """
    data = load_embedded_mnist()
    rows = np.arange(images) % len(data.train_images)
    encoder = PixelEncoder(data.image_shape)
    model = Classifier(numrnn.AntisymmetricCell(1, units, step_size=0.03, diffusion=0.001), data.n_classes)
    config = TrainingConfig(
        epochs=2, batch_size=batch, clip=20.0, weight_std=4.0, backend=backend, checkpoint_interval=10**9
    )
    with tempfile.TemporaryDirectory() as out:
        arrays = data.train_images[rows], data.train_labels[rows]
        trainer = Trainer(model, Adam(0.001, beta2=0.99), encoder, arrays, config, out, show_progress=False)
        result = trainer.run()
        lines = read_json_lines(result.metrics.with_name("timings.jsonl"))
        seconds = {line["step"]: line["seconds"] for line in lines}
        loss = result.history("training")[-1]["loss"]
    per_epoch = trainer.steps_per_epoch
    return {
        "seconds": seconds[2 * per_epoch] - seconds[per_epoch],
        "updates": per_epoch,
        "images": images,
        "T": encoder.length,
        "B": batch,
        "n": units,
        "loss": loss,
    }


def measure_updates(backend: Backend = "cupy", **sizes: int) -> list[dict[str, Any]]:
    """Return `measure_epoch` with new kernels, whose updates are captured as a CUDA graph or launched one by one."""
    measured = []
    for captured in (True, False):
        with mock.patch.dict(os.environ, {UNPROVEN: "1", CAPTURE: str(int(captured))}):
            measured.append({"captured": captured, **measure_epoch(backend, **sizes)})
    return measured
