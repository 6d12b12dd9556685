"""The command `numrnn stability CHECKPOINT`: the report of numrnn.stability on a trained network, and its picture.

It is outside that package so that its help does not import scipy, which takes longer than everything else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numrnn import plots
from numrnn.extras import MissingExtraError
from numrnn.training.checkpoint import CheckpointError

if TYPE_CHECKING:
    from numrnn.stability import StabilityReport


def main(arguments: Sequence[str] | None = None, *, program: str = "numrnn stability") -> int:
    """Print and draw the report on a checkpoint; return the exit status, 0 or 2. `program` is the command's name."""
    parser = argparse.ArgumentParser(
        prog=program, description="A one-page report on the stability of a trained network."
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint_*.npz written by numrnn.training")
    parser.add_argument("--images", type=int, default=2, help="rows of input, >= 1 (default: 2)")
    parser.add_argument("--steps", type=int, help="read only this many first steps, >= 1 (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random input (default: 0)")
    parser.add_argument("--out", type=Path, help="picture to write (default: CHECKPOINT with -stability.png)")
    options = parser.parse_args(arguments)
    from numrnn.stability import stability_report

    try:
        report = stability_report(options.checkpoint, images=options.images, steps=options.steps, seed=options.seed)
    except (CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    return _draw(report, options.out or options.checkpoint.with_name(f"{options.checkpoint.stem}-stability.png"))


def _draw(report: StabilityReport, path: Path) -> int:
    try:
        plots.stability_report(report, path)
        print(f"picture: {path}")
    except MissingExtraError as error:
        print(f"no picture: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: cannot write the picture: {error}", file=sys.stderr)
        return 2
    return 0
