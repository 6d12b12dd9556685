"""Batches made on the GPU from uint8 images stored there: by index, normalised, time first, in one launch.

The values are the same as those of the encoders on the host, (v / 255 - mean) / std, operation by operation. Only
independent noise differs: it is drawn on the device, from the same distribution. A call draws one 64-bit key from the
given generator, and every element of the batch computes its number from that key and its position, by Philox. So a
resumed run draws the same noise again, and nothing needs to be stored for it.

References
----------
G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", Annals of Mathematical Statistics 29,
1958.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numrnn.backend import Array, asarray, empty
from numrnn.kernels import PHILOX, Kernel
from numrnn.typing import RealDType

__all__ = ["Resident", "ResidentPixels", "ResidentRows"]

# One thread per element of x (T, B, m). `order` is the permutation; m is the number of channels.
PIXELS = Kernel(
    name="pixels",
    inputs="raw uint8 images, raw int64 rows, raw int64 order, raw T mean, raw T std, int64 B, int64 m, int64 size",
    outputs="T x",
    operation="""
        const long long c = i % m, b = i / m % B, t = i / (m * B);
        const T v = images[(rows[b] * m + c) * size + order[t]];
        x = (v / T(255) - mean[c]) / std[c];
    """,
)

# The first H steps of both show rows of the image: step t row t of all channels, m = C W.
_ROWS = """
        const long long f = i % m, b = i / m % B, t = i / (m * B);
        if (t < H) {
            const long long c = f / W, column = f % W;
            const T v = images[((rows[b] * (m / W) + c) * H + t) * W + column];
            x = (v / T(255) - mean[c]) / std[c];
        } else {
            NOISE
        }
    """
_ROWS_INPUTS = "raw uint8 images, raw int64 rows, raw T mean, raw T std, int64 B, int64 m, int64 H, int64 W"

FIXED_NOISE = Kernel(
    name="rows_and_fixed_noise",
    inputs=f"{_ROWS_INPUTS}, raw T noise",
    outputs="T x",
    operation=_ROWS.replace("NOISE", "x = noise[(t - H) * m + f];"),
)

_NORMAL = """unsigned u, v;
            numrnn_philox(i, key, &u, &v);
            const T radius = sqrt(T(-2) * log((T(u) + T(0.5)) * T(2.3283064365386963e-10)));
            x = radius * cos(T(6.283185307179586) * (T(v) * T(2.3283064365386963e-10)));"""

INDEPENDENT_NOISE = Kernel(
    name="rows_and_independent_noise",
    inputs=f"{_ROWS_INPUTS}, uint64 key",
    outputs="T x",
    operation=_ROWS.replace("NOISE", _NORMAL),
    preamble=PHILOX,
)


class Resident(ABC):
    """Images on the device with the work of an encoder; a call makes the batch of some rows.

    Parameters
    ----------
    images : numpy.ndarray
        (N, ...) uint8, of the encoder's shape; copied to the device once.
    like : array
        A CuPy array on the device to use.
    mean, std : sequence of float
        One per channel.
    dtype : dtype
        Dtype of x.
    shape : tuple of int
        (T, m).
    """

    def __init__(
        self,
        images: np.ndarray,
        like: Array,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: RealDType,
        shape: tuple[int, int],
    ) -> None:
        self._like, self._dtype, self._shape = like, np.dtype(dtype), shape
        self._images = asarray(np.ascontiguousarray(images), like=like)
        self._mean, self._std = self._constants(mean), self._constants(std)

    @abstractmethod
    def __call__(self, rows: Array, rng: np.random.Generator) -> Array:
        """Return x (T, B, m) for the images of numbers `rows`, (B,) int64 on the device."""

    def _constants(self, values: npt.ArrayLike) -> Array:
        return asarray(np.ascontiguousarray(values, self._dtype), like=self._like)

    def _batch(self, n_rows: int) -> Array:
        return empty((self._shape[0], n_rows, self._shape[1]), like=self._like, dtype=self._dtype)


class ResidentPixels(Resident):
    """Pixel by pixel, as `PixelEncoder`.

    Parameters
    ----------
    images, like, **common
        As for `Resident`.
    permutation : numpy.ndarray or None
        As for `pixels`.
    """

    def __init__(self, images: np.ndarray, like: Array, *, permutation: np.ndarray | None, **common: Any) -> None:
        super().__init__(images, like, **common)
        order = np.arange(self._shape[0], dtype=np.int64) if permutation is None else permutation
        self._order = asarray(np.ascontiguousarray(order, np.int64), like=like)

    def __call__(self, rows: Array, rng: np.random.Generator) -> Array:
        """Return x (T, B, m) for the images of numbers `rows`, (B,) int64 on the device; `rng` is not used."""
        n_steps, n_channels = self._shape
        x = self._batch(rows.shape[0])
        sizes = rows.shape[0], n_channels, n_steps
        PIXELS(self._images, rows, self._order, self._mean, self._std, *sizes, x, like=x)
        return x


class ResidentRows(Resident):
    """Row by row, then noise, as `RowNoiseEncoder`.

    Parameters
    ----------
    images, like, **common
        As for `Resident`.
    noise : numpy.ndarray or None
        The block for all images, or None for new noise.
    """

    def __init__(self, images: np.ndarray, like: Array, *, noise: np.ndarray | None, **common: Any) -> None:
        super().__init__(images, like, **common)
        self._height, self._width = images.shape[-2:]
        self._noise = None if noise is None else self._constants(noise)

    def __call__(self, rows: Array, rng: np.random.Generator) -> Array:
        """Return x (T, B, m) for the images of numbers `rows`, (B,) int64 on the device.

        New noise takes one integer from `rng`.
        """
        x = self._batch(rows.shape[0])
        sizes = rows.shape[0], self._shape[1], self._height, self._width
        common = self._images, rows, self._mean, self._std, *sizes
        if self._noise is not None:
            FIXED_NOISE(*common, self._noise, x, like=x)
        else:
            key = int(rng.integers(2**64, dtype=np.uint64))
            INDEPENDENT_NOISE(*common, np.uint64(key), x, like=x)
        return x
