"""A tiny training run that tests share, and a script that runs it and kills itself at a chosen moment.

python training_run.py OUT MOMENT N        # SIGKILL at the N-th time that MOMENT comes; "slowly" waits for it
python training_run.py OUT MOMENT N timed  # the same of a run whose length is in seconds
"""

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from numrnn import GatedAntisymmetricCell
from numrnn.training import Adam, Classifier, TimedCosineSchedule, Trainer, TrainingConfig, metrics

# 40 images to train on in 5 batches, the last one of 6; 15 updates in all; intervals that divide neither.
CONFIG = {
    "epochs": 3,
    "batch_size": 9,
    "validation_size": 8,
    "evaluation_batch_size": 5,
    "log_interval": 2,
    "checkpoint_interval": 3,
    "clip": 0.5,
    "seed": 5,
}


def make_data():
    """Return 50 images of 6 pixels and labels that the mean of an image decides."""
    images = np.random.default_rng(1).integers(0, 256, (50, 6), np.uint8)
    return images, np.digitize(images.mean(axis=1), [105, 150])


def encode(images, rng):
    """Return pixels as a sequence, (6, B, 1), with noise."""
    x = images.T[:, :, None] / 255 - 0.5
    return x + 0.05 * rng.standard_normal(x.shape)


class Crash(Exception):
    """What `crash_at` raises."""


def crash_at(call):
    """Return the encoder of the run, which raises at its `call`-th call, counted from 1."""
    calls = itertools.count(1)

    def crashing(images, rng):
        if next(calls) == call:
            raise Crash
        return encode(images, rng)

    crashing.config = encode.config
    return crashing


def make_model(kind=Classifier):
    return kind(GatedAntisymmetricCell(1, 5, step_size=0.5), 3)


def make_trainer(
    out,
    *,
    model=None,
    optimizer=None,
    encoder=encode,
    data=None,
    show_progress=False,
    clock=time.monotonic,
    **changes,
):
    return Trainer(
        model or make_model(),
        optimizer or Adam(0.05),
        encoder,
        data or make_data(),
        TrainingConfig(**CONFIG | changes),
        out,
        show_progress=show_progress,
        clock=clock,
    )


class Ticking:
    """An encoder whose calls are all that takes time: each as many seconds as `durations` says next."""

    def __init__(self, durations, encoder=encode):
        self.durations, self.encoder, self.now = iter(durations), encoder, 1000.0

    def __call__(self, images, rng):
        self.now += next(self.durations)
        return self.encoder(images, rng)

    def clock(self):
        return self.now

    def config(self):
        return "encode"


def make_timed_trainer(out, *, seconds=8.5, durations=None, encoder=encode, **changes):
    """Return the trainer of a run of so many seconds, and its encoder.

    A batch takes half a second unless `durations` says otherwise. Then an epoch takes 3.5 seconds, 1 of them to
    validate, and the run ends after update 13: it is the third of its epoch, and no line of metrics and no checkpoint
    are due there but for the end.
    """
    ticking = Ticking(itertools.repeat(0.5) if durations is None else durations, encoder)
    optimizer = Adam(TimedCosineSchedule(learning_rate=0.05, total_seconds=seconds))
    timed = {"epochs": None, "seconds": seconds, "optimizer": optimizer, "encoder": ticking, "clock": ticking.clock}
    return make_trainer(out, **timed | changes), ticking


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(n, function, before=lambda *arguments: None):
    """Return `function`, but its n-th call does `before` and kills the process."""
    calls = 0

    def wrapper(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == n:
            before(*arguments)
            die()
        return function(*arguments, **named)

    return wrapper


def write_half_a_line(lines, record):
    lines._file.write(b'{"kind": "training", "st')
    lines._file.flush()


def write_half_a_file(file, **arrays):
    file.write(b"PK\x03\x04 half an archive")
    file.flush()


def arm(moment, n):
    """Let the n-th call of what `moment` names kill this process; return the encoder to use."""
    if moment == "half a line":
        metrics.JsonLines.append = die_at(n, metrics.JsonLines.append, write_half_a_line)
    elif moment == "half a checkpoint":
        np.savez = die_at(n, np.savez, lambda file: write_half_a_file(file))
    elif moment == "training":
        return die_at(n, encode)
    elif moment == "slowly":
        return lambda images, rng: (time.sleep(0.05), encode(images, rng))[1]
    else:
        setattr(os, moment, die_at(n, getattr(os, moment)))
    return encode


if __name__ == "__main__":
    out, moment, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    encoder = arm(moment, n)
    encoder.config = lambda: "encode"
    if sys.argv[4:] == ["timed"]:
        make_timed_trainer(out, encoder=encoder)[0].run(resume=True)
    else:
        make_trainer(out, encoder=encoder).run(resume=True)
else:
    encode.config = lambda: "encode"
