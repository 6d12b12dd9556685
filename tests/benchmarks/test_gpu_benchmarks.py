"""python -m benchmarks --gpu: everything of it that needs no GPU. CuPy is a stand-in, and torch computes on the CPU."""

import json
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import standin_cupy

import numrnn
from benchmarks import command as cpu_command
from benchmarks import compare as cpu_compare
from benchmarks import contenders
from benchmarks.check import tolerance, worst_error
from benchmarks.contenders import CONTENDERS, ON_GPU
from benchmarks.gpu import command, compare, epoch, report
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.workloads import WORKLOADS, Workload, draw
from numrnn import engines

TINY = Workload(name="tiny", title="tiny", T=12, B=6, m=3, n=8, contenders=("CUDA engine", "CuPy loop"), calls=2)
GATED = replace(TINY, name="tiny-gated", cell="gated")
SETTINGS = cpu_compare.Settings(threads=1, repetitions=3, compile_limit=100)
CEILINGS = Ceilings(copy=1000.0, sgemm=50.0)


class Event:
    """An event of a device that has done everything at once."""

    def record(self):
        self.time = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, later):
        return 1e3 * (later.time - self.time)

    @property
    def done(self):
        return True

    query = done.fget


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy that also has events and streams, and whose auto engine is the reference loop."""
    if standin_cupy.COMPILER is None:
        pytest.skip("needs g++ or clang++ on the path")
    module = standin_cupy.install(monkeypatch)
    stream = type("Stream", (), {"synchronize": lambda self: None})
    properties = {"name": b"A Card", "multiProcessorCount": 9, "major": 9, "minor": 0, "totalGlobalMem": 8 * 10**9}
    module.cuda.Event, module.cuda.get_current_stream = Event, stream
    module.RawKernel = lambda code, name: lambda grid, block, arguments: None  # holds nothing
    module.cuda.get_elapsed_time = lambda start, stop: start.elapsed_time(stop)
    module.cuda.runtime.getDeviceProperties = lambda index: properties
    monkeypatch.setattr(engines.cuda, "unsupported_reason", lambda problem: None)
    monkeypatch.setattr(engines.cuda, "unproven_reason", lambda problem: None)
    monkeypatch.setattr(engines.cuda, "make_tape", numrnn.bptt.ReferenceTape)
    return module


@pytest.fixture
def torch(monkeypatch):
    """Let the contenders of torch compute on the CPU."""
    module = pytest.importorskip("torch")
    from benchmarks.gpu import on_torch

    monkeypatch.setattr(on_torch.OnTorch, "device", "cpu")
    monkeypatch.setattr(on_torch.OnTorch, "wait", lambda self: None)
    monkeypatch.setattr(on_torch.OnTorch, "event", lambda self: Event())
    monkeypatch.setattr(on_torch.OnTorch, "hold", lambda self, seconds: None)
    return module


def run(workload, names, measure=lambda: None):
    return compare.compare_on_gpu(workload, names, SETTINGS, CEILINGS, measure, lambda line: None)


@pytest.mark.parametrize("workload", [TINY, GATED], ids=["ungated", "gated"])
def test_our_contenders_are_admitted_and_timed(cupy, here, workload):
    rounds = []
    result = run(workload, workload.contenders, lambda: rounds.append(1))
    assert len(rounds) == SETTINGS.repetitions + 1
    for one in result["contenders"]:
        assert one["status"] == "timed", one.get("reason")
        assert one["worst_error"] <= result["tolerance"] == tolerance(workload)
        assert len(one["seconds"]) == SETTINGS.repetitions
        assert one["tflops"] == pytest.approx(1e-12 * workload.flops / one["median"])
        assert one["share"] == pytest.approx(result["floor_seconds"] / one["median"])
        assert one["copy_share"] == pytest.approx(result["copy_floor_seconds"] / one["median"])
    assert result["contenders"][0]["ratio"] == 1
    assert result["fastest_framework"] is None


def test_a_measurement_of_ours_waits_for_nothing_between_its_calls(cupy):
    contender = contenders.load("CUDA engine")(draw(TINY))
    contender.run()
    standin_cupy.waits.clear()
    contender.seconds(5)
    assert not standin_cupy.waits


class HeldEvent(Event):
    """An event of a device that is held until somebody waits for it; `until` is the hold from which on it is."""

    until, holds = 0.0, ()

    @property
    def done(self):
        return not self.holds or self.holds[-1] < self.until


@pytest.mark.parametrize(("until", "holds"), [(0.0, [0.02]), (0.1, [0.02, 0.2]), (1.0, [0.02, 0.2])])
def test_host_and_device_are_timed_apart_behind_a_hold(cupy, monkeypatch, until, holds):
    contender, seen = contenders.load("CUDA engine")(draw(TINY)), []
    contender.run()

    class RawKernel:
        def __init__(self, code, name):
            assert f"void {name}(" in code

        def __call__(self, grid, block, arguments):
            assert (grid, block) == ((1,), (1,))
            seen.append(1e-9 * int(arguments[0]))

    cupy.RawKernel, cupy.cuda.Event = RawKernel, HeldEvent
    monkeypatch.setattr(HeldEvent, "until", until)
    monkeypatch.setattr(HeldEvent, "holds", seen)
    launches, launch = [], contender.launch
    monkeypatch.setattr(contender, "launch", lambda: launches.append(1) or launch())
    found = contender.apart(3)
    assert seen == pytest.approx(holds)
    assert len(launches) == 3 * len(holds)
    assert (found is None) == (until == 1.0)
    if found is not None:
        host, device = found
        assert 0 < host <= device  # this stand-in does the work while it is put in line


def test_the_reference_loop_is_called_once_in_a_measurement_and_not_timed_apart(cupy, monkeypatch):
    contender, calls = contenders.load("CuPy loop")(draw(TINY)), []
    launch = contender.launch
    monkeypatch.setattr(contender, "launch", lambda: calls.append(1) or launch())
    assert contender.seconds(10) > 0
    assert len(calls) == 1
    assert contender.apart(10) is None
    assert len(calls) == 1


def test_both_times_are_told_in_the_table(cupy, here, monkeypatch):
    from benchmarks.gpu.on_cupy import Auto

    monkeypatch.setattr(Auto, "apart", lambda self, calls: (calls * 1e-3, 3e-3))
    result = run(TINY, TINY.contenders)
    assert {k: result["contenders"][0][k] for k in ("host_seconds", "device_seconds")} == {
        "host_seconds": TINY.calls * 1e-3,
        "device_seconds": 3e-3,
    }
    table = [dict(zip(report.COLUMNS, row, strict=True)) for row in report.rows(result)]
    assert (table[0]["host, ms"], table[0]["device, ms"]) == ("2", "3")
    assert (table[1]["host, ms"], table[1]["device, ms"]) == ("", "")


def test_the_reference_loop_is_not_timed_as_the_engine(cupy, monkeypatch):
    monkeypatch.setattr(engines.cuda, "unsupported_reason", lambda problem: "this test")
    monkeypatch.setattr(numrnn.bptt, "_warned", set())
    with pytest.raises(numrnn.ReferenceLoopWarning, match="does not support this test"):
        contenders.load("CUDA engine")(draw(TINY)).run()


def test_wrong_numbers_are_refused(cupy, here, monkeypatch):
    from benchmarks.gpu.on_cupy import Reference

    class Tampered(Reference):
        def numbers(self, result):
            numbers = dict(super().numbers(result))
            numbers["W"] = numbers["W"] * 1.001
            return numbers

    original = contenders.load
    monkeypatch.setattr(contenders, "load", lambda name: Tampered if name == "CuPy loop" else original(name))
    one = run(TINY, ["CuPy loop"])["contenders"][0]
    assert one["status"] == "refused"
    assert one["reason"].startswith("W: off by 0.001")


@pytest.mark.parametrize("workload", [TINY, GATED], ids=["ungated", "gated"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks at it
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # the compiler uses it
@pytest.mark.parametrize("name", ["torch eager", "torch.compile chunks", "cuDNN RNN", "cuDNN LSTM"])
def test_torchs_contenders_are_built_and_compute_the_cell(torch, here, name, workload):
    one = run(workload, [name])["contenders"][0]
    assert one["status"] == "timed", one.get("reason")
    assert one["same_cell"] == name.startswith("torch")
    assert one["dtype"] == "float32"
    assert "CUDA of torch" in one["versions"]
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32 is False


def test_flashrnns_contender_fits_the_package(torch, monkeypatch):
    """Its plain implementation has the same arguments as its kernels, and runs on a CPU."""
    pytest.importorskip("flashrnn")
    kind = contenders.load("FlashRNN")
    monkeypatch.setattr(kind, "backend", "vanilla")
    numbers = kind(draw(TINY)).numbers(kind(draw(TINY)).run())
    assert {name: value.shape for name, value in numbers.items()} == {"final": (6, 8), "h0": (6, 8)}
    assert (kind.dtype, kind.same_cell) == ("bfloat16", False)


def test_jaxs_contender_computes_the_cell_and_refuses_to_pass_off_a_cpu():
    jax = pytest.importorskip("jax")
    kind = contenders.load("jax scan")
    contender = kind(draw(TINY))
    wanted = contenders.load("expected")(draw(TINY))
    worst_error(contender.numbers(contender.run()), wanted.numbers(wanted.run()), TINY)
    assert contender.seconds(2) > 0
    if jax.default_backend() != "gpu":
        with pytest.raises(RuntimeError, match="jax computes on cpu: it is installed without CUDA"):
            kind.set_threads(1)
    assert jax.config.jax_default_matmul_precision == "highest"


# ---------------------------------------------------------------- what follows from the measurements


def outcome(name, median, **more):
    told = {"name": name, "status": "timed", "note": f"note of {name}", "ours": False, "same_cell": True}
    times = {"dtype": "float32", "median": median, "minimum": median, "spread": 0.0, "first_call_seconds": 1.0}
    return {**told, **times, "worst_error": 1e-6, **more}


def some_outcomes():
    return {
        "CUDA engine": outcome("CUDA engine", 1e-3, ours=True),
        "CuPy loop": outcome("CuPy loop", 60e-3, ours=True),
        "torch eager": outcome("torch eager", 80e-3),
        "jax scan": outcome("jax scan", 8e-3),
        "cuDNN LSTM": outcome("cuDNN LSTM", 4e-3, same_cell=False),
        "FlashRNN": outcome("FlashRNN", 2e-3, same_cell=False, dtype="bfloat16"),
        "torch CUDA graph": {"name": "torch CUDA graph", "status": "failed", "reason": "out of memory"},
    }


def test_ratios_shares_and_the_fastest_framework_follow_from_the_medians():
    workload = next(w for w in compare.gpu_workloads() if w.name == "mnist-ungated")
    result = compare.derive(workload, some_outcomes(), CEILINGS)
    by_name = {one["name"]: one for one in result["contenders"]}
    flops = 6 * 128**2 * 784 * 128
    assert result["flops"] == flops
    assert by_name["jax scan"]["ratio"] == 8
    assert by_name["CUDA engine"]["tflops"] == pytest.approx(flops / 1e9)
    assert by_name["CUDA engine"]["share"] == pytest.approx(flops / 1e9 / 50)
    assert by_name["cuDNN LSTM"]["tflops"] == pytest.approx(4 * flops / 4e9)
    assert result["bytes"] == 4 * 784 * 128 * (2 * 1 + 8 * 128)
    assert by_name["CUDA engine"]["copy_share"] == pytest.approx(result["bytes"] / 1e-3 / 1e12)
    assert "copy_share" not in by_name["jax scan"]
    assert result["fastest_framework"] == "jax scan"  # another cell or dtype is no rival, nor is our own loop
    assert report.conclusion(result).startswith("CUDA engine: 8.00 times as fast as jax scan")


@pytest.mark.parametrize("workload", [replace(TINY, cell="elman"), replace(TINY, cell="lstm")], ids=["elman", "lstm"])
def test_the_loop_computes_the_other_cells_too(cupy, here, workload):
    one = run(workload, ["CuPy loop"])["contenders"][0]
    assert one["status"] == "timed", one.get("reason")
    assert one["same_cell"]


@pytest.mark.parametrize(("cell", "name"), [("elman", "cuDNN RNN"), ("lstm", "cuDNN LSTM")])
def test_cudnns_layers_compute_the_workload_that_is_theirs(torch, here, cell, name):
    one = run(replace(TINY, cell=cell), [name])["contenders"][0]
    assert one["status"] == "timed", one.get("reason")
    assert one["same_cell"]


def test_gradients_of_the_elman_workload_neither_vanish_nor_explode():
    workload = {w.name: w for w in compare.gpu_workloads()}["mnist-elman"]
    contender = contenders.load("expected")(draw(workload.shortened(4)))
    numbers = contender.numbers(contender.run())
    assert 1e-6 < np.max(np.abs(numbers["h0"])) < 1e3


def test_elman_and_lstm_are_timed_beside_cudnns_layers():
    workloads = {w.name: w for w in compare.gpu_workloads()}
    elman, lstm = workloads["mnist-elman"], workloads["mnist-lstm"]
    assert {"CUDA engine", "CuPy loop", "cuDNN RNN"} <= set(elman.contenders)
    assert {"CUDA engine", "CuPy loop", "cuDNN LSTM"} <= set(lstm.contenders)
    assert (elman.T, elman.B, elman.m, elman.n) == (lstm.T, lstm.B, lstm.m, lstm.n) == (784, 128, 1, 128)
    result = compare.derive(lstm, {"cuDNN LSTM": outcome("cuDNN LSTM", 5e-3)}, CEILINGS)
    assert result["contenders"][0]["tflops"] == pytest.approx(4 * 6 * 128**2 * 784 * 128 / 5e9)
    sizes = {w.cell: compare.traffic(w) / (4 * 784 * 128) - 2 for w in (elman, lstm)}
    assert sizes == {"elman": 7 * 128, "lstm": 28 * 128}


def test_a_gated_cell_moves_more_bytes():
    workloads = {w.name: w for w in compare.gpu_workloads()}
    plain, gated = (compare.traffic(workloads[f"cifar-{kind}"]) for kind in ("ungated", "gated"))
    assert (plain, gated) == (4 * 1024 * 128 * (6 + 8 * 256), 4 * 1024 * 128 * (6 + 14 * 256))


def test_the_large_batches_are_timed_beside_the_papers():
    workloads = {w.name: w for w in compare.gpu_workloads()}
    assert {name: w.B for name, w in workloads.items() if name.endswith("512")} == {
        "mnist-ungated-512": 512,
        "cifar-ungated-512": 512,
    }
    assert all(w.contenders[0] == "CUDA engine" for w in workloads.values())
    assert all(set(w.contenders) <= set(ON_GPU) for w in workloads.values())


def test_no_contender_of_the_cpu_is_taken_for_one_of_a_gpu():
    assert not set(CONTENDERS) & set(ON_GPU)
    assert all(name in CONTENDERS for workload in WORKLOADS for name in workload.contenders)


def test_the_ceilings_are_the_best_rates_seen(cupy):
    ceilings = Ceilings()
    ceilings.measure(cupy, copy_bytes=2**16, sgemm_size=32)
    assert ceilings.copy > 0
    assert ceilings.sgemm > 0
    best = ceilings.copy, ceilings.sgemm
    ceilings.measure(cupy, copy_bytes=2**16, sgemm_size=32)
    assert ceilings.copy >= best[0]
    assert ceilings.sgemm >= best[1]


def test_products_and_copies_are_of_random_numbers(cupy, monkeypatch):
    seen = []
    monkeypatch.setattr(cupy, "matmul", lambda a, b, out: seen.extend([a.get(), b.get()]), raising=False)
    monkeypatch.setattr(cupy, "copyto", lambda target, source: seen.append(source.get()), raising=False)
    Ceilings().measure(cupy, copy_bytes=2**14, sgemm_size=64)
    for values in seen:
        assert values.dtype == np.float32
        assert abs(values.std() - 1) < 0.1
        assert len(np.unique(values)) > 0.99 * values.size
    assert not np.array_equal(seen[-1], seen[-2])


def test_rates_are_of_bytes_read_and_written_and_of_two_flops_a_term(cupy, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.ceilings._seconds", lambda cupy, launch: 0.5)
    ceilings = Ceilings()
    ceilings.measure(cupy, copy_bytes=4000, sgemm_size=100)
    assert ceilings.copy == pytest.approx(2 * 4000 / 0.5 * 1e-9)
    assert ceilings.sgemm == pytest.approx(2 * 100**3 / 0.5 * 1e-12)


def test_an_epoch_is_the_second_and_shows_every_image(tmp_path):
    measured = epoch.measure_epoch("numpy", images=24, batch=8, units=4)
    assert measured["updates"] == 3
    assert measured["seconds"] > 0
    assert np.isfinite(measured["loss"])
    assert report.epoch_line(measured | {"seconds": 0.5}).startswith(
        "an epoch of training, sequential MNIST: 0.5 s for 3 updates (24 images, T = 784, B = 8, n = 4)"
    )


def test_updates_are_timed_captured_and_not(monkeypatch):
    seen = []
    wanted = {"seconds": 0.5, "updates": 200, "images": 24, "T": 784, "B": 8, "n": 4}

    def measure(backend, **sizes):
        seen.append((backend, sizes, *(os.environ.get(f"NUMRNN_CUDA_{name}") for name in ("UNPROVEN", "CAPTURE"))))
        return wanted

    monkeypatch.setattr(epoch, "measure_epoch", measure)
    monkeypatch.setenv("NUMRNN_CUDA_CAPTURE", "0")
    lines = [report.update_line(one) for one in epoch.measure_updates("cupy", units=4)]
    assert seen == [("cupy", {"units": 4}, "1", "1"), ("cupy", {"units": 4}, "1", "0")]
    assert os.environ["NUMRNN_CUDA_CAPTURE"] == "0"
    of = "an update, sequential MNIST, NUMRNN_CUDA_UNPROVEN=1"
    sizes = "2.5 ms (24 images, T = 784, B = 8, n = 4)"
    assert lines == [f"{of}, captured as a CUDA graph: {sizes}", f"{of}, each kernel launched: {sizes}"]


# ---------------------------------------------------------------- the command


@pytest.fixture
def small(cupy, here, monkeypatch):
    """The command with tiny workloads and no epoch of an hour."""
    monkeypatch.setattr(command, "gpu_workloads", lambda: [TINY, GATED])
    monkeypatch.setattr(command, "measure_epoch", lambda: epoch.measure_epoch("numpy", images=8, batch=8, units=4))
    monkeypatch.setattr(command, "measure_updates", lambda: epoch.measure_updates("numpy", images=8, batch=8, units=4))
    monkeypatch.setattr(Ceilings, "measure", lambda self, cupy: setattr(self, "sgemm", 9.0) or setattr(self, "copy", 8))


def test_the_command_writes_what_it_prints(small, tmp_path, capsys):
    assert cpu_command.main(["--gpu", "--repetitions", "2", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / report.RESULTS_FILE).read_text())
    page = (tmp_path / report.PAGE_FILE).read_text()
    assert content["card"]["name"] == "A Card"
    assert content["settings"]["tf32"] is False
    assert [w["name"] for w in content["workloads"]] == ["tiny", "tiny-gated"]
    assert content["epoch"]["updates"] == 1
    assert len(report.training_lines(content)) == 3
    for line in [*report.environment_lines(content), *report.training_lines(content)]:
        assert line in printed
        assert line in page
    for workload in content["workloads"]:
        for row in report.rows(workload):
            assert all(cell in printed for cell in row)
            assert "| " + " | ".join(row) + " |" in page
    assert "A Card, 9 multiprocessors, compute capability 9.0, 8 GB" in page


def test_a_workload_for_which_there_is_no_time_is_named(small, tmp_path, capsys):
    arguments = ["--gpu", "--repetitions", "1", "--no-epoch", "--time-limit", "1e-9", "--out", str(tmp_path)]
    assert cpu_command.main(arguments) == 0
    assert "not run for want of time: tiny-gated" in capsys.readouterr().out
    assert json.loads((tmp_path / report.RESULTS_FILE).read_text())["workloads"] == []


def test_a_contender_without_a_time_says_why_in_its_row():
    result = compare.derive(compare.gpu_workloads()[0], some_outcomes(), CEILINGS)
    rows = {row[0]: row for row in report.rows(result)}
    assert rows["torch CUDA graph"][1] == "failed: out of memory"
    assert rows["FlashRNN"][-2] == "bfloat16"
    assert rows["cuDNN LSTM"][-3] == "other cell"
    assert rows["CUDA engine"][1:5] == ("1", "1", "0", "1.00")


def test_without_a_gpu_one_line_says_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cpu_command.main(["--gpu", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("no benchmark on a GPU: backend='cupy' needs CuPy: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--repetitions", "0"], ["--compile-limit", "0"], ["--time-limit", "-1"], ["--only", "x"], ["--contenders", "x"]],
)
def test_options_out_of_range_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cpu_command.main(["--gpu", *arguments])
    assert arguments[0] in capsys.readouterr().err
