"""The kernels of lean.cu and lstm.cu compile without spills, and a step of a cluster has no fence."""

import os
import shutil
import subprocess

import disassembly
import nvrtc
import pytest
from test_cuda_compile import NEEDS_NVRTC, assert_all_in_registers

from numrnn.engines.cuda.euler import ELMAN, GATED
from numrnn.engines.cuda.kernels import KERNELS, OPTIONS, TILES, LeanLayout, source
from numrnn.engines.cuda.lstm import LSTM_TILES, ROWS

# With the most rows: they take the most registers. Each generation that has instructions of its own is met.
LEAN = {tile.with_rows(min(tile.rows[-1], LeanLayout.most_rows), LeanLayout) for tile in TILES}
LSTM = {tile.with_rows(ROWS[-1]) for tile in LSTM_TILES}


def lean(units, dtype="float32", cluster=1, cell=GATED):
    layout = next(one for one in LEAN if (one.units, one.dtype, one.cluster) == (units, dtype, cluster))
    return [layout.name(kernel, cell) for kernel in KERNELS], layout.threads


def lstm(units, dtype="float32"):
    layout = next(one for one in LSTM if (one.units, one.dtype) == (units, dtype))
    return [layout.name(kernel) for kernel in KERNELS], layout.threads


CASES = [
    ("sm_75", *lean(128)),
    ("sm_75", *lstm(64)),
    ("sm_80", *lean(256)),
    ("sm_80", *lstm(64, "float64")),
    ("sm_90", *lean(128, cell=ELMAN)),
    ("sm_90", *lean(256, cluster=2)),
    ("sm_90", *lean(256, "float64", cluster=4)),
    ("sm_90", *lstm(128)),
    ("sm_90", *lstm(128, "float64")),
    ("sm_100", *lstm(128)),
    ("sm_120", *lean(256, cluster=2)),
    ("sm_120", *lstm(128)),
]
IDS = [f"{arch}-{kernels[0]}" for arch, kernels, _ in CASES]
FENCES = ("MEMBAR", "CCTL", "ERRBAR", "CGAERRBAR", "FENCE")
SPILLS = ("LDL", "STL")


def family(kernels):
    return kernels[0].partition("_")[0]


@NEEDS_NVRTC
@pytest.mark.parametrize(("arch", "kernels", "threads"), CASES, ids=IDS)
def test_nvrtc_compiles_them_without_spills(arch, kernels, threads):
    _, log = nvrtc.compile_kernels(source(family(kernels)), kernels, arch, (*OPTIONS, "--ptxas-options=-v"))
    assert "warning" not in log.lower(), log
    assert_all_in_registers(log, len(kernels), threads, f"{arch}, {kernels[0]}")


@NEEDS_NVRTC
@pytest.mark.parametrize("kernels", [lean(256, cluster=2)[0], lstm(128)[0]], ids=lambda kernels: kernels[0])
def test_the_exchange_in_a_cluster_is_by_messages_and_by_no_cluster_barrier_in_the_loop(kernels):
    for kernel in kernels:
        ptx, _ = nvrtc.compile_kernels(source(family(kernels)), [kernel], "sm_90", OPTIONS)
        assert ptx.count("barrier.cluster.wait") == 1  # at the start
        assert "st.async" in ptx
        assert "mbarrier.try_wait.parity" in ptx
        assert ".reqnctapercluster 2, 1, 1" in ptx


@NEEDS_NVRTC
def test_a_card_before_8_0_gets_plain_loads():
    for arch, asynchronous in (("sm_75", False), ("sm_80", True)):
        ptx, _ = nvrtc.compile_kernels(source("lean"), lean(64)[0][:1], arch, OPTIONS)
        assert ("cp.async" in ptx) is asynchronous


@NEEDS_NVRTC
@pytest.mark.skipif(
    disassembly.disassembler() is None, reason="nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"
)
@pytest.mark.parametrize(
    ("kernel", "fenced"),
    [
        (TILES[3].with_rows(1).name("forward", 1), True),
        *[(kernel, False) for kernel in lean(256, cluster=2)[0] + lstm(128)[0]],
    ],
    ids=lambda value: str(value),
)
def test_no_step_of_a_cluster_waits_for_its_stores_to_global_memory(kernel, fenced):
    """The fence of the cluster barrier drains them at every step; messages need none."""
    name = {"forward": "euler", "lean": "lean", "lstm": "lstm"}[kernel.partition("<")[0].partition("_")[0]]
    program = nvrtc.compile_program(source(name), [kernel], "sm_90", OPTIONS)
    loop = disassembly.loops(program.cubin)[program.names[kernel]]
    assert loop.count("FFMA") > 100
    assert (loop.count(*FENCES) > 0) is fenced
    assert loop.count(*SPILLS) == 0


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on the path")
@pytest.mark.parametrize(
    ("arch", "kernels", "threads"), CASES[1:2] + CASES[5:6] + CASES[7:8], ids=lambda value: str(value)[:40]
)
def test_nvcc_compiles_them_without_spills(arch, kernels, threads, tmp_path):
    """A kernel is instantiated by taking its address."""
    lines = [f"void* address_{i}() {{ return (void*)&{kernel}; }}" for i, kernel in enumerate(kernels)]
    path = tmp_path / "kernels.cu"
    path.write_text("\n".join([source(family(kernels)), *lines]), encoding="utf-8")
    command = ["nvcc", *OPTIONS, f"-arch={arch}", "-Xptxas", "-v", "-cubin", str(path), "-o", os.devnull]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert_all_in_registers(result.stderr, len(kernels), threads, f"{arch}, {kernels[0]}")
