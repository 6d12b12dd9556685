"""Collects the pages: every ```python block of README.md and docs/*.md is executed, page by page, in order."""

import os

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


@pytest.fixture(scope="module")
def working_directory(tmp_path_factory):
    """Let a page write its files where nobody keeps any."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("page"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"], fixtures=["working_directory"]
).pytest()
