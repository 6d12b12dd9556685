"""The order of the house: each module imports only from floors below its own, and no circle runs anywhere."""

import itertools
import pathlib
import re
import sys

import pytest

from tools.imports import against_the_floors, circle, imports, imports_of, on_no_floor, sources

ROOT = pathlib.Path(__file__).parents[2]

# From the lowest floor; each entry is a module, or a package with all that is in it that has no longer entry.
# A new module needs an entry only if no package above it has one.
FLOORS = [
    ["numrnn.archives", "numrnn.blas", "numrnn.extras", "numrnn.files", "numrnn.gpu", "numrnn.locks"],
    ["numrnn.subnormals", "numrnn.typing"],
    ["numrnn.backend"],
    ["numrnn.checks"],
    ["numrnn.kernels", "numrnn.options", "numrnn.plots"],
    ["numrnn.initializers"],
    ["numrnn.cells"],
    ["numrnn.problem"],
    ["numrnn.tape", "numrnn.reversal"],
    ["numrnn.engines.cpu", "numrnn.engines.cuda"],
    ["numrnn.engines"],
    ["numrnn.layered"],
    ["numrnn.bptt"],
    ["numrnn.__init__"],
    ["numrnn.commands"],
    ["numrnn.datasets", "numrnn.info", "numrnn.stability"],
    ["numrnn.ode", "numrnn.reversible", "numrnn.training"],
    ["numrnn.estimators", "numrnn.interop", "numrnn.stability.report", "numrnn.testing"],
    ["numrnn.stability.__init__"],
    ["numrnn.experiments"],
    ["numrnn.stability_command"],
    ["numrnn.stability.__main__"],
    ["numrnn.__main__"],
]
TO_COME: set[str] = set()
FRAMEWORKS = ["torch", "torchrecurrent", "jax", "jaxlib", "flashrnn"]
WHERE_FRAMEWORKS_MAY_BE = ["numrnn.interop", "benchmarks", "tools", "tests.oracle", "tests.benchmarks"]
AROUND = ["benchmarks", "examples", "results", "tests", "tools"]  # the package needs none of these folders


@pytest.fixture(scope="module")
def found():
    return imports(sources(ROOT, ["numrnn", "gradcheck", *AROUND]))


def inside(found, package):
    return [one for one in found if one.module.startswith(f"{package}.")]


def test_every_module_of_numrnn_imports_from_the_floors_below_it(found):
    assert against_the_floors(inside(found, "numrnn"), FLOORS) == []


def test_every_module_of_numrnn_is_on_a_floor_and_every_floor_has_its_modules():
    modules = sources(ROOT, ["numrnn"])
    assert on_no_floor(modules, FLOORS) == []
    entries = [entry for floor in FLOORS for entry in floor]
    empty = {entry for entry in entries if not any(f"{name}.".startswith(f"{entry}.") for name in modules)}
    assert empty <= TO_COME


@pytest.mark.parametrize("package", ["numrnn", "gradcheck", "benchmarks", "tools"])
def test_no_circle_of_imports_runs_in_a_package(found, package):
    assert circle(inside(found, package)) == []


def test_numrnn_needs_nothing_of_the_folders_around_it(found):
    assert imports_of(inside(found, "numrnn"), AROUND) == []


def test_gradcheck_imports_numpy_and_two_others_only_where_they_are_in_use_already(found):
    known = {*sys.stdlib_module_names, "gradcheck", "numpy"}
    others = {
        (one.module, one.target) for one in inside(found, "gradcheck") if one.target.partition(".")[0] not in known
    }
    assert others == {("gradcheck.pytest_plugin", "pytest"), ("gradcheck.arrays", "cupy")}


def test_gradcheck_does_not_speak_of_numrnn_or_its_tests():
    for name, source in sources(ROOT, ["gradcheck"]).items():
        assert re.findall(r"numrnn|\btests[/.]\w+", source, flags=re.IGNORECASE) == [], name


def test_frameworks_are_imported_by_what_compares_with_them_only(found):
    assert imports_of(found, FRAMEWORKS, WHERE_FRAMEWORKS_MAY_BE) == []


# ---------------------------------------------------------------- the readers of imports, on small sources

HOUSE = [["house.low"], ["house.mid"], ["house.mid.top"], ["house.__init__"]]


def of(**modules):
    """Return the imports of modules given as `low="import house.mid"`; a name's double underscore is a dot."""
    named = {"house." + name.replace("__", "."): source for name, source in modules.items()}
    return imports({"house.__init__": "", **named})


@pytest.mark.parametrize(
    "source",
    [
        "import house.mid",
        "from house import mid",
        "from house.mid import thing",
        "from . import mid",
        "from .mid import thing as other",
        "def f():\n    from house.mid import thing",
        "class A:\n    def f(self):\n        import house.mid as m",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.mid import Thing",
        "import importlib\nimportlib.import_module('house.mid')",
        "from importlib import import_module\nimport_module('house.mid')",
        "__import__('house.mid')",
    ],
)
def test_an_import_that_leads_upwards_is_found_however_it_is_written(source):
    line = source.count("\n") + 1
    (wrong,) = against_the_floors(of(low=source, mid=""), HOUSE)
    assert wrong == f"house.low, line {line}: imports house.mid"
    assert against_the_floors(of(low="", mid=source.replace("mid", "low")), HOUSE) == []


def test_imports_of_other_packages_and_of_the_same_entry_are_free():
    found = of(low="import numpy, os.path\nfrom house.low import f", mid__a="from house.mid import b", mid__b="")
    assert against_the_floors(found, HOUSE) == []


def test_another_entry_of_the_same_floor_is_not_below():
    found = of(low="from house import mid", mid="")
    assert against_the_floors(found, [["house.low", "house.mid"]]) == ["house.low, line 1: imports house.mid"]


def test_a_longer_entry_lifts_a_module_out_of_its_package():
    found = of(mid__a="import house.mid.top", mid__top="import house.mid.a")
    assert against_the_floors(found, HOUSE) == ["house.mid.a, line 1: imports house.mid.top"]


def test_a_package_and_its_own_file_are_told_apart():
    found = of(low="", mid="from house import name_of_init")
    assert against_the_floors(found, HOUSE) == ["house.mid, line 1: imports house.__init__"]


def test_a_module_on_no_floor_is_told():
    assert on_no_floor(["house.low", "house.mid.top", "house.attic", "house.lower"], HOUSE) == [
        "house.attic",
        "house.lower",
    ]


def test_a_circle_is_found_through_imports_inside_functions():
    found = of(a="import house.b", b="def f():\n    from house.c import g", c="from . import a", d="import house.a")
    ring = circle(found)
    assert ring[0] == ring[-1]
    assert sorted(ring[1:]) == ["house.a", "house.b", "house.c"]
    assert all((one, other) in {(i.module, i.target) for i in found} for one, other in itertools.pairwise(ring))
    assert circle(of(a="import house.b", b="import house.c", c="")) == []


@pytest.mark.parametrize("source", ["import torch.nn", "from torch import nn", "pytest.importorskip('torch')"])
def test_a_framework_is_found_where_it_may_not_be(source):
    found = of(low=source, mid=source, torches="import torches.nn")
    assert imports_of(found, ["torch"], ["house.mid"]) == [str(one) for one in found if one.module == "house.low"]
    assert len(imports_of(found, ["torch"])) == 2
