"""Settings with their documentation: help, range and choices next to the default in a field of a dataclass.

    batch_size: int = option(128, "images an update", at_least=1, more="The last batch of an epoch may be smaller.")

The docstring takes its parameters from these fields (`documented`), the class its checks (`checked`), and a command
line its options (numrnn.experiments.command_line): each is said once.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from numrnn.checks import LARGEST_INTEGER, check_integer, check_number, range_text, shown

KEY = "option"  # of the metadata of a field
WIDTH = 112  # characters of a line of a docstring, without its indentation

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option:
    """Documentation and range of a field.

    Parameters
    ----------
    help : str
        Description; the range replaces "{range}", or is added at the end.
    choices : collection of str
        The allowed strings; empty allows any. May be a view, whose strings are those at the time of a check.
    at_least, above, below, at_most : float or None
        Bounds of a number, or of each number of a tuple; None is no bound. Integers use `at_least` and `at_most`.
    none : str
        Meaning of None, if the value may be None.
    more : str
        Sentences for the docstring only, not for a command line.
    metavar : str or None
        Name of the value in the help of a command line.
    nargs : str or None
        Number of values of a command-line option, as for argparse.
    positional : bool
        Whether a command line takes the value without a name before it.
    """

    help: str
    choices: Collection[str] = ()
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    none: str = ""
    more: str = ""
    metavar: str | None = None
    nargs: str | None = None
    positional: bool = False

    @property
    def range(self) -> str:
        """The bounds as text, such as ">= 0 and < 1"."""
        return range_text(self.above, self.at_least, self.below, self.at_most)

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
        Default value of the field.
    help : str
        Description.
    **meaning
        Further fields of `Option`.
    """
    return dataclasses.field(default=default, metadata={KEY: Option(help=help, **meaning)})


def inherited(config: type, name: str, default: Any, **changes: Any) -> Any:
    """Return a field with the documentation and range of the field of that name in another dataclass.

    Parameters
    ----------
    config : type
        The other dataclass.
    name : str
        Name of the field.
    default
        Default value of the new field.
    **changes
        Changed fields of its `Option`.

    Raises
    ------
    KeyError
        If the other dataclass has no such field, or it has no help.
    """
    meaning = dataclasses.replace(options(config)[name], **changes)
    return dataclasses.field(default=default, metadata={KEY: meaning})


def options(config: Any) -> dict[str, Option]:
    """Return the options of the fields of a dataclass or instance; fields without help are omitted."""
    return {field.name: field.metadata[KEY] for field in dataclasses.fields(config) if KEY in field.metadata}


def checked(config: Any) -> Iterator[tuple[str, int | float]]:
    """Yield name and value, int or float by its type, of each field with a range whose value is not None.

    Raises
    ------
    TypeError, ValueError
        As for `numrnn.checks.check_integer` and `check_number`.
    """
    for field in dataclasses.fields(config):
        meaning, value = field.metadata.get(KEY), getattr(config, field.name)
        if meaning is None or not meaning.range or (value is None and "None" in _kinds(field)):
            continue
        if "int" in _kinds(field) and meaning.at_least is not None:
            yield field.name, check_integer(field.name, value, at_least=int(meaning.at_least))
        else:
            bounds = {"above": meaning.above, "at_least": meaning.at_least, "below": meaning.below}
            yield field.name, check_number(field.name, value, **bounds)


class Checked:
    """Base of dataclasses whose fields are checked when an object is made, by their types and their `option`s."""

    def __post_init__(self) -> None:
        """Check every field with an option; numbers become of their type.

        Raises
        ------
        TypeError, ValueError
            If a value is of a wrong type, out of range or none of its choices: the message names the field.
        """
        config: Any = type(self)
        hints, meanings = _hints(config), options(self)
        for name, meaning in meanings.items():
            object.__setattr__(self, name, checked_value(name, getattr(self, name), hints[name], meaning))


@functools.cache
def _hints(config: Any) -> dict[str, Any]:
    return typing.get_type_hints(config)


def checked_value(name: str, value: Any, hint: Any, meaning: Option) -> Any:
    """Return a value of a field after a check against its type and its option; errors as for `Checked`."""
    kind = without_none(hint)
    if value is None:
        if kind is hint:
            raise TypeError(f"{name} must be of type {getattr(kind, '__name__', kind)}, got None")
        return None
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, tuple | list):
            raise TypeError(f"{name} must be a tuple or a list, got {shown(value)}")
        if kinds[-1] is not ... and len(value) != len(kinds):
            raise ValueError(f"{name} must hold {len(kinds)} values, got {shown(value)}")
        each = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        numbered = zip(value, each, strict=True)
        return tuple(checked_value(f"{name}[{i}]", one, kind, meaning) for i, (one, kind) in enumerate(numbered))
    if kind is int:
        least = -LARGEST_INTEGER if meaning.at_least is None else int(meaning.at_least)
        number = check_integer(name, value, at_least=least)
        if meaning.at_most is not None and number > meaning.at_most:
            raise ValueError(f"{name} must be an integer {meaning.range}, got {number}")
        return number
    if kind is float:
        bounds = {key: getattr(meaning, key) for key in ("above", "at_least", "below", "at_most")}
        return check_number(name, value, **bounds)
    wanted = bool if kind is bool else str
    if not isinstance(value, wanted):
        raise TypeError(f"{name} must be of type {wanted.__name__}, got {shown(value)}")
    choices = meaning.choices or (typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ())
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")
    return value


def without_none(hint: Any) -> Any:
    """Return a type such as `int` of `int | None`; a type that does not allow None as it is."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # Literal[...] | None is of the second kind
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def documented(config: type[T]) -> type[T]:
    """Decorator that adds the fields of a dataclass to its docstring, as numpydoc's section of parameters."""
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
