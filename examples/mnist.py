"""Sequential MNIST: an image is read pixel by pixel in 784 steps, and classified after the last.

    python examples/mnist.py                          the antisymmetric cell, full MNIST, 5 epochs
    python examples/mnist.py --data embedded          on the 5,000 images that come with the package
    python examples/mnist.py --cell lstm --permuted   a baseline, pixels in one fixed random order
    python examples/mnist.py --preset pmnist-gated    a row of the paper's Table 1, 50,000 updates
    python examples/mnist.py --resume                 go on where Ctrl-C, kill -9 or a power cut stopped a run

The folder given by --out receives config.json, metrics.jsonl, timings.jsonl, checkpoints, final.npz, result.json and
three pictures: learning curves, the confusion matrix of the test set, and how the gradient travels back in time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import classification
import experiment_config

from numrnn.datasets import Dataset, PixelEncoder, load_embedded_mnist, load_mnist, pixel_statistics

PAGE = __doc__


@dataclass(frozen=True, kw_only=True)
class Config(experiment_config.Config):
    """Everything that decides the course of a run; HELP says what each field means."""

    data: str = "full"
    permuted: bool = False
    permutation_seed: int = 92


# Found by trial on the training set, not by the test set.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    "antisymmetric": {},
    "gated": {"step_size": 0.01, "learning_rate": 0.01, "clip": 5.0},
    "unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "gated-unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "elman": {"weight_std": 1.0, "learning_rate": 0.001, "clip": 1.0},
    "lstm": {"weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "lipschitz": {"weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
}
HELP = {
    **experiment_config.HELP,
    "data": "full: 60,000 + 10,000 images; embedded: the 5,000 + 1,000 that come with the package",
    "permuted": "show the pixels in one fixed random order",
    "permutation_seed": "which order that is, >= 0",
}
CHOICES = {**experiment_config.CHOICES, "data": ("full", "embedded")}


class Mnist(classification.Experiment):
    """Sequential MNIST, in order or permuted."""

    name: ClassVar[str] = "mnist"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    validation_share: ClassVar[int] = 12
    presets: ClassVar[tuple[str, ...]] = ("mnist-", "pmnist-")
    cell_defaults: ClassVar[dict[str, dict[str, Any]]] = CELL_DEFAULTS
    helps: ClassVar[dict[str, str]] = HELP
    choices: ClassVar[dict[str, tuple[str, ...]]] = CHOICES

    def load_data(self, config: Config) -> Dataset:
        """Return the images of a configuration."""
        return load_embedded_mnist() if config.data == "embedded" else load_mnist(config.root)

    def make_encoder(self, config: Config, data: Dataset) -> PixelEncoder:
        """Return what shows images pixel by pixel."""
        mean, std = pixel_statistics(data.train_images) if config.standardize else (0.0, 1.0)
        seed = config.permutation_seed if config.permuted else None
        return PixelEncoder(data.image_shape, permutation_seed=seed, mean=mean, std=std)

    def task(self, config: Config) -> str:
        """Return the task in words."""
        return f"{'permuted' if config.permuted else 'sequential'} MNIST"

    def record(self, config: Config) -> dict[str, Any]:
        """Return what result.json says of the task."""
        return {**super().record(config), "permutation_seed": config.permutation_seed if config.permuted else None}


EXPERIMENT = Mnist()
make_config, make_trainer, load_data = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.load_data
run, parse_arguments, main = EXPERIMENT.run, EXPERIMENT.parse_arguments, EXPERIMENT.main


if __name__ == "__main__":
    sys.exit(main())
