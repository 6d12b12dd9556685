"""Common part of the commands: options from a dataclass, and errors as one line.

A Config is a frozen dataclass whose fields are `numrnn.options.option`s. Each is an option of the command line:
hidden_size becomes --hidden-size, a bool two switches, --permuted and --no-permuted, a tuple takes several values, and
pairs of names and paths come as a repeated --checkpoint NAME=PATH. A positional field has no name before it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from numrnn.commands import FAILED, Parser, ended
from numrnn.extras import MissingExtraError
from numrnn.files import write_text
from numrnn.options import KEY, Option, options, without_none
from numrnn.training import CheckpointError, DivergenceError

T = TypeVar("T")
PATHS_BY_NAME = tuple[tuple[str, str], ...]
NAME_AND_PATH = "NAME=PATH"
ERRORS = (
    CheckpointError,
    DivergenceError,
    MemoryError,
    MissingExtraError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
LEVELS = ("info", "warning", "error")


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return the help text for a default; empty if there is none to name."""
    if field.default is None:
        none = field.metadata[KEY].none
        return f"; default: {none}" if none else ""
    if field.default is False or field.default == ():
        return ""
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    return f" (default: {' '.join(map(str, values))})"


def make_parser(
    command: str,
    text: str | None,
    config: type,
    *,
    program: str | None = None,
    default: Callable[[dataclasses.Field[Any]], str] = default_text,
) -> argparse.ArgumentParser:
    """Return a parser with an option for each field of a configuration.

    Parameters
    ----------
    command : str
        The command as `text` shows it: "numrnn mnist".
    text : str or None
        Docstring of the module: the first paragraph describes, the others follow the options.
    config : type
        The dataclass.
    program : str, optional
        Another name of the same command, if the user called that; help and errors then use it.
    default : callable
        Returns the help text for the default of a field.

    Returns
    -------
    argparse.ArgumentParser
        It returns only the options given on the command line.

    Raises
    ------
    KeyError
        If a field has no help.
    """
    program = command if program is None else program
    head, _, tail = (text or "").replace(command, program).partition("\n\n")
    parser = Parser(
        prog=program,
        description=head,
        epilog=tail,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    hints, meanings = typing.get_type_hints(config), options(config)
    for field in dataclasses.fields(config):
        meaning = meanings[field.name]
        arguments = _arguments(hints[field.name], field.name, meaning)
        explained = (meaning.text + default(field)).replace("%", "%%")
        if meaning.positional:
            parser.add_argument(field.name, nargs="?", metavar=meaning.metavar, help=explained)
        else:
            parser.add_argument(arguments.pop("flag"), dest=field.name, help=explained, **arguments)
    return parser


def _arguments(hint: Any, name: str, meaning: Option) -> dict[str, Any]:
    """Return the arguments of `add_argument` for a field of this type."""
    flag = "--" + name.replace("_", "-")
    if hint == PATHS_BY_NAME:
        return {"flag": flag.removesuffix("s"), "action": "append", "metavar": meaning.metavar or NAME_AND_PATH}
    hint = without_none(hint)
    if hint is bool:
        return {"flag": flag, "action": argparse.BooleanOptionalAction}
    choices = meaning.choices
    if typing.get_origin(hint) is typing.Literal:
        choices, hint = choices or typing.get_args(hint), str
    arguments: dict[str, Any] = {"flag": flag, "choices": choices or None}
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        arguments["nargs"] = meaning.nargs or ("+" if kinds[-1] is ... else len(kinds))
        hint = kinds[0]
    metavar = {"metavar": meaning.metavar} if meaning.metavar else {}
    return arguments | {"type": hint} | metavar


def read(parser: argparse.ArgumentParser, argv: Sequence[str] | None, config: type) -> dict[str, Any]:
    """Return the options of a command line, in the form of the configuration.

    Raises
    ------
    ValueError
        If NAME=PATH lacks one of the two.
    """
    given = vars(parser.parse_args(argv))
    hints, meanings = typing.get_type_hints(config), options(config)
    for name, value in given.items():
        if hints.get(name) == PATHS_BY_NAME:
            flag, form = f"--{name.removesuffix('s')}", meanings[name].metavar or NAME_AND_PATH
            given[name] = tuple(named_path(text, form, flag) for text in value)
        elif isinstance(value, list):
            given[name] = tuple(value)
    return given


def read_config(
    command: str, text: str | None, config: type[T], argv: Sequence[str] | None, program: str | None = None
) -> T:
    """Return the configuration of a command line; arguments as for `make_parser`, errors as for `read`."""
    return config(**read(make_parser(command, text, config, program=program), argv, config))


def named_path(text: str, form: str = NAME_AND_PATH, flag: str = "") -> tuple[str, str]:
    """Return NAME and PATH of NAME=PATH; an error expects `form`, and names the option `flag`.

    Raises
    ------
    ValueError
        If one of them is missing.
    """
    name, _, path = text.partition("=")
    if not name or not path:
        raise ValueError(f"{f'{flag}: ' if flag else ''}expected {form}, got {text!r}")
    return name, path


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add the options --quiet and --log-level."""
    parser.add_argument(
        "--quiet", action="store_true", default=False, help="print warnings and errors only, as --log-level warning"
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        default="info",
        help="info: progress and results as well; warning: warnings and errors; error: errors only (default: info)",
    )


def is_quiet(given: dict[str, Any]) -> bool:
    """Remove the options of `add_verbosity` from `given`, hide warnings if requested, and tell whether to print.

    `guarded` shows warnings again when its work is done.
    """
    quiet, level = given.pop("quiet"), given.pop("log_level")
    if level == "error":
        warnings.simplefilter("ignore")
    return quiet or level != "info"


def printer(quiet: bool) -> Callable[..., Any]:
    """Return `print`, or a function that does nothing if `quiet`."""
    return (lambda *_: None) if quiet else print


def guarded(work: Callable[[], int | None], hints: Mapping[type[Exception], str] | None = None) -> int:
    """Do the work of a command and return its exit status: 0, 1 after an error, others as `ended`.

    An error and a warning are a line each on the standard error stream.

    Parameters
    ----------
    work : callable
        Its result is the exit status; None counts as 0.
    hints : mapping of type to str, optional
        A further line to add to an error of that type.
    """

    def caught() -> int:
        try:
            return work() or 0
        except BrokenPipeError:
            raise
        except ERRORS as error:
            advice = next((f"\n{text}" for kind, text in (hints or {}).items() if isinstance(error, kind)), "")
            print(f"error: {_said(error)}{advice}", file=sys.stderr)
            return FAILED

    before = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.formatwarning = _one_line
        try:
            return ended(caught)
        finally:
            warnings.formatwarning = before


def _said(error: BaseException) -> str:
    """Return what the line of an error says: for one of the system, the file and what is wrong with it."""
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".rstrip(": ")
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all, and create its folder if it is missing."""
    write_text(path, json.dumps(content, indent=1) + "\n")
