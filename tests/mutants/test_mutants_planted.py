"""Slips planted in numrnn's own source: each still applies, each is killed, and right gradients are left in peace."""

import ast
import collections
import importlib.util
import pathlib
import sys

import false_alarms
import numpy as np
import planted
import pytest
from edits import ROOT, Edit, edited_package

import numrnn
from gradcheck import check_gradient
from gradcheck.mutants import kill_matrix
from tools import foreign

EDITS = {f"{family.name}: {edit.name}": edit for family in planted.FAMILIES for edit in family.edits}
PROBLEMS = {problem.name: problem for problem in planted.PROBLEMS}
SOURCE = "def f(x):\n    return x - x\n\n\ndef g(x):\n    return x\n"


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_edit_changes_one_function_and_gives_valid_code(edit):
    path = ROOT.joinpath(*edit.module.split(".")[1:]).with_suffix(".py")
    before = path.read_text(encoding="utf-8")
    after = edit.apply(before)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))


def test_more_than_forty_slips_lie_in_all_cells_and_everything_around_them():
    assert len(EDITS) == sum(len(family.edits) for family in planted.FAMILIES) > 40
    kinds = {planted.CELLS[family.cell][0] for family in planted.FAMILIES if family.edits}
    assert kinds == {*numrnn.CELLS, numrnn.Stack.name}
    modules = collections.Counter(edit.module for edit in EDITS.values())
    assert {"numrnn.bptt", "numrnn.problem", "numrnn.engines.cpu.passes", "numrnn.engines.cpu.steps"} <= set(modules)
    assert {"numrnn.training.losses", "numrnn.training.readout", "numrnn.training.optim.adam"} <= set(modules)


def test_text_that_stands_twice_is_no_edit():
    with pytest.raises(ValueError, match=r"edit 'e': 'x' stands 3 times in m:f"):
        Edit("e", "m:f", "x", "y").apply(SOURCE)


def test_text_that_stands_in_another_function_only_is_no_edit():
    with pytest.raises(ValueError, match=r"edit 'e': 'x - x' stands 0 times in m:g"):
        Edit("e", "m:g", "x - x", "y").apply(SOURCE)


def test_function_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"edit 'e': there is no m:h"):
        Edit("e", "m:h", "x", "y").apply(SOURCE)


def test_edit_is_applied_to_a_copy_and_not_to_the_package():
    before = {name: module for name, module in sys.modules.items() if name.startswith("numrnn")}
    edit = EDITS["elman: dW transposed"]
    copy = edited_package(edit)
    assert copy is not numrnn
    assert {name: module for name, module in sys.modules.items() if name.startswith("numrnn")} == before
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal(shape) for name, shape in numrnn.ElmanCell(2, 3).parameter_shapes.items()}
    x, h = rng.standard_normal((4, 2)), rng.standard_normal((4, 3))
    right, wrong = (package.ElmanCell(2, 3).step_vjp(params, x, h, h)[0] for package in (numrnn, copy))
    assert np.array_equal(wrong["V"], right["V"])
    assert np.allclose(wrong["W"], right["W"].T, rtol=1e-14)
    assert not np.allclose(wrong["W"], right["W"])


@pytest.mark.parametrize("name", PROBLEMS)
def test_default_rule_kills_every_slip_at_every_scale_and_alarms_for_nothing_else(name):
    matrix = kill_matrix([PROBLEMS[name]], seeds=[100])
    assert matrix.survivors("gradcheck") == []
    assert matrix.false_alarms("gradcheck") == 0
    assert matrix.share("gradcheck") <= 3


@pytest.mark.parametrize("name", PROBLEMS)
def test_correct_gradient_passes_and_not_only_escapes_failure(name):
    for dtype in ("float64", "float32"):
        drawn = PROBLEMS[name].make(101, dtype, 1.0)
        report = check_gradient(drawn.loss, drawn.gradient, drawn.params)
        assert report.passed, str(report)


def test_right_gradients_of_random_problems_are_never_called_wrong():
    """The committed log holds 10,000 of these; here are others."""
    for seed in range(1_000_000, 1_000_120):
        text, report = false_alarms.check(seed)
        assert not report.failed, f"{text}\n{report}"
        # W - W^T of a single unit is zero: nothing else has a reason to be inconclusive.
        silent = {entry.parameter for entry in report.entries if entry.verdict == "inconclusive"}
        one_unit = " n=1 " in text and text.startswith(("antisymmetric", "gated,", "stack"))
        assert silent <= ({"W", "2.W"} if one_unit else set()), f"{text}\n{report}"


def test_command_of_the_random_problems_writes_its_log(tmp_path):
    path = tmp_path / "log"
    assert false_alarms.main(["--count", "3", "--output", str(path)]) == 0
    lines = path.read_text().splitlines()
    assert lines[0].startswith("3 correct problems from number 0 on, default rule, NumPy ")
    assert lines[1].startswith("problems:   ")
    assert lines[1].endswith(" 0 failed")
    assert str(pathlib.Path.cwd()) not in path.read_text()


@pytest.mark.parametrize(
    ("library", "name", "make", "seeds"), foreign.CHECKERS, ids=[row[1] for row in foreign.CHECKERS]
)
def test_checker_of_another_library_passes_a_right_gradient_and_finds_a_gross_mistake(library, name, make, seeds):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    rule = next(rule for rule in foreign.installed() if rule.name == name)
    drawn = PROBLEMS["elman"].make(0, "float64", 1.0)
    objects, evaluations = rule.objects(drawn.loss, drawn.gradient, drawn.params, 0)
    assert not objects
    assert evaluations >= 2

    def doubled(p):
        return {key: 2 * g for key, g in drawn.gradient(p).items()}

    assert rule.objects(drawn.loss, doubled, drawn.params, 0)[0]
    assert library in foreign.versions()


def test_functions_given_to_other_checkers_are_ours():
    drawn = PROBLEMS["elman"].make(0, "float64", 1.0)
    counted = foreign.Counted(drawn.loss, drawn.gradient, drawn.params)
    assert counted.flat_loss(counted.flat()) == drawn.loss(drawn.params)
    parts = counted.gradient(*counted.arrays)
    assert all(np.array_equal(a, b) for a, b in zip(parts, drawn.gradient(drawn.params).values(), strict=True))
    assert counted.calls == 2
