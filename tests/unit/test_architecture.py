"""The floors of the house: imports go down, and ARCHITECTURE.md says what the source says."""

import numpy as np
import pytest

from tools import architecture

MODULES = architecture.sources(architecture.ROOT / "numrnn")


def test_every_part_imports_from_floors_below_its_own():
    assert architecture.wrong_directions(architecture.edges(MODULES)) == []


def test_every_module_stands_on_a_floor():
    assert [name for name in MODULES if name != "numrnn" and architecture.part_of(name) is None] == []


def test_the_page_has_the_table_of_the_source():
    page = architecture.PAGE.read_text(encoding="utf-8")
    assert page == architecture.page_with_table(page, MODULES)


@pytest.mark.parametrize(
    "line",
    [
        "from numrnn.training import Trainer",
        "from numrnn import training",
        "import numrnn.training.trainer as t",
        "def f():\n    from numrnn.training.model import Classifier",
    ],
)
def test_an_import_upwards_is_found_wherever_it_stands(line):
    planted = {**MODULES, "numrnn.cells.lstm": MODULES["numrnn.cells.lstm"] + "\n" + line}
    assert architecture.wrong_directions(architecture.edges(planted)) == ["cells imports training"]


def test_shortcuts_are_left_out_of_the_picture_and_nothing_else(tmp_path):
    graph = {"cells": {"backend", "checks"}, "checks": {"backend"}, "backend": set()}
    assert architecture.without_shortcuts(graph) == {"cells": {"checks"}, "checks": {"backend"}, "backend": set()}


def test_the_picture_is_drawn(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    architecture.draw(architecture.edges(MODULES), tmp_path / "picture.png")
    assert np.ptp(plt.imread(tmp_path / "picture.png")) > 0
