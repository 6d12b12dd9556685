r"""The CUDA engine: all T steps of a pass in one kernel launch, through CuPy.

It computes what the reference engine in numrnn/bptt.py computes, for the antisymmetric and the unstructured cells,
gated or not, in float32 and float64, up to 256 units. How it is divided:

1. What does not go from step to step is one large product, before or after the loop, which cuBLAS does: V x + b for all
   t; dA, [dV | db] and dx from the deltas of all t.
2. What does is a kernel, numrnn/engines/cuda/euler.cu, launched once for all steps. It holds the recurrent matrix in
   registers, so that a step reads and writes B n numbers of each array and nothing else.

The forward kernel computes M h - gamma h, and the backward kernel M^T delta - gamma delta, where M^T is -M for the
antisymmetric cells: the same matrix in the same registers, by the same routine.

Memory: the states, c of the same size (for a gated cell c and z), and [x | 1]; in the backward pass the deltas, of the
size of c. With `recompute_every` every k-th state, and all that for k steps only, recomputed by the same kernel.

Everything but the launch itself is code for any array library: the tests run it on NumPy arrays, with a launcher that
runs the same kernel text on the CPU.
"""

from numrnn.engines.cuda.tape import CudaTape, make_tape, unsupported_reason

__all__ = ["CudaTape", "make_tape", "unsupported_reason"]
