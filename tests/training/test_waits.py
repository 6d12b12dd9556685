"""A training run on a device waits for it at most once every 50 updates, and is otherwise the run that the CPU makes.

The device is a stand-in that counts waits (standin_cupy.py): every reading of an element of an array by the host.
"""

import math

import numpy as np
import pytest
import standin_cupy
from helpers import worst
from standin_cupy import waits

import numrnn
from numrnn.backend import to_numpy, trusted_values, values_are_trusted
from numrnn.checks import check_finite
from numrnn.datasets import PixelEncoder, RowNoiseEncoder
from numrnn.training import (
    SGD,
    Adagrad,
    Adam,
    Classifier,
    DivergenceError,
    Trainer,
    TrainingConfig,
    load_checkpoint,
    read_json_lines,
)
from numrnn.training.ledger import WAIT_EVERY

pytestmark = pytest.mark.skipif(standin_cupy.COMPILER is None, reason="needs g++ or clang++ on the path")
EPS32 = float(np.finfo(np.float32).eps)


@pytest.fixture
def cupy(monkeypatch):
    return standin_cupy.install(monkeypatch)


def data(n_images=130):
    """Return images of 2 x 3 pixels and labels that their mean decides."""
    images = np.random.default_rng(1).integers(0, 256, (n_images, 2, 3), np.uint8)
    return images, np.digitize(images.mean(axis=(1, 2)), [105, 150])


def trainer(out, backend, *, model=None, encoder=None, optimizer=None, images=130, **changes):
    """A run of 1 epoch unless said otherwise; the batches hold one image, so that an epoch has many updates."""
    encoder = encoder or PixelEncoder((2, 3), mean=0.5, std=0.25)
    config = {"epochs": 1, "batch_size": 1, "clip": 0.5, "checkpoint_interval": 10_000, "engine": "reference"}
    cell = numrnn.GatedAntisymmetricCell(encoder.input_size, 4, step_size=0.5)
    return Trainer(
        model or Classifier(cell, 3),
        optimizer or Adam(0.02),
        encoder,
        data(images),
        TrainingConfig(backend=backend, **config | changes),
        out,
        show_progress=False,
    )


def waits_of_updates(make, out, n):
    """Return how many waits `n` updates cost: those of a run that is so much longer than another."""
    counts = []
    for length in (WAIT_EVERY, WAIT_EVERY + n):
        waits.clear()
        make(out / str(length), length).run()
        counts.append(len(waits))
    return counts[1] - counts[0]


@pytest.mark.parametrize("n", [1, 50, 51, 130])
def test_updates_wait_once_every_fifty(cupy, tmp_path, n):
    def make(out, length):
        return trainer(out, "cupy", epochs=None, iterations=length, images=1000)

    assert 1 <= waits_of_updates(make, tmp_path, n) <= math.ceil(n / 50)


@pytest.mark.parametrize(
    "changes",
    [
        {"log_interval": 7},
        {"log_interval": 1},
        {"clip": None},
        {"dtype": "float64"},
        {"average": "exponential", "average_updates": 5},
        {"recompute_every": "sqrt"},
        {"input_dropout": 0.1},
        {"optimizer": SGD(0.1, momentum=0.9)},
        {"optimizer": Adagrad(0.1)},
        {"encoder": RowNoiseEncoder((2, 3), length=5)},
        {"encoder": RowNoiseEncoder((2, 3), length=5, noise="fixed")},
        {"model": Classifier(numrnn.LSTMCell(1, 3), 3)},
        {"model": Classifier(numrnn.AntisymmetricCell(1, 3), 3)},
    ],
    ids=str,
)
def test_no_setting_adds_a_wait(cupy, tmp_path, changes):
    def make(out, length):
        return trainer(out, "cupy", epochs=None, iterations=length, images=1000, **changes)

    assert waits_of_updates(make, tmp_path, 100) <= 2


