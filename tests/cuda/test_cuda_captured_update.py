"""Whole training updates as a CUDA graph, on the stand-ins for CuPy, its streams and the kernels: the same bits."""

import functools
import gc
import warnings
import weakref

import numpy as np
import pytest
import standin_cupy
import standin_graph
from captured_runs import CELL, assert_same, counts, install, outcome, plain, schedule, sequences, trainer
from standin import missing

import numrnn
from benchmarks.gpu import short_run
from numrnn.datasets import PixelEncoder, RowNoiseEncoder, Sequences
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN
from numrnn.engines.cuda.trace.capture import VARIABLE
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Classifier,
    DivergenceError,
    Regressor,
    StepSchedule,
    captured_update,
    capturing,
    why_not_captured,
)
from numrnn.training.ledger import Ledger

pytestmark = pytest.mark.skipif(
    missing() is not None or standin_cupy.COMPILER is None, reason="the stand-ins need g++ on the path"
)


@pytest.fixture
def cupy(monkeypatch):
    return install(monkeypatch)


SCALES = {"W": np.linspace(0.5, 2, 4)[:, None], "b": 3.0}
CASES = {
    "Adam, learning rate by the update, clipping": {},
    "SGD without clipping, exponential average": {
        "optimizer": SGD(0.3, momentum=0.9, nesterov=True),
        "clip": None,
        "average": "exponential",
        "average_updates": 9,
    },
    "AdamW, tail average, dropout, scales of the steps": {
        "optimizer": AdamW(schedule(), weight_decay=0.1, undecayed=["b"], step_scales=SCALES, multipliers={"V": 0.5}),
        "average": "tail",
        "average_updates": 11,
        "input_dropout": 0.3,
    },
    "Adagrad, noise, recomputation": {
        "optimizer": Adagrad(0.2),
        "encoder": RowNoiseEncoder((2, 3), length=5),
        "model": Classifier(numrnn.AntisymmetricCell(3, 4, step_size=0.5), 3),
        "recompute_every": 2,
    },
    "Elman in float64, numbers as targets": {
        "model": Regressor(numrnn.ElmanCell(1, 4), 2),
        "encoder": None,
        "data": "sequences",
        "dtype": "float64",
    },
}


def case(name):
    options = dict(CASES[name])
    return options | {"data": sequences()} if "data" in options else options


@pytest.mark.parametrize("name", CASES)
def test_a_run_of_captured_updates_has_the_bits_of_a_plain_one(name, cupy, monkeypatch, tmp_path):
    """Thirty updates; the fourth and later ones of five rows are replayed, and of the three-row ones the third."""
    got = outcome(tmp_path / "captured", **case(name))
    assert counts() == (2, 22 + 4)
    assert_same(got, plain(monkeypatch, tmp_path / "plain", **case(name)))


def test_both_sides_of_the_bound_of_clipping_are_met(cupy, tmp_path):
    """The run of the first case clips some of its replayed updates and not others."""
    result = trainer(tmp_path).run()
    clipped = [line["gradient_norm"] > 0.7 for line in result.history("training")[10:]]
    assert 3 < sum(clipped) < len(clipped) - 3


def test_a_resumed_run_is_the_run(cupy, monkeypatch, tmp_path):
    """Interrupted within an epoch, between replays; each process captures anew."""
    options = {"optimizer": Adam(StepSchedule(learning_rate=0.05, period=9)), "epochs": None}
    whole = plain(monkeypatch, tmp_path / "whole", iterations=30, **options)
    outcome(tmp_path / "cut", iterations=13, **options)
    assert_same(outcome(tmp_path / "cut", iterations=30, resume=True, **options), whole)
    assert counts()[0] == 3  # the first part has two batches of three rows only


@pytest.mark.parametrize("update", [2, 3, 12, 15, 16])
def test_a_number_that_is_not_finite_is_noticed_at_the_same_update(update, cupy, monkeypatch, tmp_path):
    """The learning rate is infinite in float32: of plain updates, of two that are captured, of others."""

    def run(how, out):
        with pytest.raises(DivergenceError) as error:
            how(out, optimizer=SGD(lambda step: 1e39 if step == update - 1 else 0.05))
        return str(error.value).partition(";")[0], (out / "metrics.jsonl").read_text()

    got = run(outcome, tmp_path / "captured")
    assert got == run(functools.partial(plain, monkeypatch), tmp_path / "plain")
    assert got[0] == f"parameter W is not finite at step {update}"


