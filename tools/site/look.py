"""Open every page of the built site in headless Chromium, at the widths of a desktop and a phone, and report faults.

    python -m tools.site.look [--site site] [--pictures FOLDER] [PAGE ...]

It looks for formulas that are not drawn or cut off, a page that scrolls sideways, pictures that are not loaded, errors
of scripts, requests to other machines, and a search for "cotangent" that finds nothing. It needs a Chromium and the
package Playwright, which the extra `dev` installs. `--pictures` keeps a screenshot of every page.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import pathlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tools import browser

WIDTHS = (1280, 390)
TERM, FOUND_ON = "cotangent", ("derivation.html", "glossary.html")
LOOK = """() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = node => {
    for (let up = node.parentElement; up; up = up.parentElement) {
      const way = getComputedStyle(up).overflowX;
      if (["auto", "scroll"].includes(way) && up !== document.body && up !== document.documentElement)
        return true;
    }
    return false;
  };
  const name = node => `${node.tagName}.${node.className} "${(node.textContent || "").trim().slice(0, 40)}"`;
  const article = document.querySelector("article") || document.body;
  const beyond = [...article.querySelectorAll("*")].filter(node => {
    const box = node.getBoundingClientRect();
    return box.width && box.right > wide + 1 && getComputedStyle(node).position !== "absolute" && !scrolls(node);
  });
  // A phone scrolls within a wide formula; a desktop has the room to show it whole.
  const cut = wide < 1000 ? [] : [...document.querySelectorAll(".formula")].filter(
    node => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1);
  const flat = [...document.querySelectorAll("math")].filter(node => {
    const box = node.getBoundingClientRect();
    return node.checkVisibility() && (box.width < 2 || box.height < 1);
  });
  const prose = article.cloneNode(true);
  prose.querySelectorAll("pre, code").forEach(one => one.remove());
  return {
    sideways: document.documentElement.scrollWidth > wide + 1 ? document.documentElement.scrollWidth : 0,
    beyond: beyond.slice(0, 3).map(name),
    cut: cut.map(name),
    flat: flat.map(name),
    font: !document.querySelector("math") || document.fonts.check("16px 'Noto Sans Math'"),
    raw: /\\$\\$|\\\\(frac|dot|odot|mathrm)\\b/.test(prose.textContent),
    pictures: [...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.src),
  };
}"""


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """Serve a folder on this machine while the block runs: the search does not work for pages opened as files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def faults_of_page(page: Any, address: str, raw_allowed: bool) -> list[str]:
    """Open a page and return what is wrong with it."""
    found: list[str] = []
    listeners = {
        "pageerror": lambda error: found.append(f"script: {error}"),
        "requestfailed": lambda request: found.append(f"not loaded: {request.url}"),
        "request": lambda one: (
            None if "127.0.0.1" in one.url or one.url[:5] == "data:" else found.append(f"asks {one.url}")
        ),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(address, wait_until="load")
    page.evaluate("() => document.fonts.ready.then(() => 0)")
    seen = page.evaluate(LOOK)
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    if seen["sideways"]:
        found.append(f"scrolls sideways: {seen['sideways']} pixels wide")
    found += [f"reaches beyond the edge: {one}" for one in seen["beyond"]]
    found += [f"formula not drawn: {one}" for one in seen["flat"]]
    found += [f"formula cut off: {one}" for one in seen["cut"]]
    found += [f"picture not loaded: {one}" for one in seen["pictures"]]
    if not seen["font"]:
        found.append("the font of the formulas is not loaded")
    if seen["raw"] and not raw_allowed:
        found.append("TeX that was not converted")
    return found


def faults_of_search(page: Any, root: str) -> list[str]:
    """Search for a term and return a line if its pages are not found."""
    page.goto(f"{root}/search.html?q={TERM}")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    page.wait_for_function("() => /finished|found/i.test(document.querySelector('#search-results').innerText)")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    missing = [name for name in FOUND_ON if not any(name in link for link in found)]
    return [f"a search for {TERM} does not find {name}" for name in missing]


def look(site: pathlib.Path, only: list[str], pictures: pathlib.Path | None) -> list[str]:
    """Open the pages and return a line for each fault."""
    found = []
    pages = only or sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    with served(site) as root, browser.launched() as opened:
        for width in WIDTHS:
            page = opened.new_page(viewport={"width": width, "height": 900})
            for name in pages:
                raw = name.startswith(
                    ("companion", "api", "_", "genindex", "py-modindex", "search")
                )  # TeX in docstrings
                found += [f"{name} at {width}: {fault}" for fault in faults_of_page(page, f"{root}/{name}", raw)]
                if pictures is not None:
                    pictures.mkdir(parents=True, exist_ok=True)
                    flat = name.replace("/", "_").removesuffix(".html")
                    page.screenshot(path=pictures / f"{flat}_{width}.png", full_page=True)
            if not only:
                found += [f"search.html at {width}: {fault}" for fault in faults_of_search(page, root)]
            page.close()
    print(f"{len(pages)} pages at {' and '.join(map(str, WIDTHS))} pixels: {len(found)} faults")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and look."""
    parser = argparse.ArgumentParser(prog="python -m tools.site.look", description=__doc__)
    parser.add_argument("pages", nargs="*", help="pages to look at, all if none is named")
    parser.add_argument("--site", type=pathlib.Path, default=pathlib.Path("site"), help="folder of the built site")
    parser.add_argument("--pictures", type=pathlib.Path, help="folder for screenshots")
    options = parser.parse_args(arguments)
    for name in options.pages or ["index.html"]:
        if not (options.site / name).is_file():
            parser.error(f"--site must be the folder of a site with {name}, got {options.site}; make docs builds site")
    try:
        found = look(options.site, options.pages, options.pictures)
    except RuntimeError as error:
        print(f"cannot look: {error}", file=sys.stderr)
        return 2
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
