"""The stand-in for CUDA shows what it is there for: races, overruns, deadlocks, and slips planted in the kernels."""

import ctypes
from typing import NamedTuple

import numpy as np
import pytest
from problems import draw, largest_errors, make_cell, reference, results, standin_tape, tolerance
from standin import FAILURES, KERNEL_TEXT, StandinLauncher, compiled, missing

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


# A thread replaces a number before it reads it: a slip that never shows where copies happen only when waited for.
REFILLED = """
template <int UNUSED>
__global__ void refilled(const float* values, float* out) {
    float* slot = reinterpret_cast<float*>(shared_memory()) + threadIdx.x;
    copy_async(slot, values, true);
    commit_copies();
    await_copies<0>();
    copy_async(slot, values + 1, true);
    commit_copies();
    out[threadIdx.x] = *slot;
    await_copies<0>();
}
"""


def test_an_asynchronous_copy_happens_at_once_or_late():
    values, out = np.array([1, 2], np.float32), np.zeros(THREADS, np.float32)
    held = [ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(out.ctypes.data)]
    addresses = (ctypes.c_void_p * 2)(*[ctypes.addressof(value) for value in held])
    entry = compiled(("refilled<0>",), REFILLED)["refilled<0>"]
    assert not FAILURES[entry(1, THREADS, 1, ctypes.c_size_t(4 * THREADS), 0, addresses)]
    assert set(out) == {1, 2}


class Mutant(NamedTuple):
    """A slip: a text that stands in the kernels once, what replaces it, and the cell and the width that meet it.

    `moved` stands there once too, and is taken out: it is in `new`.
    """

    name: str
    old: str
    new: str
    kind: str = "antisymmetric"
    units: int = 32
    moved: str = ""

    def plant(self, text):
        for part in (self.old, self.moved) if self.moved else (self.old,):
            assert text.count(part) == 1, f"{part!r} stands {text.count(part)} times"
        return (text.replace(self.moved, "") if self.moved else text).replace(self.old, self.new)


