"""numrnn cifar10, in short, on random images: both tasks train, are recorded and resume."""

import json

import numpy as np
import pytest

from numrnn.datasets import Dataset
from numrnn.datasets.cifar10 import CLASS_NAMES
from numrnn.experiments import cifar10
from numrnn.options import options
from numrnn.training import latest_checkpoint, load_checkpoint, training_seconds

SHORT = {"hidden_size": 4, "batch_size": 16, "iterations": 3, "log_interval": 1}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    shapes = {"train": 60, "test": 20}
    arrays = {}
    for part, count in shapes.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
        arrays[f"{part}_labels"] = rng.integers(0, 10, count).astype(np.uint8)
    return Dataset(**arrays, class_names=CLASS_NAMES)


@pytest.mark.parametrize(
    ("settings", "shape", "said"),
    [
        ({"task": "pixels"}, (1024, 2, 3), {"noise": None, "preprocessing": "scaled to 0..1"}),
        ({"task": "noise-padded", "length": 40, "standardize": True}, (40, 2, 96), {"noise": "independent"}),
        ({"task": "noise-padded", "length": 40, "noise": "fixed"}, (40, 2, 96), {"noise": "fixed", "noise_seed": 0}),
    ],
)
def test_a_task_trains_and_is_recorded(settings, shape, said, images, tmp_path):
    config = cifar10.make_config("gated", **SHORT, **settings, out=str(tmp_path))
    result = cifar10.run(config, data=images, quiet=True)
    assert result.training.step == 3
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["test_accuracy"] == result.test_accuracy
    assert stored.items() >= said.items()
    keys = ("task", "parameters", "iterations", "seconds", "machine", "seed", "validation_accuracy")
    assert all(stored[key] is not None for key in keys)
    x = cifar10.EXPERIMENT.make_encoder(config, images)(images.train_images[:2], np.random.default_rng(0))
    assert x.shape == shape
    assert all(path.exists() for path in result.pictures)


def test_standardised_pixels_have_mean_0_and_std_1_in_each_colour(images):
    config = cifar10.make_config(standardize=True)
    x = cifar10.EXPERIMENT.make_encoder(config, images)(images.train_images).astype(np.float64)
    rounding = 10 * np.finfo(np.float32).eps  # of values of the size of 1
    np.testing.assert_allclose(x.mean(axis=(0, 1)), 0, atol=rounding)
    np.testing.assert_allclose(x.std(axis=(0, 1)), 1, atol=rounding)


def test_fixed_noise_is_one_block_for_all_and_independent_noise_is_not(images):
    rng = np.random.default_rng(0)
    for noise, same in (("fixed", True), ("independent", False)):
        config = cifar10.make_config(task="noise-padded", noise=noise, length=40)
        x = cifar10.EXPERIMENT.make_encoder(config, images)(images.train_images[:2], rng)
        assert np.array_equal(x[32:, 0], x[32:, 1]) == same
        assert not np.array_equal(x[:32, 0], x[:32, 1])


def test_the_final_checkpoint_is_what_was_tested(images, tmp_path):
    options = {"average": "tail", "average_updates": 2, "rotations": (0.1, 4.0), "recurrent_rate": 0.5}
    options |= {"input_gains": (0.5, 8.0), "bias_std": 0.25}
    options |= {"optimizer": "adamw", "weight_decay": 0.25}
    config = cifar10.make_config(**SHORT, **options, task="noise-padded", length=40, out=str(tmp_path))
    result = cifar10.run(config, data=images, quiet=True)
    final = load_checkpoint(tmp_path / "final.npz")
    trainer = cifar10.make_trainer(config, images, show_progress=False)
    again = trainer.evaluate(final.params, images.test_images, images.test_labels)
    assert (again.accuracy, again.loss) == (result.test_accuracy, result.test_loss)
    assert final.optimizer == {}
    whole = latest_checkpoint(tmp_path)
    assert all(np.array_equal(whole.average[name], final.params[name]) for name in final.params)
    assert any(not np.array_equal(whole.params[name], final.params[name]) for name in final.params)
    optimizer = whole.config["optimizer"]
    assert (optimizer["optimizer"], optimizer["weight_decay"]) == ("adamw", 0.25)
    assert optimizer["undecayed"] == ["b", "b_out"]
    assert optimizer["multipliers"] == {"W": 0.5}
    assert [row for (row,) in optimizer["step_scales"]["V"]] == optimizer["step_scales"]["b"]
    assert (optimizer["step_scales"]["b"][0], optimizer["step_scales"]["b"][-1]) == (0.5, 8.0)
    assert whole.config["training"]["rotations"] == [0.1, 4.0]
    assert whole.config["training"]["input_gains"] == [0.5, 8.0]
    assert whole.config["training"]["bias_std"] == 0.25


