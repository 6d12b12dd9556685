"""What a release says of itself: versions, addresses, citation, and the page on the package index."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest

import gradcheck
import numrnn
from tools.repository import repository, version

ROOT = pathlib.Path(__file__).parents[2]
yaml = pytest.importorskip("yaml")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PUBLIC_FILES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "notebooks").glob("*.ipynb"),
    *(ROOT / ".github").rglob("*.yml"),
]
METADATA = """
import json, setuptools, sys
sys.argv = ["setup.py", "--name"]
setuptools.setup = lambda **given: print(json.dumps({key: given[key] for key in given if key != "packages"}))
exec(compile(open("setup.py", encoding="utf-8").read(), "setup.py", "exec"), {"__file__": "setup.py"})
"""


@pytest.fixture(scope="module")
def metadata():
    """Return the arguments that setup.py gives to setuptools."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    done = subprocess.run([sys.executable, "-c", METADATA], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_versions_agree():
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert {numrnn.__version__, gradcheck.__version__, CITATION["version"], newest, version()} == {numrnn.__version__}


def test_the_citation_has_the_keys_of_its_format():
    """Those that version 1.2.0 of the Citation File Format requires, and no others than it knows."""
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    known = {"type", "version", "license", "repository-code", "preferred-citation", "url", "abstract", "keywords"}
    assert set(CITATION) - {"cff-version", "message", "title", "authors", "date-released"} <= known
    assert CITATION["cff-version"] == "1.2.0"
    paper = CITATION["preferred-citation"]
    assert {"type", "title", "authors"} <= set(paper)
    assert [author["family-names"] for author in paper["authors"]] == ["Chang", "Chen", "Haber", "Chi"]


def test_cffconvert_takes_the_citation():
    pytest.importorskip("cffconvert", reason="cffconvert is not installed")
    done = subprocess.run([sys.executable, "-m", "cffconvert.cli.cli", "--validate"], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("path", PUBLIC_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_names_the_repository_by_its_one_address(path):
    """Other repositories are named too; what is named like this one must be this one."""
    found = set(re.findall(r"https://github\.com/[\w.-]+/numrnn", path.read_text(encoding="utf-8")))
    assert found <= {repository()}


def test_the_page_on_the_index_has_no_relative_link(metadata):
    page = re.sub(r"^```.*?^```$", "", metadata["long_description"], flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    heads = {head.lower().replace(" ", "-") for head in re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)}
    assert {target[1:] for target in targets if target[0] == "#"} <= heads
    assert f"{repository()}/raw/v{version()}/docs/pictures/gradient_flow.png" in targets
    assert f"{repository()}/blob/v{version()}/docs/guide.md#your-own-sequences" in targets
    assert f"{repository()}/tree/v{version()}/examples" in targets


def test_blocks_of_the_page_are_those_of_the_readme(metadata):
    blocks = [
        re.findall(r"^```.*?^```$", text, flags=re.MULTILINE | re.DOTALL)
        for text in (metadata["long_description"], (ROOT / "README.md").read_text(encoding="utf-8"))
    ]
    assert blocks[0] == blocks[1]


def test_the_index_learns_licence_versions_and_addresses(metadata):
    assert metadata["license_expression"] == "MIT"
    assert CITATION["license"] == "MIT"
    versions = [one.rpartition(" ")[2] for one in metadata["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert not [one for one in metadata["classifiers"] if one.startswith("License")]  # not beside an SPDX expression
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == versions
    assert {"Documentation", "Source", "Changelog", "Issues"} <= set(metadata["project_urls"])
    for target in metadata["project_urls"].values():
        inside = re.match(rf"{re.escape(repository())}/(?:blob|tree)/v{version()}/(.+)", target)
        assert inside is None or (ROOT / inside[1]).exists(), target


def test_the_clone_line_of_the_readme_names_the_repository():
    assert f"git clone {repository()}.git" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_templates_can_be_read(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
