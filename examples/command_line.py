"""What the command lines of the examples share: options from a dataclass, and errors as one line.

A Config is a frozen dataclass of fields with defaults. Each field is an option: hidden_size becomes --hidden-size, a
bool two switches, --permuted and --no-permuted, a tuple takes several values, and pairs of names and paths come as a
repeated --checkpoint NAME=PATH.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numrnn.backend import BACKENDS
from numrnn.training import CheckpointError, DivergenceError

BACKEND_HELP = "numpy on the CPU, cupy on an NVIDIA GPU"
PATHS_BY_NAME = tuple[tuple[str, str], ...]
ERRORS = (CheckpointError, DivergenceError, OSError, RuntimeError, ValueError)
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return what the help says of a default; nothing where there is none to name."""
    if field.default is None or field.default is False or field.default == ():
        return ""
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    return f" (default: {' '.join(map(str, values))})"


def make_parser(
    program: str,
    text: str | None,
    config: type,
    helps: Mapping[str, str],
    choices: Mapping[str, Sequence[str]] | None = None,
    default: Callable[[dataclasses.Field[Any]], str] = default_text,
) -> argparse.ArgumentParser:
    """Return a parser with an option for each field of a configuration.

    Parameters
    ----------
    program : str
        Name of the example's file.
    text : str or None
        Its docstring: the first paragraph describes, the others follow the options.
    config : type
        The dataclass. A field's metadata may hold the number of values of its option under "nargs".
    helps : mapping of str to str
        What each field means.
    choices : mapping of str to sequence of str, optional
        The words that a field may be; those of a field named backend need not be given.
    default : callable
        Makes of a field what the help says of its default.

    Returns
    -------
    argparse.ArgumentParser
        It gives only what stands on the command line.

    Raises
    ------
    KeyError
        If a field has no help.
    """
    head, _, tail = (text or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=f"python examples/{program}",
        description=head,
        epilog=tail,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    known = {"backend": BACKENDS, **(choices or {})}
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        options = _options(hints[field.name], field, known.get(field.name))
        explained = (helps[field.name] + default(field)).replace("%", "%%")
        parser.add_argument(options.pop("flag"), dest=field.name, help=explained, **options)
    return parser


def _options(hint: Any, field: dataclasses.Field[Any], choices: Sequence[str] | None) -> dict[str, Any]:
    """Return the arguments of `add_argument` for a field of this type."""
    flag = "--" + field.name.replace("_", "-")
    if hint == PATHS_BY_NAME:
        return {"flag": flag.removesuffix("s"), "action": "append", "metavar": "NAME=PATH"}
    if isinstance(hint, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    if hint is bool:
        return {"flag": flag, "action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is typing.Literal:
        hint = str
    options: dict[str, Any] = {"flag": flag, "choices": choices}
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        options |= {"nargs": field.metadata.get("nargs", "+" if kinds[-1] is ... else len(kinds))}
        hint = kinds[0]
    metavar = {"metavar": field.metadata["metavar"]} if "metavar" in field.metadata else {}
    return options | {"type": hint} | metavar


def read(parser: argparse.ArgumentParser, argv: Sequence[str] | None, config: type) -> dict[str, Any]:
    """Return what stands on the command line, as the configuration holds it.

    Raises
    ------
    ValueError
        If NAME=PATH lacks one of the two.
    """
    given = vars(parser.parse_args(argv))
    hints = typing.get_type_hints(config)
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(map(named_path, value) if hints.get(name) == PATHS_BY_NAME else value)
    return given


def named_path(text: str) -> tuple[str, str]:
    """Return NAME and PATH of NAME=PATH.

    Raises
    ------
    ValueError
        If one of them is missing.
    """
    name, _, path = text.partition("=")
    if not name or not path:
        raise ValueError(f"expected NAME=PATH, got {text!r}")
    return name, path


def guarded(work: Callable[[], int | None], hints: Mapping[type[Exception], str] | None = None) -> int:
    """Do the work of a command and return its exit status: 0, 1 after an error, 130 after Ctrl-C.

    Parameters
    ----------
    work : callable
        Its result is the exit status, None counting as 0.
    hints : mapping of type to str, optional
        What to add, on a line of its own, to an error of that type.
    """
    try:
        return work() or 0
    except ERRORS as error:
        advice = next((f"\n{text}" for kind, text in (hints or {}).items() if isinstance(error, kind)), "")
        print(f"error: {error}{advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return INTERRUPTED


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small file of JSON, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
