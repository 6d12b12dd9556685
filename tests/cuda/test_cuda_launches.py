"""The launches of a pass on sequential MNIST: one kernel forward, one backward, and few operations on arrays besides.

    python -m pytest -s tests/cuda/test_cuda_launches.py    print them

CuPy launches at least one kernel for each operation on arrays that is not a view; cuBLAS may launch more than one for a
product. The stand-in for CuPy counts the operations.
"""

import numpy as np
import pytest
import standin_cupy
from helpers import draw_params
from standin import StandinLauncher, missing
from standin_cupy import operations

import numrnn
from numrnn import backward, forward
from numrnn.backend import trusted_values
from numrnn.engines.cuda import tape
from numrnn.engines.cuda.families import VARIABLE

pytestmark = pytest.mark.skipif(
    missing() is not None or standin_cupy.COMPILER is None, reason="the stand-ins need g++ on the path"
)
STEPS, BATCH, UNITS = 5, 3, 128
MADE = ["zeros"]  # h_0, or the cotangents of the last state: of every engine
PROJECTED = ["concatenate", "assign", "ones", "concatenate", "dot"]  # [V | b], h_0 into states, [x | 1], V x + b
COPIED = ["ascontiguousarray", "ascontiguousarray"]  # dV and db out of [dV | db]
OF_W = ["sub", "triu"]  # dA - dA^T
# By cell, inputs and NUMRNN_CUDA_UNPROVEN: forward and backward.
PASSES = {
    ("antisymmetric", 1, "0"): (
        [*MADE, *PROJECTED, "forward"],
        [*MADE, "add", "backward", "matmul", "matmul", *OF_W, *COPIED],
    ),
    ("antisymmetric", 1, "1"): (
        [*MADE, "assign", "lean_forward"],
        [*MADE, "add", "lean_backward", "sum", "sum", *OF_W],
    ),
    ("antisymmetric", 5, "1"): (
        [*MADE, *PROJECTED, "lean_forward"],
        [*MADE, "add", "lean_backward", "sum", "matmul", *OF_W, *COPIED],
    ),
    ("gated", 1, "1"): (
        [*MADE, "concatenate", "concatenate", "assign", "lean_forward"],  # V with V_z, b with b_z
        [*MADE, "add", "lean_backward", "sum", "sum", *OF_W],
    ),
    ("elman", 1, "1"): ([*MADE, "assign", "lean_forward"], [*MADE, "add", "lean_backward", "sum", "sum"]),
}


class Launcher:
    """Runs the kernels on the CPU; a launch is an operation too."""

    def __init__(self):
        self.inner = StandinLauncher()
        self.device, self.blocks_per_processor = self.inner.device, self.inner.blocks_per_processor

    def __call__(self, kernel, blocks, threads, shared_bytes, arguments):
        operations.append(kernel.partition("<")[0])
        plain = tuple(a if isinstance(a, np.generic) else standin_cupy.bare(a) for a in arguments)
        self.inner(kernel, blocks, threads, shared_bytes, plain)


@pytest.fixture
def count(monkeypatch, rng):
    cupy = standin_cupy.install(monkeypatch)
    monkeypatch.setattr(tape, "cupy_launcher", lambda xp, index: Launcher())

    def count(kind, m, unproven):
        monkeypatch.setenv(VARIABLE, unproven)
        cell = numrnn.CELLS[kind](m, UNITS)
        params = {name: cupy.asarray(p) for name, p in draw_params(cell, rng, np.float32).items()}
        x = cupy.asarray(rng.standard_normal((STEPS, BATCH, m)).astype(np.float32))
        d_final = cupy.asarray(rng.standard_normal((BATCH, UNITS)).astype(np.float32))
        operations.clear()
        with trusted_values():
            _, kept = forward(cell, params, x, engine="fused")
            forwards = list(operations)
            operations.clear()
            backward(kept, d_final=d_final, wrt=("params",))
        return forwards, list(operations)

    return count


@pytest.mark.parametrize("case", PASSES, ids=lambda case: " ".join(map(str, case)))
def test_a_pass_launches_no_more_than_this(case, count):
    got = count(*case)
    print(*case, *(f"{len(names)}: {' '.join(names)};" for names in got))
    assert got == PASSES[case]
