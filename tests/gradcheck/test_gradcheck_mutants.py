"""The table of planted mistakes against rules."""

import numpy as np
import pytest
from gated_problem import BUGS, Gated

from gradcheck import kill_matrix
from gradcheck.mutants import OURS, Instance, Problem, Rule, edited, main


def make_gated(seed, dtype, scale):
    problem = Gated(seed=seed, dtype=dtype, scale=scale)
    mutants = {bug: (lambda p, bug=bug: problem.gradient(p, bug)) for bug in BUGS[:4]}
    return Instance(problem.loss, problem.gradient, problem.params(), mutants)


GATED = Problem("gated", make_gated)
PROBLEMS = [GATED]


def with_an_absolute_tolerance(loss, gradient, params, seed):
    """Object as checkers with an absolute tolerance of 1e-5 do."""
    right, found = make_gated(seed, "float64", 1.0), gradient(params)
    scale = loss(params) / right.loss(right.params)
    reference = {name: scale * value for name, value in right.gradient(right.params).items()}
    return any(np.max(np.abs(found[name] - reference[name])) > 1e-5 for name in found), 2


ABSOLUTE = Rule("absolute tolerance", with_an_absolute_tolerance)


def test_our_rule_has_no_survivors_and_no_false_alarms():
    matrix = kill_matrix(PROBLEMS, seeds=range(3))
    assert matrix.survivors("gradcheck") == []
    assert matrix.false_alarms("gradcheck") == 0
    assert matrix.evaluations("gradcheck") <= 18


def test_absolute_tolerance_lets_mistakes_in_small_losses_pass():
    matrix = kill_matrix(PROBLEMS, [OURS, ABSOLUTE], scales=(1.0, 1e-5), dtypes=("float64",), seeds=range(2))
    assert {scale for _, _, scale, _ in matrix.survivors("absolute tolerance")} == {1e-5}
    assert matrix.survivors("gradcheck") == []


def test_table_shows_rules_mistakes_and_survivors():
    matrix = kill_matrix(PROBLEMS, [OURS, ABSOLUTE], scales=(1.0, 1e-5), dtypes=("float64",), seeds=range(2))
    lines = matrix.to_markdown().splitlines()
    assert lines[0] == "| rule | float64, x 1 | float64, x 1e-05 | false alarms | evaluations |"
    assert lines[2].startswith("| gradcheck | 4 of 4 | 4 of 4 | 0 | ")
    assert lines[3].startswith("| absolute tolerance | 4 of 4 | ")
    assert "| gated | sign of W | all | 2 of 4 |" in lines


def test_edits_of_a_finished_gradient_become_mutants():
    problem = edited(GATED, {"b doubled": lambda g: {**g, "b": 2 * g["b"]}})
    matrix = kill_matrix([problem], seeds=[0], scales=[1.0])
    assert ("gated", "b doubled", "gradcheck", 1.0, "float64") in matrix.counts


def test_rule_that_always_objects_raises_false_alarms():
    matrix = kill_matrix(
        PROBLEMS, [Rule("nay", lambda *_: (True, 0))], seeds=range(2), scales=[1.0], dtypes=["float64"]
    )
    assert matrix.false_alarms("nay") == 2


def test_mutant_equal_to_the_correct_gradient_is_told():
    problem = edited(GATED, {"nothing": dict})
    with pytest.raises(ValueError, match="mutant 'nothing' of problem 'gated' is equal to the correct gradient"):
        kill_matrix([problem], seeds=[0])


def test_problem_without_mutants_is_told():
    problem = Problem("bare", lambda *_: Instance(np.sum, np.ones_like, np.ones(2), {}))
    with pytest.raises(ValueError, match="problem 'bare' has no mutants"):
        kill_matrix([problem], seeds=[0])


def test_command_writes_the_table_and_exits_with_zero(tmp_path):
    path = tmp_path / "table.md"
    assert main(["test_gradcheck_mutants:PROBLEMS", "--seeds", "1", "--output", str(path)]) == 0
    assert path.read_text().startswith("| rule | float64, x 1 |")
