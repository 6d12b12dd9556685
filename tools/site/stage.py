"""The pages for Sphinx, in a separate folder with the layout of the repository.

README.md becomes the front page. A link to a file that is not a page leads to its companion, or to the file in the
repository at this version; a link to nothing is an error. On GitHub the pages are shown unchanged.
"""

from __future__ import annotations

import json
import os
import pathlib
import posixpath
import re
import shutil
from collections.abc import Callable, Mapping

from tools.repository import ROOT, address
from tools.site import menu

# Code within a sentence, to be left alone; or a link, whose text may hold code, or a picture.
LINK = re.compile(
    r"(?P<code>(?<!`)`[^`\n]+`(?!`))|"
    r"(?P<open>!?\[(?:[^\[\]`]|`[^`]*`|!?\[[^\[\]]*\](?:\([^)]*\))?)*\]\()(?P<target>[^)\s]+)\)"
)
BLOCK = re.compile(r"(^```.*?^```[ ]*$)", re.DOTALL | re.MULTILINE)
TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
FOLDERS = ("results/README.md", "notebooks/README.md")
FRONT = "index.md"
BADGE = re.compile(r"\[!\[([^\]]*)\]\(https:[^)]*\)\]")  # a picture on another machine, which the site does not load


class DeadLinkError(Exception):
    """Dead links of pages, one per line."""


def pages_of_repository(root: pathlib.Path = ROOT) -> dict[str, str]:
    """Return the text of every page by its path, without links rewritten."""
    paths = [root / name for name in (*TOP, *FOLDERS) if (root / name).exists()]
    paths += sorted((root / "docs").glob("*.md")) + sorted((root / "docs" / "learn").rglob("*.md"))
    found = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        found[path.with_suffix(".md").relative_to(root).as_posix()] = notebook_as_page(path)
    if (root / "docs" / "play" / "index.html").exists():
        found["docs/play.md"] = PLAY
    return found


PLAY = """# Play with the cell

The cell in two dimensions, in this browser only: <a href="play/index.html">open it on a separate page</a>.

<iframe class="play" src="play/index.html" title="The cell in two dimensions, with sliders"></iframe>
"""


def notebook_as_page(path: pathlib.Path) -> str:
    """Return a notebook's cells as Markdown."""
    book = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(BADGE.sub(r"[\1]", source))
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
    parts.append(f"*[The notebook itself]({path.name}), to run and to change.*")
    return "\n\n".join(parts) + "\n"


def rewritten(page: str, text: str, target_of: Callable[[str, str], str]) -> str:
    """Return the text of a page with `target_of(page, target)` for the target of every relative link outside code."""

    def one(match: re.Match[str]) -> str:
        if match["code"]:
            return match[0]
        opening, target = match["open"], match["target"]
        if "[" in opening[opening.index("[") + 1 :]:  # a picture or a badge as the text of a link
            opening = rewritten(page, opening[1:-2], target_of).join((opening[0], opening[-2:]))
        if re.match(r"[a-z]+:|#", target):
            return f"{opening}{target})"
        return f"{opening}{target_of(page, target)})"

    parts = BLOCK.split(text)
    return "".join(part if i % 2 else LINK.sub(one, part) for i, part in enumerate(parts))


class Stage:
    """A folder of pages for Sphinx.

    Parameters
    ----------
    folder : pathlib.Path
        Replaced if it exists.
    generated : mapping of str to str
        Further pages: their paths and texts, whose links are rewritten too if they are Markdown.
    companions : mapping of str to str
        The companion page of a file, by the file's path.
    """

    def __init__(self, folder: pathlib.Path, generated: Mapping[str, str], companions: Mapping[str, str]) -> None:
        self.folder, self.companions = folder, companions
        self.pages = pages_of_repository() | dict(generated)
        self.dead: list[str] = []

    def write(self) -> None:
        """Write all pages, their pictures, and the files that are served unchanged.

        Raises
        ------
        DeadLinkError
            If a relative link of a page leads to nothing.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        shown = {page: text for page, text in self.pages.items() if page != "README.md"}
        for page, text in self.pages.items():
            if page.endswith(".md"):
                text = rewritten(page, text, self.target)
            if page == "README.md":
                page, text = FRONT, text + "\n" + menu.toctrees(shown)
            path = self.folder / page
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        play = ROOT / "docs" / "play"
        (self.folder / "as_is").mkdir()
        if play.exists():
            shutil.copytree(play, self.folder / "as_is" / "docs" / "play")
        if self.dead:
            raise DeadLinkError("\n".join(self.dead))

    def target(self, page: str, target: str) -> str:
        """Return the target of a page's relative link on the site."""
        path, mark, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        here = posixpath.dirname(page)
        if place in self.pages:
            return posixpath.relpath(FRONT if place == "README.md" else place, here or ".") + mark + anchor
        if place.startswith("docs/play/") and "docs/play.md" in self.pages:
            return posixpath.relpath("docs/play.md", here or ".")
        notebook = place.removesuffix(".ipynb") + ".md"
        if place.endswith(".ipynb") and notebook in self.pages and notebook != page:
            return posixpath.relpath(notebook, here or ".")
        if place in self.companions:
            return posixpath.relpath(self.companions[place], here or ".")
        found = ROOT / place
        if not found.exists() or place.startswith(".."):
            self.dead.append(f"{page}: {target} leads to nothing")
            return target
        if found.suffix in {".png", ".svg", ".jpg"}:
            copy = self.folder / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, copy)
            return posixpath.relpath(place, here or ".")
        return address(place, folder=os.path.isdir(found)) + mark + anchor
