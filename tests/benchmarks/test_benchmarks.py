"""python -m benchmarks: it refuses wrong numbers, hides no contender, and its files agree with its tables."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import check, command, compare, contenders, report, scaling, worker, workloads
from benchmarks.contenders.ours import Fused
from benchmarks.page import BEGIN, END
from benchmarks.worker import WorkerError, WorkerTimeoutError

TINY = workloads.Workload(name="tiny", title="tiny", T=12, B=6, m=3, n=8, contenders=("fused", "reference"), calls=2)
GATED = replace(TINY, name="tiny-gated", cell="gated")
LSTM = replace(TINY, name="tiny-lstm", title="tiny LSTM", cell="lstm")
FADING = replace(LSTM, name="tiny-fading", cotangent=1e-36)  # its gradients cross float32's smallest normal number
SETTINGS = compare.Settings(threads=1, repetitions=3, sgemm_size=64, compile_limit=100)


def silent(line):
    pass


def outcome(result, name):
    return next(one for one in result["contenders"] if one["name"] == name)


@pytest.fixture
def plant(monkeypatch, here):
    """Let a class run under the name of a contender."""

    def planted(name, cls):
        original = contenders.load
        monkeypatch.setattr(contenders, "load", lambda wanted: cls if wanted == name else original(wanted))

    return planted


@pytest.mark.parametrize("workload", [TINY, GATED, LSTM, FADING], ids=lambda workload: workload.name)
def test_our_engines_are_admitted_and_timed_in_processes_of_their_own(workload):
    result = compare.compare(workload, workload.contenders, SETTINGS, silent)
    assert [one["name"] for one in result["contenders"]] == ["fused", "reference"]
    for one in result["contenders"]:
        assert one["status"] == "timed"
        assert len(one["seconds"]) == SETTINGS.repetitions
        assert min(one["seconds"]) == one["minimum"] <= one["median"] <= max(one["seconds"])
        assert one["worst_error"] <= result["tolerance"]
        matrices = 4 if workload.cell == "lstm" else 1
        assert one["gflops"] == pytest.approx(1e-9 * matrices * 6 * 8**2 * 12 * 6 / one["median"])
        assert one["share"] == pytest.approx(result["floor_seconds"] / one["median"])
        assert one["share_all"] == pytest.approx(result["floor_all_seconds"] / one["median"])
    assert outcome(result, "fused")["ratio"] == 1


@pytest.mark.parametrize("name", workloads.FRAMEWORKS)
@pytest.mark.parametrize("workload", [TINY, GATED], ids=["ungated", "gated"])
def test_a_framework_computes_the_same_cell(name, workload):
    absent = contenders.missing(name)
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    result = compare.compare(workload, [name], SETTINGS, silent)
    one = outcome(result, name)
    assert one["status"] == "timed", one.get("reason")
    assert one["same_cell"] == (name not in ("torch.nn.RNN", "torch.nn.LSTM"))
    assert one["cell"] == {"torch.nn.RNN": "elman", "torch.nn.LSTM": "lstm"}.get(name, workload.cell)
    assert one["versions"]


@pytest.mark.parametrize("workload", [LSTM, FADING], ids=["normal", "fading"])
@pytest.mark.parametrize("name", workloads.LSTMS)
def test_an_lstm_is_the_same_in_every_contender(name, workload):
    absent = contenders.missing(name)
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    data = workloads.draw(workload)
    # The paper's biases are 0 but one, which would hide that two were swapped.
    rng = np.random.default_rng(4)
    data = replace(data, params=data.params | {"b": rng.standard_normal(data.params["b"].shape, dtype=np.float32)})
    got, wanted = (one.numbers(one.run()) for one in (contenders.load(n)(data) for n in (name, "expected")))
    assert set(wanted) == {"final", "h0", "W", "V", "b"}
    assert np.abs(wanted["final"][:, 8:]).max() > 0  # c is compared too
    check.worst_error(got, wanted, workload)


@pytest.mark.parametrize("name", ["torch.nn.LSTM", "torch.nn.LSTM, flush denormal", "jax"])
def test_an_lstm_is_checked_where_it_is_the_workload_and_named_where_it_is_not_covered(name):
    absent = contenders.missing(name)
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    one = outcome(compare.compare(LSTM, [name], SETTINGS, silent), name)
    assert one["status"] == "timed", one.get("reason")
    assert (one["same_cell"], one["cell"]) == (True, "lstm")


def test_a_contender_that_has_not_the_cell_is_listed():
    one = outcome(compare.compare(LSTM, ["fused LSTM"], SETTINGS, silent), "fused LSTM")
    assert one["status"] == "failed"
    assert one["reason"] == "ValueError: fused LSTM computes ungated, gated, not lstm"


def test_torch_flushes_in_all_its_threads_and_stops_afterwards():
    pytest.importorskip("torch")
    script = """
