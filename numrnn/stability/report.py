r"""A one-page stability report on a trained network, in the terminal and as a picture.

    numrnn stability runs/mnist/checkpoint_00002345.npz

The network reads images of the embedded part of MNIST through the checkpoint's own encoder. If that does not fit,
because the encoder takes other images or is a function that the checkpoint only names, it reads random images or random
numbers, and the report says so. Everything is computed in float64, whatever the dtype of the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.cells import AntisymmetricCell, LipschitzCell, cell_from_config
from numrnn.cells.base import Cell
from numrnn.checks import check_integer
from numrnn.stability.endtoend import log_singular_value_history
from numrnn.stability.energies import Saturation, has_known_gates, saturation
from numrnn.stability.euler import has_antisymmetric_matrix, has_euler_step, steps_like
from numrnn.stability.jacobians import flow_eigenvalues, share_outside_disc
from numrnn.stability.linearization import linearize
from numrnn.stability.lipschitz import contraction_rate, step_bound
from numrnn.stability.lyapunov import lyapunov_exponents
from numrnn.stability.spectra import EulerStability, Spectrum, euler_stability, spectral_norm, spectrum

__all__ = ["StabilityReport", "stability_report"]

SAMPLED_STEPS = 24  # steps of the trajectory at which the Jacobian's eigenvalues are computed
SAMPLED_TIMES = 24  # times at which the singular values of dh_t/dh_0 are computed
DEFAULT_STEPS = 200  # steps of random input if the checkpoint does not give a sequence length


@dataclass(frozen=True, eq=False)
class StabilityReport:
    """Contents of the page; a field that does not apply to the cell is None.

    Attributes
    ----------
    path : Path
        Path of the checkpoint.
    step : int
        Number of updates.
    cell : Cell
    input : str
        Description of the input.
    n_steps, batch : int
        T and B of the input.
    norm : float or None
        Spectral norm of A, for the Euler cells.
    spectrum : Spectrum or None
        Spectrum of A, for the antisymmetric cells.
    stability : EulerStability or None
        Proposition 2 at the origin, for the ungated antisymmetric cell.
    contraction_rate, step_bound : float or None
        For the Lipschitz cell: of its ODE, and of its step.
    flow_eigenvalues : numpy.ndarray, shape (K, B, n), or None
        lambda(J_t) at K steps, for the Euler cells.
    outside : float or None
        Fraction of these Jacobians with an eigenvalue outside Euler's disc.
    times : numpy.ndarray, shape (L,)
        Steps of the next field.
    log_singular_values : numpy.ndarray, shape (L, B, state_size)
        Natural logarithms, for dh_t/dh_0.
    exponents : numpy.ndarray, shape (B, state_size)
        Finite-time Lyapunov exponents, per step.
    saturation : Saturation or None
        None for a cell of your own: its tanh and gates are not known.
    """

    path: Path
    step: int
    cell: Cell
    input: str
    n_steps: int
    batch: int
    norm: float | None
    spectrum: Spectrum | None
    stability: EulerStability | None
    contraction_rate: float | None
    step_bound: float | None
    flow_eigenvalues: np.ndarray | None
    outside: float | None
    times: np.ndarray
    log_singular_values: np.ndarray
    exponents: np.ndarray
    saturation: Saturation | None

    def __str__(self) -> str:
        return "\n".join([*self._head(), *self._matrix(), *self._trajectory()])

    def _head(self) -> list[str]:
        return [
            f"Stability of {self.path}, after {self.step:,} updates",
            f"  cell                    {self.cell!r}",
            f"  input                   {self.input}: T = {self.n_steps}, B = {self.batch}",
        ]

    def _matrix(self) -> list[str]:
        """Return the lines about A."""
        if self.contraction_rate is not None:
            rate, bound = self.contraction_rate, self.step_bound
            forgets = "forgets" if rate < 0 else "need not forget"
            return [
                "",
                "Matrices A and W, which do not depend on input",
                f"  contraction rate        {rate:+.4g}: the ODE {forgets} its first state",
                f"  bound of a step         {bound:.6f} times the distance of two states",
            ]
        if self.norm is None or not has_euler_step(self.cell):
            return [
                "",
                f"Matrix: {type(self.cell).__name__} is not an Euler step: no A, no critical step size",
            ]
        lines = ["", "Matrix A, which does not depend on input"]
        if self.spectrum is not None:
            lines.append(f"  omega                   {self.spectrum.omega:.4g}")
        lines.append(f"  norm(A)                 {self.norm:.4g}")
        lines.append(f"  eps norm(A)             {self._reversible(self.cell.step_size * self.norm)}")
        if self.stability is None:
            why = "the gate lets slopes be negative" if "V_z" in self.cell.parameter_shapes else "A is unstructured"
            return [*lines, f"  critical step size      none is known: {why}"]
        found = self.stability
        verdict = "stable" if found.stable else "not stable"
        smallest = found.required_diffusion
        needed = "a smaller step: no diffusion makes this one stable"
        if smallest is not None:  # the two roots of (11) add up to 2 / eps
            needed = f"diffusion from {smallest:.4g} to {2 / found.step_size - smallest:.4g}"
        return [
            *lines,
            f"  step size eps           {found.step_size:.4g}, {verdict} at the origin",
            f"  critical step size      {found.critical_step_size:.4g} with diffusion {self.cell.diffusion:.4g}",
            f"  it is stable with       {needed}",
            f"  largest amplification   {found.amplification.max():.6f} per step, {self._over_time()} in T steps",
        ]

    @staticmethod
    def _reversible(q: float) -> str:
        return f"{q:.4g}: steps can{'' if q < 1 else 'not'} be inverted by fixed-point iteration"

    def _over_time(self) -> str:
        assert self.stability is not None
        largest = self.stability.amplification.max()  # 0 where eps gamma = 1 and A is diagonal
        return _power(self.n_steps * math.log(largest) if largest > 0 else -math.inf)

    def _trajectory(self) -> list[str]:
        """Return the lines about the trajectory."""
        rate, logs = self.exponents, self.log_singular_values[-1]
        lines = ["", "Along the trajectory (saturation of tanh damps the effect of the matrix)"]
        if self.flow_eigenvalues is not None and self.outside is not None:
            real = self.flow_eigenvalues.real
            steps, rows = self.flow_eigenvalues.shape[:2]
            lines += [
                f"  outside Euler's disc    {self.outside:.1%} of {steps} steps x {rows} rows",
                f"  Re lambda(J_t)          {real.min():.4g} to {real.max():.4g}",
            ]
        lines += [
            f"  singular values         {_power(logs.max())} to {_smallest(logs)} of dh_T/dh_0",
            f"  Lyapunov exponents      {rate.max():+.3g} to {rate.min():+.3g} per step",
        ]
        known = self.saturation
        if known is not None:
            lines.append(f"  saturated tanh          {known.candidate:.1%}")
        if known is not None and known.closed is not None and known.open is not None:
            lines.append(f"  gates                   {known.closed:.1%} closed, {known.open:.1%} open")
        return [*lines, "Eigenvalues of single steps are a guide, not a theorem, for a Jacobian that changes with t."]


def _power(log: float) -> str:
    """Return exp(log) as text, also if it is out of the range of floating point."""
    return "0" if log == -math.inf else f"10^{log / math.log(10):+.1f}"


def _smallest(logs: np.ndarray) -> str:
    """Return the smallest singular value as text, or an upper bound if rounding of the largest hides it."""
    floor = logs.max() + math.log(logs.shape[-1] * np.finfo(logs.dtype).eps)
    return _power(logs.min()) if logs.min() > floor or logs.max() == -math.inf else f"less than {_power(floor)}"


def stability_report(path: str | Path, *, images: int = 2, steps: int | None = None, seed: int = 0) -> StabilityReport:
    """Return the report on a checkpoint.

    Parameters
    ----------
    path : path
        A checkpoint written by numrnn.training. If it holds an average of the weights, the report is about that.
    images : int
        Rows of input, >= 1.
    steps : int or None
        Number of steps of each sequence to read, from its start, >= 1; None reads all.
    seed : int
        Seed of random input, >= 0.

    Returns
    -------
    StabilityReport

    Raises
    ------
    numrnn.training.CheckpointError
        If the file is missing, damaged or not a checkpoint, or does not describe its model.
    TypeError, ValueError
        If another argument is of a wrong type or out of range.

    Notes
    -----
    Costs T steps of n tangents per image, and QR decompositions of n^3: some seconds for 128 units and 784 steps.
    """
    # Imported here: numrnn.training is a layer above this one, and only the report needs it.
    from numrnn.training.checkpoint import CheckpointError, load_checkpoint

    images = check_integer("images", images, at_least=1)
    steps = None if steps is None else check_integer("steps", steps, at_least=1)
    seed = check_integer("seed", seed, at_least=0)
    checkpoint = load_checkpoint(path, backend="numpy")
    cell = _cell(Path(path), checkpoint.config)
    found = checkpoint.evaluated
    missing = [name for name in cell.parameter_shapes if name not in found]
    if missing:
        raise CheckpointError(f"{path}: lacks the parameters {', '.join(missing)} of its {type(cell).__name__}")
    params = {name: found[name].astype(np.float64) for name in cell.parameter_shapes}
    x, text = _input(checkpoint.config.get("encoder"), cell, images, steps, np.random.default_rng(seed))
    return _analyse(Path(path), checkpoint.step, cell, params, x[:steps], text)


def _cell(path: Path, config: Mapping[str, Any]) -> Cell:
    """Return the cell that a checkpoint's configuration describes."""
    from numrnn.training.checkpoint import CheckpointError

    model = config.get("model")
    described = model.get("cell") if isinstance(model, Mapping) else None
    if not isinstance(described, Mapping) or "cell" not in described:
        raise CheckpointError(f"{path}: its configuration must name a cell of numrnn, got model {model!r}")
    try:
        return cell_from_config(described)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its cell cannot be made: {error}") from error


