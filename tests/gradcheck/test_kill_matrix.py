"""The command that writes docs/kill_matrix.md, and the counts that it keeps."""

import pathlib
from dataclasses import replace

import numpy as np
import pytest

from tools.kill_matrix import page
from tools.kill_matrix.__main__ import main


def test_command_writes_the_table_and_exits_with_zero(tmp_path):
    path = tmp_path / "table.md"
    arguments = ["gated_problem:PROBLEMS", "--only-ours", "--seeds", "1", "--output", str(path)]
    assert main(arguments) == 0
    text = path.read_text()
    assert "| gradcheck | 4 of 4 | 4 of 4 | 4 of 4 | 4 of 4 | 4 of 4 | 4 of 4 | 0 of 6 | 1 |" in text
    assert f"numpy {np.__version__}" in text
    assert str(pathlib.Path.cwd()) not in text


def test_quick_command_prints_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["gated_problem:PROBLEMS", "--quick"]) == 0
    assert "| gradcheck | 4 of 4 |" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_command_exits_with_one_if_a_mistake_survives(capsys):
    assert main(["gated_problem:INVISIBLE", "--quick"]) == 1


def run_with_counts(tmp_path, *more):
    table, counts = tmp_path / "table.md", tmp_path / "new" / "counts.json"
    status = main(["gated_problem:PROBLEMS", "--output", str(table), "--counts", str(counts), *more])
    return status, table.read_text(), page.load(counts)


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
    page.save(tmp_path / "new" / "counts.json", stale)
    with pytest.raises(ValueError, match="the counts kept of old are those of other slips"):
        run_with_counts(tmp_path, "--only-ours", "--seeds", "1")


@pytest.mark.parametrize("content", ["", "[]", '{"gradcheck": 3}', '{"gradcheck": {"date": "2026"}}'])
def test_file_that_holds_no_counts_is_named(tmp_path, content):
    path = tmp_path / "counts.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"counts\.json holds no counts of a kill matrix"):
        page.load(path)


def test_unknown_rule_is_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        main(["gated_problem:PROBLEMS", "--rules", "gradchek"])
    assert "no rule 'gradchek'; there are gradcheck, " in capsys.readouterr().err
