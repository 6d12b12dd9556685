"""The menu of the site: captions, and the pages below each. A page that no line names fails the strict build."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

# Patterns of repository paths; a page belongs to the first pattern that matches it.
MENU = (
    (
        "Learn",
        (
            "docs/first_half_hour.md",
            "docs/learn/index.md",
            "docs/learn/README.md",
            "docs/learn/*.md",
            "docs/play.md",
            "notebooks/README.md",
            "notebooks/*.md",
        ),
    ),
    ("Use", ("docs/guide.md", "docs/gradcheck.md", "docs/stability.md", "docs/reliability.md", "docs/glossary.md")),
    ("Read", ("docs/derivation.md", "companion/index.md", "docs/engine_steps.md", "docs/cuda_engine.md")),
    ("Look up", ("api/index.rst", "ARCHITECTURE.md")),
    (
        "Evidence",
        (
            "results/README.md",
            "docs/figures.md",
            "docs/properties.md",
            "docs/benchmarks.md",
            "docs/kill_matrix.md",
            "docs/function_bed.md",
            "docs/*.md",
        ),
    ),
    ("Project", ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
)


def in_menu(pages: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Return captions and pages (path to text); pages of docs/learn in the order of its index."""
    index = pages.get("docs/learn/index.md", "") + pages.get("docs/learn/README.md", "")
    named = ["docs/learn/" + target for target in re.findall(r"\]\(([\w./-]+\.md)", index)]
    left = sorted(pages, key=lambda page: (named.index(page) if page in named else len(named), page))
    menu = []
    for caption, patterns in MENU:
        found = []
        for pattern in patterns:
            matching = [page for page in left if fnmatch.fnmatch(page, pattern)]
            found += matching
            left = [page for page in left if page not in matching]
        if found:
            menu.append((caption, found))
    return menu


def toctrees(pages: Mapping[str, str]) -> str:
    """Return the menu as hidden toctrees in MyST."""
    blocks = []
    for caption, found in in_menu(pages):
        entries = "\n".join(page.rsplit(".", 1)[0] for page in found)
        blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n")
    return "\n".join(blocks)
