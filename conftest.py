"""Collects the pages: every ```python block of README.md and of docs is executed, page by page, in order."""

import importlib.util
import os

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

has_torch = importlib.util.find_spec("torch") is not None
collect_ignore = [] if has_torch else ["numrnn/interop/torch"]  # which cannot be imported, so has no examples to run


@pytest.fixture(scope="module")
def torch_missing():
    """Tell pages whether to leave out what needs torch: `skip: next if(torch_missing, reason=...)`."""
    return not has_torch


@pytest.fixture(scope="module")
def sklearn_missing():
    """Tell pages whether to leave out what needs scikit-learn."""
    return importlib.util.find_spec("sklearn") is None


@pytest.fixture(scope="module")
def working_directory(tmp_path_factory):
    """Let a page write its files where nobody keeps any."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("page"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    fixtures=["working_directory", "torch_missing", "sklearn_missing"],
).pytest()
