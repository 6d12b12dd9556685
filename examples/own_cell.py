"""A cell of your own: a leaky Elman cell, verified, and trained by the Trainer.

    python examples/own_cell.py

    h_t = (1 - a) h_{t-1} + a tanh(W h_{t-1} + V x_t + b),   0 < a <= 1

A step and its adjoint are enough: numrnn runs them through time, and `assert_cell` checks them first. The task is to
tell which of nine men is speaking, from sequences of 7 to 29 steps that come with the package.
"""

import tempfile
from collections.abc import Mapping

import numpy as np

import numrnn
from numrnn.backend import Array, array_namespace, asarray
from numrnn.cells.base import checked
from numrnn.datasets import Standardization, load_speakers
from numrnn.testing import assert_cell
from numrnn.training import Adam, Classifier, Trainer, TrainingConfig

Params = Mapping[str, Array]


class LeakyCell(numrnn.Cell):
    """The cell above; `leak` is a."""

    name = "leaky"

    def __init__(self, input_size: int, hidden_size: int, leak: float = 0.3) -> None:
        super().__init__(input_size, hidden_size)
        self.leak = leak  # the name by which checkpoints identify the cell

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes; `init_params` of the base class draws matrices from N(0, 1/columns), vectors are 0."""
        n, m = self.hidden_size, self.input_size
        return {"W": (n, n), "V": (n, m), "b": (n,)}

    def candidate(self, params: Params, x: Array, h: Array) -> Array:
        """Return c = tanh(W h + V x + b), row by row."""
        return array_namespace(h).tanh(h @ params["W"].T + x @ params["V"].T + params["b"])

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return h_t, (B, n), from x (B, m) and h_{t-1} (B, n)."""
        return (1 - self.leak) * h + self.leak * self.candidate(params, x, h)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return dL/dparams, dL/dx and dL/dh_{t-1} from dL/dh_t."""
        c = self.candidate(params, x, h)
        du = self.leak * (1 - c * c) * dh_next  # of u = W h + V x + b
        dparams = {"W": du.T @ h, "V": du.T @ x, "b": array_namespace(du).sum(du, axis=0)}
        return dparams, du @ params["V"], (1 - self.leak) * dh_next + du @ params["W"]

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the change of h_t along a direction of all arguments: the map whose transpose is the adjoint."""
        c = self.candidate(params, x, h)
        of_h = h_dot @ params["W"].T + h @ params_dot["W"].T
        u_dot = of_h + x_dot @ params["V"].T + x @ params_dot["V"].T + params_dot["b"]
        return (1 - self.leak) * h_dot + self.leak * (1 - c * c) * u_dot

    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return dh_t/dh_{t-1}, (B, n, n); only the analysis of stability needs it."""
        c = self.candidate(params, x, h)
        eye = asarray(np.eye(self.hidden_size), like=c, dtype=c.dtype)
        return (1 - self.leak) * eye + self.leak * (1 - c * c)[:, :, None] * params["W"]


def main() -> None:
    """Verify the cell, train it, and print how many speakers of the test set are identified."""
    print(assert_cell(LeakyCell(3, 5, leak=0.37)))
    data = load_speakers()
    scaling = Standardization.of(data.train)
    model = Classifier(LeakyCell(data.input_size, 64), data.n_classes)
    config = TrainingConfig(epochs=40, batch_size=32, clip=5.0, validation_size=54, patience=10, group_lengths=True)
    with tempfile.TemporaryDirectory() as out:  # with a permanent folder, run(resume=True) can continue
        trainer = Trainer(model, Adam(0.005), None, scaling.apply(data.train), config, out)
        result = trainer.run()
    test = trainer.evaluate(result.params, scaling.apply(data.test))
    print(f"{test.accuracy:.1%} of {len(data.test)} utterances after {result.step} updates")


if __name__ == "__main__":
    main()
