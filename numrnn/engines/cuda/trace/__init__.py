"""Cells of your own on a GPU: their step is traced once, and runs as products that compute what reads them.

    graph.py    the operations of a step as a graph
    arrays.py   arrays without numbers, which record what a cell does with them
    plan.py     what of the graph a step computes, and what is computed for all steps at once
    kernels.py  a group of elementwise operations as the text of a kernel
    product.py  the kernel of a product, product.cu
    joint.py    the last kernel of a step and the first of the next one as one
    epilogue.py products and the kernel that reads them as one
    run.py      a plan over the steps of a segment
    capture.py  the loop over the steps as a CUDA graph
    tape.py     both passes of a problem

docs/cuda_engine.md says what it costs, and what has not run on a card.
"""

from numrnn.engines.cuda.trace.capture import release_captured_loops
from numrnn.engines.cuda.trace.tape import TracedTape, untraceable_reason

__all__ = ["TracedTape", "release_captured_loops", "untraceable_reason"]
