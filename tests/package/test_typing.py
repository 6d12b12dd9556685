"""The words in the types of arguments are those that the code accepts."""

import re
import typing

import numpy as np
import pytest

import numrnn
from numrnn import stability, training
from numrnn.backend import BACKENDS, backend_module
from numrnn.datasets import RowNoiseEncoder, pixels
from numrnn.initializers import InitialValues
from numrnn.typing import Backend, Engine, Precision, RealDType

IMAGES = np.zeros((1, 2, 2), np.uint8)


def words(function, argument):
    """Return the words in the type of an argument."""
    hint = typing.get_type_hints(function)[argument]
    kinds = [hint, *typing.get_args(hint)]
    return next(typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is typing.Literal)


def run(engine):
    cell = numrnn.ElmanCell(1, 2)
    numrnn.forward(cell, cell.init_params(np.random.default_rng(0)), np.zeros((1, 1, 1), np.float32), engine=engine)


def linearization():
    cell = numrnn.ElmanCell(1, 3)
    return stability.linearize(cell, cell.init_params(np.random.default_rng(0)), np.zeros((1, 1, 1), np.float32))


@pytest.mark.parametrize(
    ("listed", "refuse"),
    [
        (typing.get_args(Backend), lambda: backend_module("no such word")),
        (typing.get_args(Engine), lambda: run("no such word")),
        (typing.get_args(Precision), lambda: training.TrainingConfig(epochs=1, dtype="no such word")),
        (
            words(training.TrainingConfig, "average"),
            lambda: training.TrainingConfig(epochs=1, average="no such word"),
        ),
        (words(InitialValues, "forget_bias"), lambda: InitialValues(forget_bias="no such word")),
        (words(RowNoiseEncoder.__init__, "noise"), lambda: RowNoiseEncoder(noise="no such word")),
        (
            words(stability.log_singular_values, "which"),
            lambda: stability.log_singular_values(linearization(), 1, which="no such word"),
        ),
    ],
    ids=["backend", "engine", "dtype", "average", "forget_bias", "noise", "which"],
)
def test_the_words_of_a_type_are_those_that_the_error_names(listed, refuse):
    with pytest.raises(ValueError, match="got 'no such word'") as caught:
        refuse()
    assert re.findall(r"'(\w+)'", str(caught.value).partition(", got ")[0]) == list(listed)


def test_each_backend_is_in_the_list_that_command_lines_offer():
    assert typing.get_args(Backend) == BACKENDS


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype(np.float32), "float64", np.float64, np.dtype("f8")])
def test_what_the_type_of_a_real_dtype_allows_is_accepted(dtype):
    wanted = np.dtype(dtype)
    allowed = typing.get_args(RealDType)
    assert dtype in typing.get_args(Precision) or type[dtype] in allowed or np.dtype[wanted.type] in allowed
    assert pixels(IMAGES, dtype=dtype).dtype == wanted


@pytest.mark.parametrize("dtype", ["f4", "single", float, np.float16, np.dtype(np.complex128), None])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got"):
        pixels(IMAGES, dtype=dtype)
