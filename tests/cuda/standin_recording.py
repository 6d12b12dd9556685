"""Operations on the arrays of the stand-in for CuPy as parts of a CUDA graph (standin_graph.py).

While a stream captures, an operation is not run but recorded, with the places of its arrays. A new result is NaN until
the graph runs, and its memory belongs to the pool in use. A graph holds no memory: it refuses to run where an array is
gone.
"""

from __future__ import annotations

import functools
import weakref

import numpy as np
import standin_cupy
from standin import StandinLauncher

CUBLAS = ("__matmul__", "__rmatmul__", "matmul", "dot", "tensordot")
OF_ARRAYS = (
    *(
        f"__{side}{name}__"
        for name in ("add", "sub", "mul", "truediv", "matmul", "pow", "and", "or")
        for side in ("", "r")
    ),
    *(f"__{name}__" for name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "invert", "abs")),
    *("astype", "copy", "sum", "reshape"),
)


def root_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class MemoryPool:
    """Memory for a graph: what is allocated in a capture lives as long as the pool."""

    def __init__(self):
        self.held, self.of_a_graph = [], False

    def malloc(self, size):
        raise AssertionError("the stand-in allocates by itself")


class Place:
    """Where an array is; it does not keep the memory alive."""

    def __init__(self, array):
        hidden, root = array._hidden, root_of(array._hidden)
        self.root, self.form = weakref.ref(root), (hidden.shape, hidden.dtype)
        self.offset, self.strides = hidden.ctypes.data - root.ctypes.data, hidden.strides

    def array(self):
        root = self.root()
        assert root is not None, "a graph uses the memory of an array that is gone"
        return standin_cupy.ndarray(np.ndarray(*self.form, buffer=root, offset=self.offset, strides=self.strides))


def each(function, value, kind=standin_cupy.ndarray):
    """Return a value in which all arrays are replaced by what a function makes of them."""
    if isinstance(value, dict):
        return {name: each(function, item, kind) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(each(function, item, kind) for item in value)
    return function(value) if isinstance(value, kind) else value


def arrays_of(value):
    found = []
    each(found.append, value)
    return found


class Operation:
    """A recorded operation: it runs on the places of its arguments, and copies new results to theirs."""

    def __init__(self, state, function, given, results):
        self.state, self.function = state, function
        self.given, self.results = each(Place, given), [Place(one) for one in results]

    def run(self):
        arguments, named = each(Place.array, self.given, Place)
        found = self.function(*arguments, **named)
        for place, result in zip(self.results, arrays_of(found) if self.results else (), strict=True):
            to = place.array()
            to._hidden[...] = result._hidden
            self.state().touch(to._hidden, write=True)


class Recorder:
    """Makes the operations of the stand-in record themselves; `state` returns the state of its streams."""

    def __init__(self, state):
        self.state = state

    def install(self, monkeypatch):
        array, of_module = standin_cupy.ndarray, standin_cupy._Module.__getattr__

        def function_of(module, name):
            found = of_module(module, name)
            return self.recorded(found, name) if callable(found) and not isinstance(found, type) else found

        monkeypatch.setattr(standin_cupy._Module, "__getattr__", function_of)
        for name in OF_ARRAYS:
            monkeypatch.setattr(array, name, self.recorded(getattr(array, name), name))
        monkeypatch.setattr(array, "__setitem__", self.recorded(array.__setitem__, "assign", lambda to, *_: [to]))
        for kind in (standin_cupy.ElementwiseKernel, standin_cupy.ReductionKernel):
            given_outputs = self.recorded(kind.__call__, "kernel", lambda kernel, *given: given[len(kernel.inputs) :])
            monkeypatch.setattr(kind, "__call__", given_outputs)

    def recorded(self, operation, name, outputs=lambda *arguments: ()):
        """Return an operation that a capture records; `outputs` are the arrays that it is given to write."""

        def run(*arguments, **named):
            state = self.state()
            inside, state.inside = state.inside, True
            try:
                results = operation(*arguments, **named)
            finally:
                state.inside = inside
            for array in outputs(*arguments):
                state.touch(array._hidden, write=True)
            return results

        @functools.wraps(operation)
        def record(*arguments, **named):
            state = self.state()
            if state.inside:
                return operation(*arguments, **named)
            found, written = arrays_of((arguments, named)), outputs(*arguments)
            label = getattr(arguments[0], "name", arguments[0]) if arguments else None  # of a kernel
            kernel = name, label if isinstance(label, str) else None, *(array.dtype for array in found)
            if state.capturing is None:
                state.compiled.add(kernel)
                return run(*arguments, **named)
            if name in CUBLAS:
                raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
            assert state.stack[-1] is state.capturing, f"{name} beside the capture"
            results, new = (written[0] if len(written) == 1 else tuple(written)), []
            if not written:
                with np.errstate(all="ignore"):
                    results = run(*arguments, **named)
                new = arrays_of((results,))
                if all(any(np.shares_memory(one._hidden, array._hidden) for array in found) for one in new):
                    return results  # views
                for one in new:
                    state.in_pool(one._hidden).fill(np.nan if one.dtype.kind == "f" else True)
            assert state.pools[-1], f"{name} while a stream captures, without memory for its graph"
            assert kernel in state.compiled, f"{name} is compiled while a stream captures"
            state.capturing.recorded.append(Operation(self.state, run, (arguments, named), new))
            return results

        return record

    def launcher(self):
        """Return a launcher of the kernels of whole sequences, which runs them on the stand-in for CUDA."""
        inner = StandinLauncher()

        def launch(kernel, blocks, threads, shared_bytes, arguments):
            inner(kernel, blocks, threads, shared_bytes, each(standin_cupy.bare, arguments))

        start = self.recorded(launch, "launch", lambda *given: arrays_of(given))
        start.device, start.blocks_per_processor = inner.device, inner.blocks_per_processor
        return start
