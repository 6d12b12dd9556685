"""Traced cells give the numbers of the reference loop: the plan by NumPy, and its generated kernels by the stand-in."""

import ctypes

import numpy as np
import nvrtc
import pytest
from ended_rows import KINDS, assert_as_alone, draw_ended, rows_alone
from helpers import draw_params, make_cells
from own_cells import OWN
from standin import H200, compiled, missing
from test_cuda_compile import NEEDS_NVRTC
from test_cuda_overrides import WAYS, override, parts

import numrnn
from numrnn import backward, forward
from numrnn.bptt import GRADIENTS
from numrnn.engines.cuda.kernels import OPTIONS, SCALARS
from numrnn.engines.cuda.trace import TracedTape, product, untraceable_reason
from numrnn.engines.cuda.trace.graph import ELEMENTWISE
from numrnn.engines.cuda.trace.joint import joint_of
from numrnn.engines.cuda.trace.kernels import ByLibrary, CupyExecutor, epilogue_source, group_source
from numrnn.engines.cuda.trace.product import TILES, choose_tile, product_source
from numrnn.engines.cuda.trace.tape import _plans
from numrnn.problem import check_problem

CELLS = {**make_cells(), **OWN}
EVERY_CELL = pytest.mark.parametrize("name", CELLS)


def draw(cell, rng, n_steps=6, batch=3, dtype=np.float64):
    """Return params, x, h0 and cotangents of all states."""
    shapes = (n_steps, batch, cell.input_size), (batch, cell.state_size), (n_steps + 1, batch, cell.state_size)
    return draw_params(cell, rng, dtype), *(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def results(tape, d_states, wrt=GRADIENTS):
    grads = backward(tape, d_states, wrt=wrt)
    named = {f"d{name}": value for name, value in (grads.params or {}).items()}
    return {"states": np.asarray(tape.states), **named, "dx": grads.x, "dh0": grads.h0, "dh": grads.states}


def traced(cell, params, x, h0, d_states, lengths=None, every=None, executor=None):
    tape = TracedTape(check_problem(cell, params, x, h0, lengths, every), executor)
    tape.run()
    return results(tape, d_states)


def reference(cell, params, x, h0, d_states, lengths=None):
    return results(forward(cell, params, x, h0, lengths=lengths, engine="reference")[1], d_states)


def assert_agree(got, wanted, dtype, n_steps=6):
    """Assert that results agree to rounding, which a step of these cells at most doubles."""
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].dtype == value.dtype == dtype, name
        assert got[name].shape == value.shape, name
        error = np.max(np.abs(got[name] - value)) / (np.max(np.abs(value)) or 1)
        assert error <= 8 * 2**n_steps * np.finfo(dtype).eps, f"{name}: {error:.2g}"


@EVERY_CELL
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plan_gives_the_numbers_of_the_reference_loop(name, dtype, rng):
    for n_steps, batch, every in ((6, 3, None), (5, 4, 2), (1, 1, None), (6, 1, 1)):
        case = draw(CELLS[name], rng, n_steps, batch, np.dtype(dtype))
        for lengths in (None, rng.integers(1, n_steps + 1, batch)):
            got = traced(CELLS[name], *case, lengths=lengths, every=every)
            assert_agree(got, reference(CELLS[name], *case, lengths=lengths), np.dtype(dtype))