def test_an_encoder_that_knows_no_device_adds_no_wait(cupy, tmp_path):
    def encode(images, rng):
        return images.reshape(len(images), -1).T[:, :, None] / 255.0

    def make(out, length):
        return trainer(out, "cupy", encoder=_with_size(encode), epochs=None, iterations=length, images=1000)

    assert waits_of_updates(make, tmp_path, 50) == 1


def _with_size(function):
    function.input_size = 1
    return function


def test_images_are_copied_to_the_device_once(cupy, tmp_path, monkeypatch):
    sizes, asarray = [], cupy.asarray

    def counted(values, dtype=None):
        sizes.append(np.size(values) if isinstance(values, np.ndarray) else 1)
        return asarray(values, dtype)

    monkeypatch.setattr(cupy, "asarray", counted)
    trainer(tmp_path, "cupy", batch_size=10).run()
    assert sorted(sizes)[-1] == 130 * 6
    assert sum(size > 130 for size in sizes) == 1


def test_validation_waits_twice_however_many_batches_it_has(cupy, tmp_path):
    counts = []
    for size in (100, 5):
        waits.clear()
        settings = {"validation_size": 100, "evaluation_batch_size": size, "batch_size": 30}
        trainer(tmp_path / str(size), "cupy", **settings).run()
        counts.append(len(waits))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "changes",
    [{}, {"clip": None}, {"average": "tail", "average_updates": 9}, {"optimizer": SGD(0.1, momentum=0.9)}],
    ids=str,
)
def test_a_run_on_the_device_is_the_run_on_the_cpu(cupy, tmp_path, changes):
    """To the roundings of 60 updates; in float32 the norm is summed, and the loss shared out, in another order."""
    settings = {"epochs": 2, "batch_size": 4, "validation_size": 10, "log_interval": 7, **changes}
    device = trainer(tmp_path / "device", "cupy", **settings).run()
    host = trainer(tmp_path / "host", "numpy", **settings).run()
    growth = 1000 * EPS32
    for got, wanted in zip(read_json_lines(device.metrics), read_json_lines(host.metrics), strict=True):
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            assert got[name] == value or got[name] == pytest.approx(value, rel=growth), name
    for name in host.params:
        assert worst(to_numpy(device.evaluated[name]), host.evaluated[name]) < growth
    timed = [read_json_lines(run.metrics.with_name("timings.jsonl")) for run in (device, host)]
    assert [line["step"] for line in timed[0]] == [line["step"] for line in timed[1]]


@pytest.mark.parametrize("stop", [1, 50, 75])
@pytest.mark.parametrize("noise", [False, True], ids=["pixels", "noise"])
def test_a_run_on_the_device_resumes_bit_for_bit(cupy, tmp_path, stop, noise):
    def make(out, **changes):
        encoder = RowNoiseEncoder((2, 3), length=5) if noise else None
        return trainer(out, "cupy", encoder=encoder, epochs=None, log_interval=7, **changes)

    whole = make(tmp_path / "whole", iterations=90).run()
    make(tmp_path / "cut", iterations=stop).run()
    # A longer run has no line of metrics where a shorter one ended: take the parameters.
    resumed = make(tmp_path / "cut", iterations=90).run(resume=True)
    for name in whole.params:
        assert np.array_equal(to_numpy(resumed.params[name]), to_numpy(whole.params[name]))


def test_a_run_killed_between_two_readings_writes_the_same_lines_again(cupy, tmp_path):
    class Killed(RuntimeError):
        pass

    class Failing(Classifier):
        calls = 0

        def loss_and_gradient(self, *arguments, **named):
            self.calls += 1
            if self.calls == 68:
                raise Killed
            return super().loss_and_gradient(*arguments, **named)

    settings = {"log_interval": 4, "checkpoint_interval": 30}
    whole = trainer(tmp_path / "whole", "cupy", **settings).run()
    cell = numrnn.GatedAntisymmetricCell(1, 4, step_size=0.5)
    with pytest.raises(Killed):
        trainer(tmp_path / "cut", "cupy", model=Failing(cell, 3), **settings).run()
    resumed = trainer(tmp_path / "cut", "cupy", **settings).run(resume=True)
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


# ---------------------------------------------------------------- NaN and infinity


