r"""The CPU engine: the two time loops, fast, in NumPy alone.

It computes what the reference engine in numrnn/bptt.py computes with the cells of numrnn/cells/, in float32 and
float64. What separates it from the reference, and why each step is exact but for rounding:

1. A is built once a call, not once a step: it depends on the parameters only.
2. The state is carried as s = h / scale, scale = eps, or eps / 2 for a gated cell, and scale is put into the matrix
   that multiplies s. A step is then one addition:

       s_t = s_{t-1} + tanh(u)               eps z c = (eps / 2)(1 + w) c,   z = (1 + w) / 2,   w = tanh(u_z / 2)
       s_t = s_{t-1} + (c + w c)             of the gated cell

   The cotangent is carried as q = scale * g, and delta is its product with a slope that knows nothing of eps:

       delta = q (1 - c^2),                  or  delta = q (1 + w) (1 - c^2),   delta_z = q c (1 - w^2) / 2

   A row that holds its state has the slope 0.
3. Time is cut into chunks of as many steps as the cache holds. What does not go from step to step is done for a chunk
   at once: in the forward pass the products V x + b before its steps and the scaling of its states after them; in the
   backward pass the slopes before its steps, and after them dA, and [dV | db], as one product of all its deltas with
   all its rows h, and [x | 1], instead of one a step.
4. The rows of a batch are independent: each core takes a slice of them through all of time, with BLAS held to one
   thread. Their parameter gradients are added at the end, in the order of the slices. Within a slice the rows of a step
   may be multiplied in blocks, where the BLAS is faster so, with matrices that begin at a cache line. A slice is run by
   a worker process where the problem is large enough and the system can share memory, by a thread elsewhere:
   processes.py says why, and what holds if a worker dies or the process forks.
5. Subnormal numbers are flushed to zero while a pass runs, in every thread and process that runs a slice
   (numrnn/subnormals.py): a gradient that vanishes would cost 10 to 100 times the time on many processors. It changes
   numbers below 1.2e-38 (float64: 2.2e-308) to zero, and sums in the last bits that such a number would have reached.

The Elman network and the LSTM go through the same chunks and slices; their scale is 1. The Lipschitz RNN is scaled as
the Euler cells are. From the top down: the tape in tape.py, a pass over all time in passes.py, what every slice does in
slices.py, the steps of each cell in steps.py and lipschitz.py.

Memory: the states, and c of the same size (for a gated cell c and w, for the LSTM its gates, for the Elman network
nothing, for the midpoint rule of the Lipschitz RNN c twice and the midpoint). With `recompute_every` the states s at
every k-th step, k rounded up to a multiple of a chunk: then a recomputed chunk is the same chunk, bit for bit.
"""

from numrnn.engines.cpu.tape import CpuTape, make_tape, unsupported_reason

__all__ = ["CpuTape", "make_tape", "unsupported_reason"]
