"""The table of what a vanishing gradient costs."""

import json
from pathlib import Path

import pytest

from benchmarks import vanishing
from benchmarks.page import put_between


def test_a_trial_measures_every_cell_with_both_engines(tmp_path, capsys):
    assert vanishing.main(["--quick", "--repeat", "1", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / vanishing.FILE).read_text())
    assert len(result["rows"]) == 2 * len(vanishing.cells(1, 4))
    assert all(len(row["seconds"]) == 4 and min(row["seconds"]) > 0 for row in result["rows"])
    printed = capsys.readouterr().out
    assert printed.strip() == vanishing.table(result)
    assert "| LSTM | fused |" in printed


def test_the_table_goes_between_the_marks_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{vanishing.BEGIN}\nold\n{vanishing.END}\nafter\n")
    put_between(page, vanishing.BEGIN, vanishing.END, lambda: "new")
    assert page.read_text() == f"before\n{vanishing.BEGIN}\n\nnew\n\n{vanishing.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="must hold the lines"):
        put_between(page, vanishing.BEGIN, vanishing.END, lambda: "new")


def test_the_ratio_is_that_of_the_slowest_to_the_fastest():
    assert vanishing.ratio({"seconds": [2.0, 1.0, 3.0, 1.5]}) == 3.0


@pytest.mark.parametrize("argv", [["--repeat", "0"], ["--quick", "--page", "x.md"]])
def test_options_that_make_no_sense_are_refused(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        vanishing.main(argv)
    assert argv[0] in capsys.readouterr().err or "--page" in argv


def test_the_page_shows_the_stored_times_and_no_size_of_the_cotangent_is_slow():
    root = Path(__file__).parents[2]
    result = json.loads((root / "results" / "benchmarks" / vanishing.FILE).read_text())
    assert vanishing.table(result) in (root / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert max(map(vanishing.ratio, result["rows"])) < 1.3
