"""numrnn as a layer of torch: numrnn.interop.torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.contenders.with_torch import Torch
from benchmarks.workloads import Data
from numrnn.interop.torch import RecurrentLayer, params_to_torch


class InTorch(Torch):
    """The CPU engine behind torch's autograd."""

    note = "numrnn's layer for torch: the CPU engine behind torch's autograd"
    ours = True
    takes: ClassVar[tuple[str, ...]] = ("ungated", "gated", "lstm")

    def __init__(self, data: Data) -> None:
        self.layer = RecurrentLayer(data.cell)
        params_to_torch(data.cell, data.params, self.layer)
        self.x, self.d_final = self.tensor(data.x), self.tensor(data.d_final)[None]
        self.h0 = self.tensor(data.h0)[None].requires_grad_()
        self.named = {**self.layer.named_cell_parameters(), "h0": self.h0}

    def run(self) -> Any:
        """See `Contender.run`."""
        _, h_n = self.layer(self.x, self.h0)
        return h_n, torch.autograd.grad(h_n, list(self.named.values()), self.d_final)

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        h_n, gradients = result
        named = {name: value.numpy() for name, value in zip(self.named, gradients, strict=True)}
        return {**named, "final": h_n[0].detach().numpy(), "h0": named["h0"][0]}
