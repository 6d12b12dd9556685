"""results/README.md: its tables are those of the logs, and a log that contradicts another is found."""

import json
import shutil
from dataclasses import fields

import pytest

from numrnn.experiments import cifar10, mnist
from numrnn.training import load_checkpoint
from results import tasks
from results.__main__ import COSTS, ON_THE_GRID, PAGE, main
from results.runs import FOLDER, LogError, Run, command, read_run, read_runs
from results.tables import PAPER, accuracy_text, beside, of_the_paper, presets, rebuilt, table

RUNS = read_runs()
PRESET = "pmnist-gated"
# Of a stored configuration: where it ran, and what does not change its course.
FREE = ("root", "out", "backend", "engine", "checkpoint_interval", "seed")


def test_the_tables_of_the_page_are_those_of_the_logs():
    assert main(["--check"]) == 0


def test_every_row_has_a_preset_and_stands_in_the_tables():
    assert presets() == [row for task, cells in PAPER.items() for row in (f"{task}-{cell}" for cell in cells)]
    assert {*presets(), *beside()} == {*mnist.EXPERIMENT.preset_names(), *cifar10.EXPERIMENT.preset_names()}
    assert set(RUNS) <= {*presets(), *beside()}
    page = PAGE.read_text(encoding="utf-8")
    for preset in presets():
        assert f"--preset {preset} " in page


def contradictions(run):
    """Return in what a run is not that of its preset, as it stands in numrnn/experiments/presets."""
    experiment = cifar10.EXPERIMENT if run.preset.startswith("cifar10-") else mnist.EXPERIMENT
    expected = json.loads(json.dumps(vars(experiment.make_config(preset=run.preset))))
    # A run from before there was an option did what its default does.
    defaults = {field.name: field.default for field in fields(experiment.config)}
    stored = json.loads(json.dumps(defaults)) | run.config
    found = [key for key, value in expected.items() if stored[key] != value and key not in FREE]
    if run.result and load_checkpoint(run.folder / "final.npz").step != run.result["iterations"]:
        found.append("final.npz")
    return found


def test_committed_runs_are_those_of_their_presets():
    assert {str(run.folder): found for runs in RUNS.values() for run in runs if (found := contradictions(run))} == {}


