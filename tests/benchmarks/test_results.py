"""Where results of python -m benchmarks go, what the whole of a run says, and the page that is made from them."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import command, compare, output, page, report, scaling, summary, workloads

ROOT = Path(__file__).parents[2]
FILES = {"comparison": (report.COMPARISON_FILE, report.COMPARISON_PICTURE), "scaling": command.SCALING_FILES}
NAMES = ("fused", "torch", "jax", "torch.nn.LSTM")


@pytest.fixture
def unmeasured(monkeypatch):
    """The command, which fails the test if it begins to measure."""

    def fail(*_):
        raise AssertionError("it measured before it tried its output")

    monkeypatch.setattr(command, "hold_to", lambda threads: None)
    monkeypatch.setattr(command, "run_comparison", fail)
    monkeypatch.setattr(command, "run_scaling", fail)
    return command.main


def made_up(workload, medians):
    """Return the results of a workload from a median for each contender; None stands for one that gave up."""
    outcomes = {}
    for name, median in medians.items():
        lstm = name == "torch.nn.LSTM"
        cell = "lstm" if lstm else workload.cell
        told = {"name": name, "ours": name == "fused", "cell": cell, "same_cell": cell == workload.cell}
        outcomes[name] = told | {"status": "gave up", "reason": "too slow"}
        if median is not None:
            more = {"worst_error": 1e-6, "peak_bytes": None, "first_call_seconds": 1.0}
            outcomes[name] = told | compare.summary([median]) | more
    return compare.derive(workload, outcomes, 200.0, {"final": 1.0, "h0": 1e-42 if workload.cotangent < 1 else 1.0})


def written(folder, results, quick=False):
    """Write results as a run does, and return what was written."""
    info = {"blas": [], "processor": "a processor", "cores": 2, "system": "a system", "hint": None}
    settings = asdict(compare.Settings(threads=2))
    content = {"format": output.FORMATS["workloads"], "date": "2026-01-01", "quick": quick, "environment": info}
    content |= {"versions": {"numrnn": "0"}, "settings": settings, "workloads": results}
    output.write_json(folder / report.COMPARISON_FILE, content)
    return content


# ---------------------------------------------------------------- what is counted


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda workload: workload.name)
def test_every_product_with_a_parameter_is_counted_once(workload):
    """Forward and into the gradient 2 r c T B flops for a matrix (r, c), and as many to the state before for W."""
    cell = workloads.draw(replace(workload, T=1, B=1)).cell
    sizes = {name: np.prod(shape) for name, shape in cell.parameter_shapes.items() if len(shape) == 2}
    steps = workload.T * workload.B
    assert workload.recurrent_flops(workload.cell) == workload.flops == 6 * sizes.pop("W") * steps
    assert workload.input_flops(workload.cell) == 4 * sum(sizes.values()) * steps


def test_a_contender_is_counted_by_the_cell_that_it_computes():
    workload = next(one for one in workloads.WORKLOADS if one.name == "noise-gated")
    result = made_up(workload, dict.fromkeys(NAMES, 1.0))
    shares = {one["name"]: (one["share"], one["share_all"]) for one in result["contenders"]}
    n, m, steps = 256, 96, 1000 * 128
    assert shares["fused"] == pytest.approx((6 * n**2 * steps / 2e11, (6 * n**2 + 8 * n * m) * steps / 2e11))
    both = 24 * n**2 * steps / 2e11, (24 * n**2 + 16 * n * m) * steps / 2e11
    assert shares["torch.nn.LSTM"] == pytest.approx(both)


# ---------------------------------------------------------------- what a run says


def test_the_summary_follows_from_the_medians():
    rng = np.random.default_rng(11)
    chosen = [one for one in workloads.WORKLOADS if one.cell != "gated"]
    medians = [{name: float(rng.uniform(0.01, 1)) for name in NAMES} for _ in chosen]
    results = [made_up(*pair) for pair in zip(chosen, medians, strict=True)]
    assert summary.columns(results)[len(summary.COLUMNS) :] == ("torch", "jax", "torch.nn.LSTM")
    lines = dict(line.split(": numrnn is ", 1) for line in summary.conclusions(results))
    for workload, times, row in zip(chosen, medians, summary.rows(results), strict=True):
        same = ["torch", "jax", *(["torch.nn.LSTM"] if workload.cell == "lstm" else [])]
        ratios = {name: times[name] / times["fused"] for name in same}
        if "small" in workload.name:  # its own first contender, "auto", is not among these
            assert row[1:] == ("not timed", "", "", f"{times['torch']:.3g} s", f"{times['jax']:.3g} s", "")
            continue
        assert row[0] == workload.title
        assert row[4:] == tuple(f"{ratios[name]:.3g}" if name in ratios else "" for name in NAMES[1:])
        flops = workload.flops, workload.flops + workload.input_flops(workload.cell)
        assert row[2:4] == tuple(f"{100e-9 * count / times['fused'] / 200:.0f} %" for count in flops)
        slower = {name: ratio for name, ratio in ratios.items() if ratio < 1}
        if slower:
            assert lines[workload.title].startswith("slower and takes ")
            assert all(
                f"{1 / ratio:.3g} times as long as {name}" in lines[workload.title] for name, ratio in slower.items()
            )
        else:
            name = min(ratios, key=ratios.__getitem__)
            assert lines[workload.title] == f"{ratios[name]:.3g} times as fast as {name}, the fastest framework"


def test_a_framework_without_a_time_says_why_in_the_summary():
    result = made_up(workloads.WORKLOADS[0], {"fused": 0.1, "torch": None, "jax": 0.2})
    assert summary.rows([result])[0][4:] == ("gave up", "2")


def test_the_cliff_is_told_for_who_was_timed_on_both_sides():
    normal, vanishing = workloads.select(["lstm"])
    assert (normal.cotangent, vanishing.cotangent) == (1, 1e-10)
    assert replace(normal, name="", title="") == replace(vanishing, name="", title="", cotangent=1)
    times = {"fused": 0.2, "torch.nn.LSTM": 0.5, "jax": 0.3}
    results = [made_up(normal, times), made_up(vanishing, {"fused": 0.25, "torch.nn.LSTM": 5.0, "jax": None})]
    ((heading, rows),) = summary.cliffs(results)
    assert heading.endswith("a small one, of size 1e-10")
    assert rows == [("fused", "0.2", "0.25", "1.25"), ("torch.nn.LSTM", "0.5", "5", "10.00")]
    assert report.vanished_line(results[0]) is None
    assert report.vanished_line(results[1]).endswith("their largest element being smaller: h0 (1.0e-42)")


# ---------------------------------------------------------------- where results go


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], "results/benchmarks"),
        (["--repetitions", "9"], "results/benchmarks"),
        (["--scaling"], "results/benchmarks"),
        (["--write-docs"], "results/benchmarks"),
        (["--quick"], "runs/benchmarks"),
        (["--quick", "--scaling"], "runs/benchmarks"),
        (["--only", "mnist"], "runs/benchmarks"),
        (["--contenders", "fused"], "runs/benchmarks"),
        (["--quick", "--out", "elsewhere"], "elsewhere"),
    ],
)
def test_only_a_whole_measurement_goes_to_the_results_of_the_repository(arguments, folder):
    assert command.parse_arguments(arguments).out == Path(folder)


@pytest.mark.parametrize("kind", ["comparison", "scaling"])
def test_a_quick_run_does_not_overwrite_a_measurement(kind, unmeasured, tmp_path, capsys):
    arguments = ["--quick", "--out", str(tmp_path), *(["--scaling"] if kind == "scaling" else [])]
    path = tmp_path / FILES[kind][0]
    for text in ('{"quick": false}', "{}", "not JSON"):
        path.write_text(text)
        assert unmeasured(arguments) == 1
        assert capsys.readouterr().err == (
            f"error: --quick does not overwrite measurements: {path} holds some; choose another --out\n"
        )
        assert path.read_text() == text
    path.write_text('{"quick": true}')
    with pytest.raises(AssertionError, match="it measured"):
        unmeasured(arguments)


def cases_that_cannot_be_written(folder, names):
    """Yield folders in which a file cannot be made, and the part of the error that says what stands in the way."""
    file = folder / "file"
    file.write_text("")
    yield file, f"can be made, got {file}: "
    yield file / "below", f"can be made, got {file / 'below'}: "
    for name in names:
        out = folder / f"taken-{name}"
        (out / name).mkdir(parents=True)
        yield out, f"to write to, got {out}: {name}: Is a directory"
    if os.geteuid() != 0:
        out = folder / "locked"
        out.mkdir(mode=0o500)
        yield out, f"to write to, got {out}: {names[0]}: Permission denied"


@pytest.mark.parametrize("kind", ["comparison", "scaling"])
def test_an_output_that_cannot_be_written_is_told_in_one_line_before_the_measuring(kind, unmeasured, tmp_path, capsys):
    for out, told in cases_that_cannot_be_written(tmp_path, FILES[kind]):
        assert unmeasured(["--out", str(out), *(["--scaling"] if kind == "scaling" else [])]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("error: --out must be a folder ")
        assert told in line


def test_an_output_that_is_tried_is_left_as_it_was(tmp_path):
    (tmp_path / "a.json").write_text("old")
    output.prepare(tmp_path, ("a.json", "b.png"), quick=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "old"}


# ---------------------------------------------------------------- the page


def write_docs(monkeypatch, folder, path):
    monkeypatch.setattr(command, "PAGE", path)
    return command.main(["--write-docs", "--out", str(folder)])


def test_the_page_holds_the_summary_and_every_table(tmp_path, monkeypatch):
    results = [made_up(one, dict.fromkeys(NAMES, 0.5)) for one in workloads.WORKLOADS]
    content = written(tmp_path, results)
    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    assert write_docs(monkeypatch, tmp_path, path) == 0
    text = path.read_text()
    for row in (*summary.rows(results), *(row for one in results for row in report.comparison_rows(one))):
        assert "| " + " | ".join(row) + " |" in text
    for line in (*summary.conclusions(results), *report.environment_lines(content)):
        assert f"- {line}\n" in text
    assert "Checked relative to 9.9e-32" in text


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (report.COMPARISON_FILE, "{", "must hold JSON"),
        (report.COMPARISON_FILE, '{"format": 1, "workloads": []}', "must hold workloads in format 2, got format 1"),
        (report.COMPARISON_FILE, '{"format": 2, "series": []}', "must hold workloads in format 2, got format None"),
        (report.COMPARISON_FILE, "[]", "must hold workloads in format 2, got format None"),
        (report.COMPARISON_FILE, '{"format": 2, "quick": true, "workloads": []}', "is of a --quick run"),
        (report.SCALING_FILE, "{", "must hold JSON"),
        (report.SCALING_FILE, '{"format": 0, "series": []}', "must hold series in format 1, got format 0"),
        (report.SCALING_FILE, '{"format": 1, "quick": true, "series": []}', "is of a --quick run"),
        (report.SCALING_FILE, None, "cannot be read: Is a directory"),
        ("page.md", None, "cannot be read: Is a directory"),
        ("page.md", "a page", "must hold the lines"),
    ],
)
def test_results_that_cannot_be_shown_leave_the_page_alone(name, text, told, tmp_path, monkeypatch, capsys):
    written(tmp_path, [])
    path = tmp_path / "page.md"
    path.write_text(before := f"{page.BEGIN}{page.END}")
    if text is None:
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(text)
    assert write_docs(monkeypatch, tmp_path, path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / name} ")
    assert told in line
    assert name == "page.md" or path.read_text() == before


def test_the_page_of_the_repository_is_that_of_its_results():
    path = ROOT / "docs" / "benchmarks.md"
    shown = path.read_text(encoding="utf-8").split(page.BEGIN)[1].split(page.END)[0]
    assert shown.strip() == page.results_page(ROOT / output.MEASUREMENTS, path)


def test_the_growth_that_the_page_shows_is_read_in_its_own_format():
    assert output.read_json(ROOT / output.MEASUREMENTS / report.SCALING_FILE, "series")["series"]
    assert {one.grows for one in scaling.FULL} == set("TBn")
