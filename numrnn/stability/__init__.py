r"""Stability analysis of a cell: spectra, Jacobians through time, Lyapunov exponents, energy, and a report.

    numrnn stability CHECKPOINT

shows all that applies to a trained network on one page. Each module states what is guaranteed and what is not. One
limit applies to all: Propositions 1 and 2 of the paper are about a Jacobian at one fixed time, and are not theorems
about a Jacobian that changes with t. No stability is claimed for the gated cell.

spectra.py        A = W - W^T - gamma I: frequencies, norm, critical step size, amplification
euler.py          the ODE behind an Euler cell: rate and slopes
jacobians.py      Jacobian of a step and its eigenvalues along a trajectory
linearization.py  all steps of a trajectory as linear maps
endtoend.py       dh_T/dh_0, explicit, in logarithms
matrixfree.py     singular values and eigenvalues of dh_T/dh_0 without forming it
lyapunov.py       finite-time Lyapunov exponents
energies.py       energy, norms of gradients over time, saturation
lipschitz.py      the Lipschitz RNN: contraction of its ODE and of its step
report.py         the page
"""

from numrnn.stability.endtoend import ScaledMatrix, end_to_end_jacobian, log_singular_value_history
from numrnn.stability.energies import (
    Saturation,
    energy,
    energy_change_bounds,
    log_cosh,
    log_gradient_norms,
    saturation,
)
from numrnn.stability.euler import EulerForm
from numrnn.stability.jacobians import (
    flow_eigenvalues,
    share_outside_disc,
    slopes,
    step_eigenvalues,
    step_jacobians,
)
from numrnn.stability.linearization import Linearization, linearize
from numrnn.stability.lipschitz import contraction_rate, step_bound
from numrnn.stability.lyapunov import lyapunov_exponents
from numrnn.stability.matrixfree import jacobian_operator, log_eigenvalues, log_singular_values
from numrnn.stability.report import StabilityReport, stability_report
from numrnn.stability.spectra import (
    EulerStability,
    Spectrum,
    amplification_factors,
    critical_step_size,
    euler_stability,
    frequencies,
    required_diffusion,
    spectral_norm,
    spectrum,
)

__all__ = [
    "EulerForm",
    "EulerStability",
    "Linearization",
    "Saturation",
    "ScaledMatrix",
    "Spectrum",
    "StabilityReport",
    "amplification_factors",
    "contraction_rate",
    "critical_step_size",
    "end_to_end_jacobian",
    "energy",
    "energy_change_bounds",
    "euler_stability",
    "flow_eigenvalues",
    "frequencies",
    "jacobian_operator",
    "linearize",
    "log_cosh",
    "log_eigenvalues",
    "log_gradient_norms",
    "log_singular_value_history",
    "log_singular_values",
    "lyapunov_exponents",
    "required_diffusion",
    "saturation",
    "share_outside_disc",
    "slopes",
    "spectral_norm",
    "spectrum",
    "stability_report",
    "step_bound",
    "step_eigenvalues",
    "step_jacobians",
]