class Spoiling(Classifier):
    """Puts a number into what comes out, at the n-th gradient."""

    def __init__(self, n, quantity, value):
        super().__init__(numrnn.GatedAntisymmetricCell(1, 4, step_size=0.5), 3)
        self.n, self.quantity, self.value = n, quantity, value

    def loss_and_gradient(self, *arguments, **named):
        loss, grads, logits = super().loss_and_gradient(*arguments, **named)
        self.n -= 1
        if self.n == 0 and self.quantity == "loss":
            loss = loss + self.value
        elif self.n == 0:
            grads[self.quantity][0] = self.value
        return loss, grads, logits


@pytest.mark.parametrize("step", [1, 50, 51, 77])
@pytest.mark.parametrize(
    ("quantity", "value", "named"),
    [
        ("loss", math.nan, "loss"),
        ("b_out", math.inf, "the gradient's norm"),
        ("b_z", math.nan, "the gradient's norm"),
    ],
)
def test_the_first_bad_update_is_named_though_it_is_read_later(cupy, tmp_path, quantity, value, named, step):
    model = Spoiling(step, quantity, value)
    run = trainer(tmp_path, "cupy", model=model, log_interval=1)
    with pytest.raises(DivergenceError, match=f"{named} is not finite at step {step};") as caught:
        run.run()
    assert (caught.value.step, caught.value.quantity) == (step, named)
    assert load_checkpoint(caught.value.checkpoint).step == 0
    lines = read_json_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, step))
    assert -model.n < 50  # updates made after the bad one


def test_a_parameter_that_overflows_is_named(cupy, tmp_path):
    optimizer = SGD(lambda step: 3e38 if step == 60 else 0.1)
    model = Spoiling(61, "b_out", 1e30)
    with pytest.raises(DivergenceError, match=r"parameter b_out is not finite at step 61;"):
        trainer(tmp_path, "cupy", model=model, optimizer=optimizer, clip=None).run()


def test_a_square_that_overflows_in_the_optimiser_is_named(cupy, tmp_path):
    with pytest.raises(DivergenceError, match=r"optimizer square_mean\.b_out is not finite at step 61;"):
        trainer(tmp_path, "cupy", model=Spoiling(61, "b_out", 1e30), clip=None).run()


def test_no_checkpoint_holds_what_was_not_looked_at(cupy, tmp_path):
    with pytest.raises(DivergenceError) as caught:
        trainer(tmp_path, "cupy", model=Spoiling(33, "b_out", math.nan), checkpoint_interval=20).run()
    good = load_checkpoint(caught.value.checkpoint)
    assert good.step == 20
    assert all(np.isfinite(to_numpy(array)).all() for array in good.params.values())


# ---------------------------------------------------------------- checks of values


def test_a_user_gets_every_check(cupy, rng):
    model = Classifier(numrnn.AntisymmetricCell(1, 4), 3)
    params = model.init_params(rng, backend="cupy")
    x, labels = cupy.asarray(np.ones((5, 2, 1), np.float32)), cupy.asarray(np.array([0, 2]))
    params["W"][0, 1] = math.nan
    with pytest.raises(ValueError, match=r"params\['W'\] must be finite, got nan at index \(0, 1\)"):
        model.loss_and_gradient(params, x, labels, engine="reference")


def test_trust_ends_with_its_block_even_after_an_error():
    bad = np.array([1.0, np.nan])

    def look_away():
        with trusted_values():
            check_finite("bad", bad)
            assert values_are_trusted()
            raise KeyError

    with pytest.raises(KeyError):
        look_away()
    assert not values_are_trusted()
    with pytest.raises(ValueError, match=r"bad must be finite, got nan at index \(1,\)"):
        check_finite("bad", bad)


def test_on_the_cpu_values_are_checked_in_a_run_too(tmp_path):
    def encode(images, rng):
        return np.full((6, len(images), 1), np.nan)

    with pytest.raises(ValueError, match="x must be finite, got nan at index"):
        trainer(tmp_path, "numpy", encoder=_with_size(encode)).run()
