"""The comparison on a GPU: values first, then interleaved timings, and the card's own rates in every round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.check import tolerance
from benchmarks.compare import Settings, time_contenders
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.workloads import WORKLOADS, Workload

OURS = "CUDA engine"
SAME_CELL = (OURS, "CuPy loop", "torch eager", "torch.compile chunks", "torch CUDA graph", "jax scan")
OTHER_CELLS = ("cuDNN RNN", "cuDNN LSTM", "FlashRNN")
LARGE_BATCH = 512
CALLS = 10  # in a measurement: events are good to a microsecond, and a queue that is never empty is what training sees


def gpu_workloads() -> list[Workload]:
    """Return what is timed, the most telling first: a limit of time cuts off the end."""
    known = {workload.name: workload for workload in WORKLOADS}

    def named(name: str, *contenders: str) -> Workload:
        return replace(known[name], contenders=contenders, calls=CALLS)

    def other(cell: str, *contenders: str) -> Workload:
        own = named("mnist-ungated", OURS, "CuPy loop", *contenders)
        title = {"elman": "the Elman network", "lstm": "the LSTM"}[cell]
        return replace(own, name=f"mnist-{cell}", title=f"sequential MNIST, {title}", cell=cell)

    def large(name: str) -> Workload:
        own = named(name, OURS)
        return replace(own, name=f"{name}-{LARGE_BATCH}", title=f"{own.title}, a large batch", B=LARGE_BATCH)

    return [
        named("mnist-ungated", *SAME_CELL, *OTHER_CELLS),
        named("cifar-ungated", *SAME_CELL, *OTHER_CELLS),
        other("elman", "cuDNN RNN"),
        other("lstm", "jax scan", "cuDNN LSTM"),
        large("mnist-ungated"),
        large("cifar-ungated"),
        named("mnist-gated", *SAME_CELL),
        named("cifar-gated", *SAME_CELL),
        named("noise-ungated", *SAME_CELL),
        named("noise-gated", *SAME_CELL),
    ]


def traffic(workload: Workload) -> int:
    """Return the bytes that go to and from memory if every array of all steps is written once, and read where needed.

    With k products V x + b and a activations (k = a = 1; 2 with a gate; 4 for the LSTM) and a state of s n numbers, for
    each step and sequence: x is read for V x + b and for dV (2 m numbers); V x + b is written and read (2 k n), the
    state written (s n), the activations written (a n); backward the activations are read (a n), delta written (k n);
    delta and h are read for the gradients of the parameters (k n + n). In all 2 m + (4 k + 2 a + s + 1) n numbers of
    four bytes; the LSTM also reads its c backward. The Elman network's activation is its state, which is written once.
    """
    of_n = {"ungated": 8, "gated": 14, "elman": 7, "lstm": 28}[workload.cell]
    return 4 * workload.T * workload.B * (2 * workload.m + of_n * workload.n)


def compare_on_gpu(
    workload: Workload,
    names: Sequence[str],
    settings: Settings,
    ceilings: Ceilings,
    measure_ceilings: Callable[[], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return the results of one workload, as they go into the JSON.

    Parameters
    ----------
    workload, names, settings, say
        As for `benchmarks.compare.compare`; the threads of the settings are those of the host.
    ceilings : Ceilings
        Filled by `measure_ceilings`, which is called before every round and after the last.
    """
    outcomes = time_contenders(workload, names, settings, say, measure_ceilings, peaks=False, apart=True)
    return derive(workload, outcomes, ceilings)


def derive(workload: Workload, outcomes: dict[str, dict[str, Any]], ceilings: Ceilings) -> dict[str, Any]:
    """Return the results of a workload with all that follows from the medians.

    "share" is that of the card's sgemm rate; "copy_share", of numrnn only, `traffic` in its time as a share of the
    card's copying rate. "fastest_framework" is the fastest other contender of the same cell in float32.
    """
    baseline = outcomes.get(workload.contenders[0], {}).get("median")
    timed = [outcome for outcome in outcomes.values() if outcome["status"] == "timed"]
    for outcome in timed:
        if baseline is not None:
            outcome["ratio"] = outcome["median"] / baseline
        # An LSTM has four products where the others have one.
        flops = workload.recurrent_flops("lstm" if outcome["name"].endswith("LSTM") else workload.cell)
        outcome["tflops"] = 1e-12 * flops / outcome["median"]
        outcome["share"] = outcome["tflops"] / ceilings.sgemm
        if outcome["ours"]:
            outcome["copy_share"] = 1e-9 * traffic(workload) / outcome["median"] / ceilings.copy
    rivals = [o for o in timed if not o["ours"] and o["same_cell"] and o["dtype"] == "float32"]
    fastest = min(rivals, key=lambda o: o["median"], default=None)
    return {
        **{key: value for key, value in asdict(workload).items() if key != "contenders"},
        "dtype": "float32",
        "flops": workload.flops,
        "bytes": traffic(workload),
        "ceilings": asdict(ceilings),
        "floor_seconds": 1e-12 * workload.flops / ceilings.sgemm,
        "copy_floor_seconds": 1e-9 * traffic(workload) / ceilings.copy,
        "tolerance": tolerance(workload),
        "baseline": workload.contenders[0],
        "fastest_framework": None if fastest is None else fastest["name"],
        "contenders": list(outcomes.values()),
    }
