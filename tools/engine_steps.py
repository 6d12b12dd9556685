"""Time the steps of docs/engine_steps.md on one core: `python -m tools.engine_steps` prints the page's table.

The functions are those of the page, taken from its blocks. Seconds are processor time, which other programs on the
machine affect little; the shortest of several runs counts.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import numrnn
from tools.repository import ROOT

PAGE = ROOT / "docs" / "engine_steps.md"
T, B, M, N = 784, 128, 1, 128  # sequential MNIST
REPETITIONS = 15
WHAT = {
    "0": "reference",
    "1": "A once",
    "2": "V x + b at once",
    "3": "no arrays in the loop",
    "4": "state divided by eps",
    "5": "chunks of time",
    "6": "reference",
    "7": "c kept, scaled",
    "8": "one product per chunk",
}


def functions() -> dict[str, Any]:
    """Run the blocks of the page and return the names that they define."""
    found: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def seconds(work: Callable[[], Any]) -> float:
    """Return the processor time of the fastest of several runs, in seconds."""
    found = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Time all steps in turn, and the engine."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the engine then runs one slice, in this process
    found, rng = functions(), np.random.default_rng(0)
    cell = numrnn.AntisymmetricCell(M, N, step_size=0.03, diffusion=0.001)
    params = cell.init_params(rng, weight_std=4.0)
    x, h0 = rng.random((T, B, M), dtype=np.float32), np.zeros((B, N), np.float32)
    d_final = rng.standard_normal((B, N), dtype=np.float32)
    with threadpool_limits(1):
        states, candidates = found["forward_5"](cell, params, x, h0)
        rows = []
        for number in WHAT:
            if work := found.get(f"forward_{number}"):
                rows.append(("forward", number, seconds(lambda work=work: work(cell, params, x, h0))))
            else:
                work = found[f"backward_{number}"]
                rows.append(
                    ("backward", number, seconds(lambda work=work: work(cell, params, x, states, candidates, d_final)))
                )
        engine = {"forward": seconds(lambda: numrnn.forward(cell, params, x, engine="fused"))}
        _, tape = numrnn.forward(cell, params, x, engine="fused")
        engine["backward"] = seconds(lambda: numrnn.backward(tape, d_final=d_final, wrt=("params", "h0")))
    print("| pass | step | seconds | faster than the step before | than the reference |\n|---|---|---:|---:|---:|")
    for name in ("forward", "backward"):
        own = [row for row in rows if row[0] == name]
        times = [*(row[2] for row in own), engine[name]]
        labels = [*(f"{row[1]}. {WHAT[row[1]]}" for row in own), "the engine, on one core"]
        for i, (label, value) in enumerate(zip(labels, times, strict=True)):
            before = f"{times[i - 1] / value:.2f}" if i else ""
            print(f"| {name} | {label} | {value:.3f} | {before} | {f'{times[0] / value:.1f}' if i else ''} |")


if __name__ == "__main__":
    main()
