"""What holds of numrnn.interop without the libraries that it opens a door to."""

import importlib
import sys

import pytest


def test_without_torch_one_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("numrnn.interop.torch")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"needs PyTorch, 2\.4 or newer: pip install numrnn\[torch\]") as caught:
        importlib.import_module("numrnn.interop.torch")
    assert caught.value.name == "torch"
