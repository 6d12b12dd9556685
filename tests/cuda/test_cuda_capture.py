"""The captured loop of a traced cell on a stand-in for CuPy's streams and graphs: numbers, order, and who owns what."""

import gc
import inspect
import threading
import types
import weakref

import numpy as np
import pytest
import standin_cupy
import standin_graph
from helpers import EPS64, worst
from own_cells import OWN
from test_cuda_trace import CELLS, assert_agree, draw, reference

import numrnn
from benchmarks.gpu import short_run
from numrnn import backward, forward
from numrnn.backend import to_numpy
from numrnn.bptt import GRADIENTS
from numrnn.engines.cuda.kernels import SCALARS
from numrnn.engines.cuda.trace import TracedTape, capture, kernels, product, release_captured_loops, tape
from numrnn.engines.cuda.trace.graph import record
from numrnn.engines.cuda.trace.plan import make_plan
from numrnn.engines.cuda.trace.product import Tile
from numrnn.problem import check_problem
from numrnn.training import Adam

pytestmark = pytest.mark.skipif(standin_cupy.COMPILER is None, reason="the stand-in needs g++ on the path")
NAMES = ("GRU", "normalised", "lipschitz, rk2", "lstm")


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setattr(capture, "_loops", capture.Loops())
    monkeypatch.setattr(capture, "_warned", set())
    return standin_graph.install(monkeypatch)


def move(cupy, value):
    if isinstance(value, dict):
        return {key: cupy.asarray(one) for key, one in value.items()}
    return None if value is None else cupy.asarray(value)


def start(cupy, cell, params, x, h0, lengths=None, every=None):
    """Return the tape of a forward pass on new arrays."""
    one = TracedTape(check_problem(cell, move(cupy, params), move(cupy, x), move(cupy, h0), lengths, every))
    one.run()
    return one


def finish(cupy, one, d_states):
    """Return all results of a tape on the host."""
    grads = backward(one, move(cupy, d_states), wrt=GRADIENTS)
    named = {f"d{name}": value for name, value in grads.params.items()}
    states = one.states if one.problem.every is None else cupy.concatenate([h.reshape(1, *h.shape) for h in one.states])
    found = {"states": states, **named, "dx": grads.x, "dh0": grads.h0, "dh": grads.states}
    return {name: to_numpy(value) for name, value in found.items()}


def both(cupy, cell, params, x, h0, d_states, lengths=None, every=None):
    return finish(cupy, start(cupy, cell, params, x, h0, lengths, every), d_states)


def counts():
    return standin_graph.state.captures, standin_graph.state.replays


