"""Which library and device an array belongs to, and what is said where CuPy cannot be had."""

import builtins
import sys
import types

import numpy as np
import pytest

import numrnn
from numrnn import backend


@pytest.fixture
def no_cupy(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "cupy":
            raise ImportError("No module named 'cupy'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


class FakeCudaError(Exception):
    pass


def fake_cupy(count):
    """Return a stand-in for CuPy that finds `count` devices, or raises what `count` is."""

    def device_count():
        if isinstance(count, Exception):
            raise count
        return count

    runtime = types.SimpleNamespace(getDeviceCount=device_count, CUDARuntimeError=FakeCudaError)
    module = types.ModuleType("cupy")
    module.__version__ = "13.0.0"
    module.cuda = types.SimpleNamespace(runtime=runtime)
    return module


def test_numpy_is_the_backend_unless_another_is_named(monkeypatch):
    monkeypatch.delenv("NUMRNN_BACKEND", raising=False)
    assert backend.backend_module() is np
    assert backend.backend_module("numpy") is np


def test_cupy_that_is_not_installed_is_asked_for(no_cupy):
    wanted = (
        r"needs CuPy: .*pip install numrnn\[gpu-cuda\d+\].*; found: (CUDA|no NVIDIA driver).*, No module named 'cupy'"
    )
    with pytest.raises(RuntimeError, match=wanted):
        numrnn.ElmanCell(1, 1).init_params(np.random.default_rng(0), backend="cupy")


def test_environment_variable_names_the_default_backend(no_cupy, monkeypatch):
    monkeypatch.setenv("NUMRNN_BACKEND", "cupy")
    with pytest.raises(RuntimeError, match="pip install"):
        numrnn.ElmanCell(1, 1).init_params(np.random.default_rng(0))
    numrnn.ElmanCell(1, 1).init_params(np.random.default_rng(0), backend="numpy")


def test_environment_variable_with_an_unknown_name(monkeypatch):
    monkeypatch.setenv("NUMRNN_BACKEND", "torch")
    with pytest.raises(ValueError, match="NUMRNN_BACKEND must be one of 'numpy', 'cupy', got 'torch'"):
        backend.backend_module()


def test_unknown_backend():
    with pytest.raises(ValueError, match="backend must be one of 'numpy', 'cupy', got 'jax'"):
        backend.backend_module("jax")


def test_cupy_without_a_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(FakeCudaError("no CUDA-capable device is detected")))
    with pytest.raises(RuntimeError, match=r"for the CUDA of CuPy; found: .*, CuPy 13.0.0, no CUDA-capable device"):
        backend.backend_module("cupy")


def test_cupy_without_a_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(0))
    with pytest.raises(RuntimeError, match=r"found: .*, CuPy 13.0.0, no device"):
        backend.backend_module("cupy")


def test_cupy_with_a_device(monkeypatch):
    module = fake_cupy(1)
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert backend.backend_module("cupy") is module


def test_namespace_of_no_array():
    with pytest.raises(TypeError, match="expected an array of NumPy, CuPy or an array-API library, got list"):
        backend.array_namespace([1.0])


def test_namespace_of_nothing():
    with pytest.raises(TypeError, match="got arrays of none"):
        backend.array_namespace()


def test_one_purpose_draws_independently_of_another():
    first, second = (backend.random_generators(5, ["init", "batches"]) for _ in range(2))
    first["init"].random(1000)
    assert np.array_equal(first["batches"].random(4), second["batches"].random(4))
    assert not np.array_equal(second["init"].random(4), second["batches"].random(4))


@pytest.mark.parametrize("cell", ["antisymmetric", "lstm"])
def test_sigmoid_of_large_arguments_does_not_overflow(cell):
    u = np.array([-1e4, -50.0, 0.0, 50.0, 1e4], np.float32)
    s = numrnn.cells.base.sigmoid(u)
    assert s.dtype == np.float32
    assert s.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
