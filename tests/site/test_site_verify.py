"""The checks of a built site find what they are for."""

import json
import zlib

import pytest

pytest.importorskip("sphinx")

from tools import tags
from tools.site import api, companion, verify


def faults_of(tmp_path, **pages):
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    parsed = {path: verify.Page(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.rglob("*.html"))}
    return list(verify.dead_ends(tmp_path, parsed))


def test_links_that_lead_somewhere_pass(tmp_path):
    text = '<h1 id="a"></h1><a href="#a"></a><a href="b.html#c"></a><a href="https://example.org"></a>'
    assert faults_of(tmp_path, a=text, b='<p id="c"></p>') == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<a href="c.html">', "a.html links to c.html, which is not there"),
        ('<a href="b.html#d">', "a.html links to b.html#d, and b.html has no such anchor"),
        ('<a href="#d">', "a.html links to #d, and a.html has no such anchor"),
        ('<img src="x.png" alt="x">', "a.html links to x.png, which is not there"),
        ('<img src="b.html">', "a.html shows b.html without a text that says what it shows"),
        (
            '<script src="https://x.org/a.js">',
            "a.html loads https://x.org/a.js, which is on another machine",
        ),
        ('<link rel="stylesheet" href="//x.org/a.css">', "a.html loads //x.org/a.css, which is on another machine"),
    ],
)
def test_each_kind_of_dead_end_is_named(tmp_path, text, fault):
    assert fault in faults_of(tmp_path, a=text, b="")


def test_a_line_that_was_wrapped_within_a_table_is_named(tmp_path):
    row = "<tr><td>{}</td><td>{}</td><td>{}</td></tr>"
    whole = [row.format("a", "", "b"), row.format("<b>a</b>", "c", ""), "<tr><td>only</td></tr>"]
    page = tmp_path / "a.html"
    page.touch()
    for texts, faults in [(whole, 0), ([*whole, row.format("<code>torn</code>", "", " ")], 1)]:
        found = list(verify.broken_rows(tmp_path, {page: verify.Page(f"<table>{''.join(texts)}</table> after")}))
        assert len(found) == faults
        assert all("torn" in one for one in found)


def test_a_site_that_is_not_built_is_refused_in_one_line(tmp_path, capsys):
    pytest.importorskip("playwright")
    from tools.site import look

    for pages, missing in [([], "index.html"), (["docs/guide.html"], "docs/guide.html")]:
        with pytest.raises(SystemExit, match="2"):
            look.main(["--site", str(tmp_path), *pages])
        assert f"--site must be the folder of a site with {missing}, got {tmp_path}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def everything():
    return api.public()


def site_with(tmp_path, ones, without=""):
    """Write pages and an index with every public name but one."""
    lines = []
    for module in {one.module for one in ones}:
        ids = [one.shown for one in ones if one.module == module]
        page = tmp_path / "api" / f"{module}.html"
        page.parent.mkdir(exist_ok=True)
        page.write_text("".join(f'<i id="{name}"></i>' for name in ids if name != without), encoding="utf-8")
    for one in ones:
        lines += [f"{path} py:class 1 api/{one.module}.html#{one.shown} -" for path in one.paths]
    (tmp_path / "objects.inv").write_bytes(b"#\n#\n#\n#\n" + zlib.compress("\n".join(lines).encode()))
    parsed = {path: verify.Page(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.rglob("*.html"))}
    return list(verify.missing_names(tmp_path, parsed))


def test_every_public_name_needs_an_anchor(tmp_path, everything):
    assert site_with(tmp_path, everything) == []
    found = site_with(tmp_path, everything, without="numrnn.LSTMCell")
    assert "numrnn.LSTMCell has no anchor on api/numrnn.cells.lstm.html" in found


def test_a_name_in_no_index_is_missed(tmp_path, everything):
    kept = [one for one in everything if one.shown != "numrnn.forward"]
    site_with(tmp_path, kept)
    parsed = {path: verify.Page(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.rglob("*.html"))}
    assert "numrnn.forward is public and on no page" in verify.missing_names(tmp_path, parsed)


def test_a_name_that_no_search_finds_is_missed(tmp_path, everything):
    def index(ones):
        objects = {}
        for one in ones:
            prefix, _, name = one.shown.rpartition(".")
            objects.setdefault(prefix, []).append([0, 0, 1, "", name])
        text = f"Search.setIndex({json.dumps({'objects': objects})})"
        (tmp_path / "searchindex.js").write_text(text, encoding="utf-8")
        return list(verify.unsearched(tmp_path))

    assert index(everything) == []
    without = [one for one in everything if one.shown != "gradcheck.check_vjp"]
    assert index(without) == ["a search does not find gradcheck.check_vjp"]


def test_the_reference_lists_what_all_lists(everything):
    paths = {path for one in everything for path in one.paths}
    assert {"numrnn.AntisymmetricCell", "numrnn.cells.AntisymmetricCell", "gradcheck.check_gradient"} <= paths
    assert {"numrnn.training.optim.Adam", "numrnn.training.Adam", "numrnn.typing.Engine"} <= paths
    shown = {one.shown for one in everything}
    assert "numrnn.AntisymmetricCell" in shown
    assert "numrnn.cells.AntisymmetricCell" not in shown


@pytest.mark.parametrize("tag", ["F2", "T3", "B26", "J13"])
def test_a_tag_that_is_on_no_page_is_missed(tmp_path, tag):
    """Leave one tag out of the derivation's page, and then out of a companion's."""
    known = tags.equations(tags.PAGE.read_text(encoding="utf-8"))
    held = {"docs/derivation": set(known)}
    for one, lines in tags.places().items():
        for line in lines:
            held.setdefault(companion.page_of(line.path), set()).add(one)

    def faults(left_out=""):
        for name, ones in held.items():
            page = tmp_path / f"{name}.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text("".join(f'<i id="eq-{one}">' for one in ones if (name, one) != left_out), encoding="utf-8")
        parsed = {path: verify.Page(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.rglob("*.html"))}
        return list(verify.missing_equations(tmp_path, parsed))

    assert faults() == []
    for name in ["docs/derivation", companion.page_of(tags.places()[tag][0].path)]:
        assert faults((name, tag)) == [f"({tag}) is not on {name}"]