@pytest.mark.parametrize("name", NAMES)
def test_the_second_pass_captures_and_later_ones_replay_on_other_data(name, cupy, rng):
    cell, seen = CELLS[name], []
    for _ in range(3):
        case = draw(cell, rng)
        assert_agree(both(cupy, cell, *case), reference(cell, *case), np.float64)
        seen.append(counts())
    assert seen == [(0, 0), (2, 2), (2, 4)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_replay_has_the_bits_of_the_steps_one_by_one(dtype, cupy, monkeypatch, rng):
    cell = OWN["normalised"]
    both(cupy, cell, *draw(cell, rng, dtype=np.dtype(dtype)))
    case = draw(cell, rng, dtype=np.dtype(dtype))
    replayed = both(cupy, cell, *case)
    assert counts() == (2, 2)
    monkeypatch.setenv(capture.VARIABLE, "0")
    one_by_one = both(cupy, cell, *case)
    assert counts() == (2, 2)
    assert all(np.array_equal(replayed[name], value) for name, value in one_by_one.items())


@pytest.mark.parametrize("every", [None, 1, 4])
def test_ragged_lengths_and_recomputation_agree(every, cupy, rng):
    """With 4 of 9 steps a segment: the last one is shorter, a loop of its own."""
    cell = OWN["GRU"]
    for _ in range(3):
        case, lengths = draw(cell, rng, 9), rng.integers(1, 10, 3)
        got = both(cupy, cell, *case, lengths=lengths, every=every)
        assert_agree(got, reference(cell, *case, lengths=lengths), np.float64, 9)
    assert counts()[0] == (4 if every == 4 else 2)


def test_problems_of_other_shapes_and_cotangents_take_turns(cupy, rng):
    cell = OWN["rectified"]
    for turn in range(3):
        for n_steps, batch in ((6, 3), (4, 3), (6, 2)):
            case = draw(cell, rng, n_steps, batch)
            assert_agree(both(cupy, cell, *case), reference(cell, *case), np.float64)
            # A cotangent of the last state alone: the direct derivatives are one zero that repeats.
            final = np.zeros_like(case[3])
            final[-1] = case[3][-1]
            one = start(cupy, cell, *case[:3])
            grads = backward(one, d_final=cupy.asarray(final[-1]), wrt=("x", "params"))
            wanted = reference(cell, *case[:3], final)
            got = {"dx": to_numpy(grads.x), "dW": to_numpy(grads.params["W"])}
            assert_agree(got, {name: wanted[name] for name in got}, np.float64)
        assert counts()[0] == (3 if turn == 0 else 9)  # the forward pass of a shape is the same for both cotangents


def test_updates_of_a_training_find_the_loops_of_the_first(cupy, rng):
    """Parameters are other arrays after each update, and the problem is another object."""
    cell, optimizer = OWN["GRU"], Adam(0.1)
    params, x, _, d_states = draw(cell, rng)
    moved = move(cupy, params)
    wanted, wanted_state = params, optimizer.init(params)
    state = optimizer.init(moved)
    for _ in range(4):
        batch = rng.standard_normal(x.shape)
        tape = forward(cell, moved, cupy.asarray(batch), engine="fused")[1]
        grads = backward(tape, d_final=cupy.asarray(d_states[-1]), wrt=("params",))
        moved, state = optimizer.update(moved, grads.params, state)
        tape = forward(cell, wanted, batch, engine="reference")[1]
        grads = backward(tape, d_final=d_states[-1], wrt=("params",))
        wanted, wanted_state = optimizer.update(wanted, grads.params, wanted_state)
    assert counts() == (2, 6)
    # Adam divides by the size of a gradient, which rounding may change most where it is small.
    assert max(worst(to_numpy(moved[name]), value) for name, value in wanted.items()) <= 2**20 * EPS64


def test_released_loops_are_captured_again(cupy, rng):
    cell = OWN["rectified"]
    for passes in (1, 2):
        for _ in range(2):
            start(cupy, cell, *draw(cell, rng)[:3])
        assert counts() == (passes, passes)
        arrays = [weakref.ref(entry.loop) for entry in capture._loops.by_key.values()]
        release_captured_loops()
        gc.collect()
        assert [reference() for reference in arrays] == [None]


def test_a_tape_keeps_its_results_while_others_replay(cupy, rng):
    cell = OWN["GRU"]
    cases = [draw(cell, rng) for _ in range(4)]
    tapes = [start(cupy, cell, *case[:3]) for case in cases]
    assert counts() == (1, 3)
    states = [to_numpy(one.states) for one in tapes]
    grads = [finish(cupy, one, case[3]) for one, case in zip(tapes, cases, strict=True)]
    for case, before, found in zip(cases, states, grads, strict=True):
        wanted = reference(cell, *case)
        assert_agree({"states": before}, {"states": wanted["states"]}, np.float64)
        assert_agree(found, wanted, np.float64)


def test_what_a_run_keeps_for_gradients_is_not_what_the_next_replay_writes(cupy, monkeypatch, rng):
    """Runs of the backward loop end with copies: their values are the same after the next one."""
    runs, inner = [], tape.run_loop

    def noted(run):
        inner(run)
        runs.append((run, {node: to_numpy(array) for node, array in run.own.items() if node in run.plan.kept}))

    monkeypatch.setattr(tape, "run_loop", noted)
    for _ in range(3):
        both(cupy, OWN["GRU"], *draw(OWN["GRU"], rng))
    kept = [(run.own[node], before) for run, values in runs for node, before in values.items()]
    assert len(kept) >= 3
    assert all(np.array_equal(to_numpy(array), before) for array, before in kept)


def test_a_loop_holds_as_many_numbers_as_the_page_says(cupy, rng):
    """docs/cuda_engine.md says how many arrays of T B n numbers; what does not grow with T is little here."""
    n_steps, batch, n = 30, 16, 8
    wanted = {numrnn.AntisymmetricCell(1, n): (2, 4), numrnn.LSTMCell(1, n): (6, 14)}
    for cell, numbers in wanted.items():
        capture._loops.by_key.clear()
        for _ in range(2):
            both(cupy, cell, *draw(cell, rng, n_steps, batch))
        sizes = []
        for loop in (entry.loop for entry in capture._loops.by_key.values()):
            arrays = [loop._loop.carried, *loop._loop.own.values(), *(one._numbers for one in loop._inputs.values())]
            sizes.append(sum(array.size for array in arrays) / (n_steps * batch * n))
        assert [int(size) for size in sizes] == list(numbers), sizes


def test_each_stream_has_loops_of_its_own(cupy, rng):
    cell, streams = OWN["rectified"], [cupy.cuda.Stream() for _ in range(2)]
    for _ in range(3):
        for stream in streams:
            case = draw(cell, rng)
            with stream:
                got = both(cupy, cell, *case)
            assert_agree(got, reference(cell, *case), np.float64)
    assert counts() == (4, 8)


def test_each_thread_has_loops_of_its_own(cupy, rng):
    """Two threads on one stream might each copy their inputs in before either starts the graph."""
    cell, errors = OWN["rectified"], []

    def work():
        try:
            for _ in range(2):
                case = draw(cell, rng)
                assert_agree(both(cupy, cell, *case), reference(cell, *case), np.float64)
        except BaseException as error:
            errors.append(error)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert not errors, errors
    assert counts() == (4, 4)


def test_the_stand_in_finds_what_two_streams_do_without_an_event(cupy):
    one, other, event = cupy.cuda.Stream(), cupy.cuda.Stream(), cupy.cuda.Event()
    with one:
        array = cupy.asarray(np.ones(3))
        one.record(event)
    with other, pytest.raises(standin_graph.RaceError):
        array + 1
    other.wait_event(event)
    with other:
        array + 1
    with one, pytest.raises(standin_graph.RaceError):
        array[...] = 2  # the other stream still reads


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda cupy, array: array + 1,
        lambda cupy, array: cupy.empty((2, 2), np.float64),
        lambda cupy, array: cupy.matmul(array, array, out=array),
        lambda cupy, array: array.get(),
        lambda cupy, array: bool(array[0, 0]),
        lambda cupy, array: cupy.cuda.Stream().synchronize(),
        lambda cupy, array: cupy.RawModule("", ()),
        lambda cupy, array: array.__setitem__(..., 1),
    ],
)
def test_the_stand_in_refuses_what_a_capture_forbids(forbidden, cupy):
    array, stream = cupy.asarray(np.ones((2, 2))), cupy.cuda.Stream(non_blocking=True)
    forbidden(cupy, array)
    with stream:
        stream.begin_capture()
        with pytest.raises((AssertionError, NotImplementedError)):
            forbidden(cupy, array)
        stream.end_capture()


