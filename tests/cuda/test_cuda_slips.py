"""Slips planted in the kernels of lean.cu and lstm.cu, and in their exchange of messages, are found."""

from typing import NamedTuple

import numpy as np
import pytest
from problems import draw, largest_errors, make_cell, reference, results, standin_tape, tolerance
from standin import TEXTS, StandinLauncher, missing

from numrnn.engines.cuda.families import VARIABLE
from numrnn.engines.cuda.lstm import LSTMLayout

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(autouse=True)
def wanted(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")


class Slip(NamedTuple):
    """A text that stands in the kernels once, what replaces it, and the cell and the width that meet it."""

    name: str
    old: str
    new: str
    kind: str = "lstm"
    units: int = 32
    layout: LSTMLayout | None = None


WAIT = "await_bytes(arrivals + round % 2, round / 2 % 2);\n"
ARM = "if (threadIdx.x == 0) expect_bytes(arrivals + round % 2, SIZE * sizeof(T));\n"
SPACE = "            "
TO = "T* to = vectors + round % 2 * SIZE"
REST, FORWARD, BACK = "Matrix<L>::REST_BYTES", "Prefetch<L, 1>", "Prefetch<L, GATES + 3>"
SEND_NEXT = "if (t + 1 < steps) send((round + 1) % AHEAD, h);"
# A cluster's steps: 4 n x n weights for 128 units of the LSTM, n x n for 256 of the others.
MESSAGES = [
    Slip("a counter expects bytes again before its phase has ended", WAIT + SPACE + ARM, ARM + SPACE + WAIT, units=128),
    Slip("a counter expects too few bytes", ARM, ARM.replace("SIZE *", "(SIZE - 1) *"), units=128),
    Slip("a counter expects too many bytes", ARM, ARM.replace("SIZE *", "(SIZE + 1) *"), units=128),
    Slip(
        "a counter expects too few bytes at first",
        "(arrivals + buffer, SIZE *",
        "(arrivals + buffer, SIZE / 2 *",
        units=128,
    ),
    Slip("a counter expects nothing again", ARM, "", units=128),
    Slip("every thread says what to expect", ARM, ARM.replace("if (threadIdx.x == 0) ", ""), units=128),
    Slip("the wrong parity", "round / 2 % 2);", "(round / 2 + 1) % 2);", units=128),
    Slip("the parity of a step, not of two", "round / 2 % 2);", "round % 2);", units=128),
    Slip("nobody waits", WAIT, "", units=128),
    Slip("one buffer in place of two", TO, TO.replace("round % 2", "0"), units=128),
    Slip(
        "messages count for the other buffer",
        "value, arrivals + round % 2);",
        "value, arrivals + (round + 1) % 2);",
        units=128,
    ),
    Slip("counters that are created late", "            cluster_barrier();\n", "", units=128),
    Slip("a message that nobody waits for", SEND_NEXT, SEND_NEXT[19:], units=128),
    Slip(
        "messages to the own block only",
        "send_to_block(to, rank,",
        "send_to_block(to, blockIdx.x % L::CLUSTER,",
        units=128,
    ),
    Slip(
        "a block sends to every block but the first",
        "rank = 0; rank < L::CLUSTER",
        "rank = 1; rank < L::CLUSTER",
        "gated",
        256,
    ),
    Slip("no barrier in a block", "            __syncthreads();\n", "", "gated"),
]
WAIT_FORWARD = "own, Ah);\n            inputs.template await<AHEAD - 1>"
LOOP = [
    Slip("inputs are read too soon", WAIT_FORWARD, WAIT_FORWARD.replace("AHEAD - 1", "AHEAD"), "gated"),
    Slip("a slot of another array", "(round * ARRAYS + array)", "(round * ARRAYS)", "gated"),
    Slip("threads with copies of a sum fetch too", "if (counts) copy_async", "copy_async"),
    Slip("inputs of the step after", "fetch(round, t + AHEAD);", "fetch(round, t + AHEAD + 1);", "gated"),
    Slip("the slot of a step that needs it still", "fetch((round + AHEAD - 1) % AHEAD,", "fetch(round,", "gated"),
    Slip("dL/dh of the step before", "at.g[at.step + k] = g[k]", "at.g[k] = g[k]", "gated"),
    Slip("a row of derivatives too many", "if (at.g && s > 0) at.g[at.step", "if (at.g) at.g[at.step", "gated"),
    Slip("a third of the state", "if (gate == 0) state[0] = h;", "state[gate * n] = h;"),
]
ELMAN = [
    Slip("the Elman network keeps g", "(CELL == ELMAN ? T(0) : g[k])", "g[k]", "elman"),
    Slip("a row that has ended loses g", "if (t < end) g[k] =", "g[k] =", "elman"),
    Slip("a row stops one step late", "t < end) h[k] = h_next", "t <= end) h[k] = h_next", "elman"),
    Slip("a row that has ended has a delta", "runs = own.exists(k) && t < end", "runs = own.exists(k)", "elman"),
    Slip("its activation without tanh", "h_next = c[k] = tanh_of(u)", "h_next = c[k] = u", "elman"),
    Slip("W in place of its transpose", "diffusion, true}", "diffusion, false}", "elman"),
]
LSTM = [
    Slip("input and forget gate change places", "enum Gate { INPUT, FORGET,", "enum Gate { FORGET, INPUT,"),
    Slip("the sigmoid's half is left out", "tanh_of(scale[k] * u)", "tanh_of(u)"),
    Slip("the candidate is a sigmoid", "scale[k] = gate + k == CANDIDATE ?", "scale[k] = gate + k == GATES ?"),
    Slip("gates go to the wrong lane", "return gate < 2 ?", "return gate > 1 ?"),
    Slip("gates of another unit", "exchange_gates(activation, gate, L::COPIES)", "exchange_gates(activation, gate, 2)"),
    Slip("h without tanh", "gates.of[OUTPUT] * tanh_of(c_next)", "gates.of[OUTPUT] * c_next"),
    Slip("the memory adds its input twice", "c_next = gates.of[FORGET] * c +", "c_next = gates.of[INPUT] +"),
    Slip("a row stops one step late", "exists && t < end) {", "exists && t <= end) {"),
    Slip("c is stored as h", "state[n] = c;", "state[n] = h;"),
    Slip("segments count steps from zero", "first : steps;\n\n    auto fetch", "0 : steps;\n\n    auto fetch"),
    Slip("dc without the slope of tanh", "o * (1 - tanh_c * tanh_c) * g_h", "o * g_h"),
    Slip("dc without the memory's own", "g_c + o * (1 -", "o * (1 -"),
    Slip("delta_i without its slope", "delta.of[INPUT] = i * (1 - i) * g", "delta.of[INPUT] = i * g"),
    Slip("delta_f from the new memory", "f * (1 - f) * c_before * dc", "f * (1 - f) * c * dc"),
    Slip("delta_g from f", "(1 - g * g) * i * dc", "(1 - g * g) * f * dc"),
    Slip("delta_o without tanh(c)", "o * (1 - o) * tanh_c * g_h", "o * (1 - o) * g_h"),
    Slip(
        "a row that has ended has derivatives", "const bool active = exists && t < end;", "const bool active = exists;"
    ),
    Slip("the memory forgets nothing", "g_c = f * dc;", "g_c = dc;"),
    Slip("g_h is kept", "g_h = dh[0];", "g_h += dh[0];"),
    Slip("the loss's derivatives by h are left out", "g_h += inputs.at(round, DIRECT_H, 0);", ""),
    Slip("the loss's derivatives by c are left out", "g_c += inputs.at(round, DIRECT_C, 0);", ""),
    Slip("the memory of the wrong step", "            c = c_before;\n", ""),
    Slip("W in place of its transpose", "j < GATES * n ? W[j * n + i]", "j < GATES * n ? W[j % n * n + i]"),
]
# A lane finishes two gates, or four; half of the weights are in shared memory.
PAIRS = LSTMLayout("float32", 32, rows=1, cluster=1, group=1, lanes=2, held=8)
QUARTETS = LSTMLayout("float32", 32, rows=2, cluster=1, group=4, lanes=8, held=8)
SHARED = [
    Slip("a pair of gates in the wrong order", "own[0], distance), odd", "own[1], distance), odd", layout=PAIRS),
    Slip("one gate of a pair is stored", "k < OWN; ++k) act[k]", "k < 1; ++k) act[k]", layout=PAIRS),
    Slip("c is stored by a lane that is not there", "gate == OWN % GATES", "gate == 1", layout=PAIRS),
    Slip("all gates have the input of one", "coming + k, exists", "coming, exists", layout=QUARTETS),
    Slip("gates change places", "return {own[0], own[1],", "return {own[1], own[0],", layout=QUARTETS),
    Slip("h in the place of weights", f"memory + {REST});\n    {FORWARD}", f"memory);\n    {FORWARD}", layout=QUARTETS),
    Slip("delta in the place of weights", f"memory + {REST});\n    {BACK}", f"memory);\n    {BACK}", layout=QUARTETS),
]
LEAN = TEXTS["lean"]
SEND_H = "            of_A.send(round, h, own);\n"
UNTIL_READ = LEAN[LEAN.index(SEND_H) + len(SEND_H) : LEAN.index("            of_A.add(round")]
STORED = "if (!own.exists(k)) continue;\n                const size_t at ="
# Two of the four inputs that the kernels read exist, and a block has four rows of the batch, of which there are five.
INPUTS = [
    Slip("the bias is forgotten", "T sum = b[gate][k];", "T sum = T(0);", "elman"),
    Slip("both gates have the weights of one", "row = gate * n + own.unit + k;", "row = own.unit + k;", "gated"),
    Slip("x of the step after", "coming(x), stride(stride)", "coming(x + stride), stride(stride)", "elman"),
    Slip("x of another row", "coming += static_cast<size_t>(own.row) * m", "coming += (own.row ^ 1) * m", "elman"),
    Slip("x goes the wrong way in the backward pass", "-static_cast<long long>(batch)", "(long long)(batch)", "elman"),
]
GRADIENTS = [
    Slip("sums of V are not cleared", "T dV[GATES][L::KEPT][M] = {}, db", "T dV[GATES][L::KEPT][M], db", "elman"),
    Slip("sums of b are not cleared", "db[GATES][L::KEPT] = {};", "db[GATES][L::KEPT];", "elman"),
    Slip("sums of A are not cleared", "Pack<T> dA[L::WEIGHTS] = {};", "Pack<T> dA[L::WEIGHTS];", "elman"),
    Slip("dV_z of the wrong delta", "of_V.add(round, 1, k, delta_z[k])", "of_V.add(round, 1, k, delta[k])", "gated"),
    Slip("a row of padding is stored", STORED, STORED.replace("exists(k)", "counts"), "elman"),
    Slip("a row's part is lost", "of_V_b + own.row * size", "of_V_b + 0 * size", "elman"),
    Slip("a block's part is lost", "of_A += static_cast<size_t>(blockIdx.x) * n * n;", "", "elman"),
    Slip("dA is transposed", "of_A[i * n + j] =", "of_A[j * n + i] =", "elman"),
    Slip("h of the step after", "coming_state = states + (steps - 1)", "coming_state = states + steps", "elman"),
    Slip("a row's h is lost", "vectors + round % 2 * SIZE + r * L::UNITS", "vectors + round % 2 * SIZE", "elman"),
    Slip("one buffer of h in place of two", "round % 2 * SIZE + own.row_here", "own.row_here", "elman"),
    Slip("no barrier between writing h and reading it", SEND_H + UNTIL_READ, UNTIL_READ + SEND_H, "elman"),
]
SLIPS = [*MESSAGES, *LOOP, *ELMAN, *LSTM, *SHARED, *INPUTS, *GRADIENTS]
FAMILY = {"lstm": "lstm", "gated": "lean", "elman": "lean"}


def error_of(text, kind, units, layout):
    """Return the largest error of a pass with this text, over its tolerance; infinite where the pass fails."""
    rng = np.random.default_rng(1)
    cell = make_cell(kind, 2, units - 3)
    lengths = [7, 2, 6] if kind == "lstm" or units > 32 else [7, 2, 6, 7, 5]  # a block more, and a row of it
    params, x, h0, d_states = draw(cell, rng, 7, len(lengths), np.float32)
    options = {"launcher": StandinLauncher(text=text, seed=2), "rows": 2 if kind == "lstm" else 4, "layout": layout}
    try:
        tape = standin_tape(cell, params, x, h0, lengths=lengths, every=5, **options)
        got = results(tape, d_states)
    except (AssertionError, ValueError):  # what the launcher refuses; a NaN that `backward` was given
        return np.inf
    errors = largest_errors(got, reference(cell, params, x, h0, d_states, lengths))
    worst = max(errors.values(), key=lambda e: e if e == e else np.inf)
    return np.inf if np.isnan(worst) else worst / tolerance(cell, params, 7, np.float32)


@pytest.mark.parametrize(
    ("kind", "units", "layout"), sorted({(slip.kind, slip.units, slip.layout) for slip in SLIPS}, key=str)
)
def test_the_kernels_as_they_are_pass_where_the_slips_fail(kind, units, layout):
    assert error_of(TEXTS[FAMILY[kind]], kind, units, layout) <= 1


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: f"{slip.name} ({slip.kind})")
def test_a_slip_is_found(slip):
    text = TEXTS[FAMILY[slip.kind]]
    assert text.count(slip.old) == 1, f"{slip.old!r} stands {text.count(slip.old)} times"
    assert error_of(text.replace(slip.old, slip.new), slip.kind, slip.units, slip.layout) > 10
