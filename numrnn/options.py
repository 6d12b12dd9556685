"""Settings that say what they mean: help, range and choices stand beside the default in a field of a dataclass.

    batch_size: int = option(128, "images an update", at_least=1, more="The last batch of an epoch may be smaller.")

The docstring takes its parameters from these fields (`documented`), the class its checks (`checked`), and a command
line its options (numrnn.experiments.command_line): each is said once.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from numrnn.checks import check_integer, check_number, range_text

KEY = "option"  # of the metadata of a field
WIDTH = 112  # characters of a line of a docstring, without its indentation

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field means.

    Parameters
    ----------
    help : str
        In words; the range stands in place of "{range}", or at the end.
    choices : tuple of str
        The words that the value may be; empty allows any.
    at_least, above, below : float or None
        Bounds of a number; None is none. That of an integer is `at_least`.
    none : str
        What None stands for, where the value may be None.
    more : str
        Sentences for the docstring that a command line has no use for.
    metavar : str or None
        What the help of a command line calls the value.
    nargs : str or None
        How many values an option of a command line takes, as for argparse.
    positional : bool
        Whether a command line takes the value without a name before it.
    """

    help: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    none: str = ""
    more: str = ""
    metavar: str | None = None
    nargs: str | None = None
    positional: bool = False

    @property
    def range(self) -> str:
        """The bounds in signs, as ">= 0 and < 1"."""
        return range_text(self.above, self.at_least, self.below)

    @property
    def text(self) -> str:
        """Help with the range."""
        if self.range and "{range}" not in self.help:
            return f"{self.help}, {self.range}"
        return self.help.replace("{range}", self.range)


def option(default: Any, help: str, **meaning: Any) -> Any:
    """Return a field of a dataclass.

    Parameters
    ----------
    default
        Value of the field where none is given.
    help : str
        What it means.
    **meaning
        Of `Option`.
    """
    return dataclasses.field(default=default, metadata={KEY: Option(help=help, **meaning)})


def inherited(config: type, name: str, default: Any, **changes: Any) -> Any:
    """Return a field that means what the field of that name means in another dataclass.

    Parameters
    ----------
    config : type
        The other dataclass.
    name : str
        Of the field.
    default
        Value of the new field where none is given.
    **changes
        What differs in its `Option`.

    Raises
    ------
    KeyError
        If the other dataclass has no such field, or it has no help.
    """
    meaning = dataclasses.replace(options(config)[name], **changes)
    return dataclasses.field(default=default, metadata={KEY: meaning})


def options(config: Any) -> dict[str, Option]:
    """Return what the fields of a dataclass, or of an instance, mean; fields without help are left out."""
    return {field.name: field.metadata[KEY] for field in dataclasses.fields(config) if KEY in field.metadata}


def checked(config: Any) -> Iterator[tuple[str, int | float]]:
    """Yield name and value of each field with a range that is not None; int or float, as its type says.

    Raises
    ------
    TypeError, ValueError
        As `numrnn.checks.check_integer` and `check_number`.
    """
    for field in dataclasses.fields(config):
        meaning, value = field.metadata.get(KEY), getattr(config, field.name)
        if meaning is None or not meaning.range or value is None:
            continue
        if "int" in _kinds(field) and meaning.at_least is not None:
            yield field.name, check_integer(field.name, value, at_least=int(meaning.at_least))
        else:
            bounds = {"above": meaning.above, "at_least": meaning.at_least, "below": meaning.below}
            yield field.name, check_number(field.name, value, **bounds)


def without_none(hint: Any) -> Any:
    """Return a type such as `int` of `int | None`; a type that does not allow None as it is."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # Literal[...] | None is of the second kind
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def documented(config: type[T]) -> type[T]:
    """Write the fields of a dataclass into its docstring, as numpydoc's section of parameters. A decorator."""
    if config.__doc__ is None:  # python -OO
        return config
    lines = ["Parameters", "----------"]
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        meaning = field.metadata[KEY]
        kinds = _kinds(field)
        if meaning.choices and not kinds[0].startswith("tuple"):
            kinds[0] = f"{{{', '.join(map(repr, meaning.choices))}}}"
        lines.append(f"{field.name} : {' or '.join(kinds)}")
        none = f"None: {meaning.none}." if meaning.none and "None" in kinds else ""
        text = " ".join(filter(None, (f"{meaning.text}.", none, meaning.more)))
        lines += textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    section = textwrap.indent("\n".join(lines), "    ") + "\n"
    head, mark, tail = config.__doc__.partition("\n    Raises\n")
    config.__doc__ = f"{head.rstrip()}\n\n{section}{mark}{tail}" if mark else f"{head.rstrip()}\n\n{section}    "
    return config


def _kinds(field: dataclasses.Field[Any]) -> list[str]:
    """Return the types of a field as its annotation names them."""
    kind: Any = field.type
    return (kind if isinstance(kind, str) else inspect.formatannotation(kind)).split(" | ")
