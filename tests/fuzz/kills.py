"""Kills tiny runs of many configurations with SIGKILL, resumes them, and compares all with undisturbed runs.

    PYTHONPATH=tests python -m fuzz.kills --kills 200

A kill comes at a random moment: after a random time, or at the n-th write, rename or synchronisation. A run is killed
again and again until it comes to its end. Its metrics, parameters, average and best parameters must then be those of
the run that nothing disturbed, bit for bit.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import training_run
from training_run import encode, make_trainer

import numrnn
from fuzz.disturb import command
from numrnn.datasets import Sequences
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Classifier,
    CosineSchedule,
    Regressor,
    Trainer,
    TrainingConfig,
    latest_checkpoint,
    load_checkpoint,
)

MOMENTS = ("training", "half a line", "half a checkpoint", "fsync", "replace", "unlink")


def own_sequences(kind: str, out: Path, **changes: Any) -> Trainer[Any]:
    """Return the trainer of a run on sequences of unlike lengths."""
    rng = np.random.default_rng(2)
    x = [rng.standard_normal((length, 2)) for length in rng.integers(2, 9, 40)]
    cell = numrnn.GatedAntisymmetricCell(2, 5, step_size=0.5)
    if kind == "labels":
        data, model = Sequences(x, rng.integers(0, 3, 40)), Classifier(cell, 3)
    else:
        data, model = Sequences(x, [row[:, :1] for row in x]), Regressor(cell, 1, output="every")
    common = {
        "epochs": 3,
        "batch_size": 7,
        "validation_size": 8,
        "log_interval": 2,
        "checkpoint_interval": 3,
        "seed": 5,
    }
    config = TrainingConfig(**{**common, **changes})
    return Trainer(model, Adam(0.05), None, data, config, out, show_progress=False)


CONFIGURATIONS: dict[str, Callable[[Path], Trainer[Any]]] = {
    "adam": lambda out: make_trainer(out, encoder=ENCODER[0]),
    "sgd with momentum": lambda out: make_trainer(out, encoder=ENCODER[0], optimizer=SGD(0.1, momentum=0.9)),
    "adagrad": lambda out: make_trainer(out, encoder=ENCODER[0], optimizer=Adagrad(0.1)),
    "adamw, cosine": lambda out: make_trainer(out, encoder=ENCODER[0], optimizer=AdamW(COSINE, weight_decay=0.1)),
    "exponential average": lambda out: make_trainer(out, encoder=ENCODER[0], average="exponential", average_updates=4),
    "tail average": lambda out: make_trainer(out, encoder=ENCODER[0], average="tail", average_updates=6),
    "dropout": lambda out: make_trainer(out, encoder=ENCODER[0], input_dropout=0.3),
    "early stopping": lambda out: make_trainer(out, encoder=ENCODER[0], epochs=9, patience=1),
    "best parameters": lambda out: make_trainer(out, encoder=ENCODER[0], keep_best=True),
    "recomputation, float64": lambda out: make_trainer(out, encoder=ENCODER[0], recompute_every=2, dtype="float64"),
    "no clipping": lambda out: make_trainer(out, encoder=ENCODER[0], clip=None),
    "lengths": lambda out: own_sequences("labels", out),
    "lengths in groups, targets at every step": lambda out: own_sequences("every", out, group_lengths=True),
}
COSINE = CosineSchedule(learning_rate=0.05, total_steps=15)
ENCODER: list[Any] = [encode]


def outcome(out: Path) -> dict[str, Any]:
    """Return all that a run must come to, whatever disturbed it."""
    newest = latest_checkpoint(out)
    assert newest is not None
    found = {
        "metrics": (out / "metrics.jsonl").read_bytes(),
        "step": newest.step,
        "optimizer": newest.optimizer["step"],
    }
    for part in ("params", "average"):
        found |= {f"{part}/{name}": array.tobytes() for name, array in getattr(newest, part).items()}
    if (out / "best.npz").exists():
        found |= {f"best/{name}": array.tobytes() for name, array in load_checkpoint(out / "best.npz").params.items()}
    return found


def attempt(make: Callable[[Path], Trainer[Any]], out: Path, rng: random.Random, seconds: float) -> bool:
    """Run in a child that is killed at a random moment; return whether it was."""
    later = rng.random() < 0.4
    moment, n, delay = rng.choice(MOMENTS), rng.randint(1, 12), rng.uniform(0, seconds)
    child = os.fork()
    if child == 0:
        try:
            if not later:
                ENCODER[0] = training_run.arm(moment, n)
                ENCODER[0].config = encode.config
            make(out).run(resume=True)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    if later:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status != 0:
        raise AssertionError(f"a run of {out} failed instead of going on")
    return False


def run(kills: int, seed: int) -> dict[str, int]:
    """Kill so many times, over all configurations, and return how often each was killed.

    Raises
    ------
    AssertionError
        If anything differs from the run that nothing disturbed.
    """
    rng, counts = random.Random(seed), dict.fromkeys(CONFIGURATIONS, 0)
    references: dict[str, tuple[dict[str, Any], float]] = {}
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        while sum(counts.values()) < kills:
            name = list(CONFIGURATIONS)[number % len(CONFIGURATIONS)]
            make, number = CONFIGURATIONS[name], number + 1
            if name not in references:
                start = time.monotonic()
                make(Path(folder) / f"{name} alone").run()
                references[name] = outcome(Path(folder) / f"{name} alone"), time.monotonic() - start
            wanted, seconds = references[name]
            out = Path(folder) / f"{number}"
            while attempt(make, out, rng, seconds):
                counts[name] += 1
            found = outcome(out)
            different = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
            assert not different, f"{name}, seed {seed}: {different} differ from the undisturbed run"
    return counts


if __name__ == "__main__":
    sys.exit(command(run, "kills", 200, "nothing differs"))