@pytest.mark.parametrize("name", make_cells(1, 1))
def test_a_cell_of_one_unit_and_one_input_agrees(name, rng):
    cell = make_cells(1, 1)[name]
    for batch in (1, 2):
        case = draw(cell, rng, batch=batch)
        assert_agree(traced(cell, *case, lengths=[6] * batch), reference(cell, *case), np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_keeps_an_infinite_state_has_the_gradients_of_the_row_alone(kind, rng):
    *case, lengths = draw_ended(kind, 9, np.dtype("float64"), rng)
    with np.errstate(all="ignore"):
        assert_as_alone(traced(*case, lengths=lengths), rows_alone(*case, lengths))


def test_every_way_to_override_a_part_is_traced_or_refused_with_a_reason(rng):
    refused = 0
    for part in parts():
        for way in WAYS:
            cell = make_cells()[part.cell]
            way = "subclass" if part.name == "diffusion" and way == "object" else way
            if part.owner:
                setattr(cell, part.owner, override(getattr(cell, part.owner), part.name, way))
            else:
                cell = override(cell, part.name, way)
            case = draw(cell, rng)
            problem = check_problem(cell, *case[:3], None, None)
            if untraceable_reason(problem) is not None:
                refused += 1
                continue
            got, wanted = traced(cell, *case), reference(cell, *case)
            for name, value in wanted.items():
                assert np.max(np.abs(got[name] - value)) <= 1e4 * np.finfo(float).eps * np.max(np.abs(value)), part
    assert refused == 0


def test_a_step_is_as_few_products_and_kernels_as_the_page_says(rng):
    """docs/cuda_engine.md has this table."""
    wanted = {
        "elman": (1, 1, 1, 1),
        "antisymmetric, full": (1, 1, 1, 1),
        "gated, full": (1, 1, 1, 1),
        "lstm": (1, 1, 1, 1),
        "lipschitz, euler": (2, 1, 2, 1),
        "lipschitz, rk2": (4, 2, 4, 2),
        "GRU": (2, 2, 2, 2),
    }
    for name, numbers in wanted.items():
        for lengths in (None, [6, 1, 2]):
            plans = _plans(check_problem(CELLS[name], *draw(CELLS[name], rng)[:3], lengths, None))
            kernels = [len(plan.groups) - (joint_of(plan) is not None) for plan in plans]
            assert (plans[0].products, kernels[0], plans[1].products, kernels[1]) == numbers, name


def test_only_the_gradients_asked_for_are_made_and_a_tape_can_be_used_twice(rng):
    cell = CELLS["lstm"]
    params, x, h0, d_states = draw(cell, rng)
    tape = TracedTape(check_problem(cell, params, x, h0, None, 2))
    tape.run()
    whole = results(tape, d_states)
    for name in GRADIENTS:
        some = backward(tape, d_states, wrt=(name,))
        assert [field for field in GRADIENTS if getattr(some, field) is not None] == [name]
    again = results(tape, d_states)
    assert all(np.array_equal(again[name], value) for name, value in whole.items())


class Noted(ByLibrary):
    """Runs groups by NumPy, and notes the texts of their kernels."""

    def __init__(self, fuses=True, tile=TILES[-1]):
        self.texts, self.fuses, self.tile = {}, fuses, tile  # by default the tile of few rows

    def group(self, group, inputs, outputs):
        self.note(group_source, group, inputs, outputs)
        super().group(group, inputs, outputs)

    def epilogue(self, epilogue, lefts, rights, inputs, outputs):
        self.note(epilogue_source, epilogue, inputs, outputs, self.tile)
        ByLibrary.epilogue(self, epilogue, lefts, rights, inputs, outputs)

    def note(self, source, of, inputs, outputs, *more):
        conditions = tuple(array.dtype.kind == "b" for array in inputs)
        name, text = source(of, conditions, str(outputs[0].dtype), *more)
        self.texts[name] = text


class Compiled:
    """In place of CuPy: its modules are kernels that the stand-in compiler has compiled, all of them at once."""

    __name__, broadcast_to = "compiled", staticmethod(np.broadcast_to)

    def __init__(self, texts, tiles=TILES[-1:]):
        products = [tile.name(dtype) for tile in tiles for dtype in SCALARS]
        names, text = (*texts, *products), "\n".join([product_source(device=False), *texts.values()])
        self.entries, self.launched = compiled(names, text), 0

    def RawModule(self, code, options, name_expressions=()):
        assert options == OPTIONS
        return self

    def get_function(self, name):
        def launch(grid, block, arguments, shared_mem=0):
            held = [self.held(value) for value in arguments]
            addresses = (ctypes.c_void_p * len(held))(*[ctypes.addressof(value) for value in held])
            self.launched += 1
            assert self.entries[name](*grid, *block, 1, ctypes.c_size_t(shared_mem), self.launched, addresses) == 0

        return launch

    @staticmethod
    def held(value):
        if isinstance(value, np.ndarray):
            return ctypes.c_void_p(value.ctypes.data)
        return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())

    def executor(self, monkeypatch, fuses=True, choose=choose_tile):
        """Return an executor whose kernels are these, on NumPy arrays, which have no device."""
        monkeypatch.setattr(product, "_processors", lambda cupy, device: H200.processors)
        return CupyExecutor(self, fuses, choose)


