"""The kernels of lean.cu and lstm.cu compile without spills, a step of a cluster has no fence, and none grows."""

import os
import shutil
import subprocess

import disassembly
import instructions
import nvrtc
import pytest
from instructions import OTHERS, key, lean, lstm, names
from test_cuda_compile import NEEDS_NVRTC, assert_all_in_registers
from test_cuda_instructions import FENCES, GROWTH, SPILLS

from numrnn.engines.cuda.kernels import OPTIONS, family_of, source

EVERY_CASE = pytest.mark.parametrize("case", OTHERS, ids=[" ".join(key(*case)) for case in OTHERS])
NEEDS_NVDISASM = pytest.mark.skipif(
    disassembly.disassembler() is None, reason="nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"
)


@NEEDS_NVRTC
@EVERY_CASE
def test_nvrtc_compiles_them_without_spills(case):
    arch, layout, variant = case
    log, kernels = instructions.other_program(*case).log, names(layout, variant)
    assert "warning" not in log.lower(), log
    assert_all_in_registers(log, len(kernels), layout.threads, f"{arch}, {kernels[0]}")


@NEEDS_NVRTC
@NEEDS_NVDISASM
@EVERY_CASE
def test_a_step_spills_nothing_fences_nothing_and_stays_within_its_instructions(case):
    """Not even the fence that acquires messages waits for global memory, or empties a cache."""
    _, layout, variant = case
    stated = instructions.stated_others()[key(*case)]
    for name, loop, number in zip(names(layout, variant), instructions.other_loops(*case), stated, strict=True):
        assert loop.count(*FENCES, *SPILLS) == 0, f"{name}: {loop.instructions}"
        assert loop.count("SYNCS.PHASECHK") == (loop.steps if layout.cluster > 1 else 0), name
        assert loop.per_step <= GROWTH * number, f"{name}: {loop.per_step:.0f} instructions a step, stated {number}"


def test_the_page_states_these_kernels_and_no_others():
    assert list(instructions.stated_others()) == [key(*case) for case in OTHERS]


@NEEDS_NVRTC
@pytest.mark.parametrize(
    "case", [("sm_90", *lean(256, cluster=2, inputs=4)), ("sm_90", *lstm(128))], ids=lambda case: str(case)
)
def test_the_exchange_in_a_cluster_is_by_messages_and_by_no_cluster_barrier_in_the_loop(case):
    ptx, both = instructions.other_program(*case).ptx, 2
    assert ptx.count("barrier.cluster.wait") == both  # at the start of each kernel
    assert "st.async" in ptx
    assert ptx.count(".reqnctapercluster 2, 1, 1") == both


@NEEDS_NVRTC
def test_a_wait_acquires_what_other_blocks_sent():
    """A message releases at the scope of the cluster, and an acquire of a smaller scope does not match it."""
    ptx = instructions.other_program("sm_90", *lean(256, cluster=2, inputs=4)).ptx
    waits = ptx.count("mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64")
    assert waits == ptx.count("mbarrier.try_wait") > 0
    assert ptx.count("fence.acquire.sync_restrict::shared::cluster.cluster") == waits
    layout, variant = lstm(128)
    before = source("lstm").replace("__CUDACC_VER_MAJOR__", "12").replace("__CUDACC_VER_MINOR__", "7")
    older, _ = nvrtc.compile_kernels(before, [layout.name("forward", variant)], "sm_90", OPTIONS)
    assert (
        older.count("mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64") == older.count("mbarrier.try_wait") > 0
    )


@NEEDS_NVRTC
def test_a_card_before_8_0_gets_plain_loads():
    layout, variant = lean(64)
    for arch, asynchronous in (("sm_75", False), ("sm_80", True)):
        ptx, _ = nvrtc.compile_kernels(source("lean"), [layout.name("forward", variant)], arch, OPTIONS)
        assert ("cp.async" in ptx) is asynchronous


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on the path")
@pytest.mark.parametrize(
    "case", [("sm_75", *lstm(64)), ("sm_90", *lean(128, inputs=4, rows=2))], ids=lambda case: " ".join(key(*case))
)
def test_nvcc_compiles_them_without_spills(case, tmp_path):
    """A kernel is instantiated by taking its address."""
    arch, layout, variant = case
    kernels = names(layout, variant)
    lines = [f"void* address_{i}() {{ return (void*)&{kernel}; }}" for i, kernel in enumerate(kernels)]
    path = tmp_path / "kernels.cu"
    path.write_text("\n".join([source(family_of(kernels[0])), *lines]), encoding="utf-8")
    command = ["nvcc", *OPTIONS, f"-arch={arch}", "-Xptxas", "-v", "-cubin", str(path), "-o", os.devnull]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert_all_in_registers(result.stderr, len(kernels), layout.threads, f"{arch}, {kernels[0]}")
