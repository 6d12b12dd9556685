"""python -m numrnn.info: the report, and when it has advice to give."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_limits

from numrnn import info

AVX512 = set(info.AVX512_FLAGS) | {"fma", "avx2"}


def openblas(kernels):
    return [{"name": "openblas", "version": "0.3", "kernels": kernels, "threading": "pthreads", "threads": 2}]


@pytest.mark.parametrize("kernels", ["Haswell", "Zen", None])
def test_lesser_kernels_on_a_processor_with_avx512_earn_a_hint(kernels):
    hint = info.kernel_hint(AVX512, openblas(kernels))
    assert "OPENBLAS_CORETYPE=SkylakeX before Python starts" in hint
    assert "is set" not in hint


@pytest.mark.parametrize(
    ("flags", "libraries"),
    [
        (AVX512, openblas("SkylakeX")),
        (AVX512, openblas("SapphireRapids")),
        (AVX512 - {"avx512vl"}, openblas("Haswell")),
        ({"avx2", "fma"}, openblas("Haswell")),
        (set(), openblas("neoversen1")),
        (AVX512, [{**openblas("Haswell")[0], "name": "mkl"}]),
        (AVX512, []),
    ],
)
def test_there_is_no_hint_where_there_is_nothing_to_gain(flags, libraries):
    assert info.kernel_hint(flags, libraries) is None


def test_the_hint_names_the_variable_that_chose_the_kernels():
    hint = info.kernel_hint(AVX512, openblas("Haswell"), {"OPENBLAS_CORETYPE": "Haswell"})
    assert "because OPENBLAS_CORETYPE=Haswell is set" in hint


def test_the_processor_is_read_from_cpuinfo():
    text = (
        "processor\t: 0\nmodel name\t: One\nflags\t\t: fma avx512f\n\nprocessor\t: 1\nmodel name\t: Two\nflags\t\t:\n"
    )
    assert info.processor_of(text) == ("One", {"fma", "avx512f"})
    name, flags = info.processor_of("")  # systems without /proc
    assert name
    assert flags == set()


def test_the_report_holds_and_says_what_it_promises():
    report = info.collect()
    assert json.loads(json.dumps(report)) == report
    assert {"numrnn", "python", "numpy", "scipy", "threadpoolctl"} <= set(report["versions"])
    assert report["devices"][0] == "cpu"
    assert report["cores"] >= 1
    assert all(rate > 0 for rate in report["sgemm_gflops"].values())
    text = info.report_text({**report, "blas": openblas("Haswell"), "hint": "advice"})
    for part in (report["processor"], report["versions"]["numpy"], "kernels Haswell, 2 threads", "hint: advice"):
        assert part in text


def test_it_says_who_runs_the_slices_of_a_batch(monkeypatch):
    monkeypatch.setenv("NUMRNN_PROCESSES", "0")
    report = info.collect(measure=False)
    assert report["slices"] == "threads"
    assert "in slices run by threads" in info.report_text(report)


@pytest.mark.parametrize("value", ["no", "2", ""])
def test_a_switch_that_is_neither_on_nor_off_is_refused(value, monkeypatch):
    monkeypatch.setenv("NUMRNN_PROCESSES", value)
    with pytest.raises(ValueError, match=f"""^NUMRNN_PROCESSES must be "1" or "0", got '{value}'"""):
        info.collect(measure=False)


@pytest.mark.parametrize("name", ["NUMRNN_CUDA_UNPROVEN", "NUMRNN_CUDA_CAPTURE"])
def test_it_shows_the_variables_of_the_cuda_engine(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    assert name in info.report_text(info.collect(measure=False))


def test_measuring_can_be_left_out():
    assert "sgemm_gflops" not in info.collect(measure=False)


def test_the_command_prints_the_report():
    command = [sys.executable, "-W", "error", "-m", "numrnn.info"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=False)
    assert run.returncode == 0, run.stderr
    assert "sgemm, large" in run.stdout
    assert not run.stderr


@pytest.mark.parametrize(("cores", "words"), [(1, "1 core of "), (2, "2 cores of ")])
def test_a_machine_is_named_by_its_cores_and_its_processor(cores, words, monkeypatch):
    monkeypatch.setattr(info, "collect", lambda measure: {"cores": 64, "processor": "a processor"})
    monkeypatch.setattr(info, "one_thread_each", lambda: contextlib.nullcontext(cores))
    assert info.machine() == words + "a processor"


@pytest.mark.parametrize("threads", sorted({1, info.available_cores()}))
def test_a_machine_has_no_more_cores_than_blas_may_use(threads):
    with threadpool_limits(threads, "blas"):
        assert info.machine().startswith(info.cores_text({"cores": threads, "processor": ""}))