def changing_run(how, out):
    """Return the outcome of a run with all that an update can have, whose step size a callback changes once.

    Besides, what callbacks were given must not have changed at the end.
    """
    kept, cell = [], numrnn.AntisymmetricCell(1, 4, step_size=0.5)

    def callback(end):
        kept.append((end.params, {name: array.get() for name, array in end.params.items()}))
        cell.step_size = 0.5 if end.epoch < 5 else 0.4

    options = dict(CASES["AdamW, tail average, dropout, scales of the steps"], average="exponential")
    found = how(out, model=Classifier(cell, 3), callbacks=[callback], **options)
    for params, before in kept:
        assert all(np.array_equal(params[name].get(), value) for name, value in before.items())
    return found


def test_callbacks_keep_what_they_are_given_and_may_change_the_cell(cupy, monkeypatch, tmp_path):
    got = changing_run(outcome, tmp_path / "captured")
    assert counts()[0] == 3
    assert_same(got, changing_run(functools.partial(plain, monkeypatch), tmp_path / "plain"))


def by_hand(cupy, out, captured):
    """Return the losses of 16 updates on two streams, and what is left; a ledger has eight of them."""
    made = trainer(out, batch_size=6, validation_size=5, optimizer=SGD(0.2, momentum=0.5))
    out.mkdir()
    run, losses = made._start(resume=False, overwrite=False), []
    update = capturing.CapturedUpdates(made) if captured else made._update
    batches, ledger = made.source.batches(run.params["W"]), Ledger(run.params, run.optimizer)
    streams, before = [cupy.cuda.Stream() for _ in range(2)], cupy.cuda.get_current_stream()
    for turn, stream in enumerate([streams[0], streams[1], streams[1], streams[0]]):
        event = cupy.cuda.Event()
        before.record(event)
        stream.wait_event(event)
        with stream:
            if turn == 2:
                losses += [one.loss for one in ledger.read()[0]]
                ledger = Ledger(run.params, run.optimizer)
            for _ in range(4):
                update(run, batches, ledger)
            state = {name: array.get() for name, array in run.params.items()}
        before = stream
    with before:
        return losses + [one.loss for one in ledger.read()[0]], state


def test_streams_and_ledgers_take_turns(cupy, tmp_path):
    got = by_hand(cupy, tmp_path / "captured", captured=True)
    assert counts() == (4, 8)
    wanted = by_hand(cupy, tmp_path / "plain", captured=False)
    assert len(got[0]) == 16
    assert got[0] == wanted[0]
    assert all(np.array_equal(got[1][name], value) for name, value in wanted[1].items())


def test_an_update_waits_no_more_often_than_a_plain_one_and_asks_for_fewer_operations(cupy, monkeypatch, tmp_path):
    """The operations are those that the host starts; docs/cuda_engine.md has the numbers."""
    waits, operations = [], []
    launch = standin_graph.Graph.launch

    def one(graph, stream):
        before = len(standin_cupy.operations), len(standin_cupy.launches)
        launch(graph, stream)
        del standin_cupy.operations[before[0] :], standin_cupy.launches[before[1] :]

    monkeypatch.setattr(standin_graph.Graph, "launch", one)
    for how in (outcome, functools.partial(plain, monkeypatch)):
        of_lengths = []
        for length in (28, 29):  # the last update of the longer run follows one of as many rows
            out = tmp_path / f"{len(waits)} {length}"
            standin_cupy.waits.clear(), standin_cupy.operations.clear(), standin_cupy.launches.clear()
            how(out, epochs=None, iterations=length, checkpoint_interval=1000)
            started = standin_cupy.operations + standin_cupy.launches
            of_lengths.append(len([name for name in started if not name.endswith("_last")]))
        waits.append(len(standin_cupy.waits))
        operations.append(of_lengths[1] - of_lengths[0])
    assert waits[0] == waits[1]
    print("operations of an update, captured and plain:", *operations)
    assert operations == OPERATIONS


OPERATIONS = [7, 40]


def test_the_memory_of_a_run_is_given_back(cupy, monkeypatch, tmp_path):
    made = []
    inner = captured_update.CapturedUpdate.__init__

    def noted(self, *arguments):
        inner(self, *arguments)
        made.append(weakref.ref(self))

    monkeypatch.setattr(captured_update.CapturedUpdate, "__init__", noted)
    trainer(tmp_path).run()
    gc.collect()
    assert [one() for one in made] == [None, None]


