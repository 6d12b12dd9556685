"""The command line of damage.py and kills.py: so many disturbances from a seed, counted by kind."""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any


def command(run: Callable[[int, int], Mapping[str, Any]], what: str, default: int, promise: str) -> int:
    """Let `run` disturb as often as the option --WHAT says, from --seed, and print what it counted.

    `run` raises AssertionError unless what `promise` says holds after each of them.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument(f"--{what}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    start = time.monotonic()
    counts = run(options[what], options["seed"])
    for name, count in counts.items():
        text = str(count) if isinstance(count, int) else ", ".join(f"{n} {kind}" for kind, n in sorted(count.items()))
        print(f"{name:<42}{text}")
    print(f"{options[what]} {what}, {len(counts)} kinds, {time.monotonic() - start:.0f} s: {promise}")
    return 0
