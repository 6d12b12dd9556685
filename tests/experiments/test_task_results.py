"""The tasks of long memory in results/: runs are those of their presets, and contradictions in logs are found."""

import json
import shutil

import pytest

from numrnn.experiments import adding, copying
from numrnn.training import load_checkpoint
from results import grid, tasks, trials
from results.runs import LogError
from results.tables import presets as rows_of_the_paper

EXPERIMENTS = {"adding": adding.EXPERIMENT, "copying": copying.EXPERIMENT}
RUNS = tasks.read_runs()
FREE = ("out", "seed", "backend", "engine", "checkpoint_interval")


@pytest.mark.parametrize("preset", RUNS)
def test_committed_runs_are_those_of_their_presets(preset):
    run = RUNS[preset]
    expected = json.loads(json.dumps(vars(EXPERIMENTS[preset.partition("-")[0]].make_config(preset=preset))))
    assert {key for key, value in expected.items() if run["config"][key] != value and key not in FREE} == set()
    assert load_checkpoint(tasks.FOLDER / preset / "final.npz").step == run["result"]["iterations"]
    assert (tasks.FOLDER / preset / "final.npz").stat().st_size < 1_000_000


def test_every_row_has_a_preset():
    assert sorted(tasks.presets()) == sorted(name for task in EXPERIMENTS.values() for name in task.preset_names())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two short runs."""
    root = tmp_path_factory.mktemp("tasks")
    small = {"iterations": 4, "sequences": 20, "batch_size": 5, "log_interval": 1, "hidden_size": 8}
    counts = {"validation_sequences": 5, "test_sequences": 5}
    for preset, size in (("adding-200-gated", {"length": 10}), ("copying-100-lstm-chrono", {"delay": 5})):
        experiment = EXPERIMENTS[preset.partition("-")[0]]
        config = experiment.make_config(preset=preset, out=str(root / preset), **small, **counts, **size)
        experiment.run(config, quiet=True)
    return root


def test_a_run_has_its_line_and_a_row_without_one_says_so(folder):
    lines = tasks.table(tasks.read_runs(folder)).splitlines()
    assert len(lines) == 2 + len(tasks.presets())
    (found,) = [line for line in lines if "(tasks/adding-200-gated)" in line]
    result = json.loads((folder / "adding-200-gated" / "result.json").read_text())
    assert f"| {result['test_loss']:.3g}](" not in found
    assert f"[{result['test_loss']:.3g}](tasks/adding-200-gated) | 0.167 |" in found
    (recall,) = [line for line in lines if "(tasks/copying-100-lstm-chrono)" in line]
    accuracy = json.loads((folder / "copying-100-lstm-chrono" / "result.json").read_text())["symbol_accuracy"]
    assert f" | {100 * accuracy:.1f} % | no | " in recall
    assert sum("not run yet" in line for line in lines) == len(tasks.presets()) - 2


@pytest.mark.parametrize(
    ("losses", "solved"),
    [([0.2, 0.016, 0.01], 2), ([0.2, 0.016, 0.02], None), ([0.01, 0.02, 0.016], 3), ([0.2, float("nan"), 0.01], 3)],
)
def test_solved_means_from_then_on(losses, solved):
    training = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    assert tasks.solved_at({"result": {"baseline_loss": 1 / 6}, "training": training}) == solved


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("result.json", {"iterations": 5}, "metrics.jsonl does not end at update 5, as result.json does"),
        ("result.json", {"seed": 3}, "seed is 0 in config.json and 3 in result.json"),
        (
            "config.json",
            {"preset": "adding-750-gated"},
            "preset is adding-750-gated in config.json",
        ),
        ("final.npz", None, "final.npz missing"),
    ],
)
def test_logs_that_contradict_each_other_are_found(file, change, message, folder, tmp_path):
    copy = tmp_path / "adding-200-gated"
    shutil.copytree(folder / "adding-200-gated", copy)
    if change is None:
        (copy / file).unlink()
    else:
        content = json.loads((copy / file).read_text()) | change
        (copy / file).write_text(json.dumps(content))
    with pytest.raises(LogError, match=message):
        tasks.read_run(copy)


def test_the_picture_has_a_panel_for_each_task_that_was_run(folder, tmp_path):
    path = tasks.draw(tasks.read_runs(folder), tmp_path / "curves.png")
    assert path.stat().st_size > 10_000


def test_a_trial_is_repeated_and_one_that_differs_is_said_to(tmp_path, monkeypatch, capsys):
    settings = {"cell": "elman", "length": 5, "iterations": 5, "hidden_size": 4, "learning_rate": 0.01}
    line = trials.run("adding", settings)
    assert [step for step, _ in line["validation"]] == [1, 2, 3, 4, 5]
    file = tmp_path / "trials.jsonl"
    file.write_text(json.dumps(line) + "\n" + json.dumps(line | {"validation": [[1, 0.5]]}) + "\n")
    known = trials.read(file)
    monkeypatch.setattr(trials, "read", lambda: known)
    assert trials.main(["1"]) == 0
    assert json.loads(capsys.readouterr().out)["validation"] == line["validation"]
    assert trials.main(["2"]) == 1
    assert "the file has [[1, 0.5]]" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        trials.main(["3"])
    (row,) = tasks.trial_table([line]).splitlines()[2:]
    losses = " ".join(f"{loss:.3g}" for _, loss in line["validation"])
    assert row == f"| 1 | adding 5 | elman | learning_rate 0.01 | 5 | {losses} |"


def test_settings_outside_the_grid_are_those_of_the_presets():
    found = {preset: grid.outside(preset) for preset in rows_of_the_paper()}
    assert found["mnist-antisymmetric"]["step_size"] == 0.03
    assert "diffusion" not in found["mnist-antisymmetric"]  # 0.01 is on the grid
    assert found["mnist-gated"]["gate_spread"] == 2.5
    assert set(found["mnist-lstm"]) == {"learning_rate", "optimizer"}
    assert all("batch_size" not in outside for outside in found.values())
    assert len(grid.table().splitlines()) == 2 + len(found)
