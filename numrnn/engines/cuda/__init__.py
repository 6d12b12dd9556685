r"""The CUDA engine: all T steps of a pass in one kernel launch, through CuPy.

It computes what the reference engine in numrnn/bptt.py computes, for the antisymmetric and the unstructured cells,
gated or not, and the Elman network, up to 512 units in float32 and 256 in float64, and for the LSTM up to 128. Not all
kernels have run on a card yet; `engine="auto"` uses those that have (families.py). The work is divided as follows:

1. Work without a recurrence is large products before or after the loop, by cuBLAS: V x + b for all t; dA, [dV | db] and
   dx from the deltas of all t. For few inputs the kernels of lean.cu compute V x + b and [dV | db] themselves, and dA
   where they have the registers.
2. The recurrence is a kernel, in euler.cu, lean.cu or lstm.cu, launched once for all steps. It keeps the recurrent
   matrix in registers, so a step reads and writes only B n numbers of each array.

The forward kernel computes A h, and the backward kernel A^T delta, by the same routine. For the antisymmetric cells A^T
differs from A by the sign of all elements beside the diagonal.

Any other cell, size and device has the package `trace`: the step is traced, and runs as products, each of which
computes what follows it up to the next one, step by step; from the second pass of a shape on, all steps are one CUDA
graph.

Memory: the states, c of the same size (for a gated cell c and z, for the LSTM four gates), and [x | 1]; in the backward
pass also the deltas, of the size of c, unless the kernels make all gradients wanted. With `recompute_every`: every k-th
state, and the rest for k steps only, recomputed by the same kernel.

Everything except the launch works with any array library: the tests run it on NumPy arrays, with a launcher that runs
the same kernel text on the CPU.
"""

from numrnn.engines.cuda.tape import CudaTape, kernels_reason, make_tape, unproven_reason, unsupported_reason
from numrnn.engines.cuda.trace import TracedTape, release_captured_loops

__all__ = [
    "CudaTape",
    "TracedTape",
    "kernels_reason",
    "make_tape",
    "release_captured_loops",
    "unproven_reason",
    "unsupported_reason",
]
