"""Every instantiation of the CUDA kernels compiles, for both generations of GPUs, with all its numbers in registers."""

import re
import shutil
import subprocess

import nvrtc
import pytest
from instructions import TESTED, label, programs

from numrnn.engines.cuda.kernels import KERNELS, OPTIONS, TILES, source, tiles_for

EVERY_TILE = pytest.mark.parametrize(("arch", "tile"), TESTED, ids=[label(*case) for case in TESTED])
# nvcc is NVRTC's compiler with another front end: one tile for each generation of GPUs.
NEWEST = [case for case in TESTED if case[1].units == (256 if case[0] == "sm_80" else 512)]
NEEDS_NVRTC = pytest.mark.skipif(
    nvrtc.library() is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc"
)
SIGNATURES = {
    "forward": "const T*, int, T, T, int, int, int, int, const int*, T*, T*",
    "backward": "const T*, int, T, T, int, int, int, int, const int*, const T*, const T*, T*, T*, T*, T*",
}
MOST_REGISTERS = 255  # that a thread can have


def instantiations(tile, rows=None, gates=(1, 2)):
    return [
        tile.with_rows(count).name(kernel, gate) for count in rows or tile.rows for gate in gates for kernel in KERNELS
    ]


def assert_all_in_registers(log, count, threads, label):
    """Assert from what ptxas says that no kernel spills, and print the registers that each takes."""
    spills = [int(stores) for stores in re.findall(r"(\d+) bytes spill stores", log)]
    registers = [int(used) for used in re.findall(r"Used (\d+) registers", log)]
    assert len(spills) == len(registers) == count, log
    print(f"{label}: {' '.join(map(str, registers))} registers")
    assert not any(spills), log
    assert max(registers) <= min(MOST_REGISTERS, 65_536 // threads)


@NEEDS_NVRTC
@EVERY_TILE
def test_nvrtc_compiles_every_instantiation_without_spills(arch, tile):
    log = "\n".join(program.log for program in programs(arch, tile))
    assert "warning" not in log.lower(), log
    assert_all_in_registers(log, len(instantiations(tile)), tile.with_rows(1).threads, f"{arch}, {tile}")


@NEEDS_NVRTC
def test_a_spill_would_be_seen():
    """A layout that keeps all of a matrix of 256 units in the registers of one block has no room for it."""
    kernels = ["forward<float, 1, 256, 2, 1, 8, 8, 64>"]
    _, log = nvrtc.compile_kernels(source(), kernels, "sm_80", (*OPTIONS, "--ptxas-options=-v"))
    with pytest.raises(AssertionError):
        assert_all_in_registers(log, 1, 256, "too much")


@NEEDS_NVRTC
def test_a_launch_needs_no_attribute_to_form_clusters():
    """CuPy cannot ask for clusters at launch, so that the kernel itself must say their size."""
    for tile in tiles_for(90):
        if tile.units == tiles_for(90)[-1].units:
            ptx, _ = nvrtc.compile_kernels(source(), instantiations(tile, (1,), (1,)), "sm_90", OPTIONS)
            assert tile.cluster > 1
            assert len(re.findall(rf"\.reqnctapercluster {tile.cluster}, 1, 1", ptx)) == len(KERNELS)


@NEEDS_NVRTC
def test_a_layout_with_clusters_is_refused_where_there_are_none():
    with pytest.raises(RuntimeError, match="mapa|cluster"):
        nvrtc.compile_kernels(source(), instantiations(TILES[3], (1,), (1,)), "sm_80", OPTIONS)


@NEEDS_NVRTC
def test_the_vector_is_read_sixteen_bytes_at_a_time():
    tile = TILES[2]
    ptx, _ = nvrtc.compile_kernels(source(), [tile.with_rows(2).name("forward", 1)], "sm_80", OPTIONS)
    packs = tile.units // tile.lanes // 4
    assert len(re.findall(r"ld\.shared\.v4\.(?:f32|b32|u32)", ptx)) == 2 * packs


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on the path")
@pytest.mark.parametrize(("arch", "tile"), NEWEST, ids=[label(*case) for case in NEWEST])
def test_nvcc_compiles_the_largest_tiles_without_spills(arch, tile, tmp_path):
    kernels = instantiations(tile, tile.rows[-1:], (2,))
    scalar = kernels[0].split("<")[1].split(",")[0]
    lines = [
        f"template __global__ void {name}({SIGNATURES[name.split('<')[0]].replace('T', scalar)});" for name in kernels
    ]
    path = tmp_path / "kernels.cu"
    path.write_text("\n".join([source(), *lines]), encoding="utf-8")
    command = ["nvcc", *OPTIONS, f"-arch={arch}", "-Xptxas", "-v", "-cubin", str(path), "-o", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert_all_in_registers(result.stderr, len(kernels), tile.with_rows(1).threads, f"{arch}, {tile}")
