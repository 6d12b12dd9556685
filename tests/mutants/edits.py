"""Planted bugs as edits of the real source: a function of numrnn, a text that stands in it once, and what replaces it.

`edited_package` imports numrnn a second time, from the same files, with one edit applied on the way. A bug is so a line
of our own code with one slip in it, and an edit whose text is no longer there is an error: the list cannot rot.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

import numrnn

ROOT = pathlib.Path(numrnn.__file__).parent


@dataclass(frozen=True)
class Edit:
    """One slip.

    Attributes
    ----------
    name : str
        What went wrong, as the table says it.
    place : str
        Module and function, as ``cells.gated:GatedEulerStep.step_vjp``; of a name defined twice, the first.
    old, new : str
        A text that stands in the function exactly once, and what stands there instead.
    """

    name: str
    place: str
    old: str
    new: str

    @property
    def module(self) -> str:
        """Full name of the module."""
        return "numrnn." + self.place.partition(":")[0]

    def apply(self, source: str) -> str:
        """Return the source of the module with the slip in it.

        Raises
        ------
        ValueError
            If there is no such function, or the text is not in it exactly once.
        """
        function = _function(ast.parse(source), self.place.partition(":")[2])
        if function is None:
            raise ValueError(f"edit {self.name!r}: there is no {self.place}")
        lines = source.splitlines(keepends=True)
        start, stop = function.lineno - 1, function.end_lineno
        body = "".join(lines[start:stop])
        if body.count(self.old) != 1:
            raise ValueError(f"edit {self.name!r}: {self.old!r} stands {body.count(self.old)} times in {self.place}")
        return "".join(lines[:start]) + body.replace(self.old, self.new) + "".join(lines[stop:])


def _function(tree: ast.AST, path: str) -> ast.FunctionDef | None:
    found: ast.AST | None = tree
    for name in path.split("."):
        inside = ast.iter_child_nodes(found) if found is not None else ()
        found = next((node for node in inside if getattr(node, "name", None) == name), None)
    return found if isinstance(found, ast.FunctionDef) else None


@functools.cache
def edited_package(edit: Edit) -> ModuleType:
    """Return numrnn, imported anew with the edit; the numrnn that everybody else uses is not touched."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "numrnn"}
    finder = _Finder(edit)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("numrnn.training")
        return sys.modules["numrnn"]
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "numrnn"]:
            del sys.modules[name]
        sys.modules.update(kept)


class _Finder:
    """Finds the modules of numrnn, and gives one of them an edited source."""

    def __init__(self, edit: Edit) -> None:
        self.edit = edit

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name.partition(".")[0] == "numrnn" else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin, self.edit if name == self.edit.module else None)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a source, edited or not, past the cache of compiled files."""

    def __init__(self, name: str, path: str, edit: Edit | None) -> None:
        super().__init__(name, path)
        self.edit = edit

    def get_code(self, fullname: str) -> CodeType:
        return _compiled(self.path, self.edit)


@functools.cache
def _compiled(path: str, edit: Edit | None) -> CodeType:
    """Return the code of a source; each copy of the package takes that of the modules it does not edit from here."""
    source = pathlib.Path(path).read_text(encoding="utf-8")
    return compile(
        source if edit is None else edit.apply(source), path if edit is None else f"{path} with {edit.name!r}", "exec"
    )
