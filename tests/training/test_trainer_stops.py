"""The training loop: NaN, Ctrl-C and time limits end a run, and nothing is lost."""

import signal
import threading
import time

import numpy as np
import pytest
from recorded_runs import STEPS, Recorder, assert_same_run, crash
from training_run import encode, make_data, make_model, make_trainer

from numrnn import ElmanCell
from numrnn.datasets import Sequences
from numrnn.training import (
    SGD,
    Classifier,
    DivergenceError,
    Regressor,
    Trainer,
    TrainingConfig,
    list_checkpoints,
    load_checkpoint,
    read_json_lines,
)

# ---------------------------------------------------------------- NaN and infinity


class Failing(Classifier):
    """Gives something not finite at its n-th gradient."""

    n = 8

    def loss_and_gradient(self, *arguments, **named):
        loss, grads, logits = super().loss_and_gradient(*arguments, **named)
        self.n -= 1
        return self.spoil(loss, grads, logits) if self.n == 0 else (loss, grads, logits)


class NoLoss(Failing):
    def spoil(self, loss, grads, logits):
        raise FloatingPointError("loss must be finite, got nan")


class NanGradient(Failing):
    def spoil(self, loss, grads, logits):
        grads["V_z"][2, 0] = np.nan
        return loss, grads, logits


class InfiniteGradient(Failing):
    def spoil(self, loss, grads, logits):
        grads["b_out"][1] = -np.inf
        return loss, grads, logits


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("kind", "quantity"),
    [(NoLoss, "loss"), (NanGradient, "the gradient's norm"), (InfiniteGradient, "the gradient's norm")],
)
def test_nan_and_infinity_stop_the_run_and_name_step_and_last_good_checkpoint(tmp_path, kind, quantity, clip):
    with pytest.raises(DivergenceError, match=rf"{quantity} is not finite at step 8; .*_00000006\.npz") as caught:
        make_trainer(tmp_path, model=make_model(kind), clip=clip).run()
    assert (caught.value.step, caught.value.quantity) == (8, quantity)
    good = load_checkpoint(caught.value.checkpoint)
    assert good.step == 6
    assert all(np.isfinite(array).all() for array in good.params.values())
    assert [record["step"] for record in read_json_lines(tmp_path / "metrics.jsonl")][-1] == 6


def test_a_parameter_that_overflows_stops_the_run(tmp_path):
    optimizer = SGD(lambda step: 1e38 if step == 4 else 0.1)
    with pytest.raises(DivergenceError, match=r"parameter .* is not finite at step 5; .*_00000003\.npz"):
        make_trainer(tmp_path, optimizer=optimizer, clip=None, model=make_model(HugeGradient)).run()


class HugeGradient(Classifier):
    """Gives gradients that are finite, but too large for a large learning rate."""

    n = 5

    def loss_and_gradient(self, *arguments, **named):
        loss, grads, logits = super().loss_and_gradient(*arguments, **named)
        self.n -= 1
        if self.n == 0:
            grads["W_out"][0, 0] = 3e38
        return loss, grads, logits


def test_a_square_that_overflows_in_the_optimizer_stops_the_run(tmp_path):
    with pytest.raises(DivergenceError, match=r"optimizer square_mean\.W_out is not finite at step 5"):
        make_trainer(tmp_path, clip=None, model=make_model(HugeGradient)).run()


