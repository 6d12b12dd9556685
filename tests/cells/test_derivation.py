"""docs/derivation.md and the code carry the same tags, each of them once in the page."""

import re
from collections import Counter

from tools import tags
from tools.tags import ROOT, tags_of_page

PAGE = tags.PAGE.read_text(encoding="utf-8")
KERNELS = sorted((ROOT / "numrnn" / "engines" / "cuda").glob("*.cu*"))
SECTIONS = {
    "antisymmetric": "1. The antisymmetric matrix|2. The AntisymmetricRNN",
    "gated": "3. The gated",
    "unstructured": "4. The ablation",
    "elman": "5. The Elman",
    "lstm": "6. The LSTM",
    "stack": "10. Layers",
    "lipschitz": "11. The Lipschitz",
}
FURTHER_FILES = {"stack": [ROOT / "numrnn" / "layered.py"]}


def tags_of_code(path):
    return [tag for line in tags.tagged_lines(path) for tag in line.tags]


def test_every_equation_of_the_page_is_in_the_code_and_the_other_way_round():
    code = {tag for path in tags.code_files() for tag in tags_of_code(path)}
    page = set(tags_of_page(PAGE))
    assert sorted(page - code) == []
    assert sorted(code - page) == []


def test_no_equation_of_the_page_has_two_places():
    assert [tag for tag, count in Counter(tags_of_page(PAGE)).items() if count > 1] == []


def test_a_cells_file_carries_just_the_tags_of_its_section():
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    for name, heads in SECTIONS.items():
        section = [tag for part in parts if re.match(heads, part) for tag in tags_of_page(part)]
        assert section, name
        files = [ROOT / "numrnn" / "cells" / f"{name}.py", *FURTHER_FILES.get(name, [])]
        assert {tag for path in files for tag in tags_of_code(path)} == set(section), name


def test_the_kernels_carry_every_equation_of_the_steps_that_they_run():
    """The products of all steps at once are left to tape.py: (B3) to (B5), (B11) to (B14), dx, (B18) and (B25).

    The kernels of lean.cu add some of them up themselves.
    """
    euler = [*(f"F{i}" for i in range(1, 10)), "B1", "B2", "B7", "B8", "B9", "B10", "B26"]
    elman, lstm = ["F10", "F11", "B16", "B17"], ["F12", "F13", "F14", "F15", *(f"B{i}" for i in range(19, 25))]
    kernels = {path.name: set(tags_of_code(path)) for path in KERNELS}
    matrix = kernels["product.cuh"]
    assert sorted(kernels["euler.cu"] | matrix) == sorted(euler)
    assert sorted(kernels["lean.cu"] | matrix) == sorted(euler + elman)
    assert sorted(kernels["gradients.cuh"]) == ["B12", "B13", "B14", "B18", "B4", "B5"]
    assert sorted(kernels["lstm.cu"]) == sorted([*lstm, "B26"])
    products = set(tags_of_code(ROOT / "numrnn" / "engines" / "cuda" / "tape.py"))
    wanted = ["B3", "B4", "B5", "B11", "B12", "B13", "B14", "B17", "B18", "B24", "B25", "B27"]
    assert sorted(products) == sorted(wanted)


def test_tags_are_numbered_without_gaps():
    for letter in "FTBJ":
        numbers = sorted(int(tag[1:]) for tag in tags_of_page(PAGE) if tag[0] == letter)
        assert numbers == list(range(1, len(numbers) + 1)), letter
