"""A stand-in for CuPy that needs no GPU: NumPy arrays behind a wall that counts every wait.

To read an element of an array on a GPU is to wait for it. These arrays count each such reading (`bool`, `float`, `int`,
`get`, a mask as an index, ...), refuse what CuPy refuses (mixing with NumPy arrays, becoming one in silence), and run
the text of elementwise and reduction kernels, compiled by the C++ compiler of the machine. `install` puts the module in
the place of CuPy; `waits` is what was counted, `launches` which kernels ran, `operations` what else a device runs.

There are two devices. As in CuPy, an array is allocated on the current one, `with Device(1):` makes another current,
and an operation runs on the current one: where that is not the device of all its arrays, it raises WrongDeviceError. On
a machine of several GPUs it would succeed, slowly, out of order and with its result elsewhere, or fail for want of peer
access. Views, and copies to the host, run nowhere.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.machinery
import operator
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")
CTYPES = {
    "float32": "float",
    "float64": "double",
    "int64": "long long",
    "uint64": "unsigned long long",
    "uint8": "unsigned char",
}
# Without contraction a multiplication and an addition are two roundings, as in NumPy.
FLAGS = ["-O2", "-ffp-contract=off", "-std=c++17", "-shared", "-fPIC"]

waits: list[str] = []  # what waited, one entry a wait
launches: list[str] = []  # names of the kernels that ran
operations: list[str] = []  # names of the other operations that write an array: on a device, a launch at least of each


class WrongDeviceError(AssertionError):
    """An operation ran while another device than that of its arrays was the current one."""


current = [0]  # the current device, and those that `with` will return to


class Device:
    """One of the devices; the current one by default."""

    def __init__(self, index=None):
        self.id = current[-1] if index is None else index

    def __enter__(self):
        current.append(self.id)
        return self

    def __exit__(self, *_):
        current.pop()

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None  # as in CuPy

    def __str__(self):
        return f"<CUDA Device {self.id}>"


def bare(value):
    """Return what the wall hides, for an operation; refuse NumPy arrays, which live on the host."""
    if isinstance(value, ndarray):
        if value._index != current[-1]:
            raise WrongDeviceError(
                f"device {current[-1]} is current at an operation on an array of device {value._index}"
            )
        return value._hidden
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple | list):
        return type(value)(bare(item) for item in value)
    return value


def walled(value):
    """Return an array, or all arrays of a tuple, behind the wall."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    return tuple(map(walled, value)) if isinstance(value, tuple) else value


def ran(name, result, *arrays):
    """Return the result of an operation, and record the operation unless the result is a view of one of its arrays."""
    is_view = any(isinstance(a, np.ndarray) and np.shares_memory(a, result) for a in arrays)
    if isinstance(result, np.ndarray | np.generic) and not is_view:
        operations.append(name)
    return result


class ndarray:
    """An array on the stand-in's device."""

    __array_priority__ = 100
    __array_ufunc__ = None

    def __init__(self, hidden, index=None):
        self._hidden, self._index = hidden, current[-1] if index is None else index

    def _view(self, hidden):
        return ndarray(hidden, self._index)

    shape, dtype, ndim, size, strides, itemsize = (
        property(lambda self, name=name: getattr(self._hidden, name))
        for name in ("shape", "dtype", "ndim", "size", "strides", "itemsize")
    )
    device = property(lambda self: Device(self._index))
    T = property(lambda self: self._view(self._hidden.T))

    def __getitem__(self, index):
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, ndarray) and part.dtype == bool:
                waits.append("mask")
        hidden, index = self._hidden[bare(index)], index if isinstance(index, tuple) else (index,)
        # An element is a view in CuPy, and a copy in NumPy unless an ellipsis is given.
        return self._view(hidden if isinstance(hidden, np.ndarray) else self._hidden[bare((*index, ...))])

    def __setitem__(self, index, value):
        operations.append("assign")
        bare(self)[bare(index)] = bare(value)

    def __len__(self):
        return len(self._hidden)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def get(self):
        waits.append("get")
        return self._hidden.copy()

    def __dlpack__(self, **options):
        return self._hidden.__dlpack__()

    def __dlpack_device__(self):
        return self._hidden.__dlpack_device__()

    def astype(self, dtype):
        return walled(ran("astype", bare(self).astype(dtype)))

    def copy(self):
        return walled(ran("copy", bare(self).copy()))

    def view(self, dtype):
        return self._view(self._hidden.view(dtype))

    def sum(self, axis=None):
        return walled(ran("sum", bare(self).sum(axis)))

    def reshape(self, *shape):
        hidden = self._hidden.reshape(*shape)
        if np.shares_memory(hidden, self._hidden):
            return self._view(hidden)
        return walled(ran("reshape", bare(self).reshape(*shape)))

    def __hash__(self):
        return id(self)


