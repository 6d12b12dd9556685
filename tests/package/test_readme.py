"""Figures in README.md that code or results decide, and the types of its first lines of code."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

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


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_leads_to_a_file_and_a_heading():
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", text):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Return what mypy --strict says of the first lines of the page, and of them with three slips.

    The package lies apart from them as in an installation: without py.typed mypy would not look into it.
    """
    installed, folder = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("user")
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(installed)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    lines = re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    (folder / "right.py").write_text(lines, encoding="utf-8")
    wrong = lines
    for old, new in (("hidden_size=128", 'hidden_size="128"'), (", x)", ")"), ("d_final=d_final", "d_last=d_final")):
        assert wrong.count(old) == 1
        wrong = wrong.replace(old, new)
    (folder / "wrong.py").write_text(wrong, encoding="utf-8")
    check = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        [*check, "right.py", "wrong.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def test_the_first_lines_of_the_page_have_the_types_of_the_package(complaints):
    assert [line for line in complaints if line.startswith("right.py")] == []


def test_slips_in_these_lines_are_named(complaints):
    errors = [line for line in complaints if line.startswith("wrong.py")]
    codes = [re.search(r"\[([\w-]+)\]$", line)[1] for line in errors]
    assert {"arg-type", "call-arg", "call-overload"} <= set(codes)  # backward has overloads
