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
    gated : bool
        Equation (13) in place of (12).
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
    gated: bool = False
    contenders: tuple[str, ...] = ("fused", "reference", *FRAMEWORKS, "fused LSTM")
    calls: int = 1

    @property
    def flops(self) -> int:
        """6 n^2 T B: the product with A, forward, and the two with it and into it, backward."""
        return 6 * self.n**2 * self.T * self.B

    def shortened(self, factor: int) -> Workload:
        """Return the same workload with a fraction of its steps."""
        return replace(self, T=max(self.T // factor, 2))


@dataclass(frozen=True)
class Data:
    """A cell and the arrays of its problem, float32.

    Attributes
    ----------
    cell : numrnn.Cell
        Of full storage: torchrecurrent's W is a full matrix, and A is the same for all.
    params : dict of str to numpy.ndarray
        W, V, b, and of a gated cell V_z, b_z; no bias is zero, which would hide swapped ones.
    x : numpy.ndarray, shape (T, B, m)
    h0 : numpy.ndarray, shape (B, n)
    d_final : numpy.ndarray, shape (B, n)
        Cotangent of the last state.
    """

    cell: Any
    params: dict[str, np.ndarray]
    x: np.ndarray
    h0: np.ndarray
    d_final: np.ndarray


def draw(workload: Workload) -> Data:
    """Return the data of a workload: the same numbers at every call."""
    rng = np.random.default_rng(SEED)
    kind: Any = numrnn.GatedAntisymmetricCell if workload.gated else numrnn.AntisymmetricCell
    cell = kind(workload.m, workload.n, step_size=STEP_SIZE, diffusion=DIFFUSION, triangular=False)
    params = cell.init_params(rng)
    for name in params:
        if name.startswith("b"):
            params[name] = rng.standard_normal(params[name].shape, dtype=np.float32)
    x = rng.standard_normal((workload.T, workload.B, workload.m), dtype=np.float32)
    h0 = rng.standard_normal((workload.B, workload.n), dtype=np.float32)
    return Data(cell, params, x, h0, rng.standard_normal(h0.shape, dtype=np.float32))


def _both(**sizes: Any) -> list[Workload]:
    name, title = sizes.pop("name"), sizes.pop("title")
    return [
        Workload(name=f"{name}-ungated", title=f"{title}, ungated", **sizes),
        Workload(name=f"{name}-gated", title=f"{title}, gated", gated=True, **sizes),
    ]


WORKLOADS = (
    *_both(name="mnist", title="sequential MNIST", T=784, B=128, m=1, n=128),
    *_both(name="cifar", title="pixel CIFAR-10", T=1024, B=128, m=3, n=256),
    *_both(name="noise", title="noise-padded CIFAR-10", T=1000, B=128, m=96, n=256),
    Workload(
        name="small",
        title="a small problem, ungated",
        T=200,
        B=1,
        m=1,
        n=8,
        contenders=("auto", "reference"),
        calls=10,
    ),
)


def select(wanted: list[str] | None) -> list[Workload]:
    """Return the workloads of the given names; "mnist" stands for "mnist-ungated" and "mnist-gated".

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
            raise ValueError(f"--only must name workloads of {', '.join(w.name for w in WORKLOADS)}, got {name!r}")
        chosen += [w for w in found if w not in chosen]
    return chosen
