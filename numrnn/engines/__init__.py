"""The public forward pass, and the engines that run it.

An engine is a function from a checked `Problem` to a `Tape`. The reference engine is numrnn/bptt.py; the others compute
the same numbers faster, to a stated multiple of rounding: numpy_engine.py on the CPU, cuda_engine.py on a GPU.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

from numrnn import bptt
from numrnn.backend import Array, Params, array_namespace
from numrnn.cells.base import Cell
from numrnn.engines import cuda_engine, numpy_engine
from numrnn.subnormals import flush_subnormals
from numrnn.tape import Tape, check_problem

ENGINES = ("auto", "reference", "fused")

_warned: set[str] = set()  # the reasons given by a ReferenceLoopWarning


class ReferenceLoopWarning(UserWarning):
    """The reference loop runs on a GPU: a launch or more for every step, where the CUDA engine needs one for all."""


def forward(
    cell: Cell,
    params: Params,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Any = None,
    engine: str = "auto",
    checkpoint_every: int | str | None = None,
) -> tuple[Any, Tape]:
    """Run a cell over a sequence.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : mapping of str to array
        Its parameters, float32, float64 or complex128.
    x : array, shape (T, B, m)
        Input, time first; T, B >= 1, of the parameters' precision.
    h0 : array, shape (B, state_size), optional
        First state; zero unless given.
    lengths : sequence or array of int, shape (B,), optional
        1 <= lengths <= T. Row i is a sequence of lengths[i] steps: after them it holds its last state, and what stands
        in x is neither read nor checked.
    engine : {"auto", "reference", "fused"}
        Which implementation of the loops. "reference" covers everything; "fused" is faster and covers, in float32 and
        float64, the cells of this package on NumPy arrays, and the antisymmetric and unstructured ones up to 256 units
        on CuPy arrays; "auto" is "fused" where that covers the case.
    checkpoint_every : int or "sqrt", optional
        Keep every k-th state only, k >= 1; "sqrt" takes k = ceil(sqrt(T)), which holds 2 sqrt(T) states at most at any
        time of the backward pass.

    Returns
    -------
    states : array, shape (T + 1, B, state_size)
        states[0] is h0. With `checkpoint_every` a `CheckpointedStates` of that shape.
    tape : Tape
        For `backward`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type, an array not float32, float64 or complex128, or precisions are mixed.
    ValueError
        If a shape, a length, the engine or `checkpoint_every` is wrong, T or B is 0, devices are mixed, or a NaN or an
        infinity comes in.

    Warns
    -----
    ReferenceLoopWarning
        If "auto" takes the reference loop on a GPU: once for every reason.

    Notes
    -----
    Costs T steps, and (T + 1) B state_size numbers of memory, or with checkpoints (T / k + 2) B state_size.

    A sequence may be cut: start the second part at `states[-1]` of the first, and hand `grads.h0` of the second to
    `backward` of the first as `d_final`. Leaving that cotangent out instead is truncated backpropagation through time.

    On a CPU subnormal numbers, below 1.2e-38 in float32, are zero while it runs, and in `backward`; see
    `numrnn.flush_subnormals`.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> cell = numrnn.AntisymmetricCell(input_size=1, hidden_size=4)
    >>> rng = np.random.default_rng(0)
    >>> params = cell.init_params(rng)
    >>> x = rng.standard_normal((10, 2, 1), dtype=np.float32)
    >>> states, tape = numrnn.forward(cell, params, x)
    >>> states.shape
    (11, 2, 4)
    >>> grads = numrnn.backward(tape, d_final=np.ones((2, 4), np.float32))
    >>> grads.x.shape
    (10, 2, 1)
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}, got {engine!r}")
    problem = check_problem(cell, params, x, h0, lengths, checkpoint_every)
    fast = _fused_engine(problem.x)
    obstacle = None if engine == "reference" else fast.obstacle(problem)
    if engine == "fused" and obstacle is not None:
        raise ValueError(f"engine='fused' does not cover {obstacle}; take 'auto' or 'reference'")
    if obstacle is not None and fast is cuda_engine and obstacle not in _warned:
        _warned.add(obstacle)
        text = f"the CUDA engine does not cover {obstacle}: the reference loop runs, a step at a time"
        warnings.warn(text, ReferenceLoopWarning, stacklevel=2)
    run = bptt.run if engine == "reference" or obstacle is not None else fast.run
    with flush_subnormals():
        tape = run(problem)
    return tape.states, tape


def _fused_engine(x: Array) -> ModuleType:
    """Return the fused engine of the arrays' library; numpy_engine names any but NumPy as an obstacle."""
    return cuda_engine if array_namespace(x).__name__ == "cupy" else numpy_engine
