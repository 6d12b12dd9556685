r"""Backpropagation through time: the forward pass of any cell over a sequence, and its adjoint.

    forward    h_t = step(params, x_t, h_{t-1}),                                   t = 1..T          (F16)
    backward   g_T = dL/dh_T,   (dparams_t, dx_t, g) = step_vjp(x_t, h_{t-1}, g_t),
               g_{t-1} = g + (the loss's direct derivative with respect to h_{t-1}),  t = T..1          (B26)
               dparams = sum over t of dparams_t                                           (B27)

`forward` and `backward` check their arguments and hand them to an engine. The reference engine is at the end of this
file: the simplest correct loops, for any cell and any array library. The fused engines, numrnn/engines/cpu for NumPy
and numrnn/engines/cuda for CuPy, compute the same results faster, to within a stated multiple of rounding.

Derivation: docs/derivation.md, section 7.

References
----------
P. J. Werbos, "Backpropagation Through Time: What It Does and How to Do It", Proceedings of the IEEE 78(10), 1990.
T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, 2016.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Literal, overload

import numpy as np

from numrnn.backend import Array, Params, array_namespace, empty, on_device_of, zeros
from numrnn.blas import one_thread_each
from numrnn.cells.base import Cell, same_step, unchecked
from numrnn.cells.stack import Stack
from numrnn.checks import check_choice, shown
from numrnn.engines import cpu, cuda
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN_VARIABLE
from numrnn.layered import LayeredTape
from numrnn.problem import Problem, check_cotangents, check_problem
from numrnn.subnormals import flush_subnormals
from numrnn.tape import DefaultGradients, Gradients, ParameterGradients, Tape
from numrnn.typing import Engine

__all__ = ["ReferenceLoopWarning", "ReferenceTape", "backward", "forward"]

Wanted = Literal["params", "x", "h0", "states"]
ENGINES: tuple[Engine, ...] = ("auto", "reference", "fused")
GRADIENTS: tuple[Wanted, ...] = ("params", "x", "h0", "states")
SMALL_PRODUCT = 2**24  # scalar multiplications of h by a matrix: 0.1 ms on one core

_warned: set[str] = set()  # reasons already given by a ReferenceLoopWarning


class ReferenceLoopWarning(UserWarning):
    """The reference loop runs on a GPU: one or more launches per step; the CUDA engine needs one for all steps."""


def forward(
    cell: Cell,
    params: Params,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Any = None,
    engine: Engine = "auto",
    recompute_every: int | Literal["sqrt"] | None = None,
    checkpoint_every: int | Literal["sqrt"] | None = None,
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
        First state; zero by default.
    lengths : sequence or array of int, shape (B,), optional
        1 <= lengths <= T. Row i has lengths[i] steps. After them it keeps its last state, and x is neither read nor
        checked.
    engine : {"auto", "reference", "fused"}
        Implementation of the loops. "reference" supports everything. "fused" is faster; in float32 and float64 it
        supports the cells of this package on NumPy arrays, and on CuPy arrays the antisymmetric and unstructured ones
        and the Elman network with up to 512 units in float32, 256 in float64, the LSTM with up to 128, and every other
        cell whose step can be traced (docs/cuda_engine.md, "Cells of your own"). "auto" uses "fused" where it is
        supported; on a GPU, only kernels that have run on one, unless the environment has NUMRNN_CUDA_UNPROVEN=1. In a
        `Stack` each layer has its own engine.
    recompute_every : int or "sqrt", optional
        Keep only every k-th state, k >= 1, and recompute the others, k at a time, when needed. "sqrt" sets k =
        ceil(sqrt(T)): the backward pass then never holds more than 2 sqrt(T) states.
    checkpoint_every : int or "sqrt", optional
        The old name of `recompute_every`.

    Returns
    -------
    states : array, shape (T + 1, B, state_size)
        states[0] is h0. With `recompute_every` a `CheckpointedStates` of that shape.
    tape : Tape
        For `backward`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type, an array not float32, float64 or complex128, or precisions are mixed.
    ValueError
        If a shape, a length, the engine, `recompute_every` or NUMRNN_CUDA_UNPROVEN is wrong, T or B is 0, devices are
        mixed, or an input is NaN or infinite.

    Warns
    -----
    ReferenceLoopWarning
        If "auto" uses the reference loop on a GPU: once per reason, which may be that the kernel has not run on one.
    DeprecationWarning
        If `checkpoint_every` is given.

    Notes
    -----
    Costs T steps, and (T + 1) B state_size numbers of memory, or with `recompute_every` (T / k + 2) B state_size.

    A sequence may be split: start the second part at `states[-1]` of the first, and pass `grads.h0` of the second to
    `backward` of the first as `d_final`. Omitting that cotangent gives truncated backpropagation through time.

    On a CPU, `forward` and `backward` treat subnormal numbers, below 1.2e-38 in float32, as zero; see
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
    check_choice("engine", engine, ENGINES)
    if checkpoint_every is not None:
        if recompute_every is not None:
            raise ValueError("give recompute_every alone: checkpoint_every is its old name")
        warnings.warn("checkpoint_every is now called recompute_every", DeprecationWarning, stacklevel=2)
        recompute_every = checkpoint_every
    with on_device_of(x):
        problem = check_problem(cell, params, x, h0, lengths, recompute_every)
        tape = _make_tape(problem, engine)
        with flush_subnormals():
            tape.run()
        return tape.states, tape


def _make_tape(problem: Problem, engine: Engine, stacklevel: int = 3) -> Tape:
    """Return a tape, not run yet, of the engine chosen by the name and the problem.

    A warning points to the line `stacklevel` calls up, that of the caller of `forward`.
    """
    if engine == "reference":
        return ReferenceTape(problem)
    cell = problem.cell
    if isinstance(cell, Stack) and same_step(cell, Stack):
        # Called by `_run` of the tape, which its `run` calls.
        return LayeredTape(problem, cell, functools.partial(_make_tape, engine=engine, stacklevel=stacklevel + 2))
    fused = _fused_engine(problem.x)
    reason, advice = fused.unsupported_reason(problem), ""
    if reason is not None:
        if engine == "fused":
            raise ValueError(f"engine='fused' does not support {reason}; use 'auto' or 'reference'")
        text = f"does not support {reason}"
    elif engine == "auto" and fused is cuda and (reason := cuda.unproven_reason(problem)) is not None:
        text = f"supports {reason} by kernels that have not run on a GPU yet"
        advice = f"; engine='fused' runs them, and so does 'auto' with {UNPROVEN_VARIABLE}=1 in the environment"
    else:
        return fused.make_tape(problem)
    if fused is cuda and reason not in _warned:
        _warned.add(reason)
        text = f"the CUDA engine {text}: the reference loop runs, one step at a time{advice}"
        warnings.warn(text, ReferenceLoopWarning, stacklevel=stacklevel)
    return ReferenceTape(problem)


def _fused_engine(x: Array) -> ModuleType:
    """Return the fused engine of the arrays' library; the CPU engine supports only NumPy."""
    return cuda if array_namespace(x).__name__ == "cupy" else cpu


