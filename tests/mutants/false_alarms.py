"""Random correct problems, made from numrnn's own cells: how often is a right gradient called wrong?

``python tests/mutants/false_alarms.py --count 10000 --output FILE`` draws problems (every cell, both storages of W,
n 1..32, m 1..4, T 1..50, B 1..4, lengths or none, checkpoints or none, float32 and float64, three scales of the loss,
step sizes, diffusions and weights over two decades; drawn again where a state, of the Lipschitz cell, grows beyond 1e6,
so that its powers stay in the range of float32), checks each with the default rule, and prints a summary. It exits
with 1 if a gradient was called wrong.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(pathlib.Path(__file__).resolve().parent)]

import planted  # noqa: E402 - found next to this file, which is run as a script

import numrnn  # noqa: E402
from gradcheck import Report, check_gradient  # noqa: E402
from gradcheck.mutants import DTYPES, SCALES, Instance  # noqa: E402

LARGEST = 1e6  # of a state


def largest_state(cell: numrnn.Cell, params: dict[str, np.ndarray]) -> float:
    """Return the largest element of all states, computed in float64; infinity before there are parameters."""
    if not np.isfinite(params["x"]).all():
        return float("inf")
    own = {key: value.astype(float) for key, value in params.items()}
    x, h0 = own.pop("x"), own.pop("h0")
    return float(np.abs(numrnn.forward(cell, own, x, h0)[0]).max())


def draw(seed: int) -> tuple[str, Instance]:
    """Return a description of problem number `seed`, and the problem, without mutants."""
    rng = np.random.default_rng([seed, 0xFA15E])
    kind = list(planted.CELLS)[rng.integers(len(planted.CELLS))]
    T, B, m, n = (int(rng.integers(1, top + 1)) for top in (50, 4, 4, 32))
    _, options = planted.CELLS[kind]
    drawn = {key: 10 ** rng.uniform(-2, 0) for key in options if key in ("step_size", "diffusion")}
    settings: dict[str, Any] = {"lengths": True} if rng.integers(2) else {}
    if rng.integers(2):
        settings["recompute_every"] = int(rng.integers(1, T + 1))
    cell = planted.make_cell(numrnn, kind, m, n, **drawn)
    dtype, scale = DTYPES[rng.integers(2)], SCALES[rng.integers(3)]
    params = {"x": np.full((T, B, m), np.inf)}
    while not largest_state(cell, params) < LARGEST:
        size = 10 ** rng.uniform(-1, 0.5) / np.sqrt(n)
        params = {
            key: (size * rng.standard_normal(shape)).astype(dtype) for key, shape in cell.parameter_shapes.items()
        }
        params["x"] = rng.standard_normal((T, B, m)).astype(dtype)
        params["h0"] = rng.standard_normal((B, cell.state_size)).astype(dtype)
    data = {
        "d_states": rng.standard_normal((T + 1, B, cell.state_size)),
        "d_final": rng.standard_normal((B, cell.state_size)),
        "lengths": rng.integers(1, T + 1, B),
    }
    parts = planted.through_time(**settings)

    def loss(p: dict[str, np.ndarray]) -> Any:
        kind_ = planted.real_type(p)
        return parts["loss"](cell, p, planted.cast(data, kind_)) * kind_(scale)

    def gradient(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kind_ = planted.real_type(p)
        found = parts["gradient"](numrnn, cell, p, planted.cast(data, kind_))
        return {key: found[key] * kind_(scale) for key in p}

    text = f"{kind}, T={T} B={B} m={m} n={n} {dtype} x {scale:g} {settings}"
    return text, Instance(loss, gradient, params, {})


def check(seed: int) -> tuple[str, Report]:
    """Return the description and the report of one problem; every third gradient is handed over as arrays."""
    text, problem = draw(seed)
    gradient = problem.gradient(problem.params) if seed % 3 == 0 else problem.gradient
    return text, check_gradient(problem.loss, gradient, problem.params, seed=seed, budget=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check that many problems and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first problem")
    parser.add_argument("--output", type=pathlib.Path, help="log to write; standard output without it")
    given = parser.parse_args(arguments)
    started, verdicts, lines, share = time.perf_counter(), collections.Counter(), [], 0.0
    parameters, reasons = collections.Counter(), collections.Counter()
    for seed in range(given.first, given.first + given.count):
        text, report = check(seed)
        verdicts[report.verdict] += 1
        share = max(share, report.n_evaluations / len(report.entries))
        for entry in report.entries:
            parameters[entry.verdict] += 1
            if entry.verdict != "passed":
                reasons[entry.reason or entry.verdict] += 1
                lines.append(f"problem {seed}: {entry.parameter} {entry.verdict}: {entry.note or ''} [{text}]")
    head = [
        f"{given.count} correct problems from number {given.first} on, default rule, NumPy {np.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, {time.perf_counter() - started:.0f} s",
        "problems:   " + ", ".join(f"{verdicts[word]} {word}" for word in ("passed", "inconclusive", "failed")),
        "parameters: " + ", ".join(f"{parameters[word]} {word}" for word in ("passed", "inconclusive", "failed")),
        "reasons:    " + (", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"),
        f"most evaluations of loss and gradient a parameter: {share:.2f}",
        f"command: python tests/mutants/false_alarms.py --count {given.count} --first {given.first}",
    ]
    report_text = "\n".join([*head, *(["", "every parameter that did not pass:"] if lines else []), *lines]) + "\n"
    if given.output:
        given.output.write_text(report_text, encoding="utf-8")
    else:
        print(report_text, end="")
    return int(verdicts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
