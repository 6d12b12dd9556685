"""Checks of a built site that Sphinx does not make: every link and picture, every public name, every equation.

Links are followed as in a browser, so those written by templates and our own extensions count too. Nothing may
be loaded from another machine.
"""

from __future__ import annotations

import json
import pathlib
import re
import urllib.parse
import zlib
from collections.abc import Iterable
from html.parser import HTMLParser

from tools import tags
from tools.site import api, companion

ONLY_NAMED = {"canonical", "prev", "next", "index", "search"}  # links of a page's head that load nothing
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src")}


class Page(HTMLParser):
    """The anchors of a page, its links, the files that it loads, its pictures without alternative text, its tables.

    `rows` has the texts of the cells of each row.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.wordless: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the attributes of an element."""
        given = dict(attrs)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        for name, value in given.items():
            if value and (tag, name) in LOADED and given.get("rel") not in ONLY_NAMED:
                self.loads.append(value)
            elif value and tag in {"a", "link"} and name == "href":
                self.links.append(value)
        if tag == "img" and not given.get("alt"):
            self.wordless.append(given.get("src") or "")
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"} and self.rows:
            self.rows[-1].append("")
        self._in_cell = tag in {"td", "th"} or (self._in_cell and tag != "tr")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a cell."""
        self._in_cell = self._in_cell and tag not in {"td", "th", "tr", "table"}

    def handle_data(self, data: str) -> None:
        """Add text to the cell that it is in."""
        if self._in_cell and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def faults(site: pathlib.Path) -> list[str]:
    """Return a line for every fault of a built site."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    broken = broken_rows(site, pages)
    return [
        *dead_ends(site, pages),
        *broken,
        *missing_names(site, pages),
        *unsearched(site),
        *missing_equations(site, pages),
    ]


def dead_ends(site: pathlib.Path, pages: dict[pathlib.Path, Page]) -> Iterable[str]:
    """Yield a line for every dead link, every load from elsewhere, and every picture without alternative text."""
    for path, page in pages.items():
        here = path.relative_to(site)
        for target in page.loads:
            if re.match(r"(https?:)?//", target):
                yield f"{here} loads {target}, which is on another machine"
        yield from (f"{here} shows {source} without a text that says what it shows" for source in page.wordless)
        for target in [*page.links, *page.loads]:
            if re.match(r"[a-z]+:|//", target):
                continue
            place, _, anchor = target.partition("#")
            place = urllib.parse.unquote(place.partition("?")[0])
            found = (path.parent / place).resolve() if place else path.resolve()
            if not found.exists():
                yield f"{here} links to {target}, which is not there"
            elif anchor and found in pages and urllib.parse.unquote(anchor) not in pages[found].ids:
                yield f"{here} links to {target}, and {found.name} has no such anchor"


def broken_rows(site: pathlib.Path, pages: dict[pathlib.Path, Page]) -> Iterable[str]:
    """Yield a line for every row of a table with three columns or more whose only text is in its first cell.

    Markdown makes such a row of a line that was wrapped within a table.
    """
    for path, page in pages.items():
        for first, *others in (row for row in page.rows if len(row) > 2):
            if first and not any(others):
                yield f"{path.relative_to(site)} has a table row with nothing beside {first!r}: a wrapped line?"


def inventory(site: pathlib.Path) -> dict[str, str]:
    """Return the address of every documented Python object, by its dotted name, from objects.inv."""
    data = (site / "objects.inv").read_bytes()
    body = zlib.decompress(data.split(b"\n", 4)[4]).decode()
    found = {}
    for line in body.splitlines():
        name, kind, _, address, _ = line.split(" ", 4)
        if kind.startswith("py:"):
            found[name] = address.replace("$", name)
    return found


def missing_names(site: pathlib.Path, pages: dict[pathlib.Path, Page]) -> Iterable[str]:
    """Yield a line for every public name that the index of the site lacks, or that has no anchor on its page."""
    names = inventory(site)
    for path in (path for one in api.public() for path in one.paths):
        place, _, anchor = names.get(path, "").partition("#")
        page = pages.get((site / place).resolve())
        if page is None:
            yield f"{path} is public and on no page"
        elif anchor not in page.ids:
            yield f"{path} has no anchor on {place}"


def searched(site: pathlib.Path) -> set[str]:
    """Return the dotted names of all objects that the search of the site knows."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    objects = json.loads(text[text.index("(") + 1 : text.rindex(")")])["objects"]
    return {f"{prefix}.{entry[4]}" if prefix else entry[4] for prefix, found in objects.items() for entry in found}


def unsearched(site: pathlib.Path) -> Iterable[str]:
    """Yield a line for every public object that a search does not find under the name that its page shows."""
    known = searched(site)
    yield from (f"a search does not find {one.shown}" for one in api.public() if one.shown not in known)


def missing_equations(site: pathlib.Path, pages: dict[pathlib.Path, Page]) -> Iterable[str]:
    """Yield a line for every tag without an anchor in the derivation, or in the companion of a file that carries it."""
    places = tags.places()
    for tag in tags.equations(tags.PAGE.read_text(encoding="utf-8")):
        where = ["docs/derivation", *(companion.page_of(line.path) for line in places.get(tag, []))]
        if len(where) == 1:
            yield f"({tag}) has no line of code"
        for name in where:
            page = pages.get((site / f"{name}.html").resolve())
            if page is None or f"eq-{tag}" not in page.ids:
                yield f"({tag}) is not on {name}"
