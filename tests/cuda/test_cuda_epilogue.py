"""Products and the group that reads them as one kernel: where they may be one, their bits, and that slips are found."""

import functools
import inspect
import types
from dataclasses import replace

import numpy as np
import pytest
from own_cells import GRU, Rates
from test_cuda_product import NEEDS_COMPILER
from test_cuda_trace import CELLS, Compiled, Noted, assert_agree, draw, reference, traced

import numrnn
from numrnn.engines.cuda.trace import run, tape
from numrnn.engines.cuda.trace.epilogue import Epilogue, launches_of
from numrnn.engines.cuda.trace.graph import Graph
from numrnn.engines.cuda.trace.kernels import ByLibrary
from numrnn.engines.cuda.trace.plan import CARRIED, Group, Plan
from numrnn.engines.cuda.trace.product import TILES, Tile

STEPS = 6  # that `draw` makes


class Counted(ByLibrary):
    """Counts launches, and checks that a kernel writes nothing that another thread of it may still have to read."""

    def __init__(self, fuses=True):
        self.fuses, self.launches = fuses, 0

    def group(self, group, inputs, outputs):
        self.launches += 1
        for read in inputs:
            for written in outputs:
                assert place(read) == place(written) or not np.shares_memory(read, written)
        super().group(group, inputs, outputs)

    def product(self, a, b, out):
        self.launches += 1
        super().product(a, b, out)

    def total(self, a, axis, out):
        self.launches += 1
        super().total(a, axis, out)

    def epilogue(self, epilogue, lefts, rights, inputs, outputs):
        assert not any(np.shares_memory(operand, out) for operand in (*lefts, *rights) for out in outputs)
        super().epilogue(epilogue, lefts, rights, inputs, outputs)


def place(array):
    return array.ctypes.data, array.shape, array.strides


def test_a_pass_has_as_few_launches_as_the_page_says(rng):
    """docs/cuda_engine.md has this table, of a step; the first kernel of a backward pass is one more in all."""
    wanted = {
        "elman": (1, 1),
        "antisymmetric, full": (1, 1),
        "gated, full": (1, 1),
        "lstm": (1, 1),
        "lipschitz, euler": (1, 1),
        "lipschitz, rk2": (2, 2),
        "GRU": (2, 2),
    }
    for name, (forward, backward) in wanted.items():
        for lengths in (None, [6, 1, 2]):
            counted = Counted()
            traced(CELLS[name], *draw(CELLS[name], rng), lengths=lengths, executor=counted)
            assert counted.launches == STEPS * (forward + backward) + 1, name


@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_no_kernel_writes_what_another_of_its_threads_reads(name, fuses, rng):
    for lengths in (None, [6, 1, 2]):
        case = draw(CELLS[name], rng)
        got = traced(CELLS[name], *case, lengths=lengths, executor=Counted(fuses))
        assert_agree(got, reference(CELLS[name], *case, lengths=lengths), np.float64)


# Cells, rows and units that need several blocks of these tiles, and the last one in part.
SIZES = {
    "lstm": (numrnn.LSTMCell(3, 11), 7, TILES[3], "float32"),
    "lipschitz": (numrnn.LipschitzCell(3, 21), 18, TILES[2], "float64"),
    "GRU": (GRU(3, 17), 35, TILES[1], "float32"),
    "gated": (numrnn.GatedAntisymmetricCell(3, 67), 66, TILES[0], "float64"),
    "rates": (Rates(3, 33), 17, Tile(16, 32, 32), "float64"),
}


@pytest.fixture(scope="module")
def kernels():
    """Return the kernels of these cells, those of products and of groups, as `Compiled`: one run of the compiler."""
    texts, rng = {}, np.random.default_rng(1)
    for cell, batch, tile, dtype in SIZES.values():
        for fuses in (True, False):
            found = Noted(fuses, tile)
            traced(cell, *draw(cell, rng, 3, batch, np.dtype(dtype)), executor=found)
            texts |= found.texts
    return Compiled(texts, [tile for _, _, tile, _ in SIZES.values()])


def on_standin(name, kernels, monkeypatch, case, fuses=True):
    cell, _, tile, _ = SIZES[name]
    return traced(cell, *case, executor=kernels.executor(monkeypatch, fuses, lambda *shape: tile))


@NEEDS_COMPILER
@pytest.mark.parametrize("name", SIZES)
def test_one_kernel_gives_the_bits_of_two(name, kernels, monkeypatch, rng):
    cell, batch, _, dtype = SIZES[name]
    case, launched = draw(cell, rng, 3, batch, np.dtype(dtype)), [kernels.launched]
    got = on_standin(name, kernels, monkeypatch, case)
    launched.append(kernels.launched)
    two = on_standin(name, kernels, monkeypatch, case, fuses=False)
    assert kernels.launched - launched[1] > launched[1] - launched[0]
    assert all(np.array_equal(got[key], value) for key, value in two.items())
    assert_agree(got, reference(cell, *case), np.dtype(dtype), 3)


@NEEDS_COMPILER
def test_one_array_for_all_steps_would_be_found(kernels, monkeypatch, rng):
    """A block writes tanh(h) of the next step while another one still multiplies that of this one."""
    cell, batch, _, dtype = SIZES["rates"]
    case = draw(cell, rng, 3, batch, np.dtype(dtype))
    monkeypatch.setattr(run, "launches_of", lambda *given: replace(launches_of(*given), alternating=frozenset()))
    with pytest.raises(AssertionError):
        assert_agree(on_standin("rates", kernels, monkeypatch, case), reference(cell, *case), np.dtype(dtype), 3)
    with pytest.raises(AssertionError):
        traced(cell, *case, executor=Counted())


