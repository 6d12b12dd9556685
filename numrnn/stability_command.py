"""The command `numrnn stability CHECKPOINT`: the report of numrnn.stability on a trained network, and its picture.

It is outside that package so that its help does not import scipy, which takes longer than everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from numrnn import plots
from numrnn.commands import Parser
from numrnn.experiments.command_line import guarded
from numrnn.extras import MissingExtraError


def main(arguments: Sequence[str] | None = None, *, program: str = "numrnn stability") -> int:
    """Print and draw the report on a checkpoint; return the exit status. `program` is the command's name."""
    parser = Parser(prog=program, description="A one-page report on the stability of a trained network.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint_*.npz written by numrnn.training")
    parser.add_argument("--images", type=int, default=2, help="rows of input, >= 1 (default: 2)")
    parser.add_argument("--steps", type=int, help="read only this many first steps, >= 1 (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random input (default: 0)")
    parser.add_argument("--out", type=Path, help="picture to write (default: CHECKPOINT with -stability.png)")
    return guarded(lambda: _report(parser.parse_args(arguments)))


def _report(options: argparse.Namespace) -> None:
    from numrnn.stability import stability_report

    picture = options.out or options.checkpoint.with_name(f"{options.checkpoint.stem}-stability.png")
    with contextlib.suppress(MissingExtraError):  # then there is no picture
        plots.check_picture_path("--out", picture)
    report = stability_report(options.checkpoint, images=options.images, steps=options.steps, seed=options.seed)
    print(report)
    try:
        plots.stability_report(report, picture)
        print(f"picture: {picture}")
    except MissingExtraError as error:
        print(f"no picture: {error}", file=sys.stderr)
    except OSError as error:
        raise OSError(f"cannot write the picture: {error}") from error
