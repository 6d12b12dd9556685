"""Figures in README.md that code or results decide."""

import json
import pathlib
import re

import numrnn
from numrnn.training import Classifier

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_cells_has_every_cell_with_its_number_of_parameters():
    rows = re.findall(r"^\| `(\w+)`[^|]*\|.*\| ([\d,]+) \|$", PAGE, flags=re.MULTILINE)
    counted = {kind.__name__: f"{Classifier(kind(1, 128), 10).parameter_count():,}" for kind in numrnn.CELLS.values()}
    assert dict(rows) == counted


def test_every_accuracy_is_that_of_the_run_it_links_to():
    rows = re.findall(r"\| ([\d.]+) % \| \[results/[\w-]+\]\((results/[\w-]+)\) \|", PAGE)
    assert rows
    for accuracy, folder in rows:
        result = json.loads((ROOT / folder / "result.json").read_text(encoding="utf-8"))
        assert accuracy == f"{100 * result['test_accuracy']:.2f}"


def test_every_link_leads_to_a_file():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
