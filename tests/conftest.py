"""Settings of all tests."""

import os

import numpy as np
import pytest
from helpers import make_cells, make_stacks
from hypothesis import HealthCheck, settings

from numrnn.engines.cpu import slices

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, max_examples=50)
for name, examples in (("by-hand", 10_000), ("by-hand-1000", 1000)):
    settings.register_profile(
        name,
        deadline=None,
        print_blob=True,
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))  # --hypothesis-profile goes before both

CELLS = {**make_cells(), **make_stacks()}


@pytest.fixture(scope="module")
def short_chunks():
    """Let the short sequences of a module have several chunks of the CPU engine."""
    longest, slices.LONGEST_CHUNK = slices.LONGEST_CHUNK, 16
    yield
    slices.LONGEST_CHUNK = longest


@pytest.fixture
def rng():
    return np.random.default_rng(20190427)


@pytest.fixture(params=CELLS.values(), ids=CELLS.keys())
def cell(request):
    """Every kind of cell, both storages of W, and stacks of cells, m = 3 and n = 4."""
    return request.param