@overload
def backward(tape: Tape, d_states: Array | None = None, *, d_final: Array | None = None) -> DefaultGradients: ...


@overload
def backward(
    tape: Tape, d_states: Array | None = None, *, d_final: Array | None = None, wrt: tuple[Literal["params"]]
) -> ParameterGradients: ...


@overload
def backward(  # tuple[Wanted] is a Collection[Wanted], but mypy 2.4 takes a tuple of one literal for one of str
    tape: Tape, d_states: Array | None = None, *, d_final: Array | None = None, wrt: tuple[Wanted] | Collection[Wanted]
) -> Gradients: ...


def backward(
    tape: Tape,
    d_states: Array | None = None,
    *,
    d_final: Array | None = None,
    wrt: Collection[Wanted] = ("params", "x", "h0"),
) -> Gradients:
    """Run the adjoint of `forward`: gradients of a loss from its derivatives with respect to the states.

    Parameters
    ----------
    tape : Tape
        From `forward`; it may be used more than once.
    d_states : array, shape (T + 1, B, state_size), optional
        The loss's direct derivative with respect to each of `states`, not through later states.
    d_final : array, shape (B, state_size), optional
        The loss's derivative with respect to states[-1]; added to d_states[-1] if both are given.
    wrt : collection of {"params", "x", "h0", "states"}
        The gradients to compute. Leave out "x" to save T B m numbers.

    Returns
    -------
    Gradients
        `.params`, `.x`, `.h0`, and `.states` if requested.

    Raises
    ------
    TypeError, ValueError
        If `tape` is not a tape, neither cotangent is given, `wrt` has an unknown name, or a cotangent has a wrong
        shape, dtype or device, or holds NaN or infinity.

    Notes
    -----
    Costs three times the flops of `forward`, four times with `recompute_every`.

    complex128 is the analytic continuation: nothing is conjugated, so a complex step through `backward` gives second
    derivatives.
    """
    if not isinstance(tape, Tape):
        raise TypeError(f"tape must be the tape that forward returned, got {type(tape).__name__}")
    named = isinstance(wrt, tuple | list | set | frozenset) and all(isinstance(one, str) for one in wrt)
    if not named or set(wrt) - set(GRADIENTS):
        raise ValueError(f"wrt must be a collection of {', '.join(map(repr, GRADIENTS))}, got {shown(wrt)}")
    with on_device_of(tape.problem.x), flush_subnormals():
        g, direct = check_cotangents(tape.problem, d_states, d_final)
        if g.dtype != tape.problem.h0.dtype and not isinstance(tape, ReferenceTape):
            # A complex cotangent of a real pass is two real ones, by linearity; no fused engine supports it.
            tape = ReferenceTape(tape.problem)
            tape.run()
        return tape.propagate(g, direct, wrt)


