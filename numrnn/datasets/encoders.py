"""Encoders turn images into sequences; a trainer calls them for each batch.

Noise has two modes of different difficulty. "independent" draws new noise for every image at every call, as the
AntisymmetricRNN paper suggests. "fixed" draws one block of noise once and uses it after every image, as public scripts
do; a network can learn to ignore it. State the mode with every result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np

from numrnn.backend import Array
from numrnn.checks import check_choice, check_generator, check_integer, shown
from numrnn.datasets.resident import Resident, ResidentPixels, ResidentRows
from numrnn.datasets.sequences import (
    PerChannel,
    checked_dtype,
    fixed_noise,
    fixed_permutation,
    per_channel,
    pixels,
    rows_with_noise,
)
from numrnn.typing import RealDType

__all__ = ["NOISE_MODES", "Encoder", "ImageEncoder", "NoiseMode", "PixelEncoder", "RowNoiseEncoder"]

NoiseMode = Literal["independent", "fixed"]
NOISE_MODES: tuple[NoiseMode, ...] = get_args(NoiseMode)


class Encoder(Protocol):
    """Turns a batch of images into a sequence; called by `Trainer`."""

    input_size: int
    length: int

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return x (T = length, B, m = input_size) for uint8 images (B, ...); noise, if any, is drawn from `rng`."""

    def config(self) -> dict[str, Any]:
        """Return the encoder's configuration, JSON-serialisable."""


class ImageEncoder(ABC):
    """Base class of encoders of images: the shape of an image, the scale of its values, the dtype of a sequence.

    Parameters
    ----------
    image_shape : sequence of int
        (H, W) or (C, H, W).
    mean, std : float or sequence of float
        On the scale of v / 255; one number, or one per channel; std > 0.
    dtype : {"float32", "float64"}, or NumPy's type of that name
        Dtype of the sequence.

    Attributes
    ----------
    input_size : int
        m.
    length : int
        T.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If an argument is out of range.
    """

    name: ClassVar[str]
    input_size: int
    length: int

    def __init__(self, image_shape: Sequence[int], *, mean: PerChannel, std: PerChannel, dtype: RealDType) -> None:
        self.image_shape = _checked_image_shape(image_shape)
        channels, _, _ = self._channels_first
        self.mean = per_channel("mean", mean, channels)
        self.std = per_channel("std", std, channels, above=0.0)
        self.dtype = checked_dtype(dtype)

    @property
    def _channels_first(self) -> tuple[int, ...]:
        """(C, H, W), with C = 1 if the image has no channels."""
        return self.image_shape if len(self.image_shape) == 3 else (1, *self.image_shape)

    @property
    def _values(self) -> dict[str, Any]:
        """The scaling of values, as arguments of `pixels`, `rows_with_noise` and `Resident`."""
        return {"mean": self.mean, "std": self.std, "dtype": self.dtype}

    @abstractmethod
    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return x (length, B, input_size) for uint8 images (B, *image_shape)."""

    def on_device(self, images: np.ndarray, like: Array) -> Resident:
        """Copy uint8 images (N, *image_shape) to the device of a CuPy array; return a maker of batches there."""
        self._check_images(images)
        return self._resident(images, like, shape=(self.length, self.input_size), **self._values)

    @abstractmethod
    def _resident(self, images: np.ndarray, like: Array, **common: Any) -> Resident:
        """Return the maker of batches on the device; `common` are arguments of `Resident`."""

    def _check_images(self, images: np.ndarray) -> None:
        if isinstance(images, np.ndarray) and images.shape[1:] != self.image_shape:
            sizes = ", ".join(map(str, self.image_shape))
            raise ValueError(f"images must be (B, {sizes}), got {images.shape}")

    def config(self) -> dict[str, Any]:
        """Return the constructor arguments, and the name under "encoder", JSON-serialisable."""
        shape, values = list(self.image_shape), {**self._values, "dtype": self.dtype.name}
        return {"encoder": self.name, "image_shape": shape, **self._config(), **values}

    def _config(self) -> dict[str, Any]:
        """Return the arguments that not all encoders have."""
        return {}


class PixelEncoder(ImageEncoder):
    """Pixel by pixel, in order or in one fixed permutation; see `pixels`.

    Parameters
    ----------
    permutation_seed : int or None
        The seed of `fixed_permutation`, >= 0; None means row by row.
    image_shape, mean, std, dtype
        As for `ImageEncoder`.

    Attributes
    ----------
    input_size : int
        m = C.
    length : int
        T = H * W.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If an argument is out of range.
    """

    name: ClassVar[str] = "PixelEncoder"

    def __init__(
        self,
        image_shape: Sequence[int] = (28, 28),
        *,
        permutation_seed: int | None = None,
        mean: PerChannel = 0.0,
        std: PerChannel = 1.0,
        dtype: RealDType = "float32",
    ) -> None:
        super().__init__(image_shape, mean=mean, std=std, dtype=dtype)
        self.input_size, height, width = self._channels_first
        self.length = height * width
        self.permutation_seed = None
        self.permutation = None
        if permutation_seed is not None:
            self.permutation_seed = check_integer("permutation_seed", permutation_seed, at_least=0)
            self.permutation = fixed_permutation(self.length, self.permutation_seed)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return (length, B, input_size) for uint8 images (B, *image_shape); `rng` is not used."""
        self._check_images(images)
        return pixels(images, permutation=self.permutation, **self._values)

    def _resident(self, images: np.ndarray, like: Array, **common: Any) -> ResidentPixels:
        return ResidentPixels(images, like, permutation=self.permutation, **common)

    def _config(self) -> dict[str, Any]:
        return {"permutation_seed": self.permutation_seed}