def test_a_run_on_a_stream_and_a_device_of_its_own(cupy, monkeypatch, tmp_path):
    """Whatever is current: the stand-in refuses work on the wrong device, or in an order that nothing decides."""
    with cupy.cuda.Stream():
        got = outcome(tmp_path / "captured")
    assert counts()[0] == 2
    assert_same(got, plain(monkeypatch, tmp_path / "plain"))


def refuse(monkeypatch):
    def fail(stream):
        standin_graph.state.capturing = None
        raise RuntimeError("cudaErrorStreamCaptureInvalidated")

    monkeypatch.setattr(standin_graph.Stream, "end_capture", fail)


def test_a_refused_capture_warns_once_and_the_updates_are_plain(cupy, monkeypatch, tmp_path):
    wanted = plain(monkeypatch, tmp_path / "plain")
    refuse(monkeypatch)
    with pytest.warns(RuntimeWarning, match="an update of a run cannot be captured.*CaptureInvalidated") as warned:
        got = outcome(tmp_path / "refused")
    assert len(warned) == 1
    assert counts() == (0, 0)
    assert_same(got, wanted)


class OwnSGD(SGD):
    """An optimiser that counts its updates, as a graph would not."""

    updates = 0

    def update(self, *arguments, **named):
        self.updates += 1
        return super().update(*arguments, **named)


def lstm():
    return Classifier(numrnn.LSTMCell(1, 4), 3)


REASONS = {
    "arrays of numpy": {"backend": "numpy"},
    "the optimiser OwnSGD": {"optimizer": OwnSGD(0.1)},
    "engine='reference'": {"engine": "reference"},
    "products by cuBLAS: the cell LSTMCell with 4 units and 1 inputs": {"model": lstm()},
    "products by cuBLAS: the cell AntisymmetricCell with 4 units and 6 inputs": {
        "model": Classifier(numrnn.AntisymmetricCell(6, 4), 3),
        "encoder": RowNoiseEncoder((2, 6), length=5),
        "data": (np.zeros((9, 2, 6), np.uint8), np.zeros(9, np.int64)),
    },
    "the cell Stack, of which no kernel computes a whole sequence": {
        "model": Classifier(numrnn.Stack([CELL, numrnn.AntisymmetricCell(4, 4)]), 3)
    },
    "products by cuBLAS: a read-out of every step": {
        "model": Regressor(CELL, 1, output="every"),
        "encoder": None,
        "data": Sequences(np.zeros((9, 7, 1)), np.zeros((9, 7, 1))),
    },
    "sequences of different lengths": {
        "model": Regressor(CELL, 2),
        "encoder": None,
        "data": Sequences(np.zeros((9, 7, 1)), np.zeros((9, 2)), lengths=np.arange(9) % 3 + 4),
    },
}


@pytest.mark.parametrize("reason", REASONS)
def test_why_updates_are_not_captured_can_be_asked(reason, cupy, tmp_path):
    assert why_not_captured(trainer(tmp_path, **REASONS[reason])) == reason


@pytest.mark.parametrize("cell", [numrnn.AntisymmetricCell(1, 128), numrnn.GatedAntisymmetricCell(1, 128)])
def test_sequential_mnist_in_batches_of_128_is_captured(cell, cupy, tmp_path):
    """On an H100 or H200, as far as the choice of kernels goes."""
    data = np.zeros((130, 2, 3), np.uint8), np.zeros(130, np.int64)
    assert why_not_captured(trainer(tmp_path, model=Classifier(cell, 10), data=data, batch_size=128)) is None


def test_the_short_run_for_the_sanitizer_captures(cupy):
    short_run.train(numrnn.AntisymmetricCell(1, 30), PixelEncoder((5, 4)), epochs=3)
    assert counts() == (1, 4)


def test_the_variables_are_named_where_they_decide(cupy, monkeypatch, tmp_path):
    made = trainer(tmp_path)
    assert why_not_captured(made) is None
    monkeypatch.setenv(VARIABLE, "0")
    assert why_not_captured(made) == f"{VARIABLE}=0"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv(UNPROVEN)
    assert why_not_captured(made) == f"captured updates, which have not run on a GPU yet; {UNPROVEN}=1 asks for them"
    with pytest.raises(TypeError, match="trainer must be a Trainer, got"):
        why_not_captured("run")


def test_what_is_not_captured_does_not_warn(cupy, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(tmp_path, optimizer=OwnSGD(0.1), epochs=1).run()
    assert counts() == (0, 0)
