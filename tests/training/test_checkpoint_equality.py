"""What is saved as a checkpoint loads equal, or is refused when it is saved: drawn at random."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numrnn.training import Checkpoint, load_checkpoint, save_checkpoint

NAMES = st.sampled_from(["a", "b", "a/b", "a/", "/", "W_out", "1.W", "__array__", "metadata", "file", "é"])
ODD_NAMES = NAMES | st.sampled_from(["", "a\0b", "a\n", 3, None])
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
SCALARS = NUMBERS | st.sampled_from(["__array__", "text", ""])
ARRAYS = st.builds(
    lambda dtype, shape: np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype),
    st.sampled_from(["float32", ">f8", "int64", "bool", "complex128"]),
    st.sampled_from([(), (0,), (3,), (2, 3)]),
)
ODD_ARRAYS = st.sampled_from(
    [
        np.array([object()]),
        np.ma.masked_invalid([1.0, np.nan]),
        np.array(["text"]),
        np.array([np.inf]),
        np.zeros(2, [("x", "f4")]),
        np.array(["2020-01-01"], "datetime64[D]"),
        (1, 2),
        {3},
        object(),
        float("nan"),
    ]
)
STATES = st.recursive(
    SCALARS | ARRAYS | ODD_ARRAYS,
    lambda inner: st.dictionaries(ODD_NAMES, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(ODD_NAMES, STATES, max_size=4)


def equal(a, b):
    """Tell whether two states are equal: a list may stand for a tuple, an array of no axis for a NumPy number."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray | np.generic):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@given(params=st.dictionaries(ODD_NAMES, ARRAYS | ODD_ARRAYS, max_size=3), optimizer=MAPPINGS, progress=MAPPINGS)
def test_what_is_saved_loads_equal_or_is_refused(tmp_path_factory, params, optimizer, progress):
    path = tmp_path_factory.mktemp("saved") / "a.npz"
    checkpoint = Checkpoint(3, params, optimizer, progress=progress)
    try:
        save_checkpoint(path, checkpoint)
    except (TypeError, ValueError):
        assert list(path.parent.iterdir()) == []
        return
    loaded = load_checkpoint(path)
    assert equal(params, loaded.params)
    assert equal(optimizer, loaded.optimizer)
    assert equal(progress, loaded.progress)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"optimizer": {"a": "__array__"}}, ValueError, "optimizer/a must not be '__array__'"),
        ({"optimizer": {"a/b": np.ones(2), "a": {"b": np.zeros(2)}}}, ValueError, "two arrays in optimizer"),
        ({"optimizer": {"a": {3: np.ones(2)}}}, ValueError, "names in optimizer/a must be printable strings, got 3"),
        ({"optimizer": 3}, TypeError, "optimizer must be a mapping, got int"),
        ({"params": [np.ones(2)]}, TypeError, "params must be a mapping of names to arrays, got list"),
        ({"params": {"W": 1.0}}, TypeError, "params/W must be an array, got float"),
        ({"params": {"W": np.array([None])}}, TypeError, "params/W must hold numbers, got dtype object"),
        ({"params": {"W": np.ma.ones(2)}}, TypeError, "params/W must not be a masked array"),
        ({"average": {"W": np.array([np.nan])}}, ValueError, "got NaN or infinity in average/W"),
        ({"config": {"a": {1: 2}}}, TypeError, r"config\.a must be values that JSON keeps unchanged"),
        ({"step": -1}, ValueError, "step must be an integer >= 0, got -1"),
        ({"step": 1.0}, TypeError, "step must be an integer >= 0, got 1.0"),
    ],
)
def test_what_would_not_load_equal_is_refused_by_name(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        save_checkpoint(tmp_path / "a.npz", Checkpoint(**{"step": 1, "params": {}, **changes}))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_checkpoint_or_no_path_is_refused(tmp_path):
    with pytest.raises(TypeError, match="checkpoint must be a Checkpoint, got NoneType"):
        save_checkpoint(tmp_path / "a.npz", None)
    with pytest.raises(TypeError, match="path must be a path, got 3"):
        load_checkpoint(3)
    with pytest.raises(ValueError, match="path must be a path, got ''"):
        load_checkpoint("")
