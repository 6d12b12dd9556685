"""Streams, events, generated kernels and CUDA graphs for the stand-in of CuPy (standin_cupy.py).

While a stream captures, launches are recorded and not run, and all that CUDA or CuPy refuses there is an
AssertionError, or CuPy's own error: to multiply by cuBLAS, to compile, to copy from the host, to read there, to
synchronise. Operations on arrays need a memory pool of the graph's own, from which nobody else may take memory
(standin_recording.py). A graph runs what it recorded with the same addresses, and refuses to where an array is gone.

Work runs at once. What a device would do later, and what it might do at the same time, is told from who touches an
array: each stream counts what it does, and knows how far it has waited for others. A stream that touches what another
one wrote, or writes what another one touched, without having waited for that, is a RaceError.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import re
import subprocess
import tempfile
import types
import weakref
from pathlib import Path

import numpy as np
import standin_cupy
from standin import H200
from standin_recording import MemoryPool, Recorder, root_of

from numrnn.engines.cuda.trace.product import product_source

# A kernel runs as a loop over its threads; they have no barriers. The products are not those of product.cu, which has:
# its own tests run that one. Here an epilogue writes an element before the products of the next one are read.
TEXT = """
#include <math.h>
#include <type_traits>
#include <utility>
#define __global__
#define __launch_bounds__(...)
struct Index { int x; };
static Index threadIdx, blockIdx;
template <typename T>
struct Operand { const T* first; long long width_stride, depth_stride; };
template <typename T, int ROWS, int COLUMNS, int DEPTH, int LEFTS, int PARTS, class Epilogue>
void products(int rows, int units, int inner, const Operand<T> (&a)[LEFTS], const Operand<T> (&b)[PARTS],
              const Epilogue& epilogue) {
    if (blockIdx.x || threadIdx.x) return;
    for (int i = 0; i < rows; ++i) for (int j = 0; j < units; ++j) {
        T sum[PARTS] = {};
        for (int p = 0; p < PARTS; ++p) for (int k = 0; k < inner; ++k) {
            const Operand<T>& left = a[p % LEFTS];
            sum[p] += left.first[i * left.width_stride + k * left.depth_stride]
                * b[p].first[j * b[p].width_stride + k * b[p].depth_stride];
        }
        epilogue(i, j, sum);
    }
}
template <typename T>
void product(int rows, int columns, int inner, const T* a, long long a_row, long long a_inner, const T* b,
             long long b_inner, long long b_column, T* c, long long c_row, long long c_column) {
    if (blockIdx.x || threadIdx.x) return;
    for (int i = 0; i < rows; ++i) for (int j = 0; j < columns; ++j) {
        T sum = 0;
        for (int k = 0; k < inner; ++k) sum += a[i * a_row + k * a_inner] * b[k * b_inner + j * b_column];
        c[i * c_row + j * c_column] = sum;
    }
}
template <typename... A, size_t... I>
void call(void (*kernel)(A...), std::index_sequence<I...>, int blocks, int threads, void** arguments) {
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
            kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
}
template <typename... A>
void call(void (*kernel)(A...), int blocks, int threads, void** arguments) {
    call(kernel, std::index_sequence_for<A...>(), blocks, threads, arguments);
}
"""
ENTRY = 'extern "C" void run(int blocks, int threads, void** a) {{ call(&{name}, blocks, threads, a); }}\n'
PRODUCT_WRITES = (False, False, True)  # the arrays among a product's arguments


class RaceError(AssertionError):
    """Two streams touch an array in an order that nothing decides."""


class State:
    """What the streams have done: reset for each test."""

    def __init__(self):
        self.stack = [Stream(default=True)]
        self.capturing = None
        self.replays, self.captures = 0, 0
        self.touched = {}  # by id of an array that owns memory: a weak reference, the last write, the last reads
        self.pools = [None]  # the last one is in use
        self.compiled = set()  # operations that have run, with the dtypes of their arrays
        self.inside = False  # an operation that is a part of another one

    def in_pool(self, array):
        """Give a new array of a capture to the pool in use, and return it."""
        assert self.pools[-1], "an array is allocated while a stream captures"
        self.pools[-1].held.append(root_of(array))
        return array

    def touch(self, array, write):
        """Note that the current stream reads or writes the memory of an array."""
        stream, root = self.stack[-1], root_of(array)
        known = self.touched.get(id(root))
        if known is None or known[0]() is not root:
            known = self.touched[id(root)] = [weakref.ref(root), None, {}]
        stream.clock[stream] = now = stream.clock.get(stream, 0) + 1
        before = [known[1]] if known[1] else []
        before += known[2].items() if write else []
        for other, at in before:
            if other is not stream and stream.clock.get(other, 0) < at:
                raise RaceError(f"an array of shape {array.shape} is used by two streams at once")
        if write:
            known[1], known[2] = (stream, now), {}
        else:
            known[2][stream] = now


class Stream:
    """A stream, in which work is in order."""

    def __init__(self, default=False, non_blocking=False):
        self.ptr, self.non_blocking, self.clock = 0 if default else id(self), non_blocking, {}

    def __enter__(self):
        state.stack.append(self)
        return self

    def __exit__(self, *_):
        state.stack.pop()

    def record(self, event):
        event.clock = dict(self.clock)

    def wait_event(self, event):
        for stream, at in event.clock.items():
            self.clock[stream] = max(self.clock.get(stream, 0), at)

    def synchronize(self):
        assert state.capturing is None, "synchronised while a stream captures"

    def begin_capture(self):
        assert self.ptr, "the default stream cannot capture"
        assert self.non_blocking, "other threads cannot use the default stream while a blocking stream captures"
        assert state.capturing is None
        state.capturing, self.recorded = self, []

    def end_capture(self):
        assert state.capturing is self
        state.capturing = None
        state.captures += 1
        if state.pools[-1]:
            state.pools[-1].of_a_graph = True
        return Graph(self.recorded)


class Event:
    """A point in the work of a stream."""

    def __init__(self, disable_timing=False):
        self.clock = {}


class Graph:
    """Recorded launches."""

    def __init__(self, launches):
        self.launches = launches

    def launch(self, stream):
        state.replays += 1
        with stream:
            for launch in self.launches:
                launch.run()


@contextlib.contextmanager
def using_allocator(allocator):
    """Take memory from a pool, in CuPy's way."""
    state.pools.append(allocator.__self__)
    try:
        yield
    finally:
        state.pools.pop()


