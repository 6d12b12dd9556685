"""The command: `numrnn COMMAND ...`, and `python -m numrnn COMMAND ...` alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
    "demo": ("numrnn.experiments.demo", "the AntisymmetricRNN beside an LSTM, on images that come with the package"),
    "figure": ("numrnn.experiments.figures", "the paper's figures, and three more"),
    "stability": ("numrnn.stability_command", "a page on the stability of a trained network"),
    "gradcheck": ("gradcheck.__main__", "check a gradient of your own"),
    "info": ("numrnn.info", "what this installation computes with, and how fast"),
}


def main(arguments: Sequence[str] | None = None, *, program: str = "numrnn") -> int:
    """Run a command and return its exit status; `arguments` are those of the process unless given."""
    description = "The AntisymmetricRNN in NumPy and CuPy, with every gradient written by hand."
    return dispatch(COMMANDS, arguments, program=program, description=description, version=True)


if __name__ == "__main__":
    sys.exit(main())
