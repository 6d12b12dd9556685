"""The notebooks: valid, without outputs, with a badge that leads to themselves, and executed in a kernel."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def text_of(cell):
    return "".join(cell["source"])


def test_there_are_four_and_the_page_lists_them():
    listed = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.ipynb\)", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(NAMES) == 4
    assert sorted(listed) == [(name, name) for name in NAMES]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_valid_and_stored_without_outputs(path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat comes with the extra dev")
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_badge_leads_to_the_notebook_in_the_repository(path):
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    repository = re.search(r'^repository-code: "https://github\.com/(.+)"$', citation, re.MULTILINE)[1]
    head = text_of(read(path)["cells"][0])
    assert f"(https://colab.research.google.com/github/{repository}/blob/main/notebooks/{path.name})" in head
    for page in re.findall(rf"https://github\.com/{repository}/blob/main/([^)]+)\)", head):
        assert (ROOT / page).exists(), page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_cell_runs(path, tmp_path):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} comes with the extra dev")
    target = tmp_path / path.name
    # A process of its own: the kernel's client leaves sockets to garbage collection, which would warn in a later test.
    done = subprocess.run(
        [sys.executable, "-m", "tools.run_notebook", str(path), str(target)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    code = [cell for cell in read(target)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
