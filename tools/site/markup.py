"""Conversion of docstrings, which are written for readers of the source, to reStructuredText.

In them |h| is a norm, W_ a name and a * b a product, and an indented block is an equation to be kept unchanged.
"""

from __future__ import annotations

import re

SECTION = re.compile(r"^-{3,}$")


def escaped(line: str) -> str:
    """Return a line of a docstring in which everything that reStructuredText would read as markup is escaped."""
    parts = re.split(r"(`+[^`]+`+|^ *\* |(?<!\S)\*\w[^*]*\w\*(?!\w))", line)  # names, bullets, and emphasis as it is
    for i in range(0, len(parts), 2):
        text = re.sub(r"([|*])", r"\\\1", parts[i])
        text = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", text)
        parts[i] = re.sub(r"\bdocs/(\w+)\.md", r":doc:`docs/\1.md </docs/\1>`", text)
    return "".join(parts)


def as_rst(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText."""
    out: list[str] = []
    before_sections, literal, example = True, False, False
    for i, line in enumerate(lines):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if SECTION.match(following):
            before_sections = False
        blank_before = not out or not out[-1].strip()
        if not line.strip():
            example = False
        elif line.lstrip().startswith(">>>"):
            example = True
        elif literal and not line.startswith(" "):
            literal = False
        elif before_sections and not literal and blank_before and verbatim(line):
            literal = True
            out += ["::", ""]
        if literal and line.strip():
            out.append("    " + line)
        else:
            out.append(line if example or literal else escaped(line))
    return out


def verbatim(line: str) -> bool:
    """Tell whether a paragraph that begins with this line is to be kept unchanged."""
    return bool(re.match(r" +\S", line) or re.match(r"[\w.]+\.py {2,}\S", line))
