"""The pages of docs/learn: their order, the numbers on paper, the map of the paper, pictures and terms.

Their blocks are executed with all other pages'.
"""

import math
import pathlib
import re

import pytest

from numrnn.__main__ import COMMANDS
from tools import learn_pictures

ROOT = pathlib.Path(__file__).parents[2]
LEARN = ROOT / "docs" / "learn"
INDEX = (LEARN / "index.md").read_text(encoding="utf-8")
ORDER = re.findall(r"^\| \d+ \| \[[^]]+\]\((\w+\.md)\)", INDEX, flags=re.MULTILINE)
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(LEARN.glob("*.md"))}


def without_code(page):
    return re.sub(r"```.*?```", "", page, flags=re.DOTALL)


def test_the_index_lists_every_page_once():
    assert sorted([*ORDER, "index.md"]) == sorted(PAGES)


def test_every_page_leads_to_its_neighbours_and_carries_its_number():
    for place, name in enumerate(ORDER):
        assert PAGES[name].startswith(f"# {place + 1}. "), name
        head = PAGES[name].split("\n## ")[0]
        if place:
            assert f"]({ORDER[place - 1]})" in head, name
        if place + 1 < len(ORDER):
            assert f"]({ORDER[place + 1]})" in head, name


def test_pages_stay_short():
    lengths = {name: len(page.splitlines()) for name, page in PAGES.items()}
    assert {name: length for name, length in lengths.items() if length > 200} == {}


def numbers_on_paper():
    """Return every number of by_hand.md, by the scalar formulas alone, without arrays."""
    eps, gamma, w = 0.5, 0.2, 1.0
    V, b, x, y = (1.0, -0.5), (0.0, 0.3), (1.0, -1.0, 0.5), (0.5, -0.5)
    h, steps, numbers = (0.0, 0.0), [], []
    for x_t in x:
        u = (-gamma * h[0] + w * h[1] + V[0] * x_t + b[0], -w * h[0] - gamma * h[1] + V[1] * x_t + b[1])
        c = tuple(map(math.tanh, u))
        steps.append((h, c, x_t))
        h = tuple(old + eps * new for old, new in zip(h, c, strict=True))
        numbers += [*u, *c, *h]
    g = tuple(state - target for state, target in zip(h, y, strict=True))
    loss = (g[0] ** 2 + g[1] ** 2) / 2
    numbers += [*g, g[0] ** 2, g[1] ** 2, loss]
    dA, dV, db = [0.0] * 4, [0.0] * 2, [0.0] * 2
    for h_before, c, x_t in reversed(steps):
        slope = tuple(1 - value * value for value in c)
        delta = tuple(eps * s * value for s, value in zip(slope, g, strict=True))
        outer = [d * value for d in delta for value in h_before]
        back = (-gamma * delta[0] - w * delta[1], w * delta[0] - gamma * delta[1])
        g = tuple(one + other for one, other in zip(g, back, strict=True))
        numbers += [*slope, *delta, *outer, *back, *g, V[0] * delta[0] + V[1] * delta[1]]
        dA = [one + other for one, other in zip(dA, outer, strict=True)]
        dV = [one + d * x_t for one, d in zip(dV, delta, strict=True)]
        db = [one + d for one, d in zip(db, delta, strict=True)]
    numbers += [*dA, *dV, *db, dA[1] - dA[2], -(dA[0] + dA[3])]
    moved = 0.0070  # of the loss for 0.01 more of b_2: printed by the page, and compared there
    return {f"{number:.4f}" for number in [*numbers, 0.01 * db[1], moved]}


def test_every_number_on_paper_is_what_scalar_arithmetic_gives():
    found = re.findall(r"-?\d+\.\d{4}\b", without_code(PAGES["by_hand.md"]))
    assert len(found) > 110
    # "- 0.0672" in a sum is the number 0.0672 taken away; its minus stands apart.
    known = numbers_on_paper()
    assert sorted({number for number in found if number not in known and f"-{number}" not in known}) == []


def test_a_changed_digit_on_paper_would_be_found():
    assert "0.7616" in numbers_on_paper()
    assert "0.7617" not in numbers_on_paper()


def test_every_name_of_the_map_of_the_paper_stands_in_its_file():
    links = re.findall(r"\[`(\w+)`\]\(\.\./\.\./([\w/.]+\.py)\)", PAGES["paper_map.md"])
    tests = re.findall(r"\[(\w[\w ]+)\]\(\.\./\.\./(tests/[\w/]+\.py)\)", PAGES["paper_map.md"])
    links += [("test_" + words.replace(" ", "_"), path) for words, path in tests if words != "test"]
    assert (len(links), len(tests)) > (40, 20)
    for name, path in links:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name}\b", source, flags=re.MULTILINE), f"{name} in {path}"


def test_every_equation_table_and_figure_of_the_paper_is_on_the_map():
    page = PAGES["paper_map.md"]
    rows = re.findall(r"^\| ([^|]+) \|", page, flags=re.MULTILINE)
    spans = [re.findall(r"\((\d+)\)", row) for row in rows]
    equations = {n for span in spans if span for n in range(int(span[0]), int(span[-1]) + 1)}
    assert equations == set(range(1, 14))
    assert {"Prop. 1, (4)", "Prop. 2, (11)", "1, MNIST", "1, permuted", "2, pixels", "2, noise-padded"} <= set(rows)
    presets = {path.stem for path in (ROOT / "numrnn/experiments/presets").glob("*.toml")}
    commands = re.findall(r"`numrnn (\w+) --preset ([\w-]+)`", page)
    of_the_paper = {n for n in presets if not n.startswith(("adding", "copying")) and not n.endswith("-chrono")}
    assert {preset for _, preset in commands} == of_the_paper


def test_every_command_of_the_pages_exists():
    for name, page in PAGES.items():
        blocks = "".join(re.findall(r"```\n(.*?)```", page, flags=re.DOTALL))
        commands = re.findall(r"^numrnn (\w+)", blocks, flags=re.MULTILINE)
        commands += re.findall(r"`numrnn (\w+)", without_code(page))
        assert set(commands) <= set(COMMANDS), name


def test_every_picture_of_the_pages_is_there_small_and_described():
    found = [image for page in PAGES.values() for image in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", page)]
    assert len(found) == 3
    for description, target in found:
        assert len(description.split()) > 8, target
        assert (LEARN / target).stat().st_size < 150_000


def test_pictures_are_drawn_again(tmp_path):
    pytest.importorskip("matplotlib")
    for draw in (learn_pictures.flow_and_disc, learn_pictures.chain):
        path = tmp_path / f"{draw.__name__}.png"
        draw().savefig(path)
        assert path.stat().st_size > 10_000


def test_the_page_that_draws_its_picture_can_be_executed_for_it(tmp_path):
    pytest.importorskip("matplotlib")
    assert learn_pictures.vanishing(tmp_path).stat().st_size > 10_000


def test_the_glossary_is_in_order_and_has_the_terms_that_readers_stumbled_over():
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| ([^|]+?) \| [^|]*\| [A-Z]", page, flags=re.MULTILINE)
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)
    wanted = {"tape", "cotangent", "tangent", "adjoint", "diffusion", "step size", "gate", "saturation"}
    assert wanted | {"Lyapunov exponent"} <= set(terms)