def _input(config: Any, cell: Cell, images: int, steps: int | None, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return x (T, B, m), float64, and its description."""
    from numrnn.datasets import PixelEncoder, RowNoiseEncoder, load_embedded_mnist

    kinds: dict[str, Any] = {"PixelEncoder": PixelEncoder, "RowNoiseEncoder": RowNoiseEncoder}
    kind = kinds.get(config.get("encoder", "")) if isinstance(config, Mapping) else None
    if kind is not None:
        encoder = kind(**{key: value for key, value in config.items() if key != "encoder"})
        if encoder.input_size == cell.input_size:
            data, text = rng.integers(0, 256, (images, *encoder.image_shape), np.uint8), "random images"
            if encoder.image_shape == (28, 28):
                data, text = load_embedded_mnist().test_images[:images], "test images of the embedded MNIST"
            return encoder(data, rng).astype(np.float64), text
    length = DEFAULT_STEPS if steps is None else steps
    return rng.standard_normal((length, images, cell.input_size)), "random N(0, 1) numbers"


def _analyse(
    path: Path, step: int, cell: Cell, params: Mapping[str, np.ndarray], x: np.ndarray, text: str
) -> StabilityReport:
    try:
        lin = linearize(cell, params, x)
    except (TypeError, NotImplementedError) as error:  # a cell of the user's own, without a Jacobian
        raise ValueError(f"{path}: {error}") from error
    lipschitz = cell if isinstance(cell, LipschitzCell) and steps_like(cell, LipschitzCell) else None
    n_steps = x.shape[0]
    eigenvalues = outside = norm = None
    if has_euler_step(cell):
        norm = spectral_norm(cell, params)
        sampled = np.unique(np.linspace(1, n_steps, SAMPLED_STEPS).round().astype(int))
        eigenvalues = flow_eigenvalues(cell, params, x, lin.states, times=sampled.tolist())
        outside = share_outside_disc(eigenvalues, cell.step_size)
    times = np.unique(np.geomspace(1, n_steps, SAMPLED_TIMES).round().astype(int))
    return StabilityReport(
        path=path,
        step=step,
        cell=cell,
        input=text,
        n_steps=n_steps,
        batch=x.shape[1],
        norm=norm,
        spectrum=spectrum(cell, params) if has_antisymmetric_matrix(cell) else None,
        stability=euler_stability(cell, params) if steps_like(cell, AntisymmetricCell) else None,
        contraction_rate=contraction_rate(lipschitz, params) if lipschitz else None,
        step_bound=step_bound(lipschitz, params) if lipschitz else None,
        flow_eigenvalues=eigenvalues,
        outside=outside,
        times=times,
        log_singular_values=log_singular_value_history(lin, times.tolist()),
        exponents=lyapunov_exponents(lin),
        saturation=saturation(cell, params, x, lin.states) if has_known_gates(cell) else None,
    )
