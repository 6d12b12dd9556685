"""Antisymmetric matrices with known frequencies, and cells that are linear with them."""

import numpy as np

import numrnn


def planar(*omegas):
    """Return an antisymmetric matrix with the frequencies +- omegas, in a random basis."""
    n = 2 * len(omegas)
    M = np.zeros((n, n))
    for i, omega in enumerate(omegas):
        M[2 * i, 2 * i + 1], M[2 * i + 1, 2 * i] = omega, -omega
    Q = np.linalg.qr(np.random.default_rng(7).standard_normal((n, n)))[0]
    M = Q @ M @ Q.T
    return (M - M.T) / 2


def cell_with(M, **euler):
    """Return a cell without input whose matrix is M - gamma I, and its parameters."""
    cell = numrnn.AntisymmetricCell(1, len(M), **euler)
    return cell, {"W": np.triu(M, 1), "V": np.zeros((len(M), 1)), "b": np.zeros(len(M))}
