"""CIFAR-10 as a sequence: 1,024 pixels of three colours, or 32 rows and then noise up to step 1,000.

    numrnn cifar10                                     pixel by pixel, the antisymmetric cell, 5 epochs
    numrnn cifar10 --task noise-padded --cell gated    rows, then separate noise for each image
    numrnn cifar10 --task noise-padded --noise fixed   one block of noise for all, as in public scripts
    numrnn cifar10 --preset cifar10-pixels-gated       a row of the paper's Table 2
    numrnn cifar10 --resume --out FOLDER               continue a stopped run

The folder given by --out receives config.json, metrics.jsonl, timings.jsonl, checkpoints, final.npz, result.json and
three pictures: learning curves, the confusion matrix of the test set, and how the gradient travels back in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numrnn.datasets import Dataset, Encoder, PixelEncoder, RowNoiseEncoder, load_cifar10, pixel_statistics
from numrnn.datasets.encoders import NOISE_MODES, NoiseMode
from numrnn.experiments import classification, config
from numrnn.options import documented, inherited, option

PAGE = __doc__  # within a class, __doc__ is that of the class
TASKS = ("pixels", "noise-padded")


@documented
@dataclass(frozen=True, kw_only=True)
class Config(config.Config):
    """All settings of a run."""

    task: str = option(
        "pixels", "pixels: 1,024 steps of 3 values; noise-padded: 32 rows of 96 values, then noise", choices=TASKS
    )
    noise: NoiseMode = option(
        "independent",
        "of noise-padded; independent: new for every image each time; fixed: one block for all",
        choices=NOISE_MODES,
    )
    noise_seed: int = option(0, "of the fixed block", at_least=0)
    length: int = option(1000, "of noise-padded: total number of steps", at_least=32)
    hidden_size: int = inherited(config.Config, "hidden_size", 256)
    learning_rate: float = inherited(config.Config, "learning_rate", 0.01)


# The units are those of the paper's Table 2.
CELL_DEFAULTS: dict[str, dict[str, Any]] = {
    "antisymmetric": {},
    "gated": {"step_size": 0.01, "clip": 5.0},
    "unstructured": {"step_size": 0.01, "diffusion": 0.0, "weight_std": 1.0, "clip": 1.0},
    "gated-unstructured": {
        "hidden_size": 196,
        "step_size": 0.01,
        "diffusion": 0.0,
        "weight_std": 1.0,
        "clip": 1.0,
    },
    "elman": {"hidden_size": 128, "weight_std": 1.0, "learning_rate": 0.001, "clip": 1.0},
    "lstm": {"hidden_size": 128, "weight_std": 1.0, "clip": 1.0},
    "lipschitz": {"hidden_size": 128, "weight_std": 1.0, "clip": 1.0},
}


class Cifar10(classification.Experiment):
    """CIFAR-10, pixel by pixel or noise-padded."""

    name: ClassVar[str] = "cifar10"
    text: ClassVar[str | None] = PAGE
    config: ClassVar[type[Any]] = Config
    validation_share: ClassVar[int] = 10
    presets: ClassVar[tuple[str, ...]] = ("cifar10-",)
    cell_defaults: ClassVar[dict[str, dict[str, Any]]] = CELL_DEFAULTS

    def load_data(self, config: Config) -> Dataset:
        """Return the images of a configuration."""
        return load_cifar10(config.root)

    def make_encoder(self, config: Config, data: Dataset) -> Encoder:
        """Return the encoder of images, as pixels or as rows and noise."""
        mean, std = pixel_statistics(data.train_images) if config.standardize else (0.0, 1.0)
        if config.task == "pixels":
            return PixelEncoder(data.image_shape, mean=mean, std=std)
        return RowNoiseEncoder(
            data.image_shape,
            length=config.length,
            noise=config.noise,
            noise_seed=config.noise_seed,
            mean=mean,
            std=std,
        )

    def task(self, config: Config) -> str:
        """Return the task in words, for noise-padded images with the kind of noise."""
        if config.task == "pixels":
            return "CIFAR-10 pixel by pixel"
        return f"CIFAR-10 padded with {config.noise} noise"

    def record(self, config: Config) -> dict[str, Any]:
        """Return the entries of result.json about the task."""
        padded = config.task == "noise-padded"
        noise: dict[str, Any] = {"noise": config.noise if padded else None}
        if padded and config.noise == "fixed":
            noise["noise_seed"] = config.noise_seed
        return {**super().record(config), **noise}


EXPERIMENT = Cifar10()
make_config, make_trainer, load_data = EXPERIMENT.make_config, EXPERIMENT.make_trainer, EXPERIMENT.load_data
run, parse_arguments, main = EXPERIMENT.run, EXPERIMENT.parse_arguments, EXPERIMENT.main