class RowNoiseEncoder(ImageEncoder):
    """Row by row, then noise; see `rows_with_noise`.

    Parameters
    ----------
    length : int
        Total steps, >= H.
    noise : {"independent", "fixed"}
        New noise for every image at every call, or one block for all images.
    noise_seed : int
        The seed of the shared block, >= 0; not used by "independent", which draws from the `rng` of the call.
    image_shape, mean, std, dtype
        As for `ImageEncoder`.

    Attributes
    ----------
    input_size : int
        m = C * W.
    length : int
        T.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If an argument is out of range.
    """

    name: ClassVar[str] = "RowNoiseEncoder"

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 32, 32),
        *,
        length: int = 1000,
        noise: NoiseMode = "independent",
        noise_seed: int = 0,
        mean: PerChannel = 0.0,
        std: PerChannel = 1.0,
        dtype: RealDType = "float32",
    ) -> None:
        super().__init__(image_shape, mean=mean, std=std, dtype=dtype)
        channels, height, width = self._channels_first
        self.input_size = channels * width
        self.length = check_integer("length", length, at_least=height)
        check_choice("noise", noise, NOISE_MODES)
        self.noise = noise
        self.noise_seed = check_integer("noise_seed", noise_seed, at_least=0)
        self.noise_block = None
        if noise == "fixed":
            self.noise_block = fixed_noise(self.length - height, self.input_size, self.noise_seed, dtype=self.dtype)

    def __call__(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return (length, B, input_size) for uint8 images (B, *image_shape); "independent" noise needs `rng`."""
        self._check_images(images)
        noise = self.noise_block if self.noise_block is not None else check_generator("rng", rng)
        return rows_with_noise(images, noise, length=self.length, **self._values)

    def _resident(self, images: np.ndarray, like: Array, **common: Any) -> ResidentRows:
        return ResidentRows(images, like, noise=self.noise_block, **common)

    def _config(self) -> dict[str, Any]:
        return {"length": self.length, "noise": self.noise, "noise_seed": self.noise_seed}


def _checked_image_shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(image_shape, Sequence) or len(image_shape) not in (2, 3):
        raise ValueError(f"image_shape must be (H, W) or (C, H, W), got {shown(image_shape)}")
    return tuple(check_integer("every size of image_shape", size, at_least=1) for size in image_shape)
