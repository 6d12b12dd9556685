"""Search for step size, diffusion, initial weights and learning rate: the paper's grid, or at random, on many cores.

    python examples/sweep.py --preset mnist-antisymmetric --images 10000          the paper's grid, on this machine
    python examples/sweep.py --preset mnist-gated --search random --trials 100    at random, between its ends
    python examples/sweep.py --set data=embedded --set hidden_size=32             with other settings than the preset's
    python examples/sweep.py --scheduler tcp://HOST:8786                          on the workers of a Dask scheduler

Trials are compared on validation images taken from the training set; the test set is never looked at. Results go to
results.jsonl in --out as they come. A sweep that was stopped, started again with the same options, skips what is done
and goes on with the rest; a trial whose worker died goes on from its last checkpoint. At the end: a table of the best,
and sweep.png. Workers on other machines need this checkout, PYTHONPATH=examples, and the same --out on a common disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import sys
import threading
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_line import BACKEND_HELP, guarded, make_parser, read, write_json
from experiment_config import CHOICES as RUN_CHOICES
from experiment_config import LENGTHS, checked_values
from trials import (
    EXPERIMENTS,
    SEARCHED,
    Space,
    Trial,
    discard_checkpoints,
    read_results,
    rung_lengths,
    survivors,
    train,
)

from numrnn import plots
from numrnn.backend import backend_module
from numrnn.blas import available_cores
from numrnn.training import read_json_lines
from numrnn.training.metrics import JsonLines, cut_back
from numrnn.typing import Backend

try:
    from distributed import Client, LocalCluster, as_completed
except ImportError as error:
    raise ImportError(f"examples/sweep.py needs Dask: pip install numrnn[sweep] (found: {error})") from error

RESULTS_FILE = "results.jsonl"
SHOWN = 10  # trials of the table
UNUSED = ("preset", "out", *LENGTHS, "log_interval", "checkpoint_interval")  # not part of a trial
SPACE = Space()


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is searched; HELP says what each field means."""

    preset: str = "mnist-antisymmetric"
    sets: tuple[tuple[str, str], ...] = field(default=(), metadata={"metavar": "NAME=VALUE"})
    search: str = "grid"
    trials: int = 50
    optimizers: tuple[str, ...] = SPACE.optimizers
    weight_stds: tuple[float, ...] = SPACE.weight_stds
    step_sizes: tuple[float, ...] = SPACE.step_sizes
    diffusions: tuple[float, ...] = SPACE.diffusions
    learning_rates: tuple[float, ...] = SPACE.learning_rates
    adam_rates: tuple[float, ...] = SPACE.adam_rates
    images: int | None = None
    iterations: int = 1800
    rungs: int = 3
    reduction: int = 3
    seed: int = 0
    backend: Backend = "numpy"
    workers: int | None = None
    scheduler: str | None = None
    out: str = "runs/sweep"


HELP = {
    "preset": "where all other settings come from, but for a constant schedule: as of examples/mnist.py or cifar10.py",
    "sets": "another setting, as hidden_size=64 or data=embedded; repeatable",
    "search": "grid: every combination; random: between the ends of the grid",
    "trials": "of a random search, >= 1",
    "optimizers": "which are tried",
    "weight_stds": "sigma_w, each >= 0",
    "step_sizes": "eps, each > 0",
    "diffusions": "gamma, each > 0",
    "learning_rates": "of sgd and adagrad, each > 0",
    "adam_rates": "of adam, each > 0",
    "images": "use the first so many training images only; default: all",
    "iterations": "updates of the trials that reach the last rung, >= 1",
    "rungs": "how often trials are compared, >= 1; 1 trains all of them to the end",
    "reduction": "of so many trials one goes on to the next rung, which is so many times as long, >= 2",
    "seed": "of the runs, and of a random search, >= 0",
    "backend": BACKEND_HELP,
    "workers": "worker processes on this machine, >= 1, with one thread each; default: one a core",
    "scheduler": "address of a Dask scheduler whose workers are to be used instead",
    "out": "folder of results, and of the trials' logs and checkpoints",
}
CHOICES = {"search": ("grid", "random"), "optimizers": RUN_CHOICES["optimizer"]}


