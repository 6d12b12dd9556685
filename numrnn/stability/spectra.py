r"""Spectra of the antisymmetric matrix, and the step size that Proposition 2 of the paper allows.

    M = W - W^T has the eigenvalues +- i omega_j,   A = M - gamma I has  -gamma +- i omega_j
    norm_2(A)^2 = gamma^2 + omega^2,   omega = max omega_j                                   (A is normal)
    |1 + eps lambda_j|^2 = (1 - eps gamma)^2 + eps^2 omega_j^2 <= 1 for all j
        if and only if   eps <= eps* = 2 gamma / (gamma^2 + omega^2)                          (11)

Guaranteed: (11) decides the stability of the linear step, and so that of the origin without input; eps <= eps* also
keeps one step of (12) from expanding, at any state, in a norm that depends on that state. Not guaranteed: anything over
many steps from the eigenvalues alone. Propositions 1 and 2 are about a Jacobian at one fixed time. Nothing here holds
for the gated cell, whose Jacobian is diag(d) A where d may be negative: `euler_stability` rejects it.

References
----------
B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks",
ICLR 2019, arXiv:1902.09689, sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numrnn.backend import Array, Params, array_namespace, astype, eye, is_array, to_numpy
from numrnn.cells.antisymmetric import AntisymmetricCell
from numrnn.cells.base import Cell
from numrnn.cells.euler import as_euler
from numrnn.checks import check_finite, check_number, check_numeric, dtype_name
from numrnn.stability.euler import check_any_cell, check_cell, check_euler, has_antisymmetric_matrix, transposed

__all__ = [
    "EulerStability",
    "Spectrum",
    "amplification_factors",
    "critical_step_size",
    "euler_stability",
    "frequencies",
    "required_diffusion",
    "spectral_norm",
    "spectrum",
]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The spectrum of A = M - gamma I with M antisymmetric.

    Attributes
    ----------
    frequencies : array, shape (n,)
        omega_j, ascending: the eigenvalues of M are i omega_j. They come in pairs +- omega_j; for odd n one is 0.
    diffusion : float
        gamma.
    """

    frequencies: Array
    diffusion: float

    @property
    def omega(self) -> float:
        """The largest eigenvalue modulus of M, which is its spectral norm."""
        return float(abs(self.frequencies[-1]))

    @property
    def norm(self) -> float:
        """The spectral norm of A, sqrt(gamma^2 + omega^2)."""
        return math.hypot(self.diffusion, self.omega)

    @property
    def eigenvalues(self) -> Array:
        """The eigenvalues of A, -gamma + i omega_j, (n,) complex."""
        return 1j * _complex(self.frequencies) - self.diffusion


@dataclass(frozen=True, eq=False)
class EulerStability:
    """Whether the Euler step of an antisymmetric cell is stable at the origin: Proposition 2, equation (11).

    Attributes
    ----------
    spectrum : Spectrum
        Spectrum of A.
    step_size : float
        eps of the cell.
    critical_step_size : float
        eps* = 2 gamma / (gamma^2 + omega^2), the largest stable step; 0 at gamma = 0, unless omega is 0 too.
    required_diffusion : float or None
        The smallest gamma with which `step_size` is stable; None if there is none, which means eps omega > 1.
    amplification : array, shape (n,)
        |1 + eps lambda_j|, in the order of `spectrum.frequencies`.
    """

    spectrum: Spectrum
    step_size: float
    critical_step_size: float
    required_diffusion: float | None
    amplification: Array

    @property
    def stable(self) -> bool:
        """Whether eps <= eps*."""
        return self.step_size <= self.critical_step_size


def frequencies(M: Array) -> Array:
    """Return omega_j of antisymmetric matrices, whose eigenvalues are i omega_j.

    Parameters
    ----------
    M : array, shape (..., n, n)
        float32 or float64, with M^T = -M exactly; one triangle is read.

    Returns
    -------
    array, shape (..., n)
        Real, ascending, of M's precision.

    Raises
    ------
    TypeError
        If M is not an array of float32 or float64.
    ValueError
        If M is not square, not antisymmetric or not finite.

    Notes
    -----
    -i M is Hermitian, so its computed eigenvalues are real, with errors of a few units of rounding of norm(M), even if
    pairs coincide. Costs about 4/3 n^3 complex multiplications per matrix, and one complex copy of M.

    Examples
    --------
    >>> import numpy as np
    >>> frequencies(np.array([[0.0, 3.0], [-3.0, 0.0]]))
    array([-3.,  3.])
    """
    if not is_array(M) or dtype_name(M) not in ("float32", "float64"):
        raise TypeError(f"M must be an array of float32 or float64, got {_kind(M)}")
    if M.ndim < 2 or M.shape[-1] != M.shape[-2] or M.shape[-1] < 1:
        raise ValueError(f"M must be (..., n, n) with n >= 1, got {tuple(M.shape)}")
    check_finite("M", M)
    xp = array_namespace(M)
    asymmetry = float(xp.max(xp.abs(M + transposed(M))))
    if asymmetry > 0:
        raise ValueError(f"M must be antisymmetric, got a largest entry of M + M^T of {asymmetry:.3g}")
    return xp.linalg.eigvalsh(-1j * _complex(M))


def _kind(value: object) -> str:
    return dtype_name(value) if is_array(value) else type(value).__name__


def _complex(array: Array) -> Array:
    """Return a real array as a complex one of its precision."""
    xp = array_namespace(array)
    return astype(array, xp.complex64 if dtype_name(array) == "float32" else xp.complex128)


