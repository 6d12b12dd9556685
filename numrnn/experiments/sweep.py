"""Search for step size, diffusion, initial weights and learning rate, on the paper's grid or at random, on many cores.

    numrnn sweep --preset mnist-antisymmetric --images 10000          the paper's grid, on this machine
    numrnn sweep --preset mnist-gated --search random --trials 100    at random, between its ends
    numrnn sweep --set data=embedded --set hidden_size=32             with settings that differ from the preset's
    numrnn sweep --scheduler tcp://HOST:8786                          on the workers of a Dask scheduler

Trials are compared on validation images taken from the training set; the test set is never used. Results go to
results.jsonl in --out as they come. The same command continues a stopped sweep with the trials that are left; a trial
whose worker died continues from its last checkpoint. At the end the sweep prints a table of the best and writes
sweep.png. A scheduler and workers on other machines need this package, and workers the same --out on a common disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numrnn.backend import backend_module
from numrnn.experiments import sweep_report, workers
from numrnn.experiments.command_line import (
    add_verbosity,
    guarded,
    is_quiet,
    make_parser,
    printer,
    read,
    write_json,
)
from numrnn.experiments.config import Config as RunConfig
from numrnn.experiments.pictures import can_draw
from numrnn.experiments.presets import checked_values, read_values
from numrnn.experiments.trials import (
    EXPERIMENTS,
    Space,
    Trial,
    discard_checkpoints,
    ranking,
    read_results,
    rung_lengths,
    survivors,
)
from numrnn.locks import locked
from numrnn.options import Checked, documented, inherited, option, options
from numrnn.plots.text import literal
from numrnn.training import TrainingConfig, read_json_lines
from numrnn.training.config import LENGTHS
from numrnn.training.metrics import JsonLines, drop_half_line
from numrnn.typing import Backend

RESULTS_FILE = "results.jsonl"
UNUSED = ("preset", "out", *LENGTHS, "log_interval", "checkpoint_interval")  # not part of a trial
SPACE = Space()
# Settings that --set cannot change.
ELSEWHERE = {
    "seed": "give --seed",
    "backend": "give --backend",
    "preset": "give --preset",
    "out": "give --out",
    "optimizer": "give --optimizers",
    "weight_std": "give --weight-stds",
    "step_size": "give --step-sizes",
    "diffusion": "give --diffusions",
    "learning_rate": "give --learning-rates and --adam-rates",
    **dict.fromkeys(LENGTHS, "give --iterations"),
    **dict.fromkeys(("log_interval", "checkpoint_interval"), "a sweep sets it for each trial"),
}


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The search."""

    preset: str = option(
        "mnist-antisymmetric",
        "preset of numrnn mnist or cifar10 for all other settings, except for a constant schedule",
    )
    sets: tuple[tuple[str, str], ...] = option(
        (), "another setting, such as hidden_size=64 or data=embedded; repeatable", metavar="NAME=VALUE"
    )
    search: str = option(
        "grid", "grid: every combination; random: between the ends of the grid", choices=("grid", "random")
    )
    trials: int = option(50, "of a random search, {range}", at_least=1)
    optimizers: tuple[str, ...] = option(
        SPACE.optimizers, "which are tried", choices=options(RunConfig)["optimizer"].choices
    )
    weight_stds: tuple[float, ...] = option(SPACE.weight_stds, "sigma_w, each {range}", at_least=0)
    step_sizes: tuple[float, ...] = option(SPACE.step_sizes, "eps, each {range}", above=0)
    diffusions: tuple[float, ...] = option(SPACE.diffusions, "gamma, each {range}", above=0)
    learning_rates: tuple[float, ...] = option(SPACE.learning_rates, "of sgd and adagrad, each {range}", above=0)
    adam_rates: tuple[float, ...] = option(SPACE.adam_rates, "of adam, each {range}", above=0)
    images: int | None = option(None, "number of training images, from the first, {range}", at_least=1, none="all")
    iterations: int = option(1800, "updates of the trials that reach the last rung", at_least=1)
    rungs: int = option(3, "how often trials are compared, {range}; 1 trains all of them to the end", at_least=1)
    reduction: int = option(
        3, "one trial in this many continues to the next rung, which is this many times as long", at_least=2
    )
    seed: int = option(0, "of the runs, and of a random search", at_least=0)
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")
    workers: int | None = option(
        None, "worker processes on this machine, {range}, with one thread each", at_least=1, none="one per core"
    )
    scheduler: str | None = option(None, "address of a Dask scheduler whose workers are to be used instead")
    out: str = option("runs/sweep", "folder of results, and of the trials' logs and checkpoints")


