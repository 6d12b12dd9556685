"""A run that the tests of the training loop hold others against."""

import pytest
from training_run import make_trainer


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """An uninterrupted run."""
    return make_trainer(tmp_path_factory.mktemp("reference")).run()
