"""Commands with subcommands, such as `numrnn mnist` and `numrnn figure jacobian`.

Each is a module with a `main(arguments, program=...)` that returns the exit status, imported when it is called: help
appears at once, and no command needs a package that only another one uses.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numrnn

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED = 130  # after Ctrl-C, as a shell has it: 128 + SIGINT
NOBODY_READS = 141  # 128 + SIGPIPE
EXIT_CODES = (
    f"exit codes: 0 done, {FAILED} an error, {WRONG_USAGE} wrong usage, {INTERRUPTED} stopped by Ctrl-C (a run can be "
    f"resumed), {NOBODY_READS} nobody reads the output"
)
LONGEST_ERROR = 400  # characters of a line


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; --help shows the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with 2."""
        text = " ".join(message.split())
        text = text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."
        self.exit(WRONG_USAGE, f"{self.prog}: error: {text}; see {self.prog} --help\n")


def ended(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit status, also after Ctrl-C and where nobody reads its output."""
    try:
        try:
            return int(work())
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, for an error of the last flush by the interpreter is a traceback
    except KeyboardInterrupt:
        print("stopped")
        return INTERRUPTED
    except BrokenPipeError:  # `numrnn info | head -1`
        with contextlib.suppress(OSError, ValueError, AttributeError):  # what is left to flush goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS


def dispatch(
    commands: Mapping[str, tuple[str, str]],
    arguments: Sequence[str] | None,
    *,
    program: str,
    description: str,
    version: bool = False,
    options: Mapping[str, tuple[str, str]] | None = None,
) -> int:
    """Let the command that the first argument names do its work with the others; return its exit status.

    Parameters
    ----------
    commands : mapping of str to (str, str)
        Module and description of each command.
    arguments : sequence of str or None
        Name of the command, and its arguments; None means those of the process.
    program : str
        The words before the name of the command.
    description : str
        Heads the help.
    version : bool
        Whether there is an option --version.
    options : mapping of str to (str, str), optional
        Options that the caller has taken from the arguments already, for the help: name of the value, and meaning.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    width = max(map(len, commands)) + 2
    lines = [f"  {name:<{width}}{text}" for name, (_, text) in commands.items()]
    taken = [f"[{name} {metavar}]" for name, (metavar, _) in (options or {}).items()]
    parser = Parser(
        prog=program,
        usage=" ".join([program, "[-h]", *taken, *(["[--version]"] if version else []), "COMMAND ..."]),
        description=description,
        epilog="\n".join(["commands:", *lines, "", f"{program} COMMAND --help explains each.", EXIT_CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if version:
        parser.add_argument("--version", action="version", version=f"numrnn {numrnn.__version__}")
    for option, (metavar, text) in (options or {}).items():
        parser.add_argument(option, metavar=metavar, help=text)
    parser.add_argument("command", metavar="COMMAND", choices=commands, help="what to do")

    def work() -> int:
        name = parser.parse_args(arguments[:1]).command
        return int(importlib.import_module(commands[name][0]).main(arguments[1:], program=f"{program} {name}"))

    return ended(work)
