"""PyTorch on a GPU: the cell in eager mode, compiled and as a CUDA graph; cuDNN's layers; FlashRNN. TF32 is off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import with_torch
from benchmarks.gpu.base import OnGpu
from benchmarks.workloads import Data

WARM_UPS = 3  # before a graph is captured, as torch asks for


class OnTorch(OnGpu, with_torch.Torch):
    """What all contenders on torch share."""

    device = "cuda"

    @classmethod
    def set_threads(cls, threads: int) -> None:
        """See `Contender.set_threads`; products and convolutions in full float32."""
        super().set_threads(threads)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        return super().versions() | {"CUDA of torch": str(torch.version.cuda)}

    def wait(self) -> None:
        """See `OnGpu.wait`."""
        torch.cuda.synchronize()

    def event(self) -> Any:
        """See `OnGpu.event`."""
        return torch.cuda.Event(enable_timing=True)

    def milliseconds(self, start: Any, stop: Any) -> float:
        """See `OnGpu.milliseconds`."""
        return start.elapsed_time(stop)

    def passed(self, event: Any) -> bool:
        """See `OnGpu.passed`."""
        return event.query()

    def hold(self, seconds: float) -> None:
        """See `OnGpu.hold`; torch counts cycles, of which a card has about 1.5e9 a second."""
        torch.cuda._sleep(int(1.5e9 * seconds))


class Eager(OnTorch, with_torch.Eager):
    """The cell in eager mode, written as for the CPU."""

    def launch(self) -> Any:
        """See `OnGpu.launch`."""
        return with_torch.Eager.run(self)


class Compiled(Eager, with_torch.Compiled):
    """The same, compiled as one graph of all its steps."""

    note = with_torch.Compiled.note


class CompiledChunks(Eager, with_torch.CompiledChunks):
    """The same, some steps at a time compiled."""

    note = with_torch.CompiledChunks.note


class Graph(Eager):
    """Both passes of the eager loop, captured once as a CUDA graph and replayed: no launch costs the host anything."""

    note = "both passes of the eager loop as one CUDA graph"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                super().launch()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = super().launch()

    def launch(self) -> Any:
        """See `OnGpu.launch`."""
        self.graph.replay()
        return self.result


class Cudnn(OnTorch, with_torch.Layer):
    """A layer that torch hands to cuDNN."""

    def launch(self) -> Any:
        """See `OnGpu.launch`."""
        return with_torch.Layer.run(self)


class CudnnRNN(Cudnn, with_torch.TorchRNN):
    """cuDNN's tanh layer."""

    note = "torch.nn.RNN, the tanh layer of cuDNN; beside other cells, a simpler one"


class CudnnLSTM(Cudnn, with_torch.TorchLSTM):
    """cuDNN's LSTM."""

    note = "torch.nn.LSTM, the layer of cuDNN; beside other cells, with four times their products"


class FlashRNN(OnTorch):
    """The Elman cell of the package flashrnn, in one fused kernel and in bfloat16, which is what it is fast in.

    Its input is V x, a product before it; the layout is (B, T, gates, heads, width).
    """

    note, same_cell, dtype = "another, simpler cell in bfloat16: the fused Elman kernel of flashrnn", False, "bfloat16"
    backend = "cuda_fused"

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        from importlib.metadata import version

        return super().versions() | {"flashrnn": version("flashrnn")}

    def __init__(self, data: Data) -> None:
        from flashrnn import flashrnn

        self.flashrnn, n = flashrnn, data.h0.shape[1]

        def leaf(array: np.ndarray) -> torch.Tensor:
            return self.tensor(array).to(torch.bfloat16).requires_grad_()

        self.x = self.tensor(data.x.swapaxes(0, 1)).to(torch.bfloat16)  # (B, T, m)
        self.V, self.R = leaf(data.params["V"]), leaf(data.params["W"].reshape(1, 1, n, n) / n**0.5)
        self.b, self.h0 = leaf(data.params["b"].reshape(1, 1, n)), leaf(data.h0[None, :, None, None])
        self.d_final = self.tensor(data.d_final).to(torch.bfloat16)
        self.leaves = [self.V, self.R, self.b, self.h0]

    def launch(self) -> Any:
        """See `OnGpu.launch`."""
        u = (self.x @ self.V.T)[:, :, None, None]
        states, _ = self.flashrnn(u, self.R, self.b, states=self.h0, function="elman", backend=self.backend)
        h = states[0][:, -1, 0]
        return h, torch.autograd.grad(h, self.leaves, self.d_final)

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        h, gradients = result
        final, h0 = h.detach(), gradients[-1][0, :, 0, 0]
        return {"final": final.float().cpu().numpy(), "h0": h0.float().cpu().numpy()}
