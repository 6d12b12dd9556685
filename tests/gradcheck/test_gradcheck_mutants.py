"""The table of planted mistakes against rules."""

import pathlib
from dataclasses import replace

import numpy as np
import pytest
from gated_problem import BUGS, Gated

from gradcheck import kill_matrix, mutants_page
from gradcheck.mutants import OURS, Instance, Problem, Rule, main


def make_gated(seed, dtype, scale):
    problem = Gated(seed=seed, dtype=dtype, scale=scale)
    mutants = {bug: (lambda p, bug=bug: problem.gradient(p, bug)) for bug in BUGS[:4]}
    return Instance(problem.loss, problem.gradient, problem.params(), mutants)


def make_invisible(seed, dtype, scale):
    """Return a problem whose mutant is off by less than the rule can see."""
    problem = Gated(seed=seed, dtype=dtype, scale=scale)

    def nearly(p):
        return {name: g * (1 + 4 * np.finfo(g.dtype).eps) for name, g in problem.gradient(p).items()}

    return Instance(problem.loss, problem.gradient, problem.params(), {"a few roundings": nearly})


INVISIBLE = [Problem("invisible", make_invisible)]
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
    named = "| rule | float64, x 1 | float64, x 1e-05 | false alarms | seeds | evaluations | evaluations a parameter |"
    assert lines[0] == named
    assert lines[2].startswith("| gradcheck | 4 of 4 | 4 of 4 | 0 of 4 | 2 | ")
    assert lines[3] == "| absolute tolerance | 4 of 4 | 0 of 4 | 0 of 4 | 2 | 2 | 0.3 |"
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


def test_command_writes_the_table_and_exits_with_zero(tmp_path):
    path = tmp_path / "table.md"
    arguments = ["test_gradcheck_mutants:PROBLEMS", "--only-ours", "--seeds", "1", "--output", str(path)]
    assert main(arguments) == 0
    text = path.read_text()
    assert "| gradcheck | 4 of 4 | 4 of 4 | 4 of 4 | 4 of 4 | 4 of 4 | 4 of 4 | 0 of 6 | 1 |" in text
    assert f"numpy {np.__version__}" in text
    assert str(pathlib.Path.cwd()) not in text


def test_quick_command_prints_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["test_gradcheck_mutants:PROBLEMS", "--quick"]) == 0
    assert "| gradcheck | 4 of 4 |" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_command_exits_with_one_if_a_mistake_survives(capsys):
    assert main(["test_gradcheck_mutants:INVISIBLE", "--quick"]) == 1


def run_with_counts(tmp_path, *more):
    path, counts = tmp_path / "table.md", tmp_path / "new" / "counts.json"
    status = main(["test_gradcheck_mutants:PROBLEMS", "--output", str(path), "--counts", str(counts), *more])
    return status, path.read_text(), mutants_page.load(counts)


def summary(text):
    return [line for line in text.splitlines() if line.startswith(("| rule |", "| gradcheck |", "| SciPy |"))]


def test_page_made_in_two_runs_is_that_of_one_run(tmp_path):
    pytest.importorskip("scipy")
    _, together, _ = run_with_counts(tmp_path, "--rules", "gradcheck", "SciPy", "--seeds", "2", "--peer-seeds", "1")
    (tmp_path / "apart").mkdir()
    assert run_with_counts(tmp_path / "apart", "--rules", "SciPy", "--peer-seeds", "1")[0] == 0
    status, apart, found = run_with_counts(tmp_path / "apart", "--only-ours", "--seeds", "2")
    assert (status, list(found), [r.seeds for r in found.values()]) == (0, ["gradcheck", "SciPy"], [2, 1])
    assert len(summary(together)) == 3
    assert summary(apart) == summary(together)


def test_later_run_replaces_the_counts_of_its_rules(tmp_path):
    for seeds in ("2", "1"):
        _, text, found = run_with_counts(tmp_path, "--only-ours", "--seeds", seeds)
    assert found["gradcheck"].seeds == 1
    assert "0 of 6 | 1 |" in text


def test_counts_of_other_slips_are_refused(tmp_path):
    _, _, found = run_with_counts(tmp_path, "--only-ours", "--seeds", "1")
    stale = {"old": replace(found["gradcheck"], counts={("gated", "else", 1.0, "float64"): (1, 1, 1, 1.0)})}
    mutants_page.save(tmp_path / "new" / "counts.json", stale)
    with pytest.raises(ValueError, match="the counts kept of old are those of other slips"):
        run_with_counts(tmp_path, "--only-ours", "--seeds", "1")


@pytest.mark.parametrize("content", ["", "[]", '{"gradcheck": 3}', '{"gradcheck": {"date": "2026"}}'])
def test_file_that_holds_no_counts_is_named(tmp_path, content):
    path = tmp_path / "counts.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"counts\.json holds no counts of a kill matrix"):
        mutants_page.load(path)


def test_unknown_rule_is_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        main(["test_gradcheck_mutants:PROBLEMS", "--rules", "gradchek"])
    assert "no rule 'gradchek'; there are gradcheck, " in capsys.readouterr().err


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