def test_a_stopped_run_goes_on_and_its_seconds_are_those_of_both_parts(images, tmp_path):
    longer = {**SHORT, "iterations": 6, "checkpoint_interval": 1}
    common = {"task": "noise-padded", "length": 40}
    whole = cifar10.run(cifar10.make_config(**longer, **common, out=str(tmp_path / "a")), data=images, quiet=True)
    config = cifar10.make_config(**longer, **common, out=str(tmp_path / "b"))
    part = cifar10.make_trainer(config, images, show_progress=False).run(time_limit=1e-9)
    assert part.interrupted
    result = cifar10.run(config, resume=True, data=images, quiet=True)
    assert result.test_accuracy == whole.test_accuracy
    assert result.training.metrics.read_bytes() == whole.training.metrics.read_bytes()
    seconds = training_seconds(tmp_path / "b" / "timings.jsonl")
    assert seconds > 0
    assert json.loads((tmp_path / "b" / "result.json").read_text())["seconds"] == round(seconds, 1)


def test_missing_images_are_answered_by_one_clear_error(tmp_path, capsys):
    assert cifar10.main(["--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "data_batch_1.bin" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_names_the_presets_and_explains_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        cifar10.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "CIFAR-10 as a sequence" in text
    assert "cifar10-pixels-gated-unstructured" in text.replace("- ", "-")
    for name in options(cifar10.Config):
        assert "--" + name.replace("_", "-").removesuffix("options") in text


@pytest.mark.parametrize(
    ("options", "forget_bias", "t_max"),
    [
        ({}, None, None),
        ({"forget_bias": "2.5"}, 2.5, None),
        ({"forget_bias": "chrono"}, "chrono", 40),
        ({"forget_bias": "chrono", "t_max": 30}, "chrono", 30),
    ],
)
def test_the_forget_bias_reaches_the_cell_and_chrono_takes_the_length(options, forget_bias, t_max, images, tmp_path):
    config = cifar10.make_config("lstm", **SHORT, **options, task="noise-padded", length=40, out=str(tmp_path))
    training = cifar10.make_trainer(config, images, show_progress=False).config
    assert (training.forget_bias, training.t_max) == (forget_bias, t_max)


def test_a_forget_bias_that_is_none_is_one_line(images, tmp_path):
    config = cifar10.make_config("lstm", **SHORT, forget_bias="much", out=str(tmp_path))
    with pytest.raises(ValueError, match="forget_bias must be a number or 'chrono', got 'much'"):
        cifar10.make_trainer(config, images, show_progress=False)


@pytest.mark.parametrize(
    ("cell", "settings", "heading"),
    [
        ("lstm", {"forget_bias": "chrono"}, "CIFAR-10 pixel by pixel, LSTM cell, chrono initialisation"),
        ("lstm", {}, "CIFAR-10 pixel by pixel, LSTM cell"),
        ("gated", {"forget_bias": "chrono"}, "CIFAR-10 pixel by pixel, gated cell"),
    ],
)
def test_the_heading_of_the_pictures_names_the_start_that_makes_a_row_of_its_own(cell, settings, heading):
    assert cifar10.EXPERIMENT.heading(cifar10.make_config(cell, **settings)) == heading
