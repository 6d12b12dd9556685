"""The stand-in for CUDA shows what it is there for: races, overruns, deadlocks, and slips planted in the kernels."""

import ctypes
from typing import NamedTuple

import numpy as np
import pytest
from problems import draw, largest_errors, make_cell, reference, results, standin_tape, tolerance
from standin import FAILURES, H200, KERNEL_TEXT, Device, StandinLauncher, compiled, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

# Every thread reads what its neighbour in the block wrote.
NEIGHBOUR = """
template <int UNUSED>
__global__ void neighbour(int threads, float* out) {
    float* memory = reinterpret_cast<float*>(shared_memory());
    memory[threadIdx.x] = threadIdx.x;
    BARRIER
    out[threadIdx.x] = memory[(threadIdx.x + 1) % threads];
}
"""
THREADS = 64


def run_neighbour(barrier, seed=0, shared=4 * THREADS):
    out = np.zeros(THREADS, np.float32)
    held = [ctypes.c_int(THREADS), ctypes.c_void_p(out.ctypes.data)]
    addresses = (ctypes.c_void_p * 2)(*[ctypes.addressof(value) for value in held])
    entry = compiled(("neighbour<0>",), NEIGHBOUR.replace("BARRIER", barrier))["neighbour<0>"]
    return FAILURES[entry(1, THREADS, 1, ctypes.c_size_t(shared), seed, addresses)], out


def test_a_kernel_with_its_barrier_gives_the_same_in_every_order():
    for seed in range(5):
        failure, out = run_neighbour("__syncthreads();", seed)
        assert not failure
        assert np.array_equal(out, np.roll(np.arange(THREADS), -1))


def test_a_missing_barrier_changes_the_numbers():
    _, out = run_neighbour("")
    assert np.isnan(out).any()


def test_a_barrier_that_some_threads_do_not_reach_is_a_deadlock():
    failure, _ = run_neighbour("if (threadIdx.x) __syncthreads();")
    assert "wait for each other" in failure


def test_writing_past_the_shared_memory_is_found():
    failure, _ = run_neighbour("__syncthreads();", shared=4 * THREADS - 4)
    assert "past its shared memory" in failure


class Mutant(NamedTuple):
    """A slip: a text that stands in the kernels once, what replaces it, and the cell and the width that meet it."""

    name: str
    old: str
    new: str
    kind: str = "antisymmetric"
    units: int = 32


END = "lengths[own.row] - first : steps;\n\n    auto fetch = [&](int t) {"
MUTANTS = [
    Mutant("forward forgets the diffusion", "Mh[k] - diffusion * h[k]", "Mh[k]"),
    Mutant("the diffusion is added", "Mh[k] - diffusion", "Mh[k] + diffusion"),
    Mutant("backward forgets the diffusion", "M_T_delta[k] - diffusion * delta_bar[k]", "M_T_delta[k]"),
    Mutant("the sign of M delta", "g[k] += M_T_delta[k]", "g[k] += -M_T_delta[k]"),
    Mutant("backward takes M and not its transpose", "storage, true}", "storage, false}", "gated"),
    Mutant("W in place of W - W^T", "return W[i * n + j] - W[j * n + i];", "return W[i * n + j];"),
    Mutant("a row stops one step late", "if (t < end) h[k]", "if (t <= end) h[k]"),
    Mutant("a row that has ended has a delta", "t < end ? step_size * g[k] : T(0)", "step_size * g[k]"),
    Mutant("segments count steps from zero", END + "\n", END.replace(" - first", "") + "\n"),
    Mutant("no barrier between writing and reading", "            __syncthreads();\n", ""),
    Mutant("no barrier in a cluster", "} else {\n            cluster_barrier();", "} else {", units=256),
    Mutant("one buffer in place of two", "buffers + step % 2 *", "buffers + 0 *"),
    Mutant("a block keeps its half to itself", "(element, rank,", "(element, int(blockIdx.x % 2),", units=256),
    Mutant("inputs are read too soon", "Mh);\n        await_copies<AHEAD - 1>", "Mh);\n        await_copies<AHEAD>"),
    Mutant("lanes do not trade places", "given = upper ? sum[i]", "given = upper ? sum[COUNT - HALF + i]"),
    Mutant("the slope of tanh without its square", "delta_bar[k] = (1 - c * c)", "delta_bar[k] = (1 - c)"),
    Mutant("the gate's slope without c", "z * (1 - z) * c * dh", "z * (1 - z) * dh", "gated"),
    Mutant("the gate's delta is left out of the sum", "delta + delta_z;", "delta;", "gated"),
    Mutant("the gate's half", "T(0.5) * u_z", "u_z", "gated"),
    Mutant("the loss's own derivatives are left out", "g[k] += *inputs.slot(t, GATES, k);", ""),
]


def errors_of(text, kind, units):
    """Return the largest error of a pass with this text of the kernels, over its tolerance; infinite where it fails."""
    rng = np.random.default_rng(1)
    cell = make_cell(kind, 2, units - 3, triangular=False)
    params, x, h0, d_states = draw(cell, rng, 6, 5, np.float32)
    lengths = [6, 2, 4, 6, 1]
    launcher = StandinLauncher(Device(90, 0, H200.shared_bytes), text)
    try:
        got = results(standin_tape(cell, params, x, h0, lengths=lengths, every=4, launcher=launcher), d_states)
    except (AssertionError, ValueError):  # a deadlock; a NaN that `backward` was given
        return np.inf
    errors = largest_errors(got, reference(cell, params, x, h0, d_states, lengths))
    worst = max(errors.values(), key=lambda e: e if e == e else np.inf)
    return np.inf if np.isnan(worst) else worst / tolerance(cell, params, 6, np.float32)


@pytest.mark.parametrize(("kind", "units"), [("antisymmetric", 32), ("gated", 32), ("antisymmetric", 256)])
def test_the_kernels_as_they_are_pass_where_the_mutants_fail(kind, units):
    assert errors_of(KERNEL_TEXT, kind, units) <= 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_slip_in_a_kernel_is_found(mutant):
    assert KERNEL_TEXT.count(mutant.old) == 1, f"{mutant.old!r} stands {KERNEL_TEXT.count(mutant.old)} times"
    assert errors_of(KERNEL_TEXT.replace(mutant.old, mutant.new), mutant.kind, mutant.units) > 10