def refusals(monkeypatch):
    """Return ways to refuse a capture: what is changed, and what the warning says."""

    def no_capture():
        monkeypatch.delattr(standin_graph.Stream, "begin_capture")

    def refused():
        monkeypatch.setattr(standin_graph.Stream, "end_capture", fail)

    def fail(stream):
        standin_graph.state.capturing = None
        raise RuntimeError("cudaErrorStreamCaptureInvalidated")

    def memory():
        monkeypatch.setattr(capture, "empty", lambda *arguments: (_ for _ in ()).throw(MemoryError("out of memory")))

    return {
        "has no Stream.begin_capture": no_capture,
        "RuntimeError: cudaErrorStreamCaptureInvalidated": refused,
        "MemoryError: out of memory": memory,
    }


@pytest.mark.parametrize("reason", refusals(None))
def test_a_refused_capture_warns_once_and_the_steps_run_one_by_one(reason, cupy, monkeypatch, rng):
    refusals(monkeypatch)[reason]()
    cell = OWN["GRU"]
    both(cupy, cell, *draw(cell, rng))
    case = draw(cell, rng)
    with pytest.warns(RuntimeWarning, match=reason) as warned:
        got = both(cupy, cell, *case)
    assert len(warned) == 1
    assert_agree(got, reference(cell, *case), np.float64)
    assert_agree(both(cupy, cell, *case), reference(cell, *case), np.float64)  # and no other attempt
    assert standin_graph.state.replays == 0


