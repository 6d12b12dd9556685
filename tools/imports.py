"""Imports of modules, read from the source: nothing is run, and imports inside functions count like all others.

Modules are named as Python names them, but a package's own file is `package.__init__`: `numrnn.cells` alone would mean
both the file and everything below it. Importing a module also runs the files of the packages above it; that is not
counted.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

# Functions that import the module named by their first argument.
BY_NAME = ("import_module", "__import__", "importorskip")


@dataclass(frozen=True, order=True)
class Import:
    """One import.

    Attributes
    ----------
    module : str
        The importing module.
    line : int
        The line of the import.
    target : str
        The imported module, if it is one of those read; else the dotted name in the source.
    """

    module: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: imports {self.target}"


def sources(root: pathlib.Path, folders: Iterable[str]) -> dict[str, str]:
    """Return the source of every module in some folders, by its name."""
    found = {}
    for path in sorted(itertools.chain.from_iterable((root / folder).rglob("*.py") for folder in folders)):
        found[".".join(path.relative_to(root).with_suffix("").parts)] = path.read_text(encoding="utf-8")
    return found


def imports(modules: Mapping[str, str]) -> list[Import]:
    """Return all imports of modules given as name and source, in the order of their modules and lines."""
    return sorted(
        {
            Import(module, line, _module_of(name, modules))
            for module, source in modules.items()
            for name, line in _names(ast.parse(source), module)
        }
    )


def _names(tree: ast.AST, module: str) -> Iterator[tuple[str, int]]:
    """Yield every imported dotted name, with the names taken from it, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{start}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if function in BY_NAME and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno


def _module_of(name: str, modules: Mapping[str, str]) -> str:
    """Return the module of a name like `numrnn.cells.base.Cell`; the name itself if that is not known."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        start = ".".join(parts[:length])
        for candidate in (start, f"{start}.__init__"):
            if candidate in modules:
                return candidate
    return name


def circle(found: Iterable[Import]) -> list[str]:
    """Return a cycle of modules, each of which imports the next, with the first repeated at the end; empty if none."""
    graph: dict[str, set[str]] = {}
    for one in found:
        if one.target != one.module:
            graph.setdefault(one.module, set()).add(one.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def below(name: str, starts: Iterable[str]) -> str | None:
    """Return the longest of the given names that is `name` or a package above it."""
    return max((start for start in starts if f"{name}.".startswith(f"{start}.")), key=len, default=None)


def on_no_floor(modules: Iterable[str], floors: Sequence[Sequence[str]]) -> list[str]:
    """Return the modules that have no entry; see `against_the_floors`."""
    entries = list(itertools.chain.from_iterable(floors))
    return [name for name in modules if below(name, entries) is None]


def against_the_floors(found: Iterable[Import], floors: Sequence[Sequence[str]]) -> list[str]:
    """Return the imports that do not lead downwards, as lines of text.

    Parameters
    ----------
    found : iterable of Import
        Those from or to a module on no floor are ignored.
    floors : sequence of sequence of str
        From the lowest: modules, or packages with all that is in them. A module belongs to the longest entry that it
        matches; it may import from the floors below it, and from its own entry.
    """
    height = {entry: level for level, floor in enumerate(floors) for entry in floor}
    wrong = []
    for one in found:
        start, end = below(one.module, height), below(one.target, height)
        if start is not None and end is not None and start != end and height[end] >= height[start]:
            wrong.append(str(one))
    return wrong


def imports_of(found: Iterable[Import], packages: Iterable[str], allowed: Iterable[str] = ()) -> list[str]:
    """Return the imports of some packages outside the modules that may import them, as lines of text."""
    wanted, free = set(packages), list(allowed)
    return [str(one) for one in found if one.target.partition(".")[0] in wanted and below(one.module, free) is None]
