"""The tags of equations, such as (F2), in docs/derivation.md and in the code.

They are read from the text; nothing is imported or run. The companion pages are generated from them, and tests compare
the two sides.
"""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "derivation.md"
EQUATION = re.compile(r"\$\$(?P<tex>(?:(?!\$\$).)*?)\\tag\{(?P<tag>[FTBJ]\d+)\}\s*\$\$", re.DOTALL)
AT_END = re.compile(r"(?: \([FTBJ]\d+\))+$")


@dataclass(frozen=True)
class TaggedLine:
    """A line of code and the tags at its end.

    Attributes
    ----------
    path : pathlib.Path
        Relative to the root of the repository.
    number : int
        From 1.
    tags : tuple of str
        Such as ("F5", "F6").
    """

    path: pathlib.Path
    number: int
    tags: tuple[str, ...]


def equations(text: str) -> dict[str, str]:
    """Return the TeX of every tagged equation of a page, by its tag."""
    return {match["tag"]: match["tex"].strip() for match in EQUATION.finditer(text)}


def tags_of_page(text: str) -> list[str]:
    r"""Return the arguments of every \tag of a page, in order and with repetitions."""
    return re.findall(r"\\tag\{([FTBJ]\d+)\}", text)


def tagged_lines(path: pathlib.Path, root: pathlib.Path = ROOT) -> list[TaggedLine]:
    """Return the lines that end with tags, as `# (F2)`, `# (B, n) (F2)` or `# (F5) (F6)`; `//` in a kernel."""
    comment = "  # " if path.suffix == ".py" else ";  // "
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if comment in line and (end := AT_END.search(line)):
            found.append(TaggedLine(path.relative_to(root), number, tuple(re.findall(r"[FTBJ]\d+", end[0]))))
    return found


def code_files(root: pathlib.Path = ROOT) -> list[pathlib.Path]:
    """Return every file of the package that may carry tags."""
    package = root / "numrnn"
    return sorted(package.rglob("*.py")) + sorted((package / "engines" / "cuda").glob("*.cu*"))


def places(root: pathlib.Path = ROOT) -> dict[str, list[TaggedLine]]:
    """Return the lines that carry each tag, the cells' first, then the reference loop, then the engines'."""
    found: dict[str, list[TaggedLine]] = {}
    order = ("numrnn/cells", "numrnn/bptt", "numrnn/training", "numrnn/stability", "numrnn/layered", "numrnn/engines")
    lines = [line for path in code_files(root) for line in tagged_lines(path, root)]

    def rank(line: TaggedLine) -> tuple[int, str, int]:
        path = line.path.as_posix()
        return next((i for i, start in enumerate(order) if path.startswith(start)), len(order)), path, line.number

    for line in sorted(lines, key=rank):
        for tag in line.tags:
            found.setdefault(tag, []).append(line)
    return found
