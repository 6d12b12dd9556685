"""python -m results.trials NUMBER: repeat a trial of the long-memory tasks, a line of results/tasks/trials.jsonl.

Settings of the presets of `numrnn adding` and `numrnn copying` were chosen by these trials. Each trained with the given
settings and was judged by the loss on 500 validation sequences. No trial used a test sequence.

    {"task": "adding", "settings": {"length": 200, ...}, "validation": [[step, loss], ...], "seconds": 12.3}
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from numrnn.commands import Parser
from numrnn.experiments import adding, copying
from numrnn.experiments.tasks import Task
from numrnn.training import DivergenceError

EXPERIMENTS: dict[str, Task] = {"adding": adding.EXPERIMENT, "copying": copying.EXPERIMENT}
FILE = Path(__file__).parent / "tasks" / "trials.jsonl"
ROUNDS = 5  # number of validations per trial
BATCH = 50


def run(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train with some settings of a task, on one core, and return the line of the trial.

    Parameters
    ----------
    task : str
        "adding" or "copying".
    settings : mapping
        Fields of the configuration of `numrnn adding` or `numrnn copying`, iterations among them.

    Returns
    -------
    dict
        JSON: task, settings, validation (pairs of step and loss), diverged (the step, if so), seconds.
    """
    experiment, start = EXPERIMENTS[task], time.monotonic()
    per_round = max(1, settings["iterations"] // ROUNDS)
    fixed = {
        "batch_size": BATCH,
        "sequences": per_round * BATCH,
        "validation_sequences": 500,
        "checkpoint_interval": 10**9,
    }
    line: dict[str, Any] = {"task": task, "settings": dict(settings), "validation": []}
    with tempfile.TemporaryDirectory() as out, threadpool_limits(1):
        config = experiment.make_config(**{**fixed, **settings, "out": out})
        trainer, _ = experiment.make_trainer(config, experiment.load(config), show_progress=False)
        try:
            found = trainer.run().history("validation")
            line["validation"] = [[record["step"], round(record["loss"], 6)] for record in found]
        except DivergenceError as error:
            line["diverged"] = error.step
    return line | {"seconds": round(time.monotonic() - start, 1)}


def read(path: Path = FILE) -> list[dict[str, Any]]:
    """Return all trials."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(argv: list[str] | None = None) -> int:
    """Repeat a trial and print its line; return 1 if its losses are not those of the file."""
    parser = Parser(prog="python -m results.trials", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("number", type=int, help="of the line in results/tasks/trials.jsonl, from 1")
    number, known = parser.parse_args(argv).number, read()
    if not 1 <= number <= len(known):
        parser.error(f"number must be from 1 to {len(known)}, got {number}")
    wanted = known[number - 1]
    found = run(wanted["task"], wanted["settings"])
    print(json.dumps(found))
    same = found["validation"] == wanted["validation"]
    if not same:
        print(f"the file has {wanted['validation']}: another BLAS may round otherwise", file=sys.stderr)
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
