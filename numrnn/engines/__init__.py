"""The public forward pass, and the engines that run it.

An engine is a function from a checked `Problem` to a `Tape`. The reference engine is numrnn/bptt.py; the others compute
the same numbers faster, to a stated multiple of rounding.
"""

from __future__ import annotations

from typing import Any

from numrnn import bptt
from numrnn.backend import Array, Params
from numrnn.cells.base import Cell
from numrnn.engines import numpy_engine
from numrnn.tape import Tape, check_problem

ENGINES = ("auto", "reference", "fused")


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
        Which implementation of the loops. "reference" covers everything; "fused" is faster and covers the cells of this
        package on NumPy arrays of float32 and float64; "auto" is "fused" where that covers the case.
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

    Notes
    -----
    Costs T steps, and (T + 1) B state_size numbers of memory, or with checkpoints (T / k + 2) B state_size.

    A sequence may be cut: start the second part at `states[-1]` of the first, and hand `grads.h0` of the second to
    `backward` of the first as `d_final`. Leaving that cotangent out instead is truncated backpropagation through time.

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
    obstacle = numpy_engine.obstacle(problem)
    if engine == "fused" and obstacle is not None:
        raise ValueError(f"engine='fused' does not cover {obstacle}; take 'auto' or 'reference'")
    run = bptt.run if engine == "reference" or obstacle is not None else numpy_engine.run
    tape = run(problem)
    return tape.states, tape
