"""Training by hand, on one page: forward pass, read-out, loss, backward pass, update.

    python examples/minimal.py

The antisymmetric cell reads images of handwritten digits pixel by pixel, in 784 steps, and its last state is
classified. The 5,000 training images come with the package. The Trainer of numrnn.training adds validation,
checkpoints, schedules and a log to this loop.
"""

from typing import Any

import numpy as np

import numrnn
from numrnn.datasets import load_embedded_mnist
from numrnn.training import Adam, clip_by_global_norm

Params = dict[str, np.ndarray]
UPDATES, BATCH, CLASSES, EVERY = 300, 64, 10, 50


def sequences(images: np.ndarray) -> np.ndarray:
    """Return x (T = 784, B, m = 1), one pixel per step, from 0 to 1, for uint8 images (B, 28, 28)."""
    return np.ascontiguousarray(images.reshape(len(images), -1, 1).swapaxes(0, 1)) / np.float32(255)


def forward(cell: numrnn.Cell, params: Params, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, numrnn.Tape]:
    """Return logits (B, 10), the last state (B, n), and the tape that the backward pass needs."""
    states, tape = numrnn.forward(cell, {name: params[name] for name in cell.parameter_shapes}, x)  # (T + 1, B, n)
    h = states[-1]
    return h @ params["W_out"].T + params["b_out"], h, tape


def loss_and_gradient(
    cell: numrnn.Cell, params: Params, x: np.ndarray, labels: np.ndarray
) -> tuple[float, Params, float]:
    """Return the mean cross-entropy of a batch, its gradient, and the fraction of rows classified correctly."""
    logits, h, tape = forward(cell, params, x)
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp then cannot overflow
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    loss = -log_p[rows, labels].mean()

    d_logits = np.exp(log_p)
    d_logits[rows, labels] -= 1
    d_logits /= len(labels)  # dL/dlogits, (B, 10)
    of_read_out = {"W_out": d_logits.T @ h, "b_out": d_logits.sum(axis=0)}
    of_cell: Any = numrnn.backward(tape, d_final=d_logits @ params["W_out"], wrt=("params",)).params
    return float(loss), {**of_cell, **of_read_out}, float((logits.argmax(axis=1) == labels).mean())


def main() -> None:
    """Train, and print loss and accuracy on the way, then the accuracy on the test images."""
    rng = np.random.default_rng(0)
    data = load_embedded_mnist()
    cell = numrnn.AntisymmetricCell(input_size=1, hidden_size=128, step_size=0.03, diffusion=0.001)
    params = cell.init_params(rng, weight_std=4.0)
    params["W_out"] = (rng.standard_normal((CLASSES, 128)) / 128**0.5).astype(np.float32)
    params["b_out"] = np.zeros(CLASSES, np.float32)
    optimizer = Adam(0.01)
    state = optimizer.init(params)

    seen: list[tuple[float, float]] = []
    for update in range(1, UPDATES + 1):
        chosen = rng.choice(len(data.train_labels), BATCH, replace=False)
        x, labels = sequences(data.train_images[chosen]), data.train_labels[chosen]
        loss, grads, accuracy = loss_and_gradient(cell, params, x, labels)
        grads, _ = clip_by_global_norm(grads, 20.0)
        params, state = optimizer.update(params, grads, state)
        seen.append((loss, accuracy))
        if update % EVERY == 0:
            loss, accuracy = np.mean(seen[-EVERY:], axis=0)
            print(f"update {update}: loss {loss:.3f}, {accuracy:.1%} of the training images right")

    logits, _, _ = forward(cell, params, sequences(data.test_images))
    print(f"{np.mean(logits.argmax(axis=1) == data.test_labels):.1%} of the {len(logits):,} test images right")


if __name__ == "__main__":
    main()