def make_overflowing(kind, size):
    """Return a model whose parameters are finite, and stay so, and whose outputs or their loss are not."""

    class Overflowing(kind):
        def init_params(self, rng, **given):
            params = super().init_params(rng, **given)
            return params | {"W_out": np.sign(params["W_out"]) * np.float32(size)}

        def loss_and_gradient(self, params, *arguments, **named):
            grads = {name: np.zeros_like(value) for name, value in params.items()}
            return np.float32(1), grads, np.zeros((1, 3), np.float32)

    return Overflowing(ElmanCell(2, 5), 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_validation_that_is_not_finite_stops_the_run(tmp_path, kind, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 9) if kind is Classifier else rng.standard_normal((9, 3))
    model = make_overflowing(kind, 3e38 if kind is Classifier else rng.choice([1e20, 1e30, 3e38]))
    data, config = Sequences(rng.standard_normal((9, 4, 2)), y), TrainingConfig(iterations=2, validation_size=8)
    trainer = Trainer(model, SGD(0.1), None, data, config, tmp_path, show_progress=False)
    match = r"the validation loss is not finite at step 1; .*_00000000\.npz"
    with pytest.raises(DivergenceError, match=match) as caught:
        trainer.run()
    assert caught.value.step == 1
    assert [record["kind"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == ["training"]


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (float("nan"), ValueError, r"^metrics\['mine'\] must return a finite number, got nan"),
        (np.float32("-inf"), ValueError, r"^metrics\['mine'\] must return a finite number, got -inf"),
        ("much", TypeError, r"^metrics\['mine'\] must return a number, got 'much'"),
        (np.ones(2), TypeError, r"^metrics\['mine'\] must return a number, got an array of float64 of shape \(2,\)"),
    ],
)
def test_a_metric_that_is_no_number_is_refused_by_its_name(tmp_path, value, error, match):
    metrics = {"other": lambda predictions, targets: 1, "mine": lambda predictions, targets: value}
    model, config = make_model(), TrainingConfig(iterations=1, batch_size=9, validation_size=8)
    trainer = Trainer(model, SGD(0.1), encode, make_data(), config, tmp_path, metrics=metrics, show_progress=False)
    with pytest.raises(error, match=match):
        trainer.run()


def test_a_run_that_diverged_resumes_from_its_last_good_checkpoint(tmp_path, reference):
    with pytest.raises(DivergenceError):
        make_trainer(tmp_path, model=make_model(NanGradient)).run()
    assert_same_run(make_trainer(tmp_path).run(resume=True), reference)


# ---------------------------------------------------------------- Ctrl-C


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_step_and_writes_a_checkpoint(tmp_path):
    result = make_trainer(tmp_path, encoder=Recorder(4, press_ctrl_c)).run()
    assert (result.interrupted, result.step, result.total_steps) == (True, 4, STEPS)
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint.step == 4
    assert all(np.array_equal(checkpoint.params[name], result.params[name]) for name in result.params)


@pytest.mark.parametrize("call", [1, 4, 5, 6, 10])
def test_a_run_ended_by_ctrl_c_resumes_bit_for_bit(tmp_path, reference, call):
    assert make_trainer(tmp_path, encoder=Recorder(call, press_ctrl_c)).run().interrupted
    result = make_trainer(tmp_path).run(resume=True)
    assert not result.interrupted
    assert_same_run(result, reference)


def test_ctrl_c_in_the_last_step_does_not_interrupt_anything(tmp_path, reference):
    result = make_trainer(tmp_path, encoder=Recorder(19, press_ctrl_c)).run()
    assert not result.interrupted
    assert_same_run(result, reference)


def test_a_second_ctrl_c_raises_at_once(tmp_path):
    def press_twice():
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, encoder=Recorder(5, press_twice)).run()
    assert load_checkpoint(list_checkpoints(tmp_path)[-1]).step == 3


@pytest.mark.parametrize("action", [press_ctrl_c, crash, lambda: None], ids=["Ctrl-C", "crash", "nothing"])
def test_the_previous_handler_comes_back(tmp_path, action):
    def mine(number, frame):
        raise AssertionError("the trainer's handler was not installed")

    previous = signal.signal(signal.SIGINT, mine)
    try:
        trainer = make_trainer(tmp_path, encoder=Recorder(4, action))
        if action is crash:
            with pytest.raises(RuntimeError, match="power cut"):
                trainer.run()
        else:
            trainer.run()
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, previous)


def test_outside_the_main_thread_no_handler_is_installed(tmp_path, reference):
    before, seen, results = signal.getsignal(signal.SIGINT), [], []
    recorder = Recorder(2, lambda: seen.append(signal.getsignal(signal.SIGINT)))
    thread = threading.Thread(target=lambda: results.append(make_trainer(tmp_path, encoder=recorder).run()))
    thread.start()
    thread.join()
    assert seen == [before]
    assert_same_run(results[0], reference)


# ---------------------------------------------------------------- time limit


def test_a_time_limit_ends_the_run_as_ctrl_c_would(tmp_path, reference):
    recorder = Recorder(4, lambda: time.sleep(0.2))
    result = make_trainer(tmp_path, encoder=recorder).run(time_limit=0.2)
    assert result.interrupted
    assert result.step <= 4
    assert load_checkpoint(result.checkpoint).step == result.step
    assert_same_run(make_trainer(tmp_path).run(resume=True, time_limit=600), reference)


def test_a_run_resumed_for_a_moment_each_time_makes_an_update_each_time_and_comes_to_the_same_end(tmp_path, reference):
    steps, result = [], make_trainer(tmp_path).run(time_limit=1e-9)
    while result.interrupted and len(steps) < result.total_steps:
        steps.append(result.step)
        result = make_trainer(tmp_path).run(resume=True, time_limit=1e-9)
    assert steps == list(range(1, result.total_steps))
    assert_same_run(result, reference)


def test_a_time_limit_of_zero_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="time_limit must be a finite number > 0, got 0"):
        make_trainer(tmp_path / "out").run(time_limit=0)
    assert not (tmp_path / "out").exists()