@pytest.fixture(scope="module")
def kernels():
    """Return the texts of the kernels of all cells, in both ways to run them."""
    texts, rng = {}, np.random.default_rng(1)
    for cell in CELLS.values():
        for dtype, lengths, fuses in TWO_WAYS:
            found = Noted(fuses)
            traced(cell, *draw(cell, rng, dtype=dtype), lengths=lengths, executor=found)
            texts |= found.texts
    return texts


# Precision, lengths, and whether products and the group that reads them are one kernel.
TWO_WAYS = ((np.float32, [6, 2, 5], True), (np.float64, None, False))


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_generated_kernels_give_the_numbers_of_the_reference_loop(kernels, monkeypatch, rng):
    cupy = Compiled(kernels)
    for name, cell in CELLS.items():
        for dtype, lengths, fuses in TWO_WAYS:
            case = draw(cell, rng, dtype=dtype)
            before = cupy.launched
            got = traced(cell, *case, lengths=lengths, executor=cupy.executor(monkeypatch, fuses))
            assert cupy.launched > before, name
            assert_agree(got, reference(cell, *case, lengths=lengths), np.dtype(dtype))


@NEEDS_NVRTC
@pytest.mark.parametrize("arch", ["sm_75", "sm_120"])
def test_nvrtc_compiles_the_generated_kernels_without_products(arch, kernels):
    groups = [text for name, text in kernels.items() if "_group_" in name]  # test_cuda_epilogue.py has the others
    _, log = nvrtc.compile_kernels("\n".join(groups), [], arch, (*OPTIONS, "--ptxas-options=-v"))
    assert log.count("0 bytes spill stores") == len(groups)


class Refused(numrnn.ElmanCell):
    """A cell whose step does what cannot be traced."""

    other, calls = np.ones(4), 0

    def __init__(self, step):
        super().__init__(3, 4)
        self.own = step

    def step(self, params, x, h):
        return self.own(self, numrnn.ElmanCell.step.__wrapped__(self, params, x, h))


def drawn(cell, h):
    cell.calls += 1
    return h + cell.calls


def in_place(cell, h):
    h += 1
    return h


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda cell, h: h if h[0, 0] > 0 else -h, "an index that is not a slice of each axis"),
        (lambda cell, h: h if (h > 0) else -h, "a step that depends on the numbers in an array"),
        (lambda cell, h: h * cell.other, "an operand that is neither an argument nor a number: ndarray"),
        (lambda cell, h: cell.other * h, "an operand that is neither an argument nor a number: ndarray"),
        (lambda cell, h: np.sinc(h), "the function numpy.sinc"),
        (lambda cell, h: h.__array_namespace__().cumulative_sum(h, axis=1), "the function cumulative_sum"),
        (drawn, "a step that is not the same at each call"),
        (in_place, "a step that changes an array in place, as .= does"),
        (lambda cell, h: h[:, :3], r"step that is \(3, 3\) and not of shape \(3, 4\)"),
        (lambda cell, h: 0 * h[:, :1], r"step that is \(3, 1\) and not of shape \(3, 4\)"),
        (lambda cell, h: 1 / 0, r"a step that fails on arrays without numbers \(ZeroDivisionError"),
    ],
)
def test_what_cannot_be_traced_is_told(step, reason, rng):
    cell = Refused(step)
    problem = check_problem(cell, *draw(cell, rng)[:3], None, None)
    with pytest.raises(AssertionError, match=reason):
        assert untraceable_reason(problem) is None, untraceable_reason(problem)


def test_a_complex_pass_is_not_traced(rng):
    cell = CELLS["elman"]
    problem = check_problem(cell, *draw(cell, rng, dtype=np.complex128)[:3], None, None)
    assert untraceable_reason(problem) == "dtype complex128"


SLIPS = {"tanh": "sin{f}({0})", "add": "{0} - {1}", "multiply": "{0}"}


@pytest.mark.parametrize("op", SLIPS)
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_slip_in_a_generated_kernel_is_found(op, monkeypatch, rng):
    """What the kernels compute is what is compared: another text of an operation changes the results."""
    monkeypatch.setitem(ELEMENTWISE, op, SLIPS[op])
    cell, found = CELLS["gated, full"], Noted()
    case = draw(cell, rng, dtype=np.float32)
    traced(cell, *case, executor=found)
    got = traced(cell, *case, executor=Compiled(found.texts).executor(monkeypatch))
    with pytest.raises(AssertionError, match="states: "):
        assert_agree(got, reference(cell, *case), np.dtype("float32"))