class Truncated(type(OWN["rectified"])):
    """A cell whose step takes the lower triangle of a product: a launch for which there is no kernel."""

    def step(self, params, x, h):
        xp = standin_cupy.np if isinstance(h, np.ndarray) else h.__array_namespace__()
        return xp.tanh(xp.tril(h @ params["W"])) + x @ params["V"]


def test_a_step_with_another_launch_is_not_captured(cupy, rng):
    cell = Truncated(3, 4)
    case = draw(cell, rng)
    start(cupy, cell, *case[:3])
    with pytest.warns(RuntimeWarning, match="a step needs tril, for which there is no kernel"):
        one = start(cupy, cell, *case[:3])
    wanted = forward(cell, *case[:3], engine="reference")[0]
    assert_agree({"states": to_numpy(one.states)}, {"states": wanted}, np.float64)


def test_loops_are_few_and_one_in_use_is_not_dropped_for_a_new_one(cupy, monkeypatch, rng):
    monkeypatch.setattr(capture, "MOST_LOOPS", 2)
    monkeypatch.setattr(capture, "PATIENCE", 6)
    monkeypatch.setattr(capture, "MOST_KEYS", 4)
    cell = OWN["rectified"]

    def forwards(n_steps, times):
        for _ in range(times):
            start(cupy, cell, *draw(cell, rng, n_steps)[:3])
        return standin_graph.state.captures

    assert [forwards(2, 2), forwards(3, 2), forwards(4, 2)] == [1, 2, 2]  # the third runs step by step
    assert [forwards(4, 2), forwards(2, 1)] == [3, 3]  # until one of the two has not been used for six passes
    for n_steps in range(5, 12):
        forwards(n_steps, 1)
    assert len(capture._loops.by_key) == 4
    assert sum(entry.loop is not None for entry in capture._loops.by_key.values()) == 2


def test_the_short_run_for_the_sanitizer_captures_and_reaches_every_tile(cupy, monkeypatch):
    assert max(short_run.traced_errors(cupy)) <= 1
    assert counts() == (4, 8)  # both passes of two cells
    tiles = []
    monkeypatch.setattr(product.Tile, "name", lambda tile, dtype: tiles.append(tile) or f"product<{SCALARS[dtype]}, 1>")
    assert max(short_run.product_errors(cupy)) <= 1
    assert set(tiles) == set(product.TILES)
    monkeypatch.setattr(standin_graph, "TEXT", standin_graph.TEXT.replace("sum += a", "sum += 2 * a"))
    product._compiled.cache_clear()
    assert min(short_run.product_errors(cupy)) > 1


def test_the_short_run_computes_products_and_what_reads_them_with_a_tile_of_its_choice(cupy, monkeypatch):
    """Here with one tile, as each has kernels of its own to compile."""
    chosen, source = [], kernels.epilogue_source
    monkeypatch.setattr(short_run, "TILES", [Tile(16, 32, 32)])
    monkeypatch.setattr(short_run, "TOLERANCES", {"float32": short_run.TOLERANCES["float32"]})
    monkeypatch.setattr(kernels, "epilogue_source", lambda *given: chosen.append(given[-1]) or source(*given))
    assert max(short_run.tile_errors(cupy)) <= 1
    assert set(chosen) == {Tile(16, 32, 32)}


