"""The presets of the experiments: one for each row of the paper's tables, and what may go wrong with one."""

import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import pytest

from numrnn.experiments import cifar10, mnist, presets
from numrnn.experiments.builders import make_cell
from numrnn.options import option
from numrnn.training import Classifier

NAMES = {experiment: experiment.preset_names() for experiment in (mnist.EXPERIMENT, cifar10.EXPERIMENT)}
EVERY = [(experiment, name) for experiment, names in NAMES.items() for name in names]
every_preset = pytest.mark.parametrize(("experiment", "name"), EVERY, ids=[name for _, name in EVERY])
# Of the paper's tables, read-out included.
PARAMETERS = {
    ("mnist", "antisymmetric"): 9_674,
    ("mnist", "gated"): 9_930,
    ("mnist", "lstm"): 67_850,
    ("pixels", "antisymmetric"): 36_234,
    ("pixels", "gated"): 37_258,
    ("pixels", "lstm"): 68_874,
    ("pixels", "gated-unstructured"): 41_954,
}


def classifier(experiment, config):
    m = 1 if experiment is mnist.EXPERIMENT else 96 if config.task == "noise-padded" else 3
    return Classifier(make_cell(config, m), 10)


def test_every_row_of_the_papers_tables_has_a_preset():
    tables = {f"{task}-{cell}" for task in ("mnist", "pmnist") for cell in ("antisymmetric", "gated", "lstm")}
    for task in cifar10.TASKS:
        tables |= {f"cifar10-{task}-{cell}" for cell in ("antisymmetric", "gated", "lstm", "gated-unstructured")}
    beside = {f"{name}-chrono" for name in tables if name.endswith("-lstm")}
    assert {name for _, name in EVERY} == tables | beside
    assert set(presets.preset_names(("mnist-", "pmnist-", "cifar10-"))) == tables | beside


@every_preset
def test_a_preset_keeps_to_the_papers_sizes_and_iterations(experiment, name):
    config = experiment.make_config(preset=name)
    padded = "noise-padded" in name
    assert name.removesuffix("-chrono").endswith("-" + config.cell)
    assert (config.forget_bias == "chrono") == name.endswith("-chrono")
    assert config.iterations <= (10_000 if padded else 50_000)
    assert config.batch_size == 128
    assert config.validation_size >= 5_000
    assert (config.out, config.seed) == (f"runs/{name}/0", 0)
    if not padded:
        task = "mnist" if "mnist" in name else "pixels"
        assert classifier(experiment, config).parameter_count() == PARAMETERS[task, config.cell]


@every_preset
def test_a_preset_gives_a_reason_for_each_value(experiment, name):
    path = resources.files(presets) / f"{name}.toml"
    values = [line for line in path.read_text(encoding="utf-8").splitlines() if "=" in line and line[0] != "#"]
    assert len(values) == len(tomllib.loads(path.read_text(encoding="utf-8")))
    for line in values:
        assert len(line.partition("  # ")[2]) > 5, line


def test_the_noise_of_the_presets_is_independent():
    assert {cifar10.make_config(preset=n).noise for n in NAMES[cifar10.EXPERIMENT]} == {"independent"}
    fixed = cifar10.make_config(preset="cifar10-noise-padded-gated", noise="fixed")
    assert cifar10.EXPERIMENT.record(fixed) == {"preprocessing": "standardized", "noise": "fixed", "noise_seed": 0}
    assert "fixed noise" in cifar10.EXPERIMENT.task(fixed)


def test_options_of_the_command_line_override_a_preset():
    argv = ["--preset", "pmnist-gated", "--clip", "3", "--no-permuted", "--epochs", "2", "--seed", "4"]
    config, _, _ = mnist.parse_arguments(argv)
    preset = mnist.make_config(preset="pmnist-gated")
    assert preset.permuted
    assert (config.clip, config.permuted, config.seed, config.out) == (3.0, False, 4, "runs/pmnist-gated/4")
    assert (config.epochs, config.iterations, preset.epochs, preset.iterations) == (2, None, None, preset.iterations)
    assert config.weight_std == preset.weight_std


