"""Functions that turn images into sequences.

Images stay uint8 in memory; these functions turn one batch into a C-contiguous floating-point sequence x
(T, B, m), time first. A value v becomes (v / 255 - mean) / std.

=====================  ======  =====  ==========================================================
sequence               T       m      a step shows
=====================  ======  =====  ==========================================================
MNIST, pixels          784     1      one pixel, row by row, or in the order of one fixed permutation
CIFAR-10, pixels       1,024   3      one pixel in its three colours
CIFAR-10, rows, noise  1,000   96     one image row in its three colours (32 steps), then N(0, 1) noise
=====================  ======  =====  ==========================================================

Sources
-------
Pixel by pixel, permuted: Q. V. Le, N. Jaitly and G. E. Hinton, "A simple way to initialize recurrent networks of
rectified linear units", 2015. Noise-padded: B. Chang, M. Chen, E. Haber and E. H. Chi, "AntisymmetricRNN", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numrnn.checks import check_array, check_finite, check_integer, check_number, check_plain, shown
from numrnn.typing import RealDType

__all__ = [
    "PerChannel",
    "checked_dtype",
    "fixed_noise",
    "fixed_permutation",
    "per_channel",
    "pixel_statistics",
    "pixels",
    "rows_with_noise",
]

PerChannel = float | Sequence[float]  # one number for all channels, or one per channel


def pixels(
    images: np.ndarray,
    *,
    permutation: np.ndarray | None = None,
    mean: PerChannel = 0.0,
    std: PerChannel = 1.0,
    dtype: RealDType = np.float32,
) -> np.ndarray:
    """Show images pixel by pixel.

    Parameters
    ----------
    images : numpy.ndarray
        (B, H, W) or (B, C, H, W) uint8.
    permutation : numpy.ndarray or None
        (H * W,) integers, each of 0 .. H * W - 1 once: step t shows pixel permutation[t]. None shows them row by row.
    mean, std : float or sequence of float
        On the scale of v / 255; one number, or one for each channel; std > 0.
    dtype : numpy.float32 or numpy.float64
        Dtype of the result.

    Returns
    -------
    numpy.ndarray
        (H * W, B, C), C-contiguous; C = 1 if the images have no channels.

    Raises
    ------
    TypeError
        If images are not a uint8 array, or permutation, mean, std or dtype is of another type.
    ValueError
        If a shape, the permutation or a number is out of range.

    Notes
    -----
    Costs about 5 passes over the batch in `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> from numrnn.datasets import pixels
    >>> pixels(np.array([[[0, 51], [102, 255]]], dtype=np.uint8), dtype=np.float64)[:, 0, 0].tolist()
    [0.0, 0.2, 0.4, 1.0]
    """
    x = _scaled(images, mean, std, dtype)  # (B, C, H, W)
    batch_size, channels, height, width = x.shape
    # Images are stored plane by plane: the colours of one pixel lie H * W apart, so this must be a transpose.
    x = x.reshape(batch_size, channels, height * width).transpose(2, 0, 1)  # (H * W, B, C)
    if permutation is not None:
        x = x[_checked_permutation(permutation, height * width)]
    return np.ascontiguousarray(x)


def fixed_permutation(length: int, seed: int) -> np.ndarray:
    """Return the permutation of 0 .. length - 1 for a seed.

    Parameters
    ----------
    length : int
        >= 1; 784 for MNIST.
    seed : int
        >= 0.

    Returns
    -------
    numpy.ndarray
        (length,) int64.

    Raises
    ------
    TypeError
        If an argument is not an integer.
    ValueError
        If an argument is out of range.
    """
    generator = np.random.default_rng(check_integer("seed", seed, at_least=0))
    return generator.permutation(check_integer("length", length, at_least=1)).astype(np.int64)


def rows_with_noise(
    images: np.ndarray,
    noise: np.random.Generator | np.ndarray,
    *,
    length: int = 1000,
    mean: PerChannel = 0.0,
    std: PerChannel = 1.0,
    dtype: RealDType = np.float32,
) -> np.ndarray:
    """Show images row by row, then noise.

    Parameters
    ----------
    images : numpy.ndarray
        (B, H, W) or (B, C, H, W) uint8.
    noise : numpy.random.Generator or numpy.ndarray
        A generator draws separate N(0, 1) noise for each image ("independent"). An array (length - H, C * W) is used
        after every image ("fixed"; see `fixed_noise`).
    length : int
        Total steps, >= H.
    mean, std : float or sequence of float
        On the scale of v / 255; one number, or one for each channel; std > 0.
    dtype : numpy.float32 or numpy.float64
        Dtype of the result.

    Returns
    -------
    numpy.ndarray
        (length, B, C * W), C-contiguous: step t < H shows row t of all channels, channel by channel.

    Raises
    ------
    TypeError
        If images are not a uint8 array, noise is neither of the two, or another argument is of a wrong type.
    ValueError
        If a shape or a number is out of range, or the noise is not finite.
    """
    rows = _scaled(images, mean, std, dtype)  # (B, C, H, W)
    batch_size, channels, height, width = rows.shape
    input_size = channels * width
    length = check_integer("length", length, at_least=height)
    x = np.empty((length, batch_size, input_size), rows.dtype)
    x[:height] = rows.transpose(2, 0, 1, 3).reshape(height, batch_size, input_size)
    if isinstance(noise, np.random.Generator):
        noise.standard_normal(out=x[height:], dtype=x.dtype)
    elif isinstance(noise, np.ndarray):
        check_array("noise", noise, (length - height, input_size))
        check_finite("noise", noise)
        x[height:] = noise[:, None, :]
    else:
        raise TypeError(f"noise must be a numpy.random.Generator or a numpy.ndarray, got {type(noise).__name__}")
    return x


def fixed_noise(length: int, input_size: int, seed: int, *, dtype: RealDType = np.float32) -> np.ndarray:
    """Return the block of N(0, 1) noise for a seed.

    Parameters
    ----------
    length : int
        Steps of noise, >= 0; 968 for CIFAR-10 rows in 1,000 steps.
    input_size : int
        m, >= 1; 96 for CIFAR-10 rows.
    seed : int
        >= 0.
    dtype : numpy.float32 or numpy.float64
        Dtype of the result; the two draw different numbers.

    Returns
    -------
    numpy.ndarray
        (length, input_size).

    Raises
    ------
    TypeError
        If a number is not an integer, or the dtype is neither of the two.
    ValueError
        If a number is out of range.
    """
    shape = check_integer("length", length, at_least=0), check_integer("input_size", input_size, at_least=1)
    generator = np.random.default_rng(check_integer("seed", seed, at_least=0))
    return generator.standard_normal(shape, dtype=checked_dtype(dtype))


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, on the scale of v / 255.

    Parameters
    ----------
    images : numpy.ndarray
        (N, H, W) or (N, C, H, W) uint8: the training set, never the test set.

    Returns
    -------
    mean, std : tuple of float
        One number per channel, as for `pixels` and the encoders.

    Raises
    ------
    TypeError
        If images are not a uint8 array.
    ValueError
        If their shape is wrong, or a channel is constant.

    Notes
    -----
    Exact up to the last rounding: the moments are sums over a histogram of 256 integer counts.
    """
    values = np.arange(256) / 255
    planes = _with_channels(images).swapaxes(0, 1)  # (C, N, H, W)
    mean, std = [], []
    for channel, plane in enumerate(planes):
        # One image at a time: bincount converts its argument to int64, eight times the size of the whole set.
        counts = sum((np.bincount(image.ravel(), minlength=256) for image in plane), np.zeros(256, np.int64))
        weights = counts / plane.size
        mean.append(float(weights @ values))
        std.append(float(np.sqrt(weights @ (values - mean[-1]) ** 2)))
        if np.count_nonzero(weights) == 1:
            raise ValueError(
                f"images must vary in every channel, got the value {plane.flat[0]} everywhere in channel {channel}"
            )
    return tuple(mean), tuple(std)


def _scaled(images: np.ndarray, mean: PerChannel, std: PerChannel, dtype: RealDType) -> np.ndarray:
    """Return uint8 images as (v / 255 - mean) / std, (B, C, H, W)."""
    images = _with_channels(images)
    channels = images.shape[1]
    precision = checked_dtype(dtype)
    x: npt.NDArray[Any] = images.astype(precision, order="C")
    x /= 255
    x -= np.array(per_channel("mean", mean, channels), precision)[:, None, None]
    scale = np.array(per_channel("std", std, channels, above=0.0), precision)[:, None, None]
    largest = np.abs(x).max(axis=(0, 2, 3))
    if not (largest <= np.finfo(precision).max * np.minimum(scale[:, 0, 0], 1)).all():
        raise ValueError(
            f"std must be large enough that (v / 255 - mean) / std is finite in {precision}, got {shown(std)}"
        )
    x /= scale
    return x


def _with_channels(images: np.ndarray) -> np.ndarray:
    """Return uint8 images (B, H, W) or (B, C, H, W) as (B, C, H, W), after checking them."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"images must be a numpy.ndarray of dtype uint8, got {got}")
    if images.ndim not in (3, 4) or images.size == 0:
        raise ValueError(f"images must be (B, H, W) or (B, C, H, W) with all sizes >= 1, got {images.shape}")
    return images if images.ndim == 4 else images[:, None]


def per_channel(name: str, value: PerChannel, channels: int, *, above: float | None = None) -> list[float]:
    """Return one checked number per channel."""
    check_plain(name, value)
    several = isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)
    several = several and not isinstance(value, str | bytes)
    values: list[Any] = list(value) if several else [value] * channels  # type: ignore[arg-type]
    if len(values) != channels:
        raise ValueError(f"{name} must be one number, or {channels}, one for each channel, got {len(values)}")
    return [check_number(name, number, above=above) for number in values]


def checked_dtype(dtype: RealDType) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype; raises TypeError for any other."""
    for allowed in (np.float32, np.float64):
        if dtype is allowed or (isinstance(dtype, str | np.dtype) and dtype == allowed.__name__):
            return np.dtype(allowed)
    raise TypeError(f"dtype must be float32 or float64, got {shown(dtype)}")


def _checked_permutation(permutation: np.ndarray, length: int) -> np.ndarray:
    if not isinstance(permutation, np.ndarray) or not np.issubdtype(permutation.dtype, np.integer):
        got = f"dtype {permutation.dtype}" if isinstance(permutation, np.ndarray) else type(permutation).__name__
        raise TypeError(f"permutation must be a numpy.ndarray of integers, got {got}")
    if permutation.shape != (length,):
        raise ValueError(f"permutation must be ({length},), got {permutation.shape}")
    if not np.array_equal(np.sort(permutation), np.arange(length)):
        raise ValueError(f"permutation must hold each of 0 .. {length - 1} once, got {permutation}")
    return permutation
