"""The pages of the API reference: one for each module that defines something public, from the source only.

Public is what the `__all__` of a module lists; a module without it is internal. An object is documented once, on the
page of the module that defines it, under its shortest name; its other names are entries of the index that lead there.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from dataclasses import dataclass, field

from tools.imports import sources
from tools.site.markup import escaped

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Classes of other libraries, whose members are not repeated in ours.
FOREIGN = "object, ABC, BaseException, Exception, Module, Function, BaseEstimator, tuple, dict, Protocol, str, int"
GROUPS = (
    ("Cells and time", ("numrnn", "numrnn.cells")),
    ("Data", ("numrnn.datasets",)),
    ("Training", ("numrnn.training", "numrnn.training.optim")),
    ("Estimators and bridges", ("numrnn.estimators", "numrnn.interop.torch", "numrnn.testing")),
    ("Analysis", ("numrnn.stability", "numrnn.ode", "numrnn.reversible", "numrnn.plots")),
    ("Checking gradients", ("gradcheck",)),
    ("Arrays and types", ("numrnn.backend", "numrnn.typing", "numrnn.engines.cpu", "numrnn.engines.cuda")),
)


@dataclass
class Public:
    """A public object.

    Attributes
    ----------
    module, name : str
        Where it is defined.
    kind : str
        "class", "function" or "data".
    paths : list of str
        All dotted names under which it is public; the shortest is the one that is documented.
    source : str
        For data: the assignment.
    summary : str
        First line of its docstring.
    """

    module: str
    name: str
    kind: str
    source: str
    summary: str
    paths: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """The name under which it is documented."""
        return min(self.paths, key=lambda path: (path.count("."), len(path), path))


def modules() -> dict[str, ast.Module]:
    """Return the parsed source of every module, by the name under which it is imported."""
    found = sources(ROOT, ["numrnn", "gradcheck"])
    return {name.removesuffix(".__init__"): ast.parse(source) for name, source in found.items()}


def listed(tree: ast.Module) -> list[str]:
    """Return what `__all__` lists, nothing if there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def definition(module: str, name: str, trees: dict[str, ast.Module]) -> tuple[str, str, ast.stmt]:
    """Return the module, name and statement that define a name, following imports.

    Raises
    ------
    LookupError
        If no statement defines it.
    """
    for node in trees[module].body:
        if isinstance(node, ast.ImportFrom) and node.module in trees:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return definition(node.module, alias.name, trees)
        if name in _defined(node):
            return module, name, node
    raise LookupError(f"{module} lists {name}, and no statement of it defines or imports that")


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


@functools.cache
def public() -> list[Public]:
    """Return every public object."""
    trees, found = modules(), {}
    for module, tree in trees.items():
        for name in listed(tree):
            where, own, node = definition(module, name, trees)
            kind = {ast.FunctionDef: "function", ast.ClassDef: "class"}.get(type(node), "data")
            doc = ast.get_docstring(node) if kind != "data" else None
            summary = (doc or "").split("\n\n")[0].replace("\n", " ")
            one = found.setdefault((where, own), Public(where, own, kind, ast.unparse(node), summary))
            one.paths.append(f"{module}.{name}")
    return list(found.values())


def pages() -> dict[str, str]:
    """Return the pages: their paths and their reStructuredText."""
    everything = public()
    by_module: dict[str, list[Public]] = {}
    for one in everything:
        by_module.setdefault(one.module, []).append(one)
    made = {f"api/{module}.rst": page(module, ones) for module, ones in by_module.items()}
    made["api/index.rst"] = index(everything)
    return made


def page(module: str, ones: list[Public]) -> str:
    """Return the page of a module."""
    parts = [title(module), f".. automodule:: {module}\n   :no-members:\n"]
    for one in ones:
        if len(ones) > 1:
            parts.append(title(one.name, "-"))
        if one.kind == "data":
            where, _, name = one.shown.rpartition(".")
            parts.append(
                f".. py:data:: {name}\n   :module: {where}\n\n   .. code-block:: python\n\n      {one.source}\n"
            )
        elif one.kind == "class":
            parts.append(
                f".. autoclass:: {one.shown}\n   :members:\n   :inherited-members: {FOREIGN}\n   :show-inheritance:\n"
            )
        else:
            parts.append(f".. autofunction:: {one.shown}\n")
    return "\n".join(parts)


def title(text: str, underline: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{underline * len(text)}\n"


def index(everything: list[Public]) -> str:
    """Return the page that lists every public name, by the package that exports it."""
    parts = [title("API reference"), "Every public name, with its page. Names are those to import.\n"]
    left = sorted(everything, key=lambda one: one.shown.lower())
    groups = [(head, [one for one in left if package(one.shown) in packages]) for head, packages in GROUPS]
    rest = [one for one in left if not any(one in ones for _, ones in groups)]
    for one in rest:  # listed only in the module that defines it: in the group of its package
        for (_, packages), (_, ones) in zip(GROUPS, groups, strict=True):
            if any(one.module.startswith(name + ".") for name in packages if name != "numrnn"):
                ones.append(one)
                break
        else:
            groups[0][1].append(one)
    for head, ones in groups:
        parts += [title(head, "-"), ".. list-table::\n   :widths: 40 60\n"]
        for one in sorted(ones, key=lambda one: (one.shown.rpartition(".")[0], one.shown.lower())):
            parts.append(f"   * - :doc:`{one.shown} <{one.module}>`\n     - {plain(one.summary)}")
        entries = sorted({one.module for one in ones})
        parts.append("\n.. toctree::\n   :hidden:\n\n" + "".join(f"   {entry}\n" for entry in entries))
    return "\n".join(parts)


def package(path: str) -> str:
    """Return the module part of a dotted name."""
    return path.rpartition(".")[0]


def plain(text: str) -> str:
    """Return a summary for a cell of a table."""
    return escaped(text) or r"\ "
