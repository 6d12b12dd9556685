"""Public is what an `__all__` lists: there is one in every module that a user meets, it is complete, and it is true."""

import ast
import importlib.util
import pathlib
import re

import pytest

from numrnn.__main__ import COMMANDS
from tools.imports import imports, sources
from tools.site import api

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = (
    "gradcheck",
    "numrnn",
    "numrnn.cells",
    "numrnn.datasets",
    "numrnn.estimators",
    "numrnn.interop.torch",
    "numrnn.plots",
    "numrnn.stability",
    "numrnn.training",
    "numrnn.training.optim",
)
NAMED = ("gradcheck.", "numrnn.datasets.", "numrnn.stability.", "numrnn.training.")  # pages name modules of these
MODULES = sources(ROOT, ["numrnn", "gradcheck"])


def named_in_the_pages():
    """Return the modules that README.md, the pages and the docstrings name in backticks."""
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    found = set()
    for text in [*pages, *MODULES.values()]:
        for name in re.findall(r"`((?:numrnn|gradcheck)(?:\.\w+)+)", text):
            parts = name.split(".")
            found |= {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return found & set(MODULES)


def public_modules():
    """Return the packages, the modules that their `__init__` imports from, those that the pages name, and those that
    have an `__all__`: the API reference documents them all.
    """
    inits = [f"{package}.__init__" for package in PACKAGES]
    reached = {one.target for one in imports(MODULES) if one.module in inits and one.target in MODULES}
    named = {name for name in named_in_the_pages() if name.startswith(NAMED)}
    others = {name for name, source in MODULES.items() if listed_and_defined(source)[0] is not None}
    return sorted({*inits, *reached, *named, *others})


def listed_and_defined(source):
    """Return what `__all__` lists, None if there is none, and the public functions and classes that are defined."""
    body, listed = ast.parse(source).body, None
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            listed = ast.literal_eval(node.value)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return listed, [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def all_of(name):
    """Return what the `__all__` of a module lists."""
    return listed_and_defined(MODULES[name])[0]


@pytest.mark.parametrize("name", public_modules())
def test_all_lists_every_public_name_and_nothing_that_is_not_there(name):
    listed, defined = listed_and_defined(MODULES[name])
    assert listed is not None
    assert len(set(listed)) == len(listed)
    assert set(defined) <= set(listed)
    if name.startswith("numrnn.interop.torch") and importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    module = importlib.import_module(name.removesuffix(".__init__"))
    assert [one for one in listed if not hasattr(module, one)] == []


def test_the_modules_looked_at_are_those_that_users_meet():
    found = public_modules()
    assert {"numrnn.training.losses", "numrnn.training.optim.adam", "numrnn.datasets.encoders"} <= set(found)
    assert {"numrnn.training.averaging", "numrnn.datasets.locate"} <= set(found)  # named in pages and docstrings only
    assert {"numrnn.training.interrupt", "numrnn.training.loop", "numrnn.plots.arguments"}.isdisjoint(found)


PAGES = [
    *ROOT.glob("*.md"),
    *(path for end in ("md", "html") for path in (ROOT / "docs").rglob(f"*.{end}")),
    *(ROOT / "examples").glob("*.py"),
    *(ROOT / "notebooks").glob("*.ipynb"),
]
OF_COMMANDS = {"make_config", "run", "main", "predict"}  # what pages may use of the module of a command


def internal_imports(text):
    """Return the modules without `__all__` that a page imports, and the names that it imports from such modules."""
    found = set()
    for module, names in re.findall(r"(?:from|import) ((?:numrnn|gradcheck)(?:\.\w+)*)(?: import ([\w, ]+))?", text):
        for name in [f"{module}.{one.strip()}" for one in names.split(",") if one.strip()] or [module]:
            own = next((m for m in (name, f"{name}.__init__", module, f"{module}.__init__") if m in MODULES), None)
            if own is not None and listed_and_defined(MODULES[own])[0] is None:
                found.add(name)
    return found


def test_the_pages_import_only_what_is_public():
    found = set().union(*(internal_imports(path.read_text(encoding="utf-8")) for path in PAGES))
    commands = {module for module, _ in COMMANDS.values()} | {"numrnn.__main__"}
    figures = {name for name in MODULES if name.startswith("numrnn.experiments.figures.")}
    allowed = commands | {f"{module}.{name}" for module in commands | figures for name in OF_COMMANDS}
    assert found <= allowed
    assert {"numrnn.experiments.mnist", "numrnn.experiments.predict.predict"} <= found


def test_an_import_from_an_internal_module_is_seen():
    names = {"numrnn.checks.shown", "numrnn.checks.dtype_name"}
    assert internal_imports("from numrnn.checks import shown, dtype_name\nfrom numrnn import Cell") == names
    assert internal_imports("import numrnn.layered\nfrom numrnn import blas") == {"numrnn.layered", "numrnn.blas"}


def test_a_function_and_a_class_without_underscore_are_public_wherever_all_stands():
    source = (
        "def f(): pass\n__all__ = ['f', 'A']\nclass A:\n    def g(self): pass\ndef _h(): pass\nasync def k(): pass\n"
    )
    assert listed_and_defined(source) == (["f", "A"], ["f", "A", "k"])
    assert listed_and_defined("x = 1\n") == (None, [])


def test_the_api_reference_documents_exactly_what_the_modules_list():
    listed = {f"{name.removesuffix('.__init__')}.{one}" for name in public_modules() for one in all_of(name)}
    assert {path for one in api.public() for path in one.paths} == listed
