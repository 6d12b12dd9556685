"""The tables of results/README.md, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from results.runs import Run, command

MODELS = {
    "antisymmetric": "AntisymmetricRNN (12)",
    "gated": "AntisymmetricRNN, gated (13)",
    "gated-unstructured": "ablation: (13), W unstructured",
    "lstm": "LSTM",
    "lstm-chrono": "LSTM, chrono initialisation",
}
BESIDE = ("lstm-chrono",)  # not in the paper: shown once there is a run
# The paper's test accuracies in percent, by task and cell.
PAPER = {
    "mnist": {"antisymmetric": 98.0, "gated": 98.8, "lstm": 97.3},
    "pmnist": {"antisymmetric": 95.8, "gated": 93.1, "lstm": 92.6},
    "cifar10-pixels": {"antisymmetric": 58.7, "gated": 62.2, "gated-unstructured": 54.6, "lstm": 59.7},
    "cifar10-noise-padded": {"antisymmetric": 48.3, "gated": 54.7, "gated-unstructured": 46.2, "lstm": 11.6},
}
TABLES = {"table 1": ("mnist", "pmnist"), "table 2": ("cifar10-pixels", "cifar10-noise-padded")}
TASKS = {
    "mnist": "MNIST",
    "pmnist": "permuted MNIST",
    "cifar10-pixels": "CIFAR-10, pixels",
    "cifar10-noise-padded": "CIFAR-10, noise-padded",
}


def presets(tasks: Sequence[str] = tuple(PAPER)) -> list[str]:
    """Return the rows of some tasks, in the order of the tables."""
    return [f"{task}-{cell}" for task in tasks for cell in PAPER[task]]


def beside(tasks: Sequence[str] = tuple(PAPER)) -> list[str]:
    """Return the rows of some tasks that the paper does not have."""
    return [f"{task}-{cell}" for task in tasks for cell in BESIDE]


def table(name: str, runs: Mapping[str, Sequence[Run]]) -> str:
    """Return one table of the paper with our figures beside the paper's."""
    lines = [
        "| task | model | paper, % | ours, % | parameters | iterations | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in TABLES[name]:
        ours = {cell: "" for cell in BESIDE if runs.get(f"{task}-{cell}")}
        for cell, paper in {**PAPER[task], **ours}.items():
            found = runs.get(f"{task}-{cell}", ())
            ended = [run.result for run in found if run.result]
            if ended:
                numbers = [_each(f"{result[key]:,}" for result in ended) for key in ("parameters", "iterations")]
                seeds = ", ".join(str(result["seed"]) for result in ended)
                rest = [accuracy_text([result["test_accuracy"] for result in ended]), *numbers, seeds]
            elif found:
                rest = ["not finished", "", "", ""]
            else:
                rest = ["not run yet", "", "", ""]
            lines.append(f"| {TASKS[task]} | {MODELS[cell]} | {paper} | {' | '.join(rest)} |")
    return "\n".join(lines)


def accuracy_text(accuracies: Sequence[float]) -> str:
    """Return an accuracy in percent; of several, the mean and the standard deviation of a single one."""
    mean = f"{100 * statistics.fmean(accuracies):.2f}"
    if len(accuracies) == 1:
        return mean
    return f"{mean} ± {100 * statistics.stdev(accuracies):.2f} ({len(accuracies)} seeds)"


def _each(texts: Iterable[str]) -> str:
    """Return the strings without duplicates."""
    return "; ".join(dict.fromkeys(texts))


def run_table(runs: Mapping[str, Sequence[Run]]) -> str:
    """Return a line for each run, and the command for each row without runs."""
    lines = [
        "| row, seed | test, % | validation, % | training, % | parameters | iterations | seconds | machine | data "
        "| command |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for preset in presets() + beside():
        for run in runs.get(preset, ()):
            lines.append(_run_line(run))
        if preset in presets() and not runs.get(preset):
            lines.append(f"| {preset} | not run yet | | | | | | | | `{command(preset)}` |")
    return "\n".join(lines)


def _run_line(run: Run) -> str:
    link = f"[{run.preset}, {run.config['seed']}](paper/{run.preset}/{run.folder.name})"
    result = run.result
    if not result:
        validation = run.history("validation")
        reached = f"{100 * validation[-1]['accuracy']:.2f}" if validation else ""
        step = f"{run.metrics[-1]['step'] if run.metrics else 0:,}"
        return f"| {link} | not finished | {reached} | | | {step} | | | | `{run.command}` |"
    cells = [
        link,
        f"{100 * result['test_accuracy']:.2f}",
        "" if result["validation_accuracy"] is None else f"{100 * result['validation_accuracy']:.2f}",
        f"{100 * run.training_accuracy:.2f}",
        f"{result['parameters']:,}",
        f"{result['iterations']:,}",
        f"{result['seconds']:,.0f}",
        result["machine"],
        data_text(result),
        f"`{run.command}`",
    ]
    return f"| {' | '.join(cells)} |"


def data_text(result: Mapping[str, object]) -> str:
    """Return preprocessing, permutation and noise of a run."""
    parts = [f"pixels {result['preprocessing']}"]
    if result.get("permutation_seed") is not None:
        parts.append(f"permutation seed {result['permutation_seed']}")
    if result.get("noise") is not None:
        parts.append(f"{result['noise']} noise")
    return ", ".join(parts)


def rebuilt(page: str, tables: Mapping[str, str], source: str = "the logs") -> str:
    """Return the page with its tables, given by name, rewritten between their marks.

    Raises
    ------
    ValueError
        If a mark is missing.
    """
    for name, text in tables.items():
        begin, end = f"<!-- {name}: from {source}, by python -m results -->", f"<!-- end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must have {begin!r} and {end!r} once each")
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"
    return page


def of_the_paper(runs: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Return the tables of the paper's rows and of their runs, by name."""
    return {name: table(name, runs) for name in TABLES} | {"runs": run_table(runs)}
