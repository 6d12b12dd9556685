"""Commands with commands of their own, as `numrnn mnist` and `numrnn figure jacobian`.

Each is a module with a `main(arguments, program=...)` that returns the exit status, imported when it is asked for: help
comes at once, and no command needs a package that only another one uses.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

import numrnn

INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


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
        Module of each command, and what it does.
    arguments : sequence of str or None
        Name of the command, and its arguments; None takes those of the process.
    program : str
        What stands before the name of the command.
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
    parser = argparse.ArgumentParser(
        prog=program,
        usage=" ".join([program, "[-h]", *taken, *(["[--version]"] if version else []), "COMMAND ..."]),
        description=description,
        epilog="\n".join(["commands:", *lines, "", f"{program} COMMAND --help explains each."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if version:
        parser.add_argument("--version", action="version", version=f"numrnn {numrnn.__version__}")
    for option, (metavar, text) in (options or {}).items():
        parser.add_argument(option, metavar=metavar, help=text)
    parser.add_argument("command", metavar="COMMAND", choices=commands, help="what to do")
    name = parser.parse_args(arguments[:1]).command
    try:
        return int(importlib.import_module(commands[name][0]).main(arguments[1:], program=f"{program} {name}"))
    except KeyboardInterrupt:
        print("stopped")
        return INTERRUPTED