class ReferenceTape(Tape):
    """The reference engine: the two loops in their simplest form.

    The tape holds states only; `step_vjp` recomputes the rest. With `recompute_every` it holds h_0, h_k, h_2k, ..., and
    h_T, and the backward pass recomputes k states at a time: bit for bit the same numbers, at the cost of one more
    forward pass.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, every=problem.every or problem.n_steps)
        if problem.every is None:
            self._states = empty((problem.n_steps + 1, *problem.h0.shape), like=problem.h0)
            self._states[0, ...] = problem.h0
        self._kept = [problem.h0]  # the states at the multiples of `every`, and h_T

    def run(self, start: int = 0, states: Array | None = None) -> None:
        """Run all steps, or, with `states` (steps + 1, B, state_size), fill it with the segment from `start`."""
        problem, h = self.problem, self._kept[start // self.every]
        stop = problem.n_steps if states is None else start + states.shape[0] - 1
        step, where = unchecked(problem.cell.step), array_namespace(h).where
        out = self._states if states is None else states
        with _one_blas_thread(problem):
            for t in range(start, stop):
                h_next = step(problem.params, problem.x[t, ...], h)  # (F16)
                # A row whose sequence has ended keeps its state.
                h = h_next if problem.active is None else where(problem.active[t, ...], h_next, h)
                if out is not None:
                    out[t + 1 - start, ...] = h
                if states is None and ((t + 1) % self.every == 0 or t + 1 == stop):
                    self._kept.append(h)

    def step_back(self, t: int, h: Array, g: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, g_t) of step t from h_t and g_{t+1}; a row that keeps its state passes g on.

        The adjoint gets such a row's first state and input, with a cotangent of zero: the state that the row keeps may
        be infinite, and zero times infinity is NaN.
        """
        cell, params, x, active = self.problem.cell, self.problem.params, self.problem.x, self.problem.active
        if active is None:
            return unchecked(cell.step_vjp)(params, x[t, ...], h, g)  # (B26)
        where, runs = array_namespace(g).where, active[t, ...]
        x_t, h_t = where(runs, x[t, ...], x[0, ...]), where(runs, h, self.problem.h0)
        dparams, dx, dh = unchecked(cell.step_vjp)(params, x_t, h_t, where(runs, g, 0))
        return dparams, dx, where(runs, dh, g)

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        n_steps, shapes = self.problem.n_steps, self.problem.cell.parameter_shapes
        dparams = {name: zeros(shape, like=g) for name, shape in shapes.items()}
        dx = empty(self.problem.x.shape, like=g) if "x" in wrt else None
        all_g = empty((n_steps + 1, *g.shape), like=g) if "states" in wrt else None
        if all_g is not None:
            all_g[-1, ...] = g
        with _one_blas_thread(self.problem):
            for t, h in self.states_backwards():
                dparams_t, dx_t, g = self.step_back(t, h, g)
                if direct is not None:
                    g = g + direct[t, ...]
                for name, value in dparams_t.items():
                    dparams[name] += value  # (B27)
                if dx is not None:
                    dx[t, ...] = dx_t
                if all_g is not None:
                    all_g[t, ...] = g
        return Gradients(dparams if "params" in wrt else None, dx, g if "h0" in wrt else None, all_g)

    def states_backwards(self) -> Iterator[tuple[int, Array]]:
        """Yield t and h_t, from T - 1 down to 0."""
        for start in reversed(self.starts()):
            states = self.segment(start)
            for t in reversed(range(start, start + states.shape[0] - 1)):
                yield t, states[t - start, ...]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from its first if not all are kept."""
        if self._states is not None:
            return self._states
        h, stop = self._kept[start // self.every], min(start + self.every, self.problem.n_steps)
        states = empty((stop - start + 1, *h.shape), like=h)
        states[0, ...] = h
        self.run(start, states)
        return states

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self._kept[-1]


def _one_blas_thread(problem: Problem) -> AbstractContextManager[Any]:
    """Return a context that keeps BLAS in the caller's thread if the products are too small to be split.

    BLAS's own threads would not flush subnormal numbers; the caller's thread does (numrnn/subnormals.py).
    """
    small = problem.h0.shape[0] * problem.cell.hidden_size * problem.cell.state_size <= SMALL_PRODUCT
    return one_thread_each() if small and array_namespace(problem.h0) is np else nullcontext()
