"""docs/what_the_paper_does_not_say.md: its figures are those of the logs, and no row below the paper is left out."""

import re
from pathlib import Path

import pytest

from numrnn.experiments.trials import Space
from results.__main__ import ON_THE_GRID
from results.runs import read_runs
from results.tables import PAPER, TASKS, accuracy_text, presets

ROOT = Path(__file__).parents[2]
PAGE = ON_THE_GRID.read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
RUNS = {preset: [run for run in runs if run.result] for preset, runs in read_runs().items()}
MODELS = {"antisymmetric": "(12)", "gated": "(13)", "gated-unstructured": "ablation", "lstm": "LSTM"}
PARTS = {"a quarter": 4, "a fifth": 5, "a fourteenth": 14}
NAMES = {(TASKS[task], MODELS[cell]): f"{task}-{cell}" for task, cells in PAPER.items() for cell in cells}


def of_the_paper(preset):
    task = max((task for task in PAPER if preset.startswith(f"{task}-")), key=len)
    return PAPER[task][preset.removeprefix(f"{task}-")]


def not_reached():
    """Return the lines of the table of rows that are below the paper, by preset."""
    section = PAGE.partition("## What we have not reached")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| .*$", section, re.M)[1:]
    ]
    return {NAMES[task, model]: (paper, ours, tried) for task, model, paper, ours, tried in cells}


def accuracies(preset):
    return [run.result["test_accuracy"] for run in RUNS[preset]]


def percent(value):
    return f"{100 * value:.2f}"


def test_every_row_below_the_paper_is_listed_with_the_figures_of_its_runs():
    below = [row for row in presets() if RUNS.get(row) and 100 * max(accuracies(row)) < of_the_paper(row)]
    assert sorted(not_reached()) == sorted(below)
    for preset, (paper, ours, _) in not_reached().items():
        assert (paper, ours) == (f"{of_the_paper(preset)}", accuracy_text(accuracies(preset)))


def test_parts_of_the_papers_updates_are_those_of_the_runs():
    said = {row: PARTS[part] for row, (_, _, tried) in not_reached().items() for part in PARTS if part in tried}
    assert set(said) == {row for row in not_reached() if row.endswith("-lstm")}
    for preset, part in said.items():
        whole = 10_000 if "noise-padded" in preset else 50_000
        assert round(whole / RUNS[preset][0].result["iterations"]) == part


def test_gaps_between_training_and_validation_are_those_of_the_logs():
    (mnist,) = RUNS["mnist-antisymmetric"]
    gap = 100 * (mnist.training_accuracy - mnist.result["validation_accuracy"])
    assert f"{gap:.1f} points better than the validation images" in not_reached()["mnist-antisymmetric"][2]


def test_figures_of_spread_biases_are_those_of_the_row_that_has_them():
    (run,) = RUNS["cifar10-noise-padded-antisymmetric"]
    assert f"$N(0, {run.config['bias_std']:g}^2)$" in PROSE
    assert f"The row has {percent(run.result['test_accuracy'])} % of the test images" in PROSE


@pytest.mark.parametrize("task", ["mnist", "cifar10-noise-padded"])
def test_figures_of_chrono_initialisation_are_those_of_its_rows(task):
    (run,) = RUNS[f"{task}-lstm-chrono"]
    accuracy, updates = percent(run.result["test_accuracy"]), f"{run.result['iterations']:,}"
    assert f"reaches {accuracy} % " in PROSE
    assert f"{accuracy} % in {updates}" in PROSE
    assert f"a row of its own, {accuracy}" in not_reached()[f"{task}-lstm"][2]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("cifar10-pixels-gated-unstructured", "Ours reaches {} %"),
        ("cifar10-pixels-gated", "gated cell ({} %)"),
        ("cifar10-noise-padded-gated-unstructured", "the paper's order holds: {} %"),
        ("cifar10-noise-padded-gated", "against {} %."),
    ],
)
def test_figures_of_the_ablation_are_those_of_its_runs(row, text):
    assert text.format(percent(accuracies(row)[0])) in PROSE


def test_validation_of_the_ablation_was_highest_half_way():
    (run,) = RUNS["cifar10-pixels-gated-unstructured"]
    best = max(run.history("validation"), key=lambda record: record["accuracy"])
    assert (
        f"highest, at {percent(best['accuracy'])} %, after {best['step']:,} of {run.result['iterations']:,} updates"
        in PROSE
    )


def test_distance_of_the_papers_ablation_is_that_of_its_table():
    pixels = PAPER["cifar10-pixels"]
    assert f"has {pixels['gated-unstructured']} there" in PROSE
    assert f"{pixels['gated'] - pixels['gated-unstructured']:.1f} points below the gated cell" in PROSE


def test_settings_of_the_papers_grid_are_counted():
    assert f"{len(Space(optimizers=('sgd', 'adagrad')).grid()):,} settings per row" in PROSE


def test_figures_of_input_gains_are_those_of_the_row_that_has_them():
    (run,) = RUNS["cifar10-pixels-antisymmetric"]
    assert run.config["input_gains"]
    assert f"uses them: {percent(run.result['test_accuracy'])} % of the test images" in PROSE
    shares = [100 * share for share in (run.training_accuracy, run.result["validation_accuracy"])]
    text = "it overfits: {:.0f} % of the batches, {:.0f} % of the validation images".format(*shares)
    assert text in not_reached()["cifar10-pixels-antisymmetric"][2]