class Launch:
    """A kernel with its arguments, addresses for arrays, and which of the arrays it writes."""

    def __init__(self, entry, blocks, threads, arguments, writes):
        arrays = [standin_cupy.bare(value) for value in arguments if isinstance(value, standin_cupy.ndarray)]
        self.held = [_value(value) for value in arguments]
        self.entry, self.size = entry, (blocks, threads)
        self.arrays = [(weakref.ref(root_of(a)), write) for a, write in zip(arrays, writes, strict=True)]

    def run(self):
        for reference, write in self.arrays:
            array = reference()
            assert array is not None, "a graph uses the memory of an array that is gone"
            state.touch(array, write)
        self.entry(*self.size, (ctypes.c_void_p * len(self.held))(*[ctypes.addressof(value) for value in self.held]))


def _value(value):
    if isinstance(value, standin_cupy.ndarray):
        return ctypes.c_void_p(value._hidden.ctypes.data)
    return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())


class RawModule:
    """Kernels from their text."""

    def __init__(self, code, options, name_expressions=()):
        assert state.capturing is None, "compiled while a stream captures"
        self.code = code

    def get_function(self, name):
        product = self.code == product_source()
        parameters = re.search(rf"{name}\((.*?)\)", self.code).group(1).split(", ") if not product else ()
        writes = [one[:6] != "const " for one in parameters if "*" in one] or PRODUCT_WRITES
        name = name.partition(",")[0] + ">" if product else name
        entry = _compiled(TEXT + self.code.replace(product_source(), "") + ENTRY.format(name=name))

        def start(grid, block, arguments, shared_mem=0):
            launch = Launch(entry, *grid, *block, arguments, writes)
            if state.capturing is None:
                launch.run()
            else:
                assert state.stack[-1] is state.capturing, "a launch beside the capture"
                state.capturing.recorded.append(launch)

        return start


@functools.cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="numrnn-graph-")


@functools.cache
def _compiled(text):
    path = Path(_folder().name, hashlib.sha256(text.encode()).hexdigest()).with_suffix(".cpp")
    path.write_text(text)
    command = [standin_cupy.COMPILER, "-O1", "-std=c++17", "-ffp-contract=off", "-w", "-shared", "-fPIC"]
    subprocess.run([*command, path, "-o", path.with_suffix(".so")], check=True, capture_output=True)
    return ctypes.CDLL(str(path.with_suffix(".so"))).run


class Waits(list):
    """What waited for the device: nothing may while a stream captures."""

    def append(self, what):
        assert state.capturing is None, f"read on the host ({what}) while a stream captures"
        super().append(what)


def install(monkeypatch):
    """Put the stand-in in CuPy's place for a test, and return it."""
    global state
    state, module = State(), standin_cupy.install(monkeypatch)
    bare, walled = standin_cupy.bare, standin_cupy.walled

    def read_bare(value):
        hidden = bare(value)
        if isinstance(value, standin_cupy.ndarray) and state.capturing is None:
            state.touch(hidden, write=False)
        return hidden

    def made(value):
        new = walled(value)
        if isinstance(new, standin_cupy.ndarray) and not is_known(root_of(new._hidden)):
            if state.capturing is not None:
                state.in_pool(new._hidden)
            else:
                used = state.pools[-1]
                assert not (used and used.of_a_graph), "the memory of a graph is given to another array"
                state.touch(new._hidden, write=True)
        return new

    def is_known(root):
        known = state.touched.get(id(root))
        return known is not None and known[0]() is root

    def asarray(values, dtype=None):
        assert state.capturing is None, "an array comes from the host while a stream captures"
        return made(standin_cupy.asarray(values, dtype)._hidden)

    def empty(shape, dtype):
        """Return an array of NaN, which a kernel has to fill."""
        return made(np.full(shape, True if np.dtype(dtype) == bool else np.nan, dtype))

    def matmul(a, b, out):
        if state.capturing is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        standin_cupy.ndarray.__setitem__(out, ..., a @ b)

    monkeypatch.setattr(standin_cupy, "bare", read_bare)
    monkeypatch.setattr(standin_cupy, "walled", made)
    Recorder(lambda: state).install(monkeypatch)
    monkeypatch.setattr(standin_cupy, "waits", Waits())
    module.RawModule, module.asarray, module.empty, module.matmul = RawModule, asarray, empty, matmul
    properties = {"major": 9, "minor": 0, "multiProcessorCount": H200.processors, "sharedMemPerBlockOptin": 232_448}
    module.cuda.runtime.getDeviceProperties = lambda index: properties
    module.cuda.nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 0))
    module.cuda.Stream, module.cuda.Event = Stream, Event
    module.cuda.MemoryPool, module.cuda.using_allocator = MemoryPool, using_allocator
    module.cuda.get_current_stream = lambda: state.stack[-1]
    return module


def launcher():
    """Return a launcher of the kernels of whole sequences (standin.py)."""
    return Recorder(lambda: state).launcher()


state = None
