"""The machine code of a step: nothing is spilled in the loop over time, nothing waits for global memory, none grows.

docs/cuda_engine.md states the instructions of a step of every kernel; instructions.py writes them there.
With NUMRNN_CUDA_ALL=1 every tile is compiled for every architecture.
"""

import disassembly
import instructions
import nvrtc
import pytest
from instructions import CASES, GATES, TESTED, label

from numrnn.engines.cuda.kernels import KERNELS, OPTIONS, TILES, source

pytestmark = [
    pytest.mark.skipif(nvrtc.library() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc"),
    pytest.mark.skipif(
        disassembly.disassembler() is None, reason="nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"
    ),
]
GROWTH = 1.05  # a newer compiler may need some instructions more
SPILLS = ("LDL", "STL")
# The hardware's barrier of a cluster orders accesses to global memory too: it waits for the stores of the step, and
# drops what the L1 cache holds. What else orders the blocks of a cluster must do without.
FENCES = ("MEMBAR", "CCTL", "ERRBAR", "CGAERRBAR", "FENCE")


@pytest.mark.parametrize(("arch", "tile"), TESTED, ids=[label(*case) for case in TESTED])
def test_a_step_spills_nothing_fences_nothing_and_stays_within_its_instructions(arch, tile):
    stated = instructions.stated()
    for (kernel, gates, rows), loop in instructions.loops(arch, tile).items():
        name = f"{arch}, {tile.with_rows(rows).name(kernel, gates)}"
        assert loop.count(*SPILLS) == 0, f"{name} spills in the loop: {loop.instructions}"
        assert (loop.count(*FENCES) > 0) == loop.cluster_barrier, f"{name}: {loop.instructions}"
        assert loop.cluster_barrier == (tile.cluster > 1), name
        budget = GROWTH * stated[arch, tile.dtype, tile.units, kernel, gates, rows]
        assert loop.per_step <= budget, f"{name}: {loop.per_step:.0f} instructions a step, at most {budget:.0f}"


def test_the_page_states_every_kernel_and_no_other():
    kernels = [(k, g) for k in KERNELS for g in GATES]
    wanted = {(a, t.dtype, t.units, k, g, rows) for a, t in CASES for k, g in kernels for rows in t.rows}
    assert instructions.stated().keys() == wanted


def loop_of(text, kernel, arch="sm_80"):
    program = nvrtc.compile_program(text, [kernel], arch, OPTIONS)
    return disassembly.loops(program.cubin)[program.names[kernel]]


KERNEL = TILES[0].with_rows(1).name("forward", 1)


def test_a_loop_has_the_multiplications_of_its_product():
    loop, tile = loop_of(source(), KERNEL), TILES[0]
    assert loop.steps == 1
    assert loop.count("FFMA") >= tile.outputs * tile.units // tile.lanes


@pytest.mark.parametrize(
    ("slip", "opcodes"),
    [("__threadfence();", FENCES), ("__threadfence_block(); __syncthreads();", ("BAR.SYNC",))],
    ids=["a fence", "a second barrier"],
)
def test_what_is_planted_in_a_step_is_seen(slip, opcodes):
    place = "        product(A, exchange.gather(t, h, own), own, Ah);\n"
    assert source().count(place) == 1
    plain, planted = loop_of(source(), KERNEL), loop_of(source().replace(place, f"{slip}\n{place}"), KERNEL)
    assert planted.count(*opcodes) > plain.count(*opcodes)


def test_a_spill_in_the_loop_is_seen():
    """A layout that keeps all of a matrix of 256 units in the registers of one block has no room for it."""
    assert loop_of(source(), "forward<float, 1, 256, 2, 1, 8, 8, 64>").count(*SPILLS) > 0


def test_an_instruction_more_than_the_budget_is_seen():
    stated = instructions.stated()["sm_80", "float32", 32, "forward", 1, 1]
    place = "const T u = Ah[k] + *inputs.slot(t, 0, k);"
    slow = source().replace(place, place + " volatile T* twice = inputs.slot(t, 0, k); *twice = *twice + *twice;")
    assert slow != source()
    assert loop_of(slow, KERNEL).per_step > GROWTH * stated