def _binary(name):
    function = getattr(operator, name)

    def forwards(self, other):
        return NotImplemented if other is None else walled(ran(name, function(bare(self), bare(other))))

    def backwards(self, other):
        return walled(ran(name, function(bare(other), bare(self))))

    return forwards, backwards


def _unary(array, function):
    return walled(ran(function.__name__, function(bare(array))))


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow", "and_", "or_"):
    _dunder = _name.rstrip("_")
    for _prefix, _method in zip(("", "r"), _binary(_name), strict=True):
        setattr(ndarray, f"__{_prefix}{_dunder}__", _method)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(ndarray, f"__{_name}__", _binary(_name)[0])
for _name in ("neg", "invert", "abs"):
    setattr(ndarray, f"__{_name}__", functools.partialmethod(_unary, getattr(operator, _name)))


def _reader(name):
    def read(self, *arguments):
        waits.append(name)
        return getattr(self._hidden, name)(*arguments)

    return read


for _name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "item", "tolist"):
    setattr(ndarray, _name, _reader(_name))


class ElementwiseKernel:
    """Runs the text of an elementwise kernel, element by element."""

    def __init__(self, in_params, out_params, operation, name, preamble=""):
        self.inputs, self.outputs = _parameters(in_params), _parameters(out_params)
        self.operation, self.name, self.preamble = operation, name, preamble

    def __call__(self, *arguments):
        launches.append(self.name)
        parameters = self.inputs + self.outputs
        assert len(arguments) in (len(self.inputs), len(parameters)), f"{self.name}: wrong number of arguments"
        given = dict(zip((name for _, _, name in parameters), arguments, strict=False))
        real = {v.dtype.name for r, t, n in parameters if t == "T" and isinstance(v := given.get(n), ndarray)}
        assert len(real) <= 1, f"{self.name}: T must be one dtype, got {real}"
        kinds = {name: next(iter(real)) if kind == "T" else kind for _, kind, name in parameters}
        shape = np.broadcast_shapes(*(np.shape(bare(given[name])) for raw, _, name in self.inputs if not raw))
        flat = next((n for raw, _, n in self.outputs if not raw and n in given), None)
        shape = given[flat].shape if flat is not None else shape
        for raw, _, name in self.outputs:
            if name not in given:
                assert not raw, f"{self.name}: a raw output must be given"
                given[name] = ndarray(np.empty(shape, kinds[name]))
        memory = [self._memory(given[name], raw, kinds[name], shape, name) for raw, _, name in parameters]
        size = int(np.prod(shape))
        _compiled(self.source(next(iter(real), "float32")))(
            ctypes.c_longlong(size), *(m.ctypes.data_as(ctypes.c_void_p) for m in memory)
        )
        results = tuple(given[name] for _, _, name in self.outputs)
        return results if len(results) > 1 else results[0]

    def _memory(self, value, raw, kind, shape, name):
        is_output = any(name == own for _, _, own in self.outputs)
        if raw or is_output:
            assert value.dtype.name == kind, f"{self.name}: {name} must be {kind}, got {value.dtype}"
            assert value._hidden.flags.c_contiguous, f"{self.name}: {name} must be C-contiguous"
            return bare(value)
        return np.ascontiguousarray(np.broadcast_to(np.asarray(bare(value)).astype(kind), shape))

    def source(self, real):
        lines, arguments = [], []
        for raw, kind, name in self.inputs + self.outputs:
            c = CTYPES[real if kind == "T" else kind]
            arguments.append(f"{c}* {name}_")
            is_output = (raw, kind, name) in self.outputs
            lines.append(
                f"{c}* {name} = {name}_;" if raw else f"{'' if is_output else 'const '}{c}& {name} = {name}_[i];"
            )
        return f"""
            #include <cmath>
            using namespace std;
            #define __device__
            typedef {CTYPES[real]} T;
            {self.preamble}
            extern "C" void run(long long n_, {", ".join(arguments)}) {{
                for (long long i = 0; i < n_; ++i) {{ {" ".join(lines)} {self.operation} ; }}
            }}"""


