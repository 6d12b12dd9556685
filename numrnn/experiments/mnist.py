"""Sequential MNIST: an image is read pixel by pixel in 784 steps, and classified after the last.

    numrnn mnist                          the antisymmetric cell, full MNIST, 5 epochs
    numrnn mnist --data embedded          on the 5,000 images that come with the package
    numrnn mnist --cell lstm --permuted   a baseline, pixels in one fixed random order
    numrnn mnist --preset pmnist-gated    a row of the paper's Table 1, 50,000 updates
    numrnn mnist --resume                 continue a run after Ctrl-C, kill -9 or a power cut

The folder given by --out receives config.json, metrics.jsonl, timings.jsonl, checkpoints, final.npz, result.json and
three pictures: learning curves, the confusion matrix of the test set, and how the gradient travels back in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numrnn.datasets import Dataset, PixelEncoder, load_embedded_mnist, load_mnist, pixel_statistics
from numrnn.experiments import classification, config
from numrnn.options import documented, option

PAGE = __doc__  # within a class, __doc__ is that of the class


@documented
@dataclass(frozen=True, kw_only=True)
class Config(config.Config):
    """All settings of a run."""

    data: str = option(
        "full",
        "full: 60,000 + 10,000 images; embedded: the 5,000 + 1,000 that come with the package",
        choices=("full", "embedded"),
    )
    permuted: bool = option(False, "show the pixels in one fixed random order")
    permutation_seed: int = option(92, "which order that is", at_least=0)


# Found by trials on the training set, not on the test set.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    "antisymmetric": {},
    "gated": {"step_size": 0.01, "learning_rate": 0.01, "clip": 5.0},
    "unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "gated-unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "elman": {"weight_std": 1.0, "learning_rate": 0.001, "clip": 1.0},
    "lstm": {"weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
    "lipschitz": {"weight_std": 1.0, "learning_rate": 0.01, "clip": 1.0},
}


class Mnist(classification.Experiment):
    """Sequential MNIST, in order or permuted."""

    name: ClassVar[str] = "mnist"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    validation_share: ClassVar[int] = 12
    presets: ClassVar[tuple[str, ...]] = ("mnist-", "pmnist-")
    cell_defaults: ClassVar[dict[str, dict[str, Any]]] = CELL_DEFAULTS

    def load_data(self, config: Config) -> Dataset:
        """Return the images of a configuration."""
        return load_embedded_mnist() if config.data == "embedded" else load_mnist(config.root)

    def make_encoder(self, config: Config, data: Dataset) -> PixelEncoder:
        """Return the encoder of images, pixel by pixel."""
        mean, std = pixel_statistics(data.train_images) if config.standardize else (0.0, 1.0)
        seed = config.permutation_seed if config.permuted else None
        return PixelEncoder(data.image_shape, permutation_seed=seed, mean=mean, std=std)

    def task(self, config: Config) -> str:
        """Return the task in words."""
        return f"{'permuted' if config.permuted else 'sequential'} MNIST"

    def record(self, config: Config) -> dict[str, Any]:
        """Return the entries of result.json about the task."""
        return {**super().record(config), "permutation_seed": config.permutation_seed if config.permuted else None}


EXPERIMENT = Mnist()
make_config, make_trainer, load_data = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.load_data
run, parse_arguments, main = EXPERIMENT.run, EXPERIMENT.parse_arguments, EXPERIMENT.main
