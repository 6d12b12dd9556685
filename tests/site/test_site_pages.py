"""How pages are laid out for the site: links, menu, notebooks, formulas, names. `make docs` builds all of it."""

import json
import re

import pytest

pytest.importorskip("sphinx")

from tools import engine_steps, tags
from tools.repository import address, repository, version
from tools.site import api, formulas, menu, names, stage


@pytest.fixture
def staged(tmp_path):
    return stage.Stage(tmp_path / "pages", {}, {"numrnn/cells/gated.py": "companion/cells/gated.md"})


@pytest.mark.parametrize(
    ("page", "target", "expected"),
    [
        ("README.md", "docs/guide.md#layers", "docs/guide.md#layers"),
        ("docs/guide.md", "../README.md", "../index.md"),
        ("docs/guide.md", "derivation.md", "derivation.md"),
        ("docs/guide.md", "../numrnn/cells/gated.py", "../companion/cells/gated.md"),
        ("ARCHITECTURE.md", "numrnn/cells/", address("numrnn/cells", folder=True)),
        ("results/README.md", "../examples/adding.py", address("examples/adding.py")),
        ("docs/figures.md", "pictures/figure1.png", "pictures/figure1.png"),
        ("notebooks/README.md", "gpu_experiment.ipynb", "gpu_experiment.md"),
        ("notebooks/gpu_experiment.md", "gpu_experiment.ipynb", address("notebooks/gpu_experiment.ipynb")),
    ],
)
def test_a_relative_link_leads_to_a_page_a_companion_a_picture_or_the_repository(staged, page, target, expected):
    assert staged.target(page, target) == expected
    assert staged.dead == []


def test_a_link_to_nothing_stops_the_build(staged):
    staged.pages = {"README.md": "[a](nowhere.md), `[b](code.md)`, [c](https://example.org), [d](#here)\n"}
    with pytest.raises(stage.DeadLinkError, match=r"^README\.md: nowhere\.md leads to nothing$"):
        staged.write()


def test_links_in_code_stay_as_they_are_and_badges_are_followed():
    text = "```\n[a](b.md)\n```\n[![x](y.png)](z.md) `[c](d.md)` ![e](f.png) [`g[0]`](h.md)"
    found = stage.rewritten("p.md", text, lambda page, target: target.upper())
    assert found == "```\n[a](b.md)\n```\n[![x](Y.PNG)](Z.MD) `[c](d.md)` ![e](F.PNG) [`g[0]`](H.MD)"


def test_addresses_of_the_repository_are_absolute_and_versioned():
    assert address("docs/guide.md") == f"{repository()}/blob/v{version()}/docs/guide.md"
    assert address("docs/pictures/demo.png", raw=True) == f"{repository()}/raw/v{version()}/docs/pictures/demo.png"


def test_a_page_stands_once_in_the_menu_and_an_unknown_one_nowhere():
    pages = dict.fromkeys(["docs/guide.md", "docs/learn/b.md", "docs/learn/a.md", "docs/new.md", "elsewhere/x.md"], "")
    pages["docs/learn/index.md"] = "[b](b.md) then [a](a.md)"
    found = [page for _, ones in menu.in_menu(pages) for page in ones]
    assert found == ["docs/learn/index.md", "docs/learn/b.md", "docs/learn/a.md", "docs/guide.md", "docs/new.md"]


def test_a_notebook_becomes_a_page_of_text_and_code(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "[![badge](https://x.org/a.svg)](b.md)"]},
        {"cell_type": "code", "source": "x = 1"},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    page = stage.notebook_as_page(tmp_path / "a.ipynb")
    assert page.startswith("# Title\n[badge](b.md)\n\n```python\nx = 1\n```\n")


@pytest.mark.parametrize("page", sorted(stage.pages_of_repository()))
def test_every_formula_of_a_page_becomes_mathml(page):
    text = re.sub(r"`[^`\n]+`", "", "".join(stage.BLOCK.split(stage.pages_of_repository()[page])[::2]))
    blocks = text.split("$$")
    for display, part in [("block" if i % 2 else "inline", part) for i, part in enumerate(blocks)]:
        for tex in [part] if display == "block" else part.split("$")[1::2]:
            found = formulas.mathml(formulas.TAG.sub("", tex), display)
            assert found.startswith("<math "), tex
            assert "\\" not in found, tex


def test_a_command_that_is_not_understood_is_an_error():
    with pytest.raises(ValueError, match=r"nosuchcommand"):
        formulas.mathml(r"a \nosuchcommand b", "inline")


def test_an_upright_letter_stays_upright():
    assert '<mi mathvariant="normal">d</mi><mi>u</mi>' in formulas.mathml(r"\mathrm{d}u", "inline")


def test_a_long_bar_is_drawn_as_a_line():
    assert '<mrow class="barred"><mi mathvariant="normal">d</mi><mi>c</mi></mrow>' in formulas.mathml(
        r"\bar{\mathrm{d}c}", "block"
    )


def test_a_formula_in_a_sentence_may_be_broken_outside_of_its_brackets():
    whole = formulas.mathml("a + f(x + 1) = b", "inline")
    parts = formulas.breakable(whole).split("<wbr>")
    assert [re.sub("<[^>]*>", "", part) for part in parts] == ["a+", "f(x+1)=", "b"]
    assert all(part.startswith("<math ") and part.endswith("</math>") for part in parts)
    assert formulas.breakable(formulas.mathml("x", "inline")).count("<math ") == 1


def test_every_tag_of_the_derivation_belongs_to_one_formula():
    text = tags.PAGE.read_text(encoding="utf-8")
    assert list(tags.equations(text)) == tags.tags_of_page(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("|h_t| <= eps, `x_` and a * b", r"\|h_t\| <= eps, `x_` and a \* b"),
        ("the *resolution* of ``|x|``", "the *resolution* of ``|x|``"),
        ("* a point", "* a point"),
        ("see docs/guide.md.", "see :doc:`docs/guide.md </docs/guide>`."),
    ],
)
def test_docstrings_keep_their_letters(line, expected):
    assert api.escaped(line) == expected


def test_an_indented_block_before_the_sections_is_an_equation_kept_as_it_stands():
    lines = ["Sum.", "", "    y = |x|", "", "Then more.", "", "Parameters", "----------", "x : float", "    At |x|."]
    found = names.as_rst(lines)
    assert found[2:5] == ["::", "", "        y = |x|"]
    assert found[-1] == r"    At \|x\|."


def test_names_of_the_package_are_checked():
    assert names.exists("numrnn.training.Trainer.run")
    assert names.exists("numrnn.tape.Gradients.params")  # a field without a default
    assert not names.exists("numrnn.training.Coach")
    assert not names.exists("gradcheck.nothing.at_all")


def test_the_page_of_the_engine_times_the_steps_that_it_takes():
    page = (stage.ROOT / "docs" / "engine_steps.md").read_text(encoding="utf-8")
    timed = re.findall(r"^\| (?:forward|backward) \| (\d)\. ([^|]+) \|", page, flags=re.MULTILINE)
    assert dict(timed) == engine_steps.WHAT
    assert re.findall(r"^\*\*(\d)\. ", page, flags=re.MULTILINE) == [*engine_steps.WHAT, "9"]