def make_trials(config: Config) -> list[Trial]:
    """Return the trials of a sweep, without duplicates.

    Raises
    ------
    ValueError
        If the preset, a setting or a number is wrong.
    """
    name = "cifar10" if Path(config.preset).stem.startswith("cifar10-") else "mnist"
    experiment = EXPERIMENTS[name]
    own = checked_values("--set", read_values(config.sets), experiment.config)
    for key in own:
        if key in ELSEWHERE:
            raise ValueError(f"--set: {key} would have no effect: {ELSEWHERE[key]}")
    common: dict[str, Any] = {
        "schedule": "constant",
        "seed": config.seed,
        "backend": config.backend,
        "preset": config.preset,
    }
    base = experiment.make_config(**common | own)
    _check_validation(config.images, base.validation_size, experiment.validation_share)
    fixed = {key: value for key, value in dataclasses.asdict(base).items() if key not in UNUSED}
    space = Space(**{known.name: getattr(config, known.name) for known in dataclasses.fields(Space)})
    points = space.grid() if config.search == "grid" else space.draw(config.trials, config.seed)
    lengths = tuple(rung_lengths(config.iterations, config.rungs, config.reduction))
    found = [Trial(name, {**fixed, **point}, config.images, lengths) for point in points]
    return list({trial.name: trial for trial in found}.values())


def _check_validation(images: int | None, held_out: int | None, share: int) -> None:
    """Raise ValueError unless there are images to compare the trials on, and others to train on."""
    if held_out is None and images is not None:
        held_out = images // share
    if held_out == 0:
        raise ValueError("validation_size must be >= 1, as trials are compared on these images, got 0")
    if images is not None and held_out is not None and held_out >= images:
        raise ValueError(f"images must be more than the validation_size, which is {held_out}, got {images}")


def run(config: Config, *, say: Callable[[str], Any] = lambda _: None) -> list[dict[str, Any]]:
    """Search, and return the last result of every trial, best first; those that diverged come last.

    Parameters
    ----------
    config : Config
        What to search.
    say : callable
        Gets a line for each result, a line if all workers are gone, and the table at the end.

    Raises
    ------
    ValueError
        As `make_trials`.
    RuntimeError
        If another sweep uses the same folder (`FolderInUseError`), a trial failed, or there is no CuPy for backend
        "cupy".
    numrnn.extras.MissingExtraError
        If there is no Dask.
    OSError
        If the scheduler cannot be reached or is lost, or a file cannot be written.
    """
    trials = {trial.name: trial for trial in make_trials(config)}
    lengths = next(iter(trials.values())).lengths
    workers.require_dask()
    if config.scheduler is None:
        backend_module(config.backend)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(locked(out))
        write_json(out / "sweep.json", dataclasses.asdict(config))
        path = out / RESULTS_FILE
        if path.exists():
            drop_half_line(path)
        lines = held.enter_context(contextlib.closing(JsonLines(path)))
        done, recorded = read_results(path), read_json_lines(path)
        going, left = list(trials), sum((name, 0) not in done for name in trials)
        say(f"{len(trials)} trials, {len(trials) - left} of them begun before; rungs of {lengths} updates")
        with contextlib.ExitStack() as stack:
            client: Any = None
            for rung, updates in enumerate(lengths):
                to_do = [trials[name] for name in going if (name, rung) not in done]
                if to_do and client is None:
                    client = stack.enter_context(workers.connected(config.scheduler, config.workers))
                if client is not None:
                    for result in workers.results(client, to_do, rung, config.out, say=say):
                        lines.append(result)
                        lines.sync()
                        done[result["trial"], rung] = result
                        say(f"rung {rung}: {sweep_report.line(result)}")
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
                say(f"rung {rung}, after {updates} updates: {len(kept)} of {len(going)} continue")
                going = kept
    last = {name: result for (name, _), result in sorted(done.items(), key=lambda item: item[0][1]) if name in trials}
    ranked = ranking(last.values())
    say(sweep_report.table(ranked))
    diverged = sum(result["status"] == "diverged" for result in ranked)
    preset = literal(Path(config.preset).name)
    heading = f"{preset}: {len(ranked)} trials, up to {lengths[-1]:,} updates; {diverged} diverged, not shown"
    if can_draw(say):
        sweep_report.draw(ranked, out / "sweep.png", heading)
    return ranked


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""

    def work() -> None:
        parser = make_parser("numrnn sweep", __doc__, Config, program=program)
        add_verbosity(parser)
        given = read(parser, argv, Config)
        say = printer(is_quiet(given))
        config = Config(**given)
        run(config, say=say)
        drawn = " and sweep.png" if (Path(config.out) / "sweep.png").exists() else ""
        say(f"written: {Path(config.out) / RESULTS_FILE}{drawn}")

    return guarded(work)
