"""The table of planted mistakes against rules."""

from dataclasses import replace

import numpy as np
import pytest
from gated_problem import PROBLEMS, make_gated

from gradcheck import kill_matrix
from gradcheck.mutants import OURS, Instance, Problem, Rule


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
    named = ("rule", "float64, x 1", "float64, x 1e-05", "false alarms", "seeds", "evaluations")
    assert lines[0] == f"| {' | '.join(named)} | per parameter | per parameter, correct |"
    assert lines[2].startswith("| gradcheck | 4 of 4 | 4 of 4 | 0 of 4 | 2 | ")
    assert lines[3] == "| absolute tolerance | 4 of 4 | 0 of 4 | 0 of 4 | 2 | 2 | 0.3 | 0.3 |"
    assert "| gated | sign of W | all | 2 of 4 |" in lines


def test_rule_with_few_seeds_runs_on_the_first_of_them_only():
    seen = []

    def objects(loss, gradient, params, seed):
        seen.append(seed)
        return True, 1

    matrix = kill_matrix(
        PROBLEMS, [OURS, Rule("few", objects, seeds=2)], seeds=[7, 8, 9], scales=[1.0], dtypes=["float64"]
    )
    assert set(seen) == {7, 8}
    assert (matrix.seeds("gradcheck"), matrix.seeds("few")) == (3, 2)
    assert matrix.survivors("few") == []


def test_rule_that_always_objects_raises_false_alarms():
    matrix = kill_matrix(
        PROBLEMS, [Rule("nay", lambda *_: (True, 0))], seeds=range(2), scales=[1.0], dtypes=["float64"]
    )
    assert matrix.false_alarms("nay") == 2


def test_mutant_equal_to_the_correct_gradient_is_told():
    def make(seed, dtype, scale):
        drawn = make_gated(seed, dtype, scale)
        return replace(drawn, mutants={"nothing": drawn.gradient})

    problem = Problem("gated", make)
    with pytest.raises(ValueError, match="mutant 'nothing' of problem 'gated' is equal to the correct gradient"):
        kill_matrix([problem], seeds=[0])


def test_problem_without_mutants_is_told():
    problem = Problem("bare", lambda *_: Instance(np.sum, np.ones_like, np.ones(2), {}))
    with pytest.raises(ValueError, match="problem 'bare' has no mutants"):
        kill_matrix([problem], seeds=[0])


def test_remembering_rule_sees_each_value_of_the_loss_computed_once():
    calls = []

    def make(seed, dtype, scale):
        drawn = make_gated(seed, dtype, scale)
        return replace(drawn, loss=lambda p: calls.append(1) or drawn.loss(p))

    def objects(loss, gradient, params, seed):
        moved = {name: value + 1 for name, value in params.items()}
        return loss(params) == loss(moved), 2

    for remembers, expected in ((False, 10), (True, 2)):
        calls.clear()
        rule = Rule("two values", objects, remembers=remembers)
        matrix = kill_matrix([Problem("gated", make)], [rule], scales=[1.0], dtypes=["float64"], seeds=[0])
        assert len(calls) == expected
        assert matrix.evaluations("two values") == 2
