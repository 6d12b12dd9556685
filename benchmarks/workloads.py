"""What is timed: one forward pass and one full backward pass of a cell, over sequences of a given size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import numrnn

STEP_SIZE = 0.01
DIFFUSION = 0.01
SEED = 12
FRAMEWORKS = (
    "torch",
    "torch.compile",
    "torch.compile, chunks",
    "jax",
    "torchrecurrent",
    "torch.nn.RNN",
    "torch.nn.LSTM",
)
LSTMS = ("fused", "reference", "torch.nn.LSTM", "torch.nn.LSTM, flush denormal", "jax")
VANISHING = 1e-10  # a cotangent from which the gradient passes float32's smallest normal number on its way back

# Of each cell, how many matrices (n, n) the state and how many matrices (n, m) the input is multiplied with.
RECURRENT_MATRICES = {"ungated": 1, "gated": 1, "elman": 1, "lstm": 4}
INPUT_MATRICES = {"ungated": 1, "gated": 2, "elman": 1, "lstm": 4}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The sizes of a problem, and who is timed on it.

    Attributes
    ----------
    name : str
        For --only, as "mnist-gated".
    title : str
        For people.
    T, B, m, n : int
        Steps, sequences, width of the input, units.
    cell : {"ungated", "gated", "elman", "lstm"}
        Equation (12), equation (13), the Elman network or the LSTM.
    cotangent : float
        Standard deviation of the cotangent of the last state.
    contenders : tuple of str
        Names in `benchmarks.contenders.CONTENDERS`; ratios are to the first.
    calls : int
        Calls in one measurement, of which the mean is taken: small problems take less than a timer should measure.
    """

    name: str
    title: str
    T: int
    B: int
    m: int
    n: int
    cell: str = "ungated"
    cotangent: float = 1.0
    contenders: tuple[str, ...] = ("fused", "reference", *FRAMEWORKS, "fused LSTM")
    calls: int = 1

    @property
    def gated(self) -> bool:
        """Whether the cell is that of equation (13)."""
        return self.cell == "gated"

    @property
    def flops(self) -> int:
        """`recurrent_flops` of the workload's cell."""
        return self.recurrent_flops(self.cell)

    def recurrent_flops(self, cell: str) -> int:
        """Return 6 n^2 T B for each recurrent matrix: with h, forward, and with delta and into its gradient, backward.

        Parameters
        ----------
        cell : {"ungated", "gated", "elman", "lstm"}
            The cell that does the work; the gated one has one recurrent matrix, which its gate shares.
        """
        return 6 * self.n**2 * self.T * self.B * RECURRENT_MATRICES[cell]

    def input_flops(self, cell: str) -> int:
        """Return 4 n m T B for each matrix of the input: its product with x, forward, and the one into its gradient.

        dL/dx would be 2 n m T B more for each; a call does not ask for it.

        Parameters
        ----------
        cell : {"ungated", "gated", "elman", "lstm"}
            The cell that does the work.
        """
        return 4 * self.n * self.m * self.T * self.B * INPUT_MATRICES[cell]

    def shortened(self, factor: int) -> Workload:
        """Return the same workload with a fraction of its steps."""
        return replace(self, T=max(self.T // factor, 2))


@dataclass(frozen=True)
class Data:
    """A cell and the arrays of its problem, float32.

    Attributes
    ----------
    cell : numrnn.Cell
        Antisymmetric ones have full storage: torchrecurrent's W is a full matrix, and A is the same for all.
    params : dict of str to numpy.ndarray
        W, V, b, and of a gated cell V_z, b_z.
    x : numpy.ndarray, shape (T, B, m)
    h0 : numpy.ndarray, shape (B, n), or (B, 2 n) for the LSTM, whose state is [h | c]
    d_final : numpy.ndarray, shape of h0
        Cotangent of the last state; that of the LSTM's c is 0, as in training.
    """

    cell: Any
    params: dict[str, np.ndarray]
    x: np.ndarray
    h0: np.ndarray
    d_final: np.ndarray


def draw(workload: Workload) -> Data:
    """Return the data of a workload: the same numbers at every call."""
    rng = np.random.default_rng(SEED)
    if workload.cell == "lstm":
        return _draw_lstm(workload, rng)
    if workload.cell == "elman":
        return _draw_elman(workload, rng)
    kind: Any = numrnn.GatedAntisymmetricCell if workload.gated else numrnn.AntisymmetricCell
    cell = kind(workload.m, workload.n, step_size=STEP_SIZE, diffusion=DIFFUSION, triangular=False)
    params = cell.init_params(rng)
    # A bias of zero would hide that two were swapped.
    for name in params:
        if name.startswith("b"):
            params[name] = rng.standard_normal(params[name].shape, dtype=np.float32)
    x = rng.standard_normal((workload.T, workload.B, workload.m), dtype=np.float32)
    h0 = rng.standard_normal((workload.B, workload.n), dtype=np.float32)
    d_final = rng.standard_normal(h0.shape, dtype=np.float32)
    return Data(cell, params, x, h0, d_final * np.float32(workload.cotangent))


def _draw_elman(workload: Workload, rng: np.random.Generator) -> Data:
    """Return an Elman network whose gradients neither vanish nor grow much: W is nearly a rotation."""
    n, cell = workload.n, numrnn.ElmanCell(workload.m, workload.n)
    params = cell.init_params(rng)
    params["W"] = np.linalg.qr(rng.standard_normal((n, n)))[0].astype(np.float32)
    params["V"] *= np.float32(0.1)  # tanh is nearly linear
    params["b"] = 0.1 * rng.standard_normal(n, dtype=np.float32)
    x = rng.uniform(-1, 1, (workload.T, workload.B, workload.m)).astype(np.float32)
    h0, d_final = (0.1 * rng.standard_normal((workload.B, n), dtype=np.float32) for _ in range(2))
    return Data(cell, params, x, h0, d_final * np.float32(workload.cotangent))


def _draw_lstm(workload: Workload, rng: np.random.Generator) -> Data:
    """Return an LSTM with the initial values of the paper, and inputs like pixels scaled to [-1, 1].

    With these a gradient of size 1 fades along 784 steps to about 1e-32, which float32 holds as a normal number; one
    of size 1e-10 ends among the subnormal ones.
    """
    n, cell = workload.n, numrnn.LSTMCell(workload.m, workload.n)
    params = cell.init_params(rng)
    x = rng.uniform(-1, 1, (workload.T, workload.B, workload.m)).astype(np.float32)
    h0 = rng.uniform(-1, 1, (workload.B, 2 * n)).astype(np.float32)
    d_final = np.zeros_like(h0)
    d_final[:, :n] = workload.cotangent * rng.standard_normal((workload.B, n))
    return Data(cell, params, x, h0, d_final)


def _both(**sizes: Any) -> list[Workload]:
    name, title = sizes.pop("name"), sizes.pop("title")
    return [
        Workload(name=f"{name}-ungated", title=f"{title}, ungated", **sizes),
        Workload(name=f"{name}-gated", title=f"{title}, gated", cell="gated", **sizes),
    ]


def _small(n: int, B: int) -> Workload:
    return Workload(
        name=f"small-{n}-{B}",
        title=f"a small problem, n = {n}, B = {B}, ungated",
        T=784,
        B=B,
        m=1,
        n=n,
        contenders=("auto", "reference", "torch", "jax"),
        calls=10,
    )


WORKLOADS = (
    *_both(name="mnist", title="sequential MNIST", T=784, B=128, m=1, n=128),
    *_both(name="cifar", title="pixel CIFAR-10", T=1024, B=128, m=3, n=256),
    *_both(name="noise", title="noise-padded CIFAR-10", T=1000, B=128, m=96, n=256),
    Workload(name="lstm-normal", title="LSTM", T=784, B=128, m=1, n=128, cell="lstm", contenders=LSTMS),
    Workload(
        name="lstm-vanishing",
        title="LSTM, gradients that vanish",
        T=784,
        B=128,
        m=1,
        n=128,
        cell="lstm",
        cotangent=VANISHING,
        contenders=LSTMS,
    ),
    *(_small(n, B) for n in (8, 32) for B in (1, 16)),
)


def select(wanted: list[str] | None, option: str = "--only") -> list[Workload]:
    """Return the workloads of the given names; "mnist" stands for all whose names begin with "mnist-".

    Raises
    ------
    ValueError
        If a name is that of no workload.
    """
    if wanted is None:
        return list(WORKLOADS)
    chosen: list[Workload] = []
    for name in wanted:
        found = [w for w in WORKLOADS if w.name == name or w.name.startswith(name + "-")]
        if not found:
            raise ValueError(f"{option} must name workloads of {', '.join(w.name for w in WORKLOADS)}, got {name!r}")
        chosen += [w for w in found if w not in chosen]
    return chosen


def contenders_of(workload: Workload, wanted: list[str] | None) -> list[str]:
    """Return who is timed: those of the workload, or those asked for, the workload's first among them first."""
    if wanted is None:
        return list(workload.contenders)
    return sorted(dict.fromkeys(wanted), key=lambda name: name != workload.contenders[0])