def make_trials(config: Config) -> list[Trial]:
    """Return the trials of a sweep, each once.

    Raises
    ------
    ValueError
        If the preset, a setting or a number is wrong.
    """
    if config.trials < 1 or config.seed < 0 or (config.images is not None and config.images < 1):
        raise ValueError(
            f"trials and images must be >= 1 and seed >= 0, got {config.trials}, {config.images} and {config.seed}"
        )
    name = "cifar10" if Path(config.preset).stem.startswith("cifar10-") else "mnist"
    experiment = EXPERIMENTS[name]
    own = checked_values("--set", _settings(config.sets), experiment.config)
    common: dict[str, Any] = {
        "schedule": "constant",
        "seed": config.seed,
        "backend": config.backend,
        "preset": config.preset,
    }
    base = experiment.make_config(**common | own)
    fixed = {key: value for key, value in dataclasses.asdict(base).items() if key not in UNUSED}
    space = Space(**{known.name: getattr(config, known.name) for known in dataclasses.fields(Space)})
    points = space.grid() if config.search == "grid" else space.draw(config.trials, config.seed)
    lengths = tuple(rung_lengths(config.iterations, config.rungs, config.reduction))
    found = [Trial(name, {**fixed, **point}, config.images, lengths) for point in points]
    return list({trial.name: trial for trial in found}.values())


