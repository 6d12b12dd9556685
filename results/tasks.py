"""The long-memory tasks, from the logs in results/tasks: a table of runs, a table of trials, and the curves.

A run has solved its task from the first update after which the logged loss stays below a tenth of the loss without
memory. Every update uses new sequences, so its loss before the update is the loss on unseen ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numrnn import plots
from results import trials
from results.runs import FILES, LogError

FOLDER = Path(__file__).parent / "tasks"
SIZES = {"adding": (200, 750), "copying": (100, 300, 1000)}
MODELS = {
    "antisymmetric": "antisymmetric (12)",
    "gated": "gated (13)",
    "lstm": "LSTM, forget bias 1",
    "lstm-chrono": "LSTM, chrono",
}
SOLVED = 0.1  # of the loss without memory
COMMON = {"validation_sequences", "checkpoint_interval", "log_interval", "iterations", "hidden_size", "batch_size"}


def presets() -> list[str]:
    """Return the names of the rows, in the order of the table."""
    return [f"{task}-{size}-{model}" for task, sizes in SIZES.items() for size in sizes for model in MODELS]


def read_runs(root: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return configuration, metrics and result of each run that has ended, by its preset.

    Raises
    ------
    LogError
        If a file is missing, or two of them do not agree.
    """
    return {preset: read_run(root / preset) for preset in presets() if (root / preset).is_dir()}


def read_run(folder: Path) -> dict[str, Any]:
    """Return configuration, metrics and result of a run; errors as for `read_runs`."""
    if missing := [name for name in FILES if not (folder / name).exists()]:
        raise LogError(f"{folder}: {' and '.join(missing)} missing")
    config, result = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "result.json")
    )
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    training = [record for record in metrics if record["kind"] == "training"]
    if not training or training[-1]["step"] != result["iterations"]:
        raise LogError(f"{folder}: metrics.jsonl does not end at update {result['iterations']}, as result.json does")
    for name in ("preset", "seed"):
        if config[name] != result[name]:
            raise LogError(f"{folder}: {name} is {config[name]} in config.json and {result[name]} in result.json")
    if config["preset"] != folder.name:
        raise LogError(f"{folder}: config.json is of preset {config['preset']}")
    return {"config": config, "result": result, "training": training}


def solved_at(run: Mapping[str, Any]) -> int | None:
    """Return the update after which the loss stays below a tenth of that without memory; None if there is none."""
    limit, found = SOLVED * run["result"]["baseline_loss"], None
    for record in run["training"]:
        if not record["loss"] < limit:
            found = None
        elif found is None:
            found = record["step"]
    return found


def table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line for each row, as Markdown."""
    lines = [
        "| task | cell | parameters | updates | test loss | without memory | symbols right | solved after | seconds "
        "| machine |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for task, sizes in SIZES.items():
        for size in sizes:
            for model, name in MODELS.items():
                preset = f"{task}-{size}-{model}"
                what = f"{task}, {'T =' if task == 'adding' else 'delay'} {size:,}"
                cells = _cells(preset, runs[preset]) if preset in runs else ["not run yet", *[""] * 7]
                lines.append(f"| {' | '.join([what, name, *cells])} |")
    return "\n".join(lines)


def _cells(preset: str, run: Mapping[str, Any]) -> list[str]:
    result, solved = run["result"], solved_at(run)
    accuracy = result.get("symbol_accuracy")
    return [
        f"{result['parameters']:,}",
        f"{result['iterations']:,}",
        f"[{result['test_loss']:.3g}](tasks/{preset})",
        f"{result['baseline_loss']:.3g}",
        "" if accuracy is None else f"{100 * accuracy:.1f} %",
        "no" if solved is None else f"{solved:,}",
        f"{result['seconds']:,.0f}",
        result["machine"],
    ]


def trial_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each trial: its settings, and the losses on validation sequences."""
    lines = [
        "| number | task | cell | settings | updates | validation loss, in five equal parts |",
        "|---:|---|---|---|---:|---|",
    ]
    for number, trial in enumerate(found, 1):
        settings = dict(trial["settings"])
        task, size = trial["task"], settings.pop("length", None) or settings.pop("delay")
        cell, updates = settings.pop("cell"), settings["iterations"]
        values = ", ".join(f"{name} {_text(value)}" for name, value in settings.items() if name not in COMMON)
        losses = " ".join(f"{loss:.3g}" for _, loss in trial["validation"])
        if "diverged" in trial:
            losses = f"diverged at update {trial['diverged']}"
        lines.append(f"| {number} | {task} {size} | {cell} | {values} | {updates:,} | {losses} |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def draw(runs: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """Draw the loss of every run against its updates, a panel for each task; dotted: without memory."""
    panels = [(task, size) for task, sizes in SIZES.items() for size in sizes if _of(runs, task, size)]
    figure = plots.new_figure(3.4 * len(panels), 3.4)
    for axes, (task, size) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        own = _of(runs, task, size)
        for index, model in enumerate(MODELS):
            if model in own:
                points = [(record["step"], record["loss"]) for record in own[model]["training"]]
                axes.plot(*zip(*points, strict=True), label=MODELS[model], **plots.line_style(index))
        axes.axhline(next(iter(own.values()))["result"]["baseline_loss"], color="black", linestyle=":", linewidth=1)
        axes.set(xlabel="updates", yscale="log")
        axes.set_title(f"{task}, {'T =' if task == 'adding' else 'delay'} {size}", fontsize=11)
        plots.bare(axes)
    figure.axes[0].set_ylabel("loss on new sequences")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return plots.save_figure(figure, path)


def _of(runs: Mapping[str, Mapping[str, Any]], task: str, size: int) -> dict[str, Mapping[str, Any]]:
    return {model: runs[name] for model in MODELS if (name := f"{task}-{size}-{model}") in runs}


def tables(root: Path = FOLDER) -> dict[str, str]:
    """Return both tables by the names of their marks on the page.

    Raises
    ------
    LogError
        As `read_runs`.
    """
    path = root / trials.FILE.name
    return {"tasks": table(read_runs(root)), "trials": trial_table(trials.read(path) if path.exists() else [])}