def plan_of(read, *, columns=8, kept=False, again=False):
    """Return a plan of one product (3, columns) and a group (3, 4), which computes what `read` makes of the product."""
    graph = Graph()
    state = graph.leaf(CARRIED, (3, 4))
    whole = graph.node("matmul", (state, graph.leaf("W", (4, columns))), None, (3, columns))
    seen = read(graph, whole)
    out = functools.reduce(lambda a, b: graph.elementwise("add", a, b), seen)
    steps = (whole, Group((3, 4), tuple(seen), ((out, out, 0),)))
    other = graph.elementwise("tanh", whole)
    steps += (Group(whole.shape, (whole,), ((other, other, 0),)),) if again else ()
    return Plan({CARRIED: out}, steps, (), frozenset([whole] if kept else []), frozenset())


def columns(*starts):
    return lambda graph, node: [graph.columns(node, start, start + 4) for start in starts]


def parts_of(plan):
    last = launches_of(plan, True).steps[-1]
    return [part.column for part in last.parts] if isinstance(last, Epilogue) else None


def test_columns_of_a_product_are_parts_of_the_tile_in_any_order():
    assert parts_of(plan_of(columns(0), columns=4)) == [0]
    assert parts_of(plan_of(columns(4))) == [4]
    assert parts_of(plan_of(columns(12, 0, 4, 8), columns=16)) == [12, 0, 4, 8]


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(columns(0, 4), kept=True),
        plan_of(columns(0, 4), again=True),
        plan_of(columns(0, 1, 2, 3, 4)),
        plan_of(lambda graph, node: [node], columns=1),
        plan_of(lambda graph, node: [graph.node("index", (node,), (slice(1, 2), slice(0, 4)), (1, 4))]),
        plan_of(lambda graph, node: [graph.node("index", (node,), (slice(0, 3), slice(0, 4)), (3, 4))]),
        plan_of(lambda graph, node: [graph.columns(graph.node("transpose", (node,), None, (3, 3)), 0, 4)], columns=3),
    ],
    ids=["kept", "read again", "five parts", "one column for all", "a row for all", "rows by name", "transposed"],
)
def test_another_way_to_read_a_product_is_a_kernel_of_its_own(plan):
    assert launches_of(plan, True).steps == plan.steps


def test_products_are_joined_while_there_is_a_tile_for_them():
    """Two with one or two left operands, not a third one with another, nor one with another inner extent."""
    for inners, lefts, wanted in (
        ((4, 4), "aa", 2),
        ((4, 4, 4, 4), "aaaa", 4),
        ((4, 4), "ab", 2),
        ((4, 4, 4), "abc", 2),
        ((4, 4, 4), "aab", 2),
        ((4, 5), "ab", 1),
    ):
        graph = Graph()
        operands = [graph.leaf(f"{name}{inner}", (3, inner)) for name, inner in zip(lefts, inners, strict=True)]
        nodes = [
            graph.node("matmul", (left, graph.leaf(f"W{i}", (left.shape[1], 4))), None, (3, 4))
            for i, left in enumerate(operands)
        ]
        out = functools.reduce(lambda a, b: graph.elementwise("add", a, b), nodes)
        group = Group((3, 4), tuple(nodes), ((out, out, 0),))
        plan = Plan({CARRIED: out}, (*nodes, group), (), frozenset(), frozenset())
        *rest, last = launches_of(plan, True).steps
        assert (len(rest), len(last.parts)) == (len(nodes) - wanted, wanted), lefts
        assert set(rest) | set(last.products) == set(nodes)


RUN_SLIPS = {
    "every part has the columns of the first": ("right[:, part.column : part.column + columns]", "right[:, :columns]"),
    "the left operand of all products is one": ("for node in one.lefts]", "for node in one.lefts[:1]]"),
    "the operands of the step before": (
        "self._at(node, t) for node in one.lefts]",
        "self._at(node, t - 1) for node in one.lefts]",
    ),
    "the next step's inputs are this one's": (
        "self._at(node, following) for node in joint",
        "self._at(node, t) for node in joint",
    ),
    "this step's inputs are the next one's": (
        "inputs = [self._at(node, t) for node in joined",
        "inputs = [self._at(node, following) for node in joined",
    ),
}


def agree_with(text, monkeypatch):
    """Compare passes by this text of run.py with the reference loop."""
    module, rng = types.ModuleType(run.__name__), np.random.default_rng(1)
    exec(compile(text, "run.py", "exec"), module.__dict__)
    monkeypatch.setattr(tape, "Run", module.Run)
    for name in ("lstm", "lipschitz, euler", "gated, full", "rates"):
        case = draw(CELLS[name], rng)
        assert_agree(traced(CELLS[name], *case), reference(CELLS[name], *case), np.float64)


def test_the_loop_as_it_is_passes_where_the_slips_fail(monkeypatch):
    agree_with(inspect.getsource(run), monkeypatch)


@pytest.mark.parametrize("name", RUN_SLIPS)
def test_a_slip_in_the_loop_is_found(name, monkeypatch):
    old, new = RUN_SLIPS[name]
    text = inspect.getsource(run)
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    with pytest.raises((AssertionError, ValueError, IndexError)), np.errstate(all="ignore"):
        agree_with(text.replace(old, new), monkeypatch)