def test_the_variable_must_be_a_bit(monkeypatch):
    monkeypatch.setenv(capture.VARIABLE, "yes")
    with pytest.raises(ValueError, match="NUMRNN_CUDA_CAPTURE must be"):
        capture.capture_is_wanted()


REPLAY = "        self._copy_in(run)\n        self._graph.launch"
STATES = "run.carried[filled] = self._loop.carried[filled]"
KEPT = "array.copy() for node, array in self._loop.own"
STEPS = "                self._loop.run_steps(run.n_steps)"
END = "self._graph = stream.end_capture()"
SLIPS = {
    "what the loop reads is not copied in": (REPLAY, REPLAY.partition("\n")[2]),
    "one row is copied in": ("self._numbers[...] = value[", "self._numbers[:1] = value[:1]["),
    "the first state is not copied in": ("self._loop.carried[first] = run.carried[first]", "pass"),
    "the states are those of the loop": (STATES, "run.carried = self._loop.carried"),
    "what is kept is the loop's": (KEPT, KEPT.replace(".copy()", "")),
    "a loop for every stream": (" run.xp.cuda.get_current_stream().ptr,", ""),
    "a loop for every thread": ("class Loops(threading.local):", "class Loops:"),
    "a step too few": (STEPS, STEPS.replace("n_steps)", "n_steps - 1)")),
    "the steps of the other direction": ("self._loop.allocate()", "self._loop.allocate(); self._loop.reverse ^= True"),
    "every step has the addresses of the first": (
        STEPS,
        "                [self._loop.run_steps(1) for _ in range(run.n_steps)]",
    ),
    "no step runs before the capture": ("        self._loop.run_steps(2)", "        pass"),
    "the loop's arrays are dropped": (END, f"{END}; self._loop.own = {{}}"),
    "a blocking stream captures": ("non_blocking=True", "non_blocking=False"),
    "arrays that repeat have the key of others": ("*_extents(array)) for", "*array.shape) for"),
    "the graph is launched elsewhere": ("launch(self._stream)", "launch(run.xp.cuda.Stream())"),
}
TESTS = (
    lambda *given: test_the_second_pass_captures_and_later_ones_replay_on_other_data("normalised", *given),
    test_problems_of_other_shapes_and_cotangents_take_turns,
    test_each_stream_has_loops_of_its_own,
    test_each_thread_has_loops_of_its_own,
)


def found(cupy, monkeypatch, text):
    """Tell whether one of the tests above fails with this text of capture.py."""
    for test in (*TESTS, test_what_a_run_keeps_for_gradients_is_not_what_the_next_replay_writes):
        module = types.ModuleType(capture.__name__)
        exec(compile(text, "capture.py", "exec"), module.__dict__)
        standin_graph.state = standin_graph.State()
        with monkeypatch.context() as patch, np.errstate(all="ignore"):
            patch.setattr(tape, "run_loop", module.run_loop)
            more = (patch,) if test not in TESTS else ()
            try:
                test(cupy, *more, np.random.default_rng(1))
            except (AssertionError, ValueError, TypeError, KeyError):
                return True
    return False


def test_capture_as_it_is_passes_where_the_slips_fail(cupy, monkeypatch):
    assert not found(cupy, monkeypatch, inspect.getsource(capture))


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_the_capture_is_found(name, cupy, monkeypatch):
    old, new = SLIPS[name]
    text = inspect.getsource(capture)
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    assert found(cupy, monkeypatch, text.replace(old, new))


def test_plans_of_their_own_for_each_problem_would_be_found(cupy, monkeypatch, rng):
    monkeypatch.setattr(tape, "plan_of", lambda function, dtype, varying: make_plan(record(function, dtype), varying))
    with pytest.raises(AssertionError):
        test_the_second_pass_captures_and_later_ones_replay_on_other_data("GRU", cupy, rng)