import torch
from benchmarks import contenders, workloads
from benchmarks.contenders.with_torch import flushed_denormals
kind = contenders.load("torch.nn.LSTM, flush denormal")
kind.set_threads(2)
contender = kind(workloads.draw(workloads.Workload(name="", title="", T=50, B=64, m=3, n=64, cell="lstm")))
contender.run()
small = torch.full((512, 512), 1e-30)
with flushed_denormals():
    print(torch.count_nonzero(small @ (1e20 * small)).item())
print(torch.count_nonzero(torch.full((2,), 1e-30) * 1e-10).item())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "2"]


@pytest.mark.parametrize("array", ["final", "h0", "W", "V", "b", "V_z", "b_z"])
def test_a_contender_with_one_tampered_array_is_not_timed(array, plant):
    class Tampered(Fused):
        def numbers(self, result):
            numbers = {name: value.copy() for name, value in super().numbers(result).items()}
            numbers[array].flat[np.abs(numbers[array]).argmax()] *= 1.001
            return numbers

    plant("fused", Tampered)
    result = compare.compare(GATED, GATED.contenders, SETTINGS, silent)
    one = outcome(result, "fused")
    assert one["status"] == "refused"
    assert one["reason"].startswith(f"{array}: off by 0.001 relative to ")
    assert "seconds" not in one
    assert outcome(result, "reference")["status"] == "timed"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(value):
    wanted = {"final": np.ones(3)}
    with pytest.raises(check.DifferentNumbersError, match="final: off by inf"):
        check.worst_error({"final": np.array([1, value, 1])}, wanted, TINY)


@pytest.mark.parametrize("largest", [1.0, 1e-10, 1e-30, 1e-36, 1e-42])
def test_an_error_counts_relative_to_the_largest_element_or_to_the_scale_of_an_underflow(largest):
    rng, tiny = np.random.default_rng(7), float(check.FLOAT32.tiny)
    value = largest * np.concatenate([[1.0], rng.uniform(-1, 1, 20) * 10.0 ** -rng.uniform(0, 20, 20)])
    flushed = np.where(np.abs(value) < tiny, 0, value)
    error, _ = check.worst_error({"h0": flushed}, {"h0": value}, TINY)
    assert error <= check.FLOAT32.eps
    limit = check.tolerance(TINY) * max(largest, tiny / check.FLOAT32.eps)
    for factor, fails in ((0.99, False), (1.01, True)):
        wrong = value.copy()
        wrong[rng.integers(21)] += factor * limit
        if fails:
            with pytest.raises(check.DifferentNumbersError, match="h0: off by"):
                check.worst_error({"h0": wrong}, {"h0": value}, TINY)
        else:
            check.worst_error({"h0": wrong}, {"h0": value}, TINY)


def test_missing_arrays_and_wrong_shapes_are_refused():
    wanted = {"final": np.ones((2, 3)), "W": np.ones((3, 3))}
    with pytest.raises(check.DifferentNumbersError, match="expected W, final, got final"):
        check.worst_error({"final": np.ones((2, 3))}, wanted, TINY)
    with pytest.raises(check.DifferentNumbersError, match=r"W: expected the shape \(3, 3\), got \(1, 3\)"):
        check.worst_error({**wanted, "W": np.ones((1, 3))}, wanted, TINY)


def test_a_framework_that_is_not_installed_is_listed(here, monkeypatch):
    monkeypatch.setitem(contenders.CONTENDERS, "jax", ("with_jax", "Scan", ("no_such_package",)))
    result = compare.compare(TINY, ["fused", "jax"], SETTINGS, silent)
    assert outcome(result, "jax")["status"] == "missing"
    table = report.text_table(report.COLUMNS, report.comparison_rows(result))
    assert "jax    " in table
    assert "missing: not installed: no_such_package" in table


def test_a_contender_that_takes_too_long_is_listed_with_the_limit(here, plant, monkeypatch):
    class Slow(Fused):
        def run(self):
            raise WorkerTimeoutError

    plant("fused", Slow)
    result = compare.compare(TINY, ["fused"], replace(SETTINGS, compile_limit=7), silent)
    assert outcome(result, "fused")["status"] == "gave up"
    assert "did not come to an end in 7 s" in outcome(result, "fused")["reason"]


def test_a_process_that_does_not_answer_in_time_is_ended():
    slow = worker.Worker("reference", replace(TINY, T=200_000), 1)
    with pytest.raises(WorkerTimeoutError, match="no answer within 0 s"):
        slow.ask("first", timeout=0.01)
    assert not slow._process.is_alive()


def test_an_error_in_a_process_is_told():
    with worker.Worker("fused", TINY, 1) as one, pytest.raises(WorkerError, match="no_such_command"):
        one.ask("no_such_command")


def test_the_peak_is_that_of_the_tape():
    workload = replace(TINY, T=1000, B=64, n=128)
    with worker.Worker("fused", workload, 1) as one:
        peak = one.ask("peak")
    if peak is None:
        pytest.skip("this system does not tell the memory of a process")
    assert 0.9 < peak / (4 * scaling.tape_floats(workload)) < 1.3


