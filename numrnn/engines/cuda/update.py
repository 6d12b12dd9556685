"""What a captured training update asks of this engine: whether it can be captured, and products without cuBLAS.

CuPy refuses cuBLAS while a stream is captured. So an update can be captured if the kernels of lean.cu make all
gradients of the parameters. The products of its read-out are then those of product.cu, whether it is captured or not,
so that the bits are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np

from numrnn.backend import Array, array_namespace, empty
from numrnn.engines.cuda.families import RUN_ON_A_CARD, has_run, unproven_are_wanted
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN_VARIABLE
from numrnn.engines.cuda.kernels import cupy_launcher
from numrnn.engines.cuda.tape import kernels_reason, make_tape, unproven_reason
from numrnn.engines.cuda.trace import TracedTape
from numrnn.engines.cuda.trace.capture import VARIABLE, capture_is_wanted
from numrnn.engines.cuda.trace.product import CupyProducts
from numrnn.kernels import has_kernel
from numrnn.problem import Problem
from numrnn.typing import Engine

FAMILY = "update"  # of numrnn.engines.cuda.families: captured updates, and the products of their read-out


def uncaptured_reason(problem: Problem, engine: Engine) -> str | None:
    """Return why an update with this forward pass, on CuPy arrays, is not captured, or None.

    Parameters
    ----------
    problem : Problem
        Its forward pass; only the gradients of the parameters are wanted.
    engine : {"auto", "reference", "fused"}
        As for `numrnn.forward`.
    """
    if not capture_is_wanted():
        return f"{VARIABLE}=0"
    if not _are_proven_or_wanted(problem.h0, problem.cell.hidden_size):
        return f"captured updates, which have not run on a GPU yet; {UNPROVEN_VARIABLE}=1 asks for them"
    if engine == "reference":
        return "engine='reference'"
    reason = kernels_reason(problem) or (unproven_reason(problem) if engine == "auto" else None)
    if reason is not None:
        return f"{reason}, of which no kernel computes a whole sequence"
    tape = make_tape(problem)
    if isinstance(tape, TracedTape) or tape.multiplies:
        n, m = problem.cell.hidden_size, problem.cell.input_size
        return f"products by cuBLAS: the cell {type(problem.cell).__name__} with {n} units and {m} inputs"
    if not hasattr(array_namespace(problem.x).cuda.Stream, "begin_capture"):
        return f"CuPy {array_namespace(problem.x).__version__}, which has no Stream.begin_capture"
    return None


def captures_are_wanted(array: Array, units: int) -> bool:
    """Tell whether updates may be captured on the device of an array, for a cell of so many units."""
    return capture_is_wanted() and _are_proven_or_wanted(array, units)


def product_for(array: Array, units: int) -> Callable[[Array, Array], Array]:
    """Return the function for products with a matrix of a read-out from `units` units: product.cu, or else a @ b."""
    if isinstance(array, np.ndarray) or array.ndim != 2 or not has_kernel(array):
        return operator.matmul
    return _product if _are_proven_or_wanted(array, units) else operator.matmul


def _product(a: Array, b: Array) -> Array:
    out = empty((a.shape[0], b.shape[1]), like=a)
    CupyProducts(array_namespace(a))(a, b, out)
    return out


def _are_proven_or_wanted(array: Array, units: int) -> bool:
    if unproven_are_wanted():
        return True
    if not any(run.family == FAMILY for run in RUN_ON_A_CARD):
        return False
    return has_run(FAMILY, cupy_launcher(array_namespace(array), array.device.id).device.capability, units)
