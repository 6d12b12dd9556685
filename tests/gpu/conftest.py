"""Everything here needs an NVIDIA GPU and CuPy; elsewhere it is skipped, with what was found."""

import pytest

from numrnn.backend import backend_module


@pytest.fixture(scope="session")
def cupy():
    """Return CuPy, or skip with the reason why it cannot be had."""
    try:
        return backend_module("cupy")
    except RuntimeError as error:
        pytest.skip(str(error))
