"""numrnn demo, in short."""

import contextlib
import io
import json
import re

import pytest

from numrnn.experiments import demo
from numrnn.training import read_json_lines, training_seconds

SECONDS = 0.5


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a demonstration, its accuracies, and what it printed."""
    out, run, accuracies = tmp_path_factory.mktemp("demo"), demo.run, {}
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "run", lambda *args, **kwargs: accuracies.update(run(*args, **kwargs)))
        assert demo.main(["--seconds", str(SECONDS), "--out", str(out)]) == 0
    return out, accuracies, printed.getvalue()


def test_both_cells_train_and_are_drawn(finished):
    out, accuracies, _ = finished
    assert set(accuracies) == {"antisymmetric", "lstm"}
    assert all(0 < accuracy < 1 for accuracy in accuracies.values())
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    for name, accuracy in accuracies.items():
        assert json.loads((out / name / "result.json").read_text())["test_accuracy"] == accuracy


@pytest.mark.parametrize("name", demo.CELLS)
def test_the_clock_ends_the_training_of_a_cell_and_its_learning_rate_falls_with_it(finished, name):
    out, *_ = finished
    lines = [record for record in read_json_lines(out / name / "metrics.jsonl") if record["kind"] == "training"]
    updates = json.loads((out / name / "result.json").read_text())["iterations"]
    assert lines[-1]["step"] == updates
    assert training_seconds(out / name / "timings.jsonl") >= SECONDS - 1e-3  # rounded to milliseconds
    full = demo.CELLS[name]["learning_rate"]
    assert lines[-1]["learning_rate"] <= full
    assert (lines[-1]["learning_rate"] < full) == (updates > 1)


def test_the_lstm_has_a_fair_start(finished):
    config = json.loads((finished[0] / "lstm" / "config.json").read_text())
    assert config["forget_bias"] == "chrono"
    assert config["t_max"] is None  # that is the length of the sequences, 784


def test_it_says_what_it_did(finished):
    out, _, printed = finished
    counts = re.findall(r"([\d,]+) updates in ([\d.]+) s of training; ([\d.]+) s of evaluation and pictures", printed)
    for name, (updates, seconds, rest) in zip(demo.CELLS, counts, strict=True):
        result = json.loads((out / name / "result.json").read_text())
        assert int(updates.replace(",", "")) == result["iterations"]
        assert float(seconds) == result["seconds"]
        assert float(rest) > 0
        assert f"{name:<15}{100 * result['test_accuracy']:6.2f} %" in printed
    total = int(re.search(r"^(\d+) s in all$", printed, re.MULTILINE)[1])
    assert total >= sum(float(seconds) + float(rest) for _, seconds, rest in counts) - 1
    assert str(out / "demo.png") in printed


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_time_that_is_not_positive_is_refused(seconds, capsys):
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--seconds", seconds])
    assert "--seconds must be > 0" in capsys.readouterr().err
