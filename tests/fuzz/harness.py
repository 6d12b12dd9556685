"""Calls public functions with one malformed argument each, and judges what comes of it.

    PYTHONPATH=tests python -m fuzz.harness --calls 100000 --seed 1      by hand

Allowed are TypeError, ValueError, FileNotFoundError and the package's own errors, if they name the argument; other
errors of the operating system for a path; MemoryError for a size that no memory holds. Nothing may take more than five
seconds, end the process, or turn finite numbers into NaN or infinity without a word. Whatever is found is printed with
the seed that repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import gradcheck
from fuzz.targets import Target, targets
from fuzz.values import SIZES, malformed
from numrnn.extras import MissingExtraError
from numrnn.locks import FolderInUseError
from numrnn.training import CheckpointError, DivergenceError

SECONDS = 5.0
MEMORY = 6 << 30  # address space; what needs more is a MemoryError and not the end of this machine
ALLOWED = (
    TypeError,
    ValueError,
    FileNotFoundError,
    FloatingPointError,  # of a loss that is not finite, as documented
    CheckpointError,
    DivergenceError,
    FolderInUseError,
    MissingExtraError,
    gradcheck.GradientError,
    gradcheck.FunctionError,
)
ROWS = {"row", "rows"}
# They hand NaN and infinity of their arguments on, so that a run can say where it met them first.
HANDS_ON = ("reverse", "update", "global_norm", "clip_by_global_norm")
PATHS = {"path", "out", "root", "directory"}
# Counts: a large one is no mistake, and takes its time.
COUNTS = {
    "repeats",
    "directions",
    "epochs",
    "iterations",
    "refinements",
    "halvings",
    "budget",
    "steps",
    "images",
    "n_sequences",
    "piece",
    "every",
    "check_every",
    "seeds",
    "scales",
    "times",
    "k",
    "average_updates",
}
VARIABLE = {"args", "options"}  # *args and **options
# What the documentation calls an argument, too: y of a classifier are labels, of a regressor targets.
SYNONYMS = {
    "y": ("labels", "targets"),
    "outputs": ("logits",),
    "data": ("x", "images", "encoder"),
    "root": ("in",),
    "checkpoint_every": ("recompute_every",),
    "params": ("gradient", "outputs", "loss", "grads", "M", "steps"),
    "inputs": ("gradient", "loss", "arguments", "function must return", "positional argument", "string"),
    "cotangent": ("vjp",),
    "validation": ("encoder",),
    "n_outputs": ("labels",),
    "warmup_steps": ("total_steps", "total_seconds"),
    "config": ("argument",),
}


class TooSlow(BaseException):
    """A call took too long."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with one call."""

    target: str
    argument: str
    value: str
    problem: str


def call(function: Any, arguments: Mapping[str, Any]) -> Any:
    """Call a function; the arguments "args" and "options" stand for *args and **options."""
    named, positional = dict(arguments), []
    kinds = inspect.signature(function).parameters if not isinstance(function, functools_partial) else {}
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in kinds.values()):
        for name, parameter in kinds.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional += list(named.pop(name))
                break
            positional.append(named.pop(name))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in kinds.values()):
        named |= named.pop("options", {})
    return function(*positional, **named)


