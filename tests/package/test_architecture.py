"""ARCHITECTURE.md says what the source says."""

import numpy as np
import pytest

from tools import architecture
from tools.imports import sources

RUN = ("numrnn.__init__", "numrnn.stability.__main__")
MODULES = sources(architecture.ROOT, ["numrnn"])


def test_every_module_stands_on_a_floor():
    assert [name for name in MODULES if architecture.part_of(name) is None and name not in RUN] == []


def test_the_page_has_the_table_of_the_source():
    page = architecture.PAGE.read_text(encoding="utf-8")
    assert page == architecture.page_with_table(page, MODULES)


def test_shortcuts_are_left_out_of_the_picture_and_nothing_else(tmp_path):
    graph = {"cells": {"backend", "checks"}, "checks": {"backend"}, "backend": set()}
    assert architecture.without_shortcuts(graph) == {"cells": {"checks"}, "checks": {"backend"}, "backend": set()}


def test_the_picture_is_drawn(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    architecture.draw(architecture.edges(MODULES), tmp_path / "picture.png")
    assert np.ptp(plt.imread(tmp_path / "picture.png")) > 0