class ReductionKernel(ElementwiseKernel):
    """Runs a reduction over all elements."""

    def __init__(self, in_params, out_params, term, combine, last, identity, name):
        (_, kind, out), *_ = _parameters(out_params)
        a = "accumulated_[0]"
        operation = f"if (i == 0) {a} = {identity}; {{ auto a = {a}; auto b = {term}; {a} = {combine}; }}"
        super().__init__(in_params, f"raw {kind} accumulated_", operation, name)
        self.last = ElementwiseKernel(f"{kind} a", f"{kind} {out}", last, f"{name}_last")

    def __call__(self, *arguments):
        total = ndarray(np.zeros(1, self.outputs[0][1]))
        super().__call__(*arguments, total)
        return self.last(total[0])


def _parameters(text):
    """Return (raw, type, name) of each parameter."""
    words = [part.split() for part in text.split(",")]
    return [(w[0] == "raw", w[-2], w[-1]) for w in words]


@functools.cache
def _compiled(source):
    folder = Path(tempfile.gettempdir()) / f"numrnn-kernels-{hashlib.sha256(source.encode()).hexdigest()[:20]}"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        text, library = Path(own, "kernel.cpp"), Path(own, "kernel.so")
        text.write_text(source)
        subprocess.run([COMPILER, *FLAGS, "-o", library, text], check=True, capture_output=True, text=True)
        return ctypes.CDLL(str(library)).run


class _Module(types.ModuleType):
    """The module `cupy`: NumPy's functions with the wall around them."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found

        def function(*arguments, **named):
            result = found(*bare(arguments), **{key: bare(value) for key, value in named.items()})
            return walled(result if name.startswith("empty") else ran(name, result, *bare(arguments)))

        return function


def asarray(values, dtype=None):
    """Copy to the current device."""
    return ndarray(np.array(bare(values) if isinstance(values, ndarray) else values, dtype=dtype))


def make_module():
    """Return a new module that stands for CuPy."""
    module = _Module("cupy")
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 2, getDeviceProperties=lambda index: {"name": b"stand-in"}, CUDARuntimeError=RuntimeError
    )
    module.__version__ = "0 (stand-in)"
    module.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    module.cuda = types.SimpleNamespace(runtime=runtime, Device=Device)
    module.ndarray, module.asarray = ndarray, asarray
    module.ElementwiseKernel, module.ReductionKernel = ElementwiseKernel, ReductionKernel
    module.get_array_module = lambda *arrays: module
    return module


ndarray.__module__ = "cupy"


def install(monkeypatch):
    """Put the stand-in in CuPy's place for a test, and return it; `waits` and the other records start empty."""
    module = make_module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    waits.clear()
    launches.clear()
    operations.clear()
    current[:] = [0]
    return module