def _settings(sets: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return settings as TOML reads them; what is no TOML is a word."""
    settings: dict[str, Any] = {}
    for name, text in sets:
        try:
            settings |= tomllib.loads(f"{name} = {text}")
        except tomllib.TOMLDecodeError:
            settings[name] = text
    return settings


def local_cluster(workers: int | None = None) -> LocalCluster:
    """Return a scheduler and workers on this machine: processes of one thread, one a core unless told otherwise."""
    with _children_ignore_interrupts():
        return LocalCluster(
            n_workers=available_cores() if workers is None else workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # Dask would stop a worker at a share of the memory that no trial comes near
            dashboard_address=None,
            silence_logs=logging.ERROR,  # a worker that dies is a warning to Dask; its trial goes on elsewhere
        )


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C, which a terminal sends to all: the sweep ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def connected(config: Config) -> Iterator[Client]:
    """Give a client of the scheduler that the configuration names, or of one that lives as long as this."""
    with contextlib.ExitStack() as stack:
        address: Any = config.scheduler
        if address is None:
            address = stack.enter_context(local_cluster(config.workers))
        yield stack.enter_context(Client(address))


def run(config: Config, *, say: Callable[[str], Any] = lambda _: None) -> list[dict[str, Any]]:
    """Search, and return the last result of every trial, best first.

    Parameters
    ----------
    config : Config
        What to search.
    say : callable
        Gets a line for each result, and the table at the end.

    Raises
    ------
    ValueError
        As `make_trials`.
    RuntimeError
        If another sweep is at work in the same folder, a trial failed, or there is no CuPy for backend "cupy".
    OSError
        If the scheduler cannot be reached, or a file not be written.
    """
    trials = {trial.name: trial for trial in make_trials(config)}
    lengths = next(iter(trials.values())).lengths
    if config.scheduler is None:
        backend_module(config.backend)
    out = Path(config.out)
    write_json(out / "sweep.json", dataclasses.asdict(config))
    path = out / RESULTS_FILE
    with _lock(out), contextlib.closing(JsonLines(path)) as lines:
        cut_back(path, sys.maxsize)  # half a line, of a process that was killed
        done, recorded = read_results(path), read_json_lines(path)
        going, left = list(trials), sum((name, 0) not in done for name in trials)
        say(f"{len(trials)} trials, {len(trials) - left} of them begun before; rungs of {lengths} updates")
        with contextlib.ExitStack() as stack:
            client: Client | None = None
            for rung, updates in enumerate(lengths):
                to_do = [trials[name] for name in going if (name, rung) not in done]
                if to_do and client is None:
                    client = stack.enter_context(connected(config))
                if client is not None:
                    for result in _results(client, to_do, rung, config.out):
                        lines.append(result)
                        lines.sync()
                        done[result["trial"], rung] = result
                        say(f"rung {rung}: {_text(result)}")
                failed = [name for name in going if done[name, rung]["status"] == "failed"]
                if failed:
                    raise RuntimeError(f"{len(failed)} trials failed, the first with: {done[failed[0], rung]['error']}")
                kept = survivors([done[name, rung] for name in going], config.reduction)
                if rung + 1 == len(lengths):
                    break
                for name in set(going) - set(kept):
                    discard_checkpoints(trials[name], config.out)
                record = {"kind": "rung", "rung": rung, "step": updates, "of": len(going), "kept": kept}
                if record not in recorded:
                    lines.append(record)
                say(f"rung {rung}, after {updates} updates: {len(kept)} of {len(going)} go on")
                going = kept
    last = {name: result for (name, _), result in sorted(done.items(), key=lambda item: item[0][1]) if name in trials}
    ranked = sorted(last.values(), key=lambda r: (-r["rung"], r["status"], -r["validation_accuracy"]))
    say(table(ranked))
    diverged = sum(result["status"] == "diverged" for result in ranked)
    heading = f"{config.preset}: {len(ranked)} trials, up to {lengths[-1]:,} updates; {diverged} diverged, not shown"
    draw(ranked, out / "sweep.png", heading)
    return ranked


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Keep the folder of a sweep from a second one; the lock goes with the process, however that ends."""
    import fcntl  # not on Windows

    with open(out / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"{out}: another sweep is at work in this folder") from error
        yield


def _results(client: Client, trials: Sequence[Trial], rung: int, out: str) -> Iterator[dict[str, Any]]:
    """Let the workers train, and yield each result as it comes; of a trial that failed, why."""
    futures = {}
    for trial in trials:
        key = f"{trial.name}-{rung}-{uuid.uuid4().hex}"  # of this sweep alone: a scheduler may have served others
        futures[client.submit(train, trial, rung, out, key=key)] = trial
    for future in as_completed(list(futures)):
        error = future.exception()
        if error is None:
            yield future.result()
        else:
            trial = futures[future]
            common = {"kind": "result", "trial": trial.name, "rung": rung, "step": 0, **trial.searched}
            yield {
                **common,
                "status": "failed",
                "validation_accuracy": 0.0,
                "error": f"{type(error).__name__}: {error}",
            }
        future.release()


def _text(result: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key} {result[key]}" for key in SEARCHED)
    if result["status"] != "finished":
        return f"{settings}: {result['status']} at update {result['step']}"
    return f"{settings}: {100 * result['validation_accuracy']:.2f} % after {result['step']} updates"


def table(ranked: Sequence[Mapping[str, Any]]) -> str:
    """Return the best trials as lines to read."""
    rows = [["validation", "training", "updates", *SEARCHED]]
    for result in ranked[:SHOWN]:
        if result["status"] == "finished":
            shares = [f"{100 * result[f'{kind}_accuracy']:.2f} %" for kind in ("validation", "training")]
            rows.append([*shares, str(result["step"]), *(str(result[key]) for key in SEARCHED)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    diverged = sum(result["status"] == "diverged" for result in ranked)
    return "\n".join([*lines, f"{len(ranked)} trials, {diverged} diverged"])


def draw(ranked: Sequence[Mapping[str, Any]], path: Path, title: str) -> Path:
    """Draw the accuracy of every trial over each setting; the later its last rung, the darker."""
    figure = plots.new_figure(10.0, 3.6)
    names = {"step_size": "$\\epsilon$", "diffusion": "$\\gamma$", "weight_std": "$\\sigma_w$"}
    names["learning_rate"] = "learning rate"
    last = max(result["rung"] for result in ranked)
    grid = figure.subplots(1, len(names), sharey=True)
    for axes, (key, label) in zip(grid, names.items(), strict=True):
        for index, optimizer in enumerate(sorted({result["optimizer"] for result in ranked})):
            for rung in range(last + 1):
                shown = [r for r in ranked if r["optimizer"] == optimizer and r["rung"] == rung]
                axes.plot(
                    [r[key] for r in shown],
                    [100 * r["validation_accuracy"] if r["status"] == "finished" else math.nan for r in shown],
                    ("o", "s", "^")[index % 3],
                    color=plots.COLOURS[index],
                    alpha=(rung + 1) / (last + 1),
                    markersize=4,
                    label=optimizer if rung == last else None,
                )
        if key == "weight_std":
            axes.set_xscale("symlog", linthresh=1)
        else:
            axes.set_xscale("log")
        axes.set_xlabel(label)
        plots.bare(axes)
    grid[0].set_ylabel("validation accuracy, %")
    grid[-1].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return plots.save_figure(figure, path)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""

    def work() -> None:
        config = Config(**read(make_parser("sweep.py", __doc__, Config, HELP, CHOICES), argv, Config))
        run(config, say=print)
        print(f"written: {Path(config.out) / RESULTS_FILE} and sweep.png")

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