def spectrum(cell: Cell, params: Params) -> Spectrum:
    """Return the spectrum of the matrix A of an antisymmetric cell, gated or not.

    Parameters
    ----------
    cell : AntisymmetricCell or GatedAntisymmetricCell
        For the gated cell this is the spectrum of A, and says nothing about the cell's stability.
    params : mapping of str to array
        Its parameters, float32 or float64.

    Returns
    -------
    Spectrum

    Raises
    ------
    TypeError, ValueError
        If the cell has no antisymmetric matrix, or as for `Cell.check_params`.

    Notes
    -----
    A is formed once, and M is A with its diagonal set to 0. Cost as for `frequencies`.
    """
    if not has_antisymmetric_matrix(check_any_cell(cell)):
        raise TypeError(f"cell must be one with the matrix W - W^T - gamma I, got {type(cell).__name__}")
    euler = as_euler(cell)
    euler.check_params(params)
    A = euler.matrix.value(params["W"])
    return Spectrum(frequencies(A * (1 - eye(euler.hidden_size, like=A))), euler.diffusion)


def spectral_norm(cell: Cell, params: Params) -> float:
    """Return norm_2(A) of an Euler cell: sqrt(gamma^2 + omega^2) of an antisymmetric A, a singular value otherwise.

    Parameters and errors as for `spectrum`, but for any Euler cell. The singular value is computed on the host.
    """
    euler = check_euler(cell)
    if has_antisymmetric_matrix(euler):
        return spectrum(euler, params).norm
    euler.check_params(params)
    return float(np.linalg.norm(to_numpy(euler.matrix.value(params["W"])), 2))


def critical_step_size(diffusion: float, omega: float) -> float:
    """Return eps* = 2 gamma / (gamma^2 + omega^2), the largest stable step of the linear recursion (11).

    Parameters
    ----------
    diffusion : float
        gamma >= 0.
    omega : float
        Spectral norm of M, >= 0.

    Returns
    -------
    float
        0 if gamma = 0 < omega: then no step is stable. Infinite if both are 0: then every step is.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a finite number in range.

    Examples
    --------
    >>> critical_step_size(1.0, 3.0)
    0.2
    """
    gamma = check_number("diffusion", diffusion, at_least=0)
    omega = check_number("omega", omega, at_least=0)
    if gamma == 0:
        return 0.0 if omega > 0 else math.inf
    return 2 / (gamma + omega * (omega / gamma))  # no square, which could leave the range


def required_diffusion(step_size: float, omega: float) -> float | None:
    """Return the smallest gamma with step_size <= eps*, or None if there is none.

    Parameters
    ----------
    step_size : float
        eps > 0.
    omega : float
        Spectral norm of M, >= 0.

    Returns
    -------
    float or None
        The smaller root of eps gamma^2 - 2 gamma + eps omega^2 = 0, which is
        eps omega^2 / (1 + sqrt(1 - eps^2 omega^2)); None if eps omega > 1. Every gamma between the two roots works;
        above 1 / eps it overshoots.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a finite number in range.

    Examples
    --------
    >>> round(required_diffusion(0.2, 3.0), 12)
    1.0
    >>> required_diffusion(0.5, 3.0) is None
    True
    """
    eps = check_number("step_size", step_size, above=0)
    omega = check_number("omega", omega, at_least=0)
    if eps * omega > 1:
        return None
    # Written without 1 - sqrt(...), which would cancel for small steps.
    return eps * omega * omega / (1 + math.sqrt((1 - eps * omega) * (1 + eps * omega)))


def amplification_factors(eigenvalues: Array, step_size: float) -> Array:
    """Return |1 + eps lambda|, the factor of one Euler step of h' = lambda h; same shape as `eigenvalues`.

    Parameters
    ----------
    eigenvalues : array
        Complex or real, of any shape.
    step_size : float
        eps > 0.

    Returns
    -------
    array
        Real, >= 0.

    Raises
    ------
    TypeError, ValueError
        If `step_size` is not a finite number > 0, or `eigenvalues` is not an array.
    """
    eps = check_number("step_size", step_size, above=0)
    check_numeric("eigenvalues", eigenvalues)
    return array_namespace(eigenvalues).abs(1 + eps * eigenvalues)


def euler_stability(cell: Cell, params: Params) -> EulerStability:
    """Return whether an AntisymmetricCell's step is stable at the origin, and the limits of stability.

    Parameters
    ----------
    cell : AntisymmetricCell
        Only this class: the criterion does not hold for the gated cell and the ablation, and the baselines are not
        Euler steps.
    params : mapping of str to array
        Its parameters, float32 or float64.

    Returns
    -------
    EulerStability

    Raises
    ------
    TypeError, ValueError
        If the cell is of another class, or as for `Cell.check_params`.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> cell = numrnn.AntisymmetricCell(1, 2, step_size=0.1, diffusion=0.15)
    >>> params = {"W": np.array([[0.0, -2.0], [0.0, 0.0]]), "V": np.zeros((2, 1)), "b": np.zeros(2)}
    >>> stability = euler_stability(cell, params)  # Wdiff of the paper's Figure 1
    >>> stability.stable, round(float(stability.amplification.max()), 4), round(stability.required_diffusion, 3)
    (False, 1.0051, 0.202)
    """
    reason = "an AntisymmetricCell, because the criterion needs a Jacobian diag(d) (M - gamma I) with d >= 0"
    own, found = check_cell(cell, AntisymmetricCell, reason), spectrum(cell, params)
    return EulerStability(
        spectrum=found,
        step_size=own.step_size,
        critical_step_size=critical_step_size(own.diffusion, found.omega),
        required_diffusion=required_diffusion(own.step_size, found.omega),
        amplification=amplification_factors(found.eigenvalues, own.step_size),
    )