def test_a_file_of_ones_own_is_a_preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('cell = "gated"\nstep_size = 1\nrotations = [0.1, 15]\nout = "here"\n')
    config = mnist.make_config(preset=str(path))
    assert (config.cell, config.step_size, config.rotations, config.out) == ("gated", 1.0, (0.1, 15.0), "here")
    assert type(config.step_size) is float
    assert mnist.make_config(**json.loads(json.dumps(vars(config)))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "colour = 3\nstep_size = 0.1\nshape = 2",
            "unknown keys colour, shape; known are cell, cell_options, hidden_size, ",
        ),
        ('step_size = "small"', "step_size must be a finite number > 0, got 'small'"),
        ("hidden_size = 3.5", "hidden_size must be an integer >= 1, got 3.5"),
        ("permuted = 1", "permuted must be of type bool, got 1"),
        ("hidden_size = true", "hidden_size must be an integer >= 1, got True"),
        ("rotations = [1.0]", r"rotations must hold 2 values, got \[1.0\]"),
        ("rotations = 1.0", r"mine\.toml: rotations must be a tuple or a list, got 1.0"),
        ("rotations = [1.0, true]", r"mine\.toml: rotations\[1\] must be a finite number, got True"),
        ("hidden_size = 0", r"mine\.toml: hidden_size must be an integer >= 1, got 0"),
        ("cell_options = [['method', 2]]", r"mine\.toml: cell_options\[0\]\[1\] must be of type str, got 2"),
        ('preset = "mnist-gated"', "unknown keys preset"),
        ('cell = "gru"', "cell must be one of antisymmetric, gated"),
        ("step_size = ", "expected TOML"),
    ],
)
def test_a_preset_with_a_mistake_is_refused_in_one_error(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        mnist.make_config(preset=str(path))


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """A field of each kind of type that a configuration may have."""

    preset: str | None = None
    number: float = option(0.0, "any")
    number_or_none: float | None = option(None, "any")
    two: tuple[float, float] = option((0.0, 0.0), "any")
    two_or_none: tuple[float, float] | None = option(None, "any")
    word: Literal["a", "b"] = option("a", "any")
    word_or_none: Literal["a", "b"] | None = option(None, "any")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", 1, 1.0),
        ("number_or_none", 1, 1.0),
        ("two", [1, 2.5], (1.0, 2.5)),
        ("two_or_none", [1, 2.5], (1.0, 2.5)),
        ("word", "a", "a"),
        ("word_or_none", "a", "a"),
    ],
)
def test_a_value_has_the_type_of_its_field(name, value, expected):
    found = presets.checked_values("file", {name: value}, Kinds)[name]
    assert found == expected
    assert type(found) is type(expected)
    with pytest.raises(ValueError, match=f"^file: {name} must be .*, got {{}}"):
        presets.checked_values("file", {name: {}}, Kinds)


def test_a_preset_of_another_experiment_is_refused(capsys):
    assert cifar10.main(["--preset", "mnist-gated"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: preset must be one of cifar10-noise-padded-antisymmetric, ")
    assert error.endswith("or a .toml file, got 'mnist-gated'\n")


def test_a_missing_file_is_answered_by_its_path(tmp_path, capsys):
    assert mnist.main(["--preset", str(tmp_path / "none.toml")]) == 1
    assert str(tmp_path / "none.toml") in capsys.readouterr().err


def test_a_run_of_one_preset_is_not_resumed_as_another(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"preset": "mnist-gated", "cell": "gated"}))
    assert mnist.main(["--preset", "mnist-lstm", "--resume", "--out", str(tmp_path)]) == 1
    assert "preset must be 'mnist-gated' as in" in capsys.readouterr().err


def test_a_resumed_run_keeps_the_values_that_it_was_started_with(tmp_path):
    stored = vars(mnist.make_config(preset="mnist-gated", learning_rate=0.25, out=str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps(stored))
    config, resume, _ = mnist.parse_arguments(["--preset", "mnist-gated", "--resume", "--out", str(tmp_path)])
    assert resume
    assert config.learning_rate == 0.25
    assert config == mnist.make_config(**stored)