END = "lengths[own.row] - first : steps;\n\n    auto fetch = [&](int t) {"
FORWARD_WAIT, FORWARD_FETCH = "Ah);\n        await_copies<AHEAD - 1>();", "        fetch(t + AHEAD);\n"
BACKWARD_WAIT, BACKWARD_FETCH = "--t) {\n        await_copies<AHEAD - 1>();\n", "        fetch(t - AHEAD);\n"
STORE_STATE = "state[(t + 1) * step + k] = h[k];"
STORE_DELTA = "if (own.exists(k)) deltas[t * step + place + k] = delta_bar[k];"
READ_C = "const T dh = step_size * g[k], c = *inputs.slot(t, 0, k);"
END_OF_FORWARD = "        fetch(t + AHEAD);\n    }\n"
LATE_STORE = "if constexpr (CLUSTER > 1) store_to_block(exchange.buffers, 0, h[0]);\n"
MUTANTS = [
    Mutant("the diffusion is forgotten", "element -= diffusion", "element -= 0"),
    Mutant("the diffusion is added", "element -= diffusion", "element += diffusion"),
    Mutant("the diffusion stands beside the diagonal", "if (i == j)", "if (i + 1 == j)"),
    Mutant("the sign of A^T delta", "g[k] += A_T_delta[k]", "g[k] += -A_T_delta[k]"),
    Mutant("backward takes A and not its transpose", "diffusion, true}", "diffusion, false}", "gated"),
    Mutant("W in place of W - W^T", "return W[i * n + j] - W[j * n + i];", "return W[i * n + j];"),
    Mutant("a row stops one step late", "&& t < end) h[k]", "&& t <= end) h[k]"),
    Mutant("a row that has ended has a delta", "runs = own.exists(k) && t < end", "runs = own.exists(k)"),
    Mutant("segments count steps from zero", END + "\n", END.replace(" - first", "") + "\n"),
    Mutant("no barrier between writing and reading", "            __syncthreads();\n", ""),
    Mutant("no barrier in a cluster", "} else {\n            cluster_barrier();", "} else {", units=256),
    Mutant("one buffer in place of two", "buffers + step % 2 *", "buffers + 0 *"),
    Mutant("a block keeps its half to itself", "(element, rank,", "(element, int(blockIdx.x % 2),", units=256),
    Mutant("inputs are read too soon", "Ah);\n        await_copies<AHEAD - 1>", "Ah);\n        await_copies<AHEAD>"),
    Mutant("lanes do not trade places", "given = upper ? sum[i]", "given = upper ? sum[COUNT - HALF + i]"),
    Mutant(
        "the slope of tanh without its square", "delta_bar[k] = runs ? (1 - c * c)", "delta_bar[k] = runs ? (1 - c)"
    ),
    Mutant("the gate's slope without c", "z * (1 - z) * c * dh", "z * (1 - z) * dh", "gated"),
    Mutant("the gate's delta is left out of the sum", "delta + delta_z;", "delta;", "gated"),
    Mutant("the gate's half", "T(0.5) * u_z", "u_z", "gated"),
    Mutant("the loss's own derivatives are left out", "g[k] += *inputs.slot(t, GATES, k);", ""),
    # Copies and their slots.
    Mutant(
        "forward refills a slot before it is read",
        FORWARD_WAIT,
        f"{FORWARD_WAIT}\n{FORWARD_FETCH}",
        moved=FORWARD_FETCH,
    ),
    Mutant(
        "backward refills a slot before it is read", BACKWARD_WAIT, BACKWARD_WAIT + BACKWARD_FETCH, moved=BACKWARD_FETCH
    ),
    Mutant("backward reads inputs too soon", BACKWARD_WAIT, BACKWARD_WAIT.replace("AHEAD - 1", "AHEAD")),
    Mutant("a slot too few", "step % AHEAD * ARRAYS", "step % (AHEAD - 1) * ARRAYS"),
    Mutant("inputs of the step before", "        fetch(t + AHEAD);", "        fetch(t + AHEAD - 1);"),
    Mutant(
        "slots of different elements overlap", ") * L::KEPT + k) * L::THREADS;", ") * L::KEPT + k) * (L::THREADS - 1);"
    ),
    # What is written, and where.
    Mutant("a row of states too many", STORE_STATE, f"{STORE_STATE} state[(t + 2) * step + k] = h[k];"),
    Mutant(
        "a row of deltas too many",
        STORE_DELTA,
        f"{STORE_DELTA} if (own.exists(k)) deltas[(t - 1) * step + place + k] = 0;",
    ),
    Mutant("a state that does not change is not stored", STORE_STATE, f"if (t < end) {STORE_STATE}"),
    Mutant("the first derivative is not stored", "if (all_g && own.exists(k))", "if (all_g && t > 0 && own.exists(k))"),
    Mutant(
        "dL/dh_0 of padding is stored",
        "if (own.exists(k)) g_of_batch[place + k] = g[k];",
        "g_of_batch[place + k] = g[k];",
    ),
    Mutant("backward writes into the activations", READ_C, f"{READ_C} const_cast<T*>(acts)[place_act] = 0;"),
    Mutant("columns beyond n have weights", "i >= n || j >= n", "i >= n || j > n"),
    Mutant("rows are one too far", "* L::ROWS + row_here;", "* L::ROWS + row_here + 1;"),
    Mutant(
        "blocks of a cluster take different rows",
        "row = blockIdx.x / L::CLUSTER * L::ROWS",
        "row = blockIdx.x * L::ROWS",
        units=256,
    ),
    # The start and the end of the blocks of a cluster.
    Mutant(
        "no barrier before the first store to another block",
        "if constexpr (L::CLUSTER > 1) cluster_barrier();",
        "",
        units=256,
    ),
    Mutant("a store to a block that may have ended", END_OF_FORWARD, f"{END_OF_FORWARD}    {LATE_STORE}", units=256),
]


def errors_of(text, kind, units):
    """Return the largest error of a pass with this text of the kernels, over its tolerance; infinite where it fails."""
    rng = np.random.default_rng(1)
    cell = make_cell(kind, 2, units - 3, triangular=False)
    params, x, h0, d_states = draw(cell, rng, 6, 5, np.float32)
    lengths = [6, 2, 4, 6, 1]
    launcher = StandinLauncher(text=text)
    try:
        got = results(standin_tape(cell, params, x, h0, lengths=lengths, every=4, launcher=launcher, rows=4), d_states)
    except (AssertionError, ValueError):  # what the launcher refuses; a NaN that `backward` was given
        return np.inf
    errors = largest_errors(got, reference(cell, params, x, h0, d_states, lengths))
    worst = max(errors.values(), key=lambda e: e if e == e else np.inf)
    return np.inf if np.isnan(worst) else worst / tolerance(cell, params, 6, np.float32)


@pytest.mark.parametrize(("kind", "units"), [("antisymmetric", 32), ("gated", 32), ("antisymmetric", 256)])
def test_the_kernels_as_they_are_pass_where_the_mutants_fail(kind, units):
    assert errors_of(KERNEL_TEXT, kind, units) <= 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_slip_in_a_kernel_is_found(mutant):
    assert errors_of(mutant.plant(KERNEL_TEXT), mutant.kind, mutant.units) > 10
