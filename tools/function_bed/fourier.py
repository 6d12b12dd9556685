"""Fourier transforms. Complex results are stacked as real and imaginary parts.

The adjoint of the FFT of n numbers is n times the inverse FFT; for a real input only the real part remains.
"""

import numpy as np
from scipy import fft

from tools.function_bed.base import ALL, Function, family, normal, positive


def parts(z):
    """Return real and imaginary part, stacked."""
    return np.stack([z.real, z.imag])


def joined(x):
    """Undo `parts`."""
    return x[0] + 1j * x[1]


def _fft(c, x, mistake=""):
    g = fft.ifft(joined(c)) * (1 if mistake == "factor n forgotten" else len(x))
    return (
        g.imag if mistake == "imaginary part" else fft.fft(joined(c)).real if mistake == "not conjugated" else g.real
    ).copy()


def _fft_complex(c, x, mistake=""):
    if mistake == "not conjugated":
        return parts(fft.fft(joined(c)))
    g = parts(fft.ifft(joined(c)) * (1 if mistake == "factor n forgotten" else x.shape[1]))
    return g[::-1].copy() if mistake == "parts swapped" else g


def _ifft(c, x, mistake=""):
    g = parts(fft.fft(joined(c)) / (1 if mistake == "1/n forgotten" else x.shape[1]))
    return -g if mistake == "wrong sign" else g * np.array([[1], [-1]], x.dtype) if mistake == "conjugated" else g


def _rfft(c, x, mistake=""):
    """Each coefficient occurs once in the half spectrum, so only the full FFT's zero padding is needed."""
    n = len(x)
    z = joined(c)
    if mistake == "irfft, doubled inside":
        return n * fft.irfft(z, n)
    full = np.zeros(n, z.dtype)
    full[: len(z)] = z
    g = fft.ifft(full).real * (1 if mistake == "factor n forgotten" else n)
    return g[::-1].copy() if mistake == "time turned round" else g


def _irfft_value(x):
    return fft.irfft(joined(x), 6)


def _irfft(c, x, mistake=""):
    """Inner coefficients occur twice in the full spectrum; the imaginary parts of the first and last do not occur."""
    z = fft.rfft(c) / (1 if mistake == "1/n forgotten" else 6)
    if mistake == "doubling forgotten":
        return parts(z)
    double = np.array([2, 2, 2, 2] if mistake == "ends doubled too" else [1, 2, 2, 1], x.dtype)
    return parts(z * double)


def _fft2(c, x, mistake=""):
    n = x.shape[0] if mistake == "rows only counted" else 1 if mistake == "factor n forgotten" else x.size
    g = fft.ifft2(joined(c)).real * n
    return g.T.copy() if mistake == "transposed" else g


def _dct(c, x, mistake=""):
    """The orthonormal DCT is orthogonal: its adjoint is its inverse."""
    if mistake == "not inverted":
        return fft.dct(c, norm="ortho")
    g = fft.idct(c, norm="ortho")
    return g * 2 if mistake == "factor 2" else g[::-1].copy() if mistake == "time turned round" else g


def _power_value(x):
    z = fft.fft(x)
    return z.real**2 + z.imag**2


def _power(c, x, mistake=""):
    z = fft.fft(x)
    g = len(x) * fft.ifft(c * (z.conj() if mistake == "conjugated" else z)).real
    return g if mistake == "factor 2 forgotten" else 2 * g / (len(x) if mistake == "factor n forgotten" else 1)


def _convolve_value(x, y):
    return fft.irfft(fft.rfft(x) * fft.rfft(y), len(x))


def _convolve(c, x, y, mistake=""):
    """Circular convolution forward, circular correlation backward."""
    z, n = fft.rfft(c), len(x)
    dx = fft.irfft(z * (fft.rfft(y) if mistake == "convolution for correlation" else fft.rfft(y).conj()), n)
    dy = fft.irfft(z * fft.rfft(x).conj(), n)
    return dx, dx if mistake == "dx twice" else np.roll(dy, 1) if mistake == "off by one" else dy


def _shift(c, x, mistake=""):
    if mistake == "shifted the same way":
        return fft.fftshift(c)
    if mistake == "not shifted":
        return c.copy()
    g = fft.ifftshift(c)
    return g[::-1].copy() if mistake == "turned round" else g


def _filter_value(x, h):
    """Multiply the half spectrum by real gains."""
    return fft.irfft(fft.rfft(x) * h, 6)


def _filter(c, x, h, mistake=""):
    z = fft.rfft(c)
    double = np.array([1, 1, 1, 1] if mistake == "doubling forgotten" else [1, 2, 2, 1], x.dtype)
    dh = double * (z.conj() * fft.rfft(x)).real / (1 if mistake == "1/n forgotten" else 6)
    return (c.copy() if mistake == "gains forgotten in dx" else fft.irfft(z * h, 6)), dh


FUNCTIONS = family(
    "Fourier transforms",
    Function(
        "FFT of real numbers",
        lambda x: parts(fft.fft(x)),
        _fft,
        {"x": normal(6)},
        ("factor n forgotten", "imaginary part", "not conjugated"),
        ALL,
    ),
    Function(
        "FFT of complex numbers",
        lambda x: parts(fft.fft(joined(x))),
        _fft_complex,
        {"x": normal(2, 5)},
        ("factor n forgotten", "not conjugated", "parts swapped"),
        ALL,
    ),
    Function(
        "inverse FFT",
        lambda x: parts(fft.ifft(joined(x))),
        _ifft,
        {"x": normal(2, 5)},
        ("1/n forgotten", "wrong sign", "conjugated"),
        ALL,
    ),
    Function(
        "real FFT",
        lambda x: parts(fft.rfft(x)),
        _rfft,
        {"x": normal(6)},
        ("irfft, doubled inside", "factor n forgotten", "time turned round"),
        ALL,
    ),
    Function(
        "inverse real FFT",
        _irfft_value,
        _irfft,
        {"x": normal(2, 4)},
        ("doubling forgotten", "ends doubled too", "1/n forgotten"),
        ALL,
    ),
    Function(
        "FFT 2-D",
        lambda x: parts(fft.fft2(x)),
        _fft2,
        {"x": normal(3, 3)},
        ("rows only counted", "factor n forgotten", "transposed"),
        ALL,
    ),
    Function(
        "DCT",
        lambda x: fft.dct(x, norm="ortho"),
        _dct,
        {"x": normal(6)},
        ("not inverted", "factor 2", "time turned round"),
        ALL,
    ),
    Function(
        "power spectrum",
        _power_value,
        _power,
        {"x": normal(6)},
        ("conjugated", "factor 2 forgotten", "factor n forgotten"),
        ALL,
    ),
    Function(
        "circular convolution",
        _convolve_value,
        _convolve,
        {"x": normal(6), "y": normal(6)},
        ("convolution for correlation", "dx twice", "off by one"),
        ALL,
    ),
    Function(
        "fftshift of an odd number",
        fft.fftshift,
        _shift,
        {"x": normal(5)},
        ("shifted the same way", "not shifted", "turned round"),
        ALL,
    ),
    Function(
        "filter with real gains",
        _filter_value,
        _filter,
        {"x": normal(6), "h": positive(4)},
        ("doubling forgotten", "1/n forgotten", "gains forgotten in dx"),
        ALL,
        scaled=("x",),
    ),
)
