r"""The CPU engine: the two time loops, fast, in NumPy alone.

It computes what the reference engine in numrnn/bptt.py computes with the cells of numrnn/cells/, in float32 and
float64. It differs from the reference as follows; each change is exact except for rounding:

1. A is built once per call, not once per step: it depends on the parameters only.
2. The state is stored as s = h / scale, with scale = eps, or eps / 2 for a gated cell, and the matrix that multiplies s
   includes the factor scale. A step is then one addition:

       s_t = s_{t-1} + tanh(u)               eps z c = (eps / 2)(1 + w) c,   z = (1 + w) / 2,   w = tanh(u_z / 2)
       s_t = s_{t-1} + (c + w c)             of the gated cell

   The cotangent is stored as q = scale * g, and delta is its product with a slope that does not depend on eps:

       delta = q (1 - c^2),                  or  delta = q (1 + w) (1 - c^2),   delta_z = q c (1 - w^2) / 2

   A row that keeps its state has slope 0.
3. Time is split into chunks of as many steps as fit in the cache. Work without a recurrence is done for a chunk at
   once. Forward: the products V x + b before its steps, and the scaling of its states after them. Backward: the slopes
   before its steps; after them dA and [dV | db], each as one product of all deltas of the chunk with all its rows h or
   [x | 1], instead of one product per step.
4. The rows of a batch are independent: each core runs one slice of them through all steps, with BLAS limited to one
   thread. The slices' parameter gradients are added at the end, in the order of the slices. Within a slice the rows of
   a step may be multiplied in blocks, by matrices aligned to cache lines, and dA computed in tiles, if the BLAS is
   faster that way (products.py). A worker process runs a slice if the problem is large enough and the system can share
   memory, otherwise a thread does: processes.py explains why, and what happens if a worker dies or the process forks.
5. Subnormal numbers are flushed to zero while a pass runs, in every thread and process that runs a slice
   (numrnn/subnormals.py): a vanishing gradient would take 10 to 100 times as long on many processors. This changes
   numbers below 1.2e-38 (float64: 2.2e-308) to zero, and may change the last bits of sums with such numbers.

The Elman network and the LSTM use the same chunks and slices with scale 1. The Lipschitz RNN is scaled like the Euler
cells. From the top down: tape.py has the tape, passes.py a pass over all steps, slices.py the work common to all cells,
steps.py and lipschitz.py the steps of each cell, products.py the matrix products.

Memory: the states, and c of the same size (for a gated cell c and w, for the LSTM its gates, for the Elman network
nothing, for the midpoint rule of the Lipschitz RNN c twice and the midpoint). With `recompute_every`: the states s at
every k-th step, with k rounded up to a multiple of a chunk, so that a recomputed chunk is the same bit for bit.
"""

from numrnn.engines.cpu.tape import CpuTape, make_tape, unsupported_reason

__all__ = ["CpuTape", "make_tape", "unsupported_reason"]