def test_a_run_with_other_settings_than_its_preset_is_found(folder):
    (run, _) = read_runs(folder)[PRESET]
    other = {"data", "hidden_size", "iterations", "validation_size", "batch_size", "warmup", "standardize"}
    assert set(contradictions(run)) == other


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of two runs of one row, made in short by the example itself."""
    root = tmp_path_factory.mktemp("paper")
    for seed in (0, 1):
        short = {
            "data": "embedded",
            "hidden_size": 4,
            "iterations": 2,
            "validation_size": 50,
            "batch_size": 20,
            "warmup": 0,
            "standardize": True,
        }
        config = mnist.make_config(preset=PRESET, seed=seed, **short, out=str(root / PRESET / f"seed-{seed}"))
        mnist.run(config, quiet=True)
    return root


def test_a_row_with_two_seeds_has_mean_and_spread(folder):
    runs = read_runs(folder)
    first, second = (run.result["test_accuracy"] for run in runs[PRESET])
    (row,) = [line for line in table("table 1", runs).splitlines() if "permuted" in line and "gated" in line]
    mean, spread = 50 * (first + second), 100 * abs(first - second) / 2**0.5
    assert f"| 93.1 | {mean:.2f} ± {spread:.2f} (2 seeds) | " in row
    assert row.endswith("| 2 | 0, 1 |")
    assert accuracy_text([0.98765]) == "98.77"


def test_a_row_that_the_paper_does_not_have_is_shown_once_it_has_a_run(folder):
    runs = read_runs(folder)
    assert "chrono" not in table("table 1", runs)
    tables = of_the_paper(runs | {"pmnist-lstm-chrono": runs[PRESET]})
    (line,) = [line for line in tables["table 1"].splitlines() if "chrono" in line]
    assert line.startswith("| permuted MNIST | LSTM, chrono initialisation |  | ")
    assert "chrono" not in tables["table 2"]


def test_every_run_is_listed_with_what_it_is(folder):
    page = rebuilt(PAGE.read_text(encoding="utf-8"), of_the_paper(read_runs(folder)))
    for seed in (0, 1):
        result = json.loads((folder / PRESET / f"seed-{seed}" / "result.json").read_text())
        (line,) = [line for line in page.splitlines() if line.startswith(f"| [{PRESET}, {seed}]")]
        (run,) = (run for run in read_runs(folder)[PRESET] if run.config["seed"] == seed)
        accuracies = (result["test_accuracy"], result["validation_accuracy"], run.training_accuracy)
        assert f"| {' | '.join(f'{100 * accuracy:.2f}' for accuracy in accuracies)} | " in line
        assert f"| {result['machine']} | pixels standardized, permutation seed 92 | " in line
        assert f"`{command(PRESET, seed)}`" in line
    assert f"| mnist-lstm | not run yet | | | | | | | | `{command('mnist-lstm')}` |" in page


def test_the_command_of_a_row_is_one_that_its_experiment_takes():
    for preset in presets():
        words = command(preset).split()
        experiment = {"mnist": mnist, "cifar10": cifar10}[words[1]]
        config, resume, overwrite = experiment.parse_arguments(words[2:])
        assert (config.preset, config.out) == (preset, f"results/paper/{preset}/seed-0")
        assert not resume
        assert not overwrite


def test_the_training_accuracy_is_that_of_the_last_tenth_of_the_updates():
    steps, accuracies = (10, 80, 92, 95, 100), (0.1, 0.2, 0.5, 0.6, 0.8)
    records = [{"kind": "training", "step": s, "accuracy": a} for s, a in zip(steps, accuracies, strict=True)]
    records.insert(2, {"kind": "validation", "step": 80, "accuracy": 0.9})
    run = Run(FOLDER, {}, records, {})
    assert run.training_accuracy == pytest.approx((2 * 0.5 + 3 * 0.6 + 5 * 0.8) / 10, rel=1e-12)


def test_a_run_that_has_not_ended_is_said_to(folder, tmp_path):
    copy = tmp_path / PRESET / "seed-0"
    shutil.copytree(folder / PRESET / "seed-0", copy)
    (copy / "result.json").unlink()
    runs = read_runs(tmp_path)
    assert "| 93.1 | not finished | " in table("table 1", runs)
    assert f"](paper/{PRESET}/seed-0) | not finished | " in rebuilt(
        PAGE.read_text(encoding="utf-8"), of_the_paper(runs)
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("result.json", {"validation_accuracy": 0.99}, "validation_accuracy is 0.99 in result.json and "),
        ("result.json", {"iterations": 50_000}, "iterations is 50000 in result.json and 2 in the other logs"),
        ("config.json", {"iterations": 3}, "2 iterations, 3 in config.json"),
        ("config.json", {"seed": 5}, f"config.json is of preset {PRESET} with seed 5"),
        ("metrics.jsonl", None, "metrics.jsonl missing"),
        ("final.npz", None, "final.npz missing"),
        ("learning_curves.png", None, "learning_curves.png missing"),
    ],
)
def test_logs_that_contradict_each_other_are_found(name, changes, message, folder, tmp_path):
    copy = tmp_path / PRESET / "seed-0"
    shutil.copytree(folder / PRESET / "seed-0", copy)
    if changes is None:
        (copy / name).unlink()
    else:
        (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()) | changes))
    with pytest.raises(LogError, match=message) as caught:
        read_run(copy)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("line", ["", '{"kind": "training", "step": 2, "accuracy": NaN}'])
def test_a_log_without_training_accuracies_is_found(line, folder, tmp_path):
    copy = tmp_path / PRESET / "seed-0"
    shutil.copytree(folder / PRESET / "seed-0", copy)
    (copy / "metrics.jsonl").write_text(line)
    with pytest.raises(LogError, match=r"metrics.jsonl must have lines of training, each with a finite accuracy"):
        read_run(copy)


def test_a_checkpoint_that_is_too_large_is_found(folder, tmp_path):
    copy = tmp_path / PRESET / "seed-0"
    shutil.copytree(folder / PRESET / "seed-0", copy)
    (copy / "final.npz").write_bytes(bytes(1_000_000))
    with pytest.raises(LogError, match="final.npz must be less than 1000000 bytes, got 1000000"):
        read_run(copy)


def test_a_page_that_is_not_that_of_the_logs_is_found_and_mended(folder, tmp_path, capsys):
    page, grid_page, cost_page = tmp_path / "README.md", tmp_path / "grid.md", tmp_path / "cost.md"
    shutil.copy(PAGE, page)
    shutil.copy(COSTS, cost_page)
    shutil.copy(ON_THE_GRID, grid_page)
    shutil.copytree(tasks.FOLDER, tmp_path / "tasks")
    given = {
        "page": page,
        "grid_page": grid_page,
        "cost_page": cost_page,
        "folder": folder,
        "task_folder": tmp_path / "tasks",
    }
    assert main(["--check"], **given) == 1
    assert f"{page}: its tables are not up to date" in capsys.readouterr().err
    assert main([], **given) == 0
    assert main(["--check"], **given) == 0
    grid_page.write_text(grid_page.read_text(encoding="utf-8").replace("gate_spread 2.5", "gate_spread 2.6", 1))
    assert main(["--check"], **given) == 1
    assert f"{grid_page}: its tables are not up to date" in capsys.readouterr().err
    page.write_text(page.read_text(encoding="utf-8").replace("<!-- end of runs -->", ""), encoding="utf-8")
    assert main([], **given) == 1
    assert "'<!-- end of runs -->' once each" in capsys.readouterr().err
