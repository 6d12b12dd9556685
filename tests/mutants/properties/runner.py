"""Runs the properties on a planted change, and tells which of them fail."""

from __future__ import annotations

import importlib
import pathlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from hypothesis import Phase, given, settings
from mutants.edits import edited_package
from mutants.properties.changes import Change

PROPERTIES = pathlib.Path(__file__).parents[2] / "properties"
MODULES = sorted(path.stem for path in PROPERTIES.glob("test_*.py") if path.stem != "test_index")
QUICK = settings(
    max_examples=300,  # what is drawn depends on the modules that are loaded: some need many
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # a failure is wanted, not the smallest one
    report_multiple_bugs=False,
)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"properties.{name}")


def drawn_and_plain(number: int) -> list[Callable[..., Any]]:
    """Return the tests of a property, those with examples first; of those with parameters only the ones drawn."""
    found = [
        test
        for name in MODULES
        for key, test in vars(module(name)).items()
        if re.match(rf"test_property_{number:02}_", key) and not hasattr(test, "pytestmark")
    ]
    return sorted(found, key=lambda test: not hasattr(test, "strategies"))


def fails(test: Callable[..., Any]) -> bool:
    """Tell whether a property's test fails, by an assertion or because numrnn refuses what it should take."""
    if hasattr(test, "strategies"):
        test = QUICK(given(**test.strategies)(test.hypothesis.inner_test))
    try:
        test()
    except (AssertionError, ValueError):
        return True
    return False


@contextmanager
def patched(package: ModuleType) -> Iterator[None]:
    """Let the properties use another numrnn."""
    users = [m for m in map(module, ["strategies", *MODULES]) if hasattr(m, "numrnn")]
    before = users[0].numrnn
    for user in users:
        user.numrnn = package
    try:
        yield
    finally:
        for user in users:
            user.numrnn = before


def edited_test(change: Change) -> Callable[..., Any]:
    """Return the test with its statement changed."""
    name, _, test = change.edit.place.partition(":")
    path = PROPERTIES / f"{name}.py"
    space: dict[str, Any] = {"__name__": f"{name} with a changed statement", "__file__": str(path)}
    exec(compile(change.edit.apply(path.read_text(encoding="utf-8")), str(path), "exec"), space)
    return space[test]


def breaks(change: Change, number: int) -> bool:
    """Tell whether a change makes a test of property `number` fail."""
    if not change.of_code:
        return number == change.number and fails(edited_test(change))
    with patched(edited_package(change.edit)):
        return any(fails(test) for test in drawn_and_plain(number))