def test_the_command_writes_what_it_prints(tmp_path, capsys, here, monkeypatch):
    monkeypatch.setattr(command, "hold_to", lambda threads: None)
    monkeypatch.setattr(command, "select", lambda only: [TINY, GATED])
    out, page = tmp_path / "out", tmp_path / "page.md"
    assert command.main(["--quick", "--repetitions", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((out / report.COMPARISON_FILE).read_text())
    assert [w["name"] for w in content["workloads"]] == ["tiny", "tiny-gated"]
    assert content["environment"]["processor"] in printed
    for workload in content["workloads"]:
        for row in report.comparison_rows(workload):
            assert all(cell in printed for cell in row)
    assert (out / report.COMPARISON_PICTURE).read_bytes().startswith(b"\x89PNG")

    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(command, "PAGE", page)
    content["quick"] = False
    (out / report.COMPARISON_FILE).write_text(json.dumps(content))
    assert command.main(["--write-docs", "--out", str(out)]) == 0
    once = page.read_text()
    assert once.startswith("before\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    for workload in content["workloads"]:
        for row in report.comparison_rows(workload):
            assert "| " + " | ".join(row) + " |" in once
    command.main(["--write-docs", "--out", str(out)])
    assert page.read_text() == once


def test_a_page_without_markers_or_results_is_left_alone(tmp_path, capsys, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("text")
    monkeypatch.setattr(command, "PAGE", page)
    assert command.main(["--write-docs", "--out", str(tmp_path)]) == 1
    assert "must hold the lines" in capsys.readouterr().err
    page.write_text(f"{BEGIN}{END}")
    assert command.main(["--write-docs", "--out", str(tmp_path)]) == 1
    assert "holds neither" in capsys.readouterr().err
    assert page.read_text() == f"{BEGIN}{END}"


def test_growth_is_measured_and_written(tmp_path, capsys, monkeypatch, here):
    series = (
        scaling.Series(grows="T", values=(20, 1000, 2000), B=2, n=4),
        scaling.Series(grows="n", values=(4, 8), T=20, B=2),
    )
    monkeypatch.setattr(command, "hold_to", lambda threads: None)
    monkeypatch.setattr(scaling, "QUICK", series)
    monkeypatch.setattr(scaling, "Worker", here)
    assert command.main(["--quick", "--scaling", "--repetitions", "1", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / report.SCALING_FILE).read_text())
    over_T, over_n = content["series"]
    assert len(over_T["points"]) == 2 * 3 + 2
    assert len(over_n["points"]) == 2 * 2
    assert over_T["checkpoints"]["T"] == 2000
    printed = capsys.readouterr().out
    assert all(cell in printed for row in report.scaling_rows(over_T) for cell in row)
    assert "times its time" in printed
    assert (tmp_path / report.SCALING_PICTURE).exists()


def test_a_series_that_fails_does_not_take_those_before_it_with_it(tmp_path, capsys, monkeypatch, here):
    series = [scaling.Series(grows=grows, values=(4,), T=20, B=2) for grows in "nB"]
    original = scaling.measure

    def measure(one, settings, say):
        if one.grows == "B":
            raise worker.WorkerError("out of memory")
        return original(one, settings, say)

    monkeypatch.setattr(command, "hold_to", lambda threads: None)
    monkeypatch.setattr(scaling, "QUICK", series)
    monkeypatch.setattr(scaling, "Worker", here)
    monkeypatch.setattr(scaling, "measure", measure)
    assert command.main(["--quick", "--scaling", "--repetitions", "1", "--out", str(tmp_path)]) == 1
    assert "error: out of memory" in capsys.readouterr().err
    (kept,) = json.loads((tmp_path / report.SCALING_FILE).read_text())["series"]
    assert kept["grows"] == "n"


def test_linearity_and_checkpoints_follow_from_the_points():
    def point(value, engine, median, peak):
        return {"value": value, "engine": engine, "median": median, "peak_bytes": peak}

    points = [point(100, "fused", 9, 1), point(1000, "fused", 10, 1), point(3000, "fused", 36, 200)]
    points += [point(1000, "reference", 10, 1), point(3000, "reference", 30, 1)]
    points += [point(3000, scaling.CHECKPOINTED, 54, 8)]
    found = scaling.conclusions("T", points)
    assert found["linear"]["fused"] == pytest.approx(1 / 11)
    assert found["linear"]["reference"] == pytest.approx(0)
    assert found["checkpoints"] == {"T": 3000, "memory_ratio": 0.04, "time_ratio": 1.5}


def test_names_of_workloads_are_understood():
    assert [w.name for w in workloads.select(["mnist", "mnist-gated"])] == ["mnist-ungated", "mnist-gated"]
    with pytest.raises(ValueError, match="--only must name workloads of .*, got 'imagenet'"):
        workloads.select(["imagenet"])


@pytest.mark.parametrize(
    "arguments", [["--repetitions", "0"], ["--threads", "0"], ["--compile-limit", "0"], ["--only", "imagenet"]]
)
def test_options_out_of_range_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert arguments[0] in capsys.readouterr().err
