"""The address of the repository: `repository-code` in CITATION.cff is its only source."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def repository() -> str:
    """Return the address of the repository."""
    return re.search(r'^repository-code: "(.+)"$', (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)[1]


def version() -> str:
    """Return the version of the package."""
    text = (ROOT / "numrnn" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def address(path: str, *, folder: bool = False, raw: bool = False) -> str:
    """Return the address of a file or folder of the repository at the tag of this version."""
    kind = "raw" if raw else "tree" if folder else "blob"
    return f"{repository()}/{kind}/v{version()}/{path}"
