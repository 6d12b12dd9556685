"""The contenders: one class each, all with the same four methods. A framework is imported only in its own process."""

from __future__ import annotations

import importlib.util
from importlib import import_module

from benchmarks.contenders.base import Contender

# name: module of this package, class, and the packages that it needs
CONTENDERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "expected": ("ours", "Expected", ()),
    "fused": ("ours", "Fused", ()),
    "fused, sqrt checkpoints": ("ours", "FusedCheckpointed", ()),
    "fused LSTM": ("ours", "FusedLSTM", ()),
    "auto": ("ours", "Auto", ()),
    "reference": ("ours", "Reference", ()),
    "numrnn in torch": ("with_layer", "InTorch", ("torch",)),
    "torch": ("with_torch", "Eager", ("torch",)),
    "torch.compile": ("with_torch", "Compiled", ("torch",)),
    "torch.compile, chunks": ("with_torch", "CompiledChunks", ("torch",)),
    "jax": ("with_jax", "Scan", ("jax",)),
    "torchrecurrent": ("with_torch", "TorchRecurrent", ("torch", "torchrecurrent")),
    "torch.nn.RNN": ("with_torch", "TorchRNN", ("torch",)),
    "torch.nn.LSTM": ("with_torch", "TorchLSTM", ("torch",)),
    "torch.nn.LSTM, flush denormal": ("with_torch", "TorchLSTMFlushing", ("torch",)),
}

# The same for `python -m benchmarks --gpu`, in benchmarks.gpu. Workers get only a name, so none is in both.
ON_GPU: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "CUDA engine": ("on_cupy", "Auto", ("cupy",)),
    "CuPy loop": ("on_cupy", "Reference", ("cupy",)),
    "torch eager": ("on_torch", "Eager", ("torch",)),
    "torch.compile loop": ("on_torch", "Compiled", ("torch",)),
    "torch.compile chunks": ("on_torch", "CompiledChunks", ("torch",)),
    "torch CUDA graph": ("on_torch", "Graph", ("torch",)),
    "jax scan": ("on_jax", "Scan", ("jax",)),
    "cuDNN RNN": ("on_torch", "CudnnRNN", ("torch",)),
    "cuDNN LSTM": ("on_torch", "CudnnLSTM", ("torch",)),
    "FlashRNN": ("on_torch", "FlashRNN", ("torch", "flashrnn")),
}


def load(name: str) -> type[Contender]:
    """Return the class of a contender, after importing its packages."""
    package = "benchmarks.gpu" if name in ON_GPU else "benchmarks.contenders"
    module, cls, _ = (CONTENDERS | ON_GPU)[name]
    return getattr(import_module(f"{package}.{module}"), cls)


def missing(name: str) -> list[str]:
    """Return the packages that a contender needs and that are not installed."""
    return [package for package in (CONTENDERS | ON_GPU)[name][2] if importlib.util.find_spec(package) is None]
