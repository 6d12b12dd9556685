"""Training on sequences of one's own: lengths, targets of four kinds, early stopping, metrics, callbacks, resuming."""

import functools
import json

import numpy as np
import pytest

import gradcheck
import numrnn
from numrnn.datasets import Sequences
from numrnn.training import (
    Adam,
    Classifier,
    Regressor,
    Trainer,
    TrainingConfig,
    load_checkpoint,
    masked_cross_entropy,
    masked_squared_error,
)
from numrnn.training.batches import by_length

KINDS = ("label", "numbers", "labels at every step", "numbers at every step")


def make(kind, n=40, seed=0, lengths=(2, 9)):
    """Return sequences of several lengths with targets that can be learnt from them."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(*lengths, n)
    x = [rng.standard_normal((t, 2)) for t in steps]
    y = {
        "label": [int(row[:, 0].sum() > 0) for row in x],
        "numbers": np.array([[row[:, 0].sum() / 3] for row in x]),
        "labels at every step": [(np.cumsum(row[:, 0]) > 0).astype(int) for row in x],
        "numbers at every step": [np.cumsum(row, axis=0)[:, :1] / 3 for row in x],
    }[kind]
    return Sequences(x, y)


def make_model(kind, n=8):
    cell = numrnn.AntisymmetricCell(2, n, step_size=0.2)
    output = "every" if "every" in kind else "last"
    return Classifier(cell, 2, output) if kind.startswith("label") else Regressor(cell, 1, output)


def trainer_of(kind, out, data=None, rate=0.02, **settings):
    others = {name: settings.pop(name) for name in ("validation", "metrics", "callbacks") if name in settings}
    config = TrainingConfig(**{"epochs": 3, "batch_size": 8, "validation_size": 10, **settings})
    return Trainer(make_model(kind), Adam(rate), None, data or make(kind), config, out, show_progress=False, **others)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_every_kind_of_target(kind, rng):
    data, model = make(kind, n=5), make_model(kind, n=4)
    batch = data.batch(range(5))
    params = model.init_params(rng, dtype=np.float64)
    params = {name: value + 0.1 * rng.standard_normal(value.shape) for name, value in params.items()}
    call = functools.partial(model.loss_and_gradient, lengths=batch.lengths, mask=batch.mask)
    loss, grads, _ = call(params, batch.x, batch.y)
    x = batch.x

    def loss_of(p):
        xs = x.astype(complex) if any(np.iscomplexobj(v) for v in p.values()) else x
        return model.loss(p, xs, batch.y, lengths=batch.lengths, mask=batch.mask, engine="reference")

    gradcheck.assert_gradient(lambda p: loss_of(p), grads, params)
    assert np.isclose(loss, loss_of(params), rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_counts_the_same_whatever_it_is_padded_with(kind, rng):
    data, model = make(kind, n=6), make_model(kind)
    params = model.init_params(rng, dtype=np.float64)
    total, count = 0.0, 0
    for row in range(6):
        batch = data.batch([row])
        weight = 1 if batch.mask is None else int(batch.mask.sum())
        total += weight * float(model.loss(params, batch.x, batch.y, lengths=batch.lengths, mask=batch.mask))
        count += weight
    batch = data.batch(range(6))
    together = model.loss(params, batch.x, batch.y, lengths=batch.lengths, mask=batch.mask)
    assert np.isclose(total / count, together, rtol=1e-13)


def test_what_does_not_count_is_not_read(rng):
    logits, labels = rng.standard_normal((4, 3, 5)), rng.integers(0, 5, (4, 3))
    mask = rng.random((4, 3)) < 0.5
    mask[0, 0], mask[1, 1] = True, False
    loss, d = masked_cross_entropy(logits, labels, mask)
    bad = np.where(mask[:, :, None], logits, np.nan)
    wrong = np.where(mask, labels, 99)
    again, d_again = masked_cross_entropy(bad, wrong, mask)
    assert loss == again
    assert np.array_equal(d, d_again)
    assert not d[~mask].any()
    targets = rng.standard_normal(logits.shape)
    squared, d = masked_squared_error(logits, targets, mask)
    for _ in range(5):  # also where their difference would overflow or not exist
        ours, theirs = rng.choice([np.nan, np.inf, -np.inf, *(np.finfo(float).max * np.array([1, -1]))], (2, 4, 3, 5))
        bad, wrong = (np.where(mask[:, :, None], *pair) for pair in ((logits, ours), (targets, theirs)))
        again, d_again = masked_squared_error(bad, wrong, mask)
        assert squared == again
        assert np.array_equal(d, d_again)
    assert np.isclose(squared, np.mean((logits - targets)[mask] ** 2), rtol=1e-14)
    gradcheck.assert_gradient(
        lambda z: masked_cross_entropy(z, labels, mask)[0], masked_cross_entropy(logits, labels, mask)[1], logits
    )
    gradcheck.assert_gradient(lambda z: masked_squared_error(z, targets, mask)[0], d, logits)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"mask": np.ones((2, 3))}, TypeError, "mask must hold True and False"),
        ({"mask": np.zeros((2, 3), bool)}, ValueError, "mask must be True somewhere"),
        ({"mask": np.ones((3, 2), bool)}, ValueError, r"mask must be \(T=2, B=3\)"),
        ({"labels": np.full((2, 3), 7)}, ValueError, "labels must be from 0 to K - 1 = 3, got 7"),
        ({"labels": np.full((2, 3), -1)}, ValueError, "got -1"),
        ({"labels": np.ones((2, 3))}, TypeError, "labels must be integers"),
        ({"labels": np.ones(3, int)}, ValueError, r"labels must be \(T=2, B=3\)"),
    ],
)
def test_arguments_of_the_masked_loss(change, error, match):
    given = {"logits": np.zeros((2, 3, 4)), "labels": np.zeros((2, 3), int), "mask": np.ones((2, 3), bool), **change}
    with pytest.raises(error, match=match):
        masked_cross_entropy(**given)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_is_learnt(kind, tmp_path):
    trainer = trainer_of(kind, tmp_path, make(kind, n=200), epochs=30, validation_size=40)
    result = trainer.run()
    records = result.history("validation")
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert ("accuracy" in records[-1]) == kind.startswith("label")
    if kind.startswith("label"):
        assert records[-1]["accuracy"] > 0.85
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["kind"] == "training"


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_have_the_form_of_the_targets(kind, tmp_path):
    data = make(kind)
    trainer = trainer_of(kind, tmp_path, data, evaluation_batch_size=7)
    params = trainer.run().params
    without = Sequences([data.sequence(row) for row in range(len(data))])
    found = trainer.predict(params, without)
    evaluation = trainer.evaluate(params, data)
    if "every" in kind:
        assert [len(row) for row in found] == data.lengths.tolist()
        assert all(np.array_equal(a, b) for a, b in zip(found, evaluation.predictions, strict=True))
    else:
        assert np.array_equal(found, evaluation.predictions)
        assert found.shape == ((40,) if kind == "label" else (40, 1))
    if kind == "label":
        assert evaluation.accuracy == np.mean(found == data.y)
        assert np.allclose(trainer.predict_proba(params, without).sum(1), 1)
    elif kind == "labels at every step":
        assert evaluation.accuracy == np.mean(np.concatenate(found) == np.concatenate(data.y))
    else:
        with pytest.raises(TypeError, match="must be a classifier"):
            trainer.predict_proba(params, without)


@pytest.mark.parametrize("kind", ["label", "numbers at every step"])
def test_a_run_with_lengths_and_patience_goes_on_bit_for_bit(kind, tmp_path):
    settings = {"rate": 0.2, "epochs": 40, "patience": 3, "group_lengths": True, "checkpoint_interval": 2}
    data = make(kind, n=60)
    whole = trainer_of(kind, tmp_path / "whole", data, **settings).run()
    assert not whole.interrupted
    assert whole.step < 40 * 7  # it stopped early
    part = trainer_of(kind, tmp_path / "part", data, **settings)
    stops = 0
    while True:
        result = part.run(resume=True, time_limit=1e-9)  # one update at a time
        stops += 1
        if not result.interrupted:
            break
        part = trainer_of(kind, tmp_path / "part", data, **settings)
    assert stops == whole.step
    for name in ("metrics.jsonl",):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for name, value in whole.params.items():
        assert np.array_equal(result.params[name], value)
    best = load_checkpoint(tmp_path / "whole" / "best.npz")
    again = load_checkpoint(tmp_path / "part" / "best.npz")
    assert best.step == again.step
    assert all(np.array_equal(best.params[name], again.params[name]) for name in best.params)
    losses = [record["loss"] for record in whole.history("validation")]
    assert min(losses) == losses[best.step // 7 - 1] == best.progress["validation"]["loss"]
    assert len(losses) == best.step // 7 + 3
    finished = trainer_of(kind, tmp_path / "part", data, **settings).run(resume=True)
    assert (finished.step, finished.interrupted, finished.best) == (whole.step, False, tmp_path / "part" / "best.npz")


def test_other_data_are_no_reason_to_go_on(tmp_path):
    trainer_of("label", tmp_path).run()
    with pytest.raises(ValueError, match=r"data\.sha256 must be"):
        trainer_of("label", tmp_path, make("label", seed=1)).run(resume=True)


def test_a_validation_set_and_metrics_of_ones_own(tmp_path):
    held_out = make("numbers at every step", n=9, seed=5)
    seen = []

    def worst(predictions, targets):
        seen.append((len(predictions), [len(t) for t in targets]))
        return max(float(np.abs(p - t).max()) for p, t in zip(predictions, targets, strict=True))

    trainer = trainer_of(
        "numbers at every step", tmp_path, validation_size=0, validation=held_out, metrics={"worst": worst}
    )
    result = trainer.run()
    records = result.history("validation")
    assert seen[0] == (9, held_out.lengths.tolist())
    assert all(record["worst"] > 0 for record in records)
    assert records[-1]["loss"] == trainer.evaluate(result.params, held_out).loss
    assert len(trainer.training_rows) == 40


def test_labels_beside_sequences_are_refused(tmp_path):
    trainer = trainer_of("label", tmp_path)
    params = trainer.model.init_params(np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"^labels must be None for Sequences, .* got an array of int64 of shape \(3,\)"
    ):
        trainer.evaluate(params, trainer.source.data, np.arange(3))


def test_callbacks_are_told_of_every_epoch_once_its_checkpoint_is_there(tmp_path):
    seen = []

    def note(end):
        assert load_checkpoint(sorted(end.out.glob("checkpoint_*.npz"))[-1]).step == end.step
        seen.append((end.epoch, end.step, end.validation["accuracy"], end.training["loss"]))

    result = trainer_of("label", tmp_path, callbacks=[note]).run()
    assert [(epoch, step) for epoch, step, _, _ in seen] == [(1, 4), (2, 8), (3, 12)]
    assert [accuracy for _, _, accuracy, _ in seen] == [r["accuracy"] for r in result.history("validation")]

    def fail(end):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        trainer_of("label", tmp_path / "b", callbacks=[fail]).run()
    assert trainer_of("label", tmp_path / "b").run(resume=True).step == 12  # nothing is lost


@pytest.mark.parametrize(
    ("kind", "settings", "error", "match"),
    [
        ("label", {"data": make("numbers")}, ValueError, "targets y must be label for Classifier.*got numbers"),
        ("label", {"data": Sequences(np.ones((4, 3, 2)))}, ValueError, "got none"),
        ("label", {"data": Sequences(np.ones((4, 3, 2)), [0, 1, 2, 0])}, ValueError, "from 0 to K - 1 = 1, got 2"),
        ("label", {"data": Sequences(np.ones((4, 3, 5)), [0, 1, 0, 1])}, ValueError, "must have m=2 features.*got 5"),
        ("numbers", {"data": Sequences(np.ones((4, 3, 2)), np.ones((4, 3)))}, ValueError, "must have 1 numbers"),
        ("label", {"patience": 2, "validation_size": 0}, ValueError, "patience, keep_best and metrics need"),
        ("label", {"patience": 0}, ValueError, "patience must be an integer >= 1"),
        ("label", {"keep_best": 1}, TypeError, "keep_best must be True or False"),
        ("label", {"validation": make("label")}, ValueError, "validation_size must be 0"),
        ("label", {"metrics": {"loss": max}}, ValueError, "metrics must be callables under names other than"),
        ("label", {"callbacks": [3]}, TypeError, "callbacks must be callables"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(kind, settings, error, match, tmp_path):
    with pytest.raises(error, match=match):
        trainer_of(kind, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_images_need_an_encoder_and_sequences_none(tmp_path):
    config = TrainingConfig(epochs=1)
    with pytest.raises(ValueError, match="encoder must be None for Sequences"):
        Trainer(make_model("label"), Adam(0.1), lambda images, rng: images, make("label"), config, tmp_path)
    images = np.zeros((4, 3), np.uint8), np.zeros(4, int)
    with pytest.raises(TypeError, match="encoder must be callable, or None for Sequences"):
        Trainer(make_model("label"), Adam(0.1), None, images, config, tmp_path)


def test_a_model_of_ones_own_is_trained(tmp_path):
    class Halved(Regressor):
        """A regressor of half of its loss: a model is whatever has the methods."""

        def loss_of(self, outputs, y, mask=None):
            loss, d = super().loss_of(outputs, y, mask)
            return loss / 2, d / 2

    model = Halved(numrnn.ElmanCell(2, 5), 1)
    config = TrainingConfig(epochs=2, validation_size=5)
    run = Trainer(model, Adam(0.01), None, make("numbers"), config, tmp_path, show_progress=False).run()
    other = Trainer(
        Regressor(numrnn.ElmanCell(2, 5), 1),
        Adam(0.01),
        None,
        make("numbers"),
        config,
        tmp_path / "b",
        show_progress=False,
    )
    assert np.isclose(run.history("validation")[0]["loss"], other.run().history("validation")[0]["loss"] / 2, rtol=1e-3)
    with pytest.raises(TypeError, match="model must be of type Model, got int"):
        Trainer(3, Adam(0.01), None, make("numbers"), config, tmp_path)


def test_rows_of_like_length_come_together_and_every_row_once(rng):
    lengths = rng.integers(1, 100, 1003)
    order = by_length(rng.permutation(1003), lengths, 10, rng)
    assert sorted(order) == list(range(1003))
    spread = [np.ptp(lengths[order[i : i + 10]]) for i in range(0, 1000, 10)]
    assert np.mean(spread) < 10
    first = [lengths[order[i]] for i in range(0, 1000, 10)]
    assert np.abs(np.corrcoef(first, range(100))[0, 1]) < 0.5  # the batches are not sorted themselves
    assert len(order[1000:]) == 3
