"""The rows of the paper's tables, one .toml file for each, and how values of a configuration are read and merged."""

from __future__ import annotations

import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from numrnn.options import checked_value, options
from numrnn.training.config import LENGTHS
from numrnn.training.run import CONFIG_FILE

ENDING = ".toml"


def preset_names(beginnings: tuple[str, ...] = ("",)) -> list[str]:
    """Return the names of the presets that begin with one of the given words."""
    names = (
        entry.name.removesuffix(ENDING) for entry in resources.files(__name__).iterdir() if entry.name.endswith(ENDING)
    )
    return sorted(name for name in names if name.startswith(beginnings))


def read_preset(name: str, names: Sequence[str], config: type) -> dict[str, Any]:
    """Return the values of a preset.

    Parameters
    ----------
    name : str
        One of `names`, or the path of any .toml file.
    names : sequence of str
        The names of all presets.
    config : type
        The dataclass whose fields the keys name.

    Raises
    ------
    ValueError
        If there is no such preset, it is not TOML, or a key or the type of a value is wrong.
    OSError
        If the file cannot be read.
    """
    if name.endswith(ENDING):
        path: Any = Path(name)
    elif name in names:
        path = resources.files(__name__).joinpath(name + ENDING)
    else:
        raise ValueError(f"preset must be one of {', '.join(names)}, or a .toml file, got {name!r}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected TOML: {error}") from error
    return checked_values(str(path), values, config)


def checked_values(label: str, values: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return values read from TOML or JSON as those of fields of a configuration, after a check of names and values.

    A list becomes a tuple, an integer a float where the field has one, and a table pairs of texts.

    Raises
    ------
    ValueError
        If a name is not that of a field, or a value is of a wrong type or out of range: the message begins with
        `label`.
    """
    hints, meanings = typing.get_type_hints(config), options(config)
    del hints["preset"]
    if unknown := [key for key in values if key not in hints]:
        raise ValueError(f"{label}: unknown keys {', '.join(unknown)}; known are {', '.join(hints)}")
    found = {}
    for key, value in values.items():
        if isinstance(value, dict) and hints[key] == tuple[tuple[str, str], ...]:
            value = tuple((name, json.dumps(one)) for name, one in value.items())
        try:
            found[key] = checked_value(f"{label}: {key}", value, hints[key], meanings[key])
        except TypeError as error:  # the author of a file has no types of Python
            raise ValueError(str(error)) from None
    return found


def read_values(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return values by name, parsed as TOML; a text that is not TOML is a string."""
    values: dict[str, Any] = {}
    for name, text in pairs:
        try:
            values |= tomllib.loads(f"{name} = {text}")
        except tomllib.TOMLDecodeError:
            values[name] = text
    return values


def merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return both merged, with precedence for `given`; a length of one kind replaces one of another kind."""
    replaced = LENGTHS if given.keys() & set(LENGTHS) else ()
    return {key: value for key, value in base.items() if key not in replaced} | dict(given)


def stored_arguments(out: Path, config: type) -> dict[str, Any]:
    """Return the configuration in the folder of a run, or nothing if there is no such file.

    Raises
    ------
    ValueError
        If the file is not JSON, or does not hold fields of `config` with valid values: the message begins with its
        path.
    """
    path = out / CONFIG_FILE
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected the settings of a run in JSON: {error}") from None
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{path}: expected the settings of a run as an object of JSON, got {str(values)[:50]}")
    preset = values.pop("preset", None)
    if not isinstance(preset, str | None):
        raise ValueError(f"{path}: preset must be of type str, got {preset!r}")
    return {"preset": preset, **checked_values(str(path), values, config)}
