"""The command: `numrnn COMMAND ...`, or `python -m numrnn COMMAND ...`.

`numrnn --cells own_cell.py COMMAND ...` adds the user's own cells from a file or a module, which NUMRNN_CELLS may also
name. Processes started by the command get them through that variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from numrnn.cells import load_cells
from numrnn.commands import dispatch

COMMANDS = {
    "train": ("numrnn.experiments.train", "train on sequences of your own"),
    "predict": ("numrnn.experiments.predict", "predict with what was trained"),
    "speakers": (
        "numrnn.experiments.speakers",
        "who is speaking, from sequences that come with the package",
    ),
    "adding": ("numrnn.experiments.adding", "the adding problem: two marked numbers of a long sequence"),
    "copying": ("numrnn.experiments.copying", "the copying problem: ten symbols, to be repeated after a delay"),
    "mnist": ("numrnn.experiments.mnist", "sequential MNIST: train, test, draw; rows of the paper's Table 1"),
    "cifar10": ("numrnn.experiments.cifar10", "CIFAR-10 as a sequence: train, test, draw; rows of Table 2"),
    "sweep": ("numrnn.experiments.sweep", "search for settings, on many cores or machines"),
    "demo": ("numrnn.experiments.demo", "the AntisymmetricRNN next to an LSTM, on images that come with the package"),
    "figure": ("numrnn.experiments.figures", "the paper's figures, and three more"),
    "stability": ("numrnn.stability_command", "a page on the stability of a trained network"),
    "gradcheck": ("gradcheck.__main__", "check a gradient of your own"),
    "info": ("numrnn.info", "what this installation computes with, and how fast"),
}


CELLS_OPTION, CELLS_VARIABLE = "--cells", "NUMRNN_CELLS"


def main(arguments: Sequence[str] | None = None, *, program: str = "numrnn") -> int:
    """Run a command and return its exit status; `arguments` are those of the process unless given."""
    description = "The AntisymmetricRNN in NumPy and CuPy, with every gradient written by hand."
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        arguments = take_cells(arguments)
    except (OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options = {CELLS_OPTION: ("SOURCE", "a .py file, or a module, with cells of your own, which --cell then knows")}
    return dispatch(COMMANDS, arguments, program=program, description=description, version=True, options=options)


def take_cells(arguments: list[str]) -> list[str]:
    """Load the cells that the options before the command and NUMRNN_CELLS name; return the other arguments.

    Raises
    ------
    OSError, TypeError, ValueError
        As `numrnn.cells.load_cells`.
    """
    sources = [source for source in os.environ.get(CELLS_VARIABLE, "").split(os.pathsep) if source]
    while arguments and arguments[0].partition("=")[0] == CELLS_OPTION:
        _, given, source = arguments.pop(0).partition("=")
        if not given:
            source = arguments.pop(0) if arguments else ""
        if not source:
            raise ValueError(f"{CELLS_OPTION} must be followed by a .py file or the name of a module")
        sources.append(os.path.abspath(source) if source.endswith(".py") else source)
    if sources:
        os.environ[CELLS_VARIABLE] = os.pathsep.join(dict.fromkeys(sources))
    for source in sources:
        load_cells(source)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
