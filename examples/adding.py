"""The adding problem on one page: the sum of the two marked numbers of a sequence of 50 steps.

    python examples/adding.py

Always predicting 1 gives a mean squared error of 1/6 = 0.167. `numrnn adding` is the same with all options.
"""

import functools
import tempfile

import numrnn
from numrnn.datasets import DrawnSequences, adding
from numrnn.training import Adam, Regressor, Trainer, TrainingConfig


def main() -> None:
    """Train for 2,000 updates, and print the mean squared error on sequences that were not trained on."""
    task = functools.partial(adding, length=50)
    training, test = DrawnSequences(task, 50 * 2000, seed=0), DrawnSequences(task, 1000, seed=1)
    model = Regressor(numrnn.AntisymmetricCell(2, 64, step_size=0.1, diffusion=0.001), n_outputs=1)
    config = TrainingConfig(epochs=1, batch_size=50, clip=5.0)  # no sequence is repeated
    with tempfile.TemporaryDirectory() as out:
        trainer = Trainer(model, Adam(0.01), None, training, config, out)
        result = trainer.run()
    print(f"mean squared error {trainer.evaluate(result.params, test).loss:.4f}, without memory 0.1667")


if __name__ == "__main__":
    main()
