"""The files that a call of the package enters, and the functions through which it reaches `tanh`.

    python -m tools.call_path

The calls are run and traced: every function of numrnn that is entered, by file, and the functions of numrnn on the
stack at the first call of `tanh`. The rows of the batch make one slice, so that no worker process is started.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np

import numrnn
from numrnn.datasets import PixelEncoder, load_embedded_mnist
from numrnn.training import SGD, Classifier, Trainer, TrainingConfig

HOME = Path(numrnn.__file__).parent


def place(frame: FrameType) -> Path | None:
    """Return the file of a frame within numrnn, or None."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(HOME) if path.is_relative_to(HOME) else None


def follow(call: Callable[[], Any]) -> tuple[list[str], list[str]]:
    """Return the files that a call enters, and the functions on the stack at the first `tanh`, outermost first."""
    files: set[str] = set()
    stack: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and (path := place(frame)) is not None:
            files.add(str(path))

    tanh = np.tanh

    def noting_tanh(*args: Any, **kwargs: Any) -> Any:
        frame: FrameType | None = sys._getframe(1) if not stack else None
        while frame is not None:
            if place(frame) is not None:
                stack.insert(0, frame.f_code.co_qualname)
            frame = frame.f_back
        return tanh(*args, **kwargs)

    with mock.patch.object(np, "tanh", noting_tanh):
        sys.setprofile(note)
        try:
            call()
        finally:
            sys.setprofile(None)
    return sorted(files), stack


def show(title: str, call: Callable[[], Any]) -> None:
    """Print what `follow` finds."""
    files, stack = follow(call)
    print(f"{title}: {len(files)} files, {len(stack)} functions down to tanh")
    print("  files", ", ".join(files))
    print("  stack", " > ".join(stack))


def main() -> None:
    """Follow a forward pass of each engine, and an update of the trainer."""
    rng = np.random.default_rng(0)
    cell = numrnn.AntisymmetricCell(1, 8)
    params, x = cell.init_params(rng), rng.standard_normal((20, 4, 1)).astype(np.float32)
    numrnn.forward(cell, params, x)  # does the work that is done once per process
    show("forward, reference", lambda: numrnn.forward(cell, params, x, engine="reference"))
    show("forward, fused", lambda: numrnn.forward(cell, params, x, engine="fused"))

    data, plain = load_embedded_mnist(), Trainer._update
    config = TrainingConfig(batch_size=8, iterations=1)
    model, encoder, images = (
        Classifier(cell, 10),
        PixelEncoder(data.image_shape),
        (data.train_images, data.train_labels),
    )

    def followed(*arguments: Any) -> None:
        show("update of the trainer", lambda: plain(*arguments))

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Trainer, "_update", followed):
        Trainer(model, SGD(0.1), encoder, images, config, folder, show_progress=False).run()


if __name__ == "__main__":
    main()
