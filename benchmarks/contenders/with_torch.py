"""PyTorch: the cell written for it as fast as its eager mode and its compiler allow, and ready-made layers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.contenders.base import Contender
from benchmarks.workloads import Data
from numrnn import ElmanCell, LSTMCell

CHUNK = 16  # steps in a compiled graph
Steps = tuple[torch.Tensor, ...]


class Torch(Contender):
    """What all contenders on torch share.

    Attributes
    ----------
    device : str
        Where they compute.
    """

    device: ClassVar[str] = "cpu"

    @classmethod
    def set_threads(cls, threads: int) -> None:
        """See `Contender.set_threads`."""
        torch.set_num_threads(threads)

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        return {"torch": torch.__version__}

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return a copy of an array on the device."""
        return torch.from_numpy(array.copy()).to(self.device)


class Eager(Torch):
    """The cell in eager mode.

    The input is projected in one product before the loop, A is built once a call, `unbind` cuts the projection into
    steps (indexing it instead makes a gradient as large as the whole at every step), and each step is as few calls as
    torch offers: addmm adds the projection within the product, add and addcmul scale by eps while they add.
    """

    note = "eager, input projection hoisted, unbind over time, addmm and tanh"

    def __init__(self, data: Data) -> None:
        self.step_size, self.diffusion = data.cell.step_size, data.cell.diffusion
        self.names = tuple(data.params)
        self.leaves = [self.tensor(data.params[name]).requires_grad_() for name in self.names]
        self.leaves.append(self.tensor(data.h0).requires_grad_())
        self.x, self.d_final = self.tensor(data.x), self.tensor(data.d_final)
        self.identity = torch.eye(data.h0.shape[1], device=self.device)

    def final_state(self, x: torch.Tensor, *leaves: torch.Tensor) -> torch.Tensor:
        """Return h_T, (B, n)."""
        params = dict(zip(self.names, leaves, strict=False))
        A_T = params["W"].T - params["W"] - self.diffusion * self.identity

        def projected(V: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.addmm(b, x.flatten(0, 1), V.T).unflatten(0, x.shape[:2]).unbind(0)

        u = projected(params["V"], params["b"])
        u_z = projected(params["V_z"], params["b_z"]) if "V_z" in params else ()
        return self.all_steps(leaves[-1], A_T, u, u_z)

    def all_steps(self, h: torch.Tensor, A_T: torch.Tensor, u: Steps, u_z: Steps) -> torch.Tensor:
        """Return h after all steps; u_z is empty for an ungated cell."""
        return self.steps(h, A_T, u, u_z)

    def steps(self, h: torch.Tensor, A_T: torch.Tensor, u: Steps, u_z: Steps) -> torch.Tensor:
        """Return h after some steps."""
        eps = self.step_size
        if not u_z:
            for u_t in u:
                h = torch.add(h, torch.tanh(torch.addmm(u_t, h, A_T)), alpha=eps)
            return h
        for u_t, u_z_t in zip(u, u_z, strict=True):
            recurrent = h @ A_T
            h = torch.addcmul(h, torch.sigmoid(recurrent + u_z_t), torch.tanh(recurrent + u_t), value=eps)
        return h

    def run(self) -> Any:
        """See `Contender.run`."""
        h = self.final_state(self.x, *self.leaves)
        return h, torch.autograd.grad(h, self.leaves, self.d_final)

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        h, gradients = result
        named = dict(zip((*self.names, "h0"), gradients, strict=True))
        return {"final": h.detach().cpu().numpy(), **{name: value.cpu().numpy() for name, value in named.items()}}


class Compiled(Eager):
    """The same, compiled as one graph of all its steps."""

    note = "the same under torch.compile, the whole loop as one graph"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.final_state = compiled(self.final_state)  # type: ignore[method-assign]


class CompiledChunks(Eager):
    """The same, some steps at a time compiled: that takes seconds where the whole loop takes minutes."""

    note = f"the same under torch.compile, {CHUNK} steps a graph"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.steps = compiled(self.steps)  # type: ignore[method-assign]

    def all_steps(self, h: torch.Tensor, A_T: torch.Tensor, u: Steps, u_z: Steps) -> torch.Tensor:
        """See `Eager.all_steps`."""
        for start in range(0, len(u), CHUNK):
            h = self.steps(h, A_T, u[start : start + CHUNK], u_z[start : start + CHUNK])
        return h


def compiled(function: Any) -> Any:
    """Return a compiled function."""
    # Its pool of compiling processes would outlive this one where it is ended at the time limit.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    # Graphs that an earlier run left on disk would decide whether the first call ends in time.
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    return torch.compile(function, fullgraph=True, dynamic=False)


class Layer(Torch):
    """A ready-made layer of torch's interface: module(x, state) -> output, state."""

    def __init__(self, data: Data) -> None:
        self.module = self.make(data).to(self.device)
        self.x, self.d_final = self.tensor(data.x), self.tensor(data.d_final)
        self.h0 = self.tensor(data.h0)[None].requires_grad_()
        self.state: Any = self.h0
        self.leaves = [p for p in self.module.parameters() if p.requires_grad] + [self.h0]

    def make(self, data: Data) -> Any:
        """Return the layer."""
        raise NotImplementedError

    def run(self) -> Any:
        """See `Contender.run`."""
        output, last = self.module(self.x, self.state)
        return (output[-1], last), torch.autograd.grad(output[-1], self.leaves, self.d_final)

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        (h, _), gradients = result
        return {"final": h.detach().cpu().numpy(), "h0": gradients[-1][0].cpu().numpy()}


class TorchRecurrent(Layer):
    """The public layer of the package torchrecurrent; its second bias is 0 and held there."""

    note = "AntisymmetricRNN and GatedAntisymmetricRNN of the package torchrecurrent"

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        from importlib.metadata import version

        return super().versions() | {"torchrecurrent": version("torchrecurrent")}

    def make(self, data: Data) -> Any:
        """Return the layer, with the parameters of the data: the gate's rows come before the candidate's."""
        import torchrecurrent

        n, m = data.params["V"].shape
        self.gated = "V_z" in data.params
        kind = torchrecurrent.GatedAntisymmetricRNN if self.gated else torchrecurrent.AntisymmetricRNN
        module = kind(m, n, epsilon=data.cell.step_size, gamma=data.cell.diffusion)
        cell = module.cells[0]
        order = ("_z", "") if self.gated else ("",)
        values = {
            "weight_hh": data.params["W"],
            "weight_ih": np.concatenate([data.params["V" + suffix] for suffix in order]),
            "bias_ih": np.concatenate([data.params["b" + suffix] for suffix in order]),
        }
        with torch.no_grad():
            for name, value in values.items():
                cell.get_parameter(name).copy_(torch.from_numpy(value))
            cell.bias_hh.zero_()
        cell.bias_hh.requires_grad_(False)
        return module

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        named = {name: value for name, value in self.module.cells[0].named_parameters() if value.requires_grad}
        by_id = dict(zip(map(id, self.leaves), result[1], strict=True))
        theirs = {name: by_id[id(value)].numpy() for name, value in named.items()}
        V, b = theirs["weight_ih"], theirs["bias_ih"]
        numbers = {**super().numbers(result), "W": theirs["weight_hh"]}
        if not self.gated:
            return {**numbers, "V": V, "b": b}
        n = numbers["final"].shape[1]
        return {**numbers, "V_z": V[:n], "V": V[n:], "b_z": b[:n], "b": b[n:]}


OF_LAYER = {"W": "weight_hh_l0", "V": "weight_ih_l0", "b": "bias_ih_l0"}


def take_parameters(module: Any, data: Data) -> None:
    """Give a layer the parameters of the data; its second bias is 0."""
    with torch.no_grad():
        for name, theirs in OF_LAYER.items():
            module.get_parameter(theirs).copy_(torch.from_numpy(data.params[name]))
        module.bias_hh_l0.zero_()


def gradients_by_name(module: Any, gradients: list[Any]) -> dict[str, np.ndarray]:
    """Return the gradients of a layer's parameters, in their order, by numrnn's names."""
    theirs = dict(zip([name for name, _ in module.named_parameters()], gradients, strict=True))
    return {name: theirs[own].cpu().numpy() for name, own in OF_LAYER.items()}


class TorchRNN(Layer):
    """torch's own tanh layer, in C++: a simpler cell than the antisymmetric ones, or that of the workload.

    Of an Elman network's workload it takes the parameters, as `TorchLSTM` does of an LSTM's.
    """

    note, takes = "torch's tanh layer in C++; beside other cells, a simpler one", ("ungated", "gated", "elman")
    same_cell, cell = False, "elman"

    def make(self, data: Data) -> Any:
        """Return the layer."""
        torch.manual_seed(0)
        module = torch.nn.RNN(data.x.shape[2], data.h0.shape[1])
        if isinstance(data.cell, ElmanCell):
            take_parameters(module, data)
        return module

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        *gradients, _ = result[1]
        return {**super().numbers(result), **gradients_by_name(self.module, gradients)}


class TorchLSTM(Layer):
    """torch's own LSTM: a larger cell than the antisymmetric ones, or that of the workload.

    Of an LSTM's workload it takes the parameters, and its second bias is 0. That one keeps its gradient, which equals
    the first one's: that is the layer as it comes.
    """

    note, takes = (
        "torch's LSTM in C++; beside other cells, with four times their products",
        ("ungated", "gated", "lstm"),
    )
    same_cell, cell = False, "lstm"

    def __init__(self, data: Data) -> None:
        n = data.cell.hidden_size
        super().__init__(replace(data, h0=data.h0[:, :n], d_final=data.d_final[:, :n]))
        c0 = self.tensor(data.h0[:, n:])[None] if data.h0.shape[1] == 2 * n else torch.zeros_like(self.h0)
        self.state = (self.h0, c0.requires_grad_())
        self.leaves.insert(0, c0)

    def make(self, data: Data) -> Any:
        """Return the layer."""
        torch.manual_seed(0)
        module = torch.nn.LSTM(data.cell.input_size, data.cell.hidden_size)
        if isinstance(data.cell, LSTMCell):
            take_parameters(module, data)
        return module

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`; the state is [h | c], as numrnn's."""
        (h, (_, c)), (c0, *gradients, h0) = result
        tensors = {"final": torch.cat([h, c[0]], 1).detach(), "h0": torch.cat([h0[0], c0[0]], 1)}
        state = {name: value.cpu().numpy() for name, value in tensors.items()}
        return state | gradients_by_name(self.module, gradients)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let torch flush subnormal numbers to zero inside, in this thread and in those that it starts inside.

    The setting belongs to a thread and is handed on when a thread starts. torch starts its pool at the first operation
    that is large enough: every operation of a process must be inside for the whole pool to have it.
    """
    if not torch.set_flush_denormal(True):
        raise RuntimeError("torch cannot flush subnormal numbers on this processor")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class TorchLSTMFlushing(TorchLSTM):
    """The same after torch.set_flush_denormal(True), which is off unless a user asks for it."""

    note = "the same after torch.set_flush_denormal(True)"

    def __init__(self, data: Data) -> None:
        with flushed_denormals():
            super().__init__(data)

    def run(self) -> Any:
        """See `Contender.run`."""
        with flushed_denormals():
            return super().run()