functools_partial = type(__import__("functools").partial(len))


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer."""

    def late(*_: Any) -> None:
        raise TooSlow

    # Of the processor: other work on the machine does not count. A call that only waits ends by the other timer.
    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, 20 * seconds)}
    before = {number: signal.signal(number, late) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    return " ".join(text.split())[:100]


def numbers(value: Any, depth: int = 0) -> Iterator[np.ndarray]:
    """Yield the arrays of numbers in a result."""
    if isinstance(value, gradcheck.report.Report):
        return  # it speaks of infinity itself
    if isinstance(value, np.ndarray | np.generic | float):
        array = np.asarray(value)
        if array.dtype.kind in "fc":
            yield array
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from numbers(one, depth)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one, depth)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type) and depth < 2:
        for field in dataclasses.fields(value):
            yield from numbers(getattr(value, field.name, None), depth + 1)


def names(argument: str, arguments: Mapping[str, Any], text: str) -> bool:
    """Tell whether a message names the argument, the file that it stands for, or, of two arrays, the other one.

    Two arrays that do not fit each other may be named by either name.
    """
    value = arguments[argument]
    if argument in PATHS and isinstance(value, str | Path) and (str(value) in text or repr(str(value))[1:-1] in text):
        return True
    if callable(value) or "array is too big" in text or "Maximum allowed" in text:
        return argument in SIZES or callable(value)  # what a function of the caller's own raises is its own
    words = [argument, *SYNONYMS.get(argument, ())]
    if isinstance(value, Mapping):
        words += map(str, value)
    if isinstance(value, np.ndarray | Mapping | list):
        others = [name for name, one in arguments.items() if isinstance(one, np.ndarray | Mapping)]
        words += [word for name in others for word in (name, *SYNONYMS.get(name, ()))]
    return any(re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", text) for word in words)


def judge(target: Target, argument: str, arguments: dict[str, Any]) -> str | None:
    """Return what is wrong with a call, None if nothing is."""
    start = time.monotonic()
    output = io.StringIO()
    try:
        with (
            warnings.catch_warnings(record=True) as said,
            at_most(SECONDS),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            warnings.simplefilter("always")
            result = call(target.function, arguments)
            finite = all(np.isfinite(array).all() for array in numbers(result))
    except TooSlow:
        return None if argument in COUNTS else f"took more than {SECONDS} s"
    except MemoryError:
        return None if argument in SIZES | COUNTS or time.monotonic() - start < SECONDS else "MemoryError"
    except ALLOWED as error:
        if Path(traceback.extract_tb(error.__traceback__)[-1].filename).name == "valid.py":
            return None  # the caller's own function, on what it was given
        if names(argument, arguments, str(error)):
            return None
        return f"does not name the argument: {type(error).__name__}: {shown(str(error))}"
    except AssertionError as error:
        return None if target.name.endswith("assert_cell") else f"AssertionError: {error}"
    except IndexError as error:
        return None if argument in ROWS and argument in str(error) else f"IndexError: {error}"
    except OSError as error:
        return None if argument in PATHS else f"{type(error).__name__}: {error}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {shown(str(error))} at {Path(where.filename).name}:{where.lineno}"
    finite = finite or target.name.endswith(HANDS_ON)
    silent = not any(issubclass(one.category, RuntimeWarning) for one in said)
    return None if finite or not silent else "NaN or infinity in the result, without a word"


def run(calls: int, seed: int, only: str = "", first: int = 0, per_target: bool = False) -> list[Finding]:
    """Make so many calls, and return what is wrong."""
    found: list[Finding] = []
    seen: set[tuple[str, str, str]] = set()
    everything = [target for target in targets() if only in target.name]
    counts: Counter[str] = Counter()
    folder = Path.cwd()
    for number in range(first, first + calls):
        rng = np.random.default_rng([seed, number])
        target = everything[number % len(everything)]
        arguments = target.arguments(folder)
        if not arguments:
            continue
        choice = [name for name in arguments if name not in VARIABLE]
        if not choice:
            continue
        argument = choice[rng.integers(len(choice))]
        arguments[argument] = malformed(argument, arguments[argument], rng)
        value = shown(arguments[argument])
        counts[target.name] += 1
        problem = judge(target, argument, arguments)
        key = (target.name, argument, (problem or "")[:40])
        if problem is not None and key not in seen:
            seen.add(key)
            found.append(Finding(target.name, argument, value, problem))
            print(f"{seed}/{number}: {target.name}({argument}={value}): {problem}", flush=True)
    return found


def main() -> int:
    """Run from the command line; return 0, or 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Call public functions with malformed arguments.")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = run(options.calls, options.seed, options.only, options.first)
        os.chdir("/")
    seconds = time.monotonic() - start
    print(f"{options.calls} calls of {len(targets())} callables in {seconds:.0f} s: {len(found)} findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
