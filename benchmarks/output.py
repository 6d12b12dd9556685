"""The files of results, tested before anything is measured, and the output of progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MEASUREMENTS, TRIALS = Path("results/benchmarks"), Path("runs/benchmarks")
NEW = ".new"  # suffix of an incomplete file
FORMATS = {"workloads": 2, "series": 1}  # what a file of results holds, and the number of its format


def default_folder(*, whole: bool) -> Path:
    """Return the default folder of results: those of a complete measurement are kept in the repository.

    Parameters
    ----------
    whole : bool
        Whether everything is measured, at full length.
    """
    return MEASUREMENTS if whole else TRIALS


def prepare(folder: Path, names: Sequence[str], *, quick: bool) -> None:
    """Create a folder for the named files, JSON first, and test that each can be written, without changing them.

    Raises
    ------
    ValueError
        If a file cannot be written there, or if this is a quick run and the JSON there holds a measurement.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out must be a folder that can be made, got {folder}: {error.strerror}") from error
    for name in names:
        path, beside = folder / name, folder / (name + NEW)
        try:
            beside.open("ab").close()
            beside.unlink()
            if os.path.lexists(path):
                path.open("ab").close()
        except OSError as error:
            raise ValueError(f"--out must be a folder to write to, got {folder}: {name}: {error.strerror}") from error
    if quick and holds_measurement(folder / names[0]):
        raise ValueError(
            f"--quick does not overwrite measurements: {folder / names[0]} holds some; choose another --out"
        )


def holds_measurement(path: Path) -> bool:
    """Tell whether there is a file that may hold more than a quick run."""
    try:
        return not json.loads(path.read_text(encoding="utf-8"))["quick"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return True


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write results completely or not at all, and create their folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + NEW)
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def read_json(path: Path, kind: str) -> dict[str, Any] | None:
    """Return results, or None if there are none.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    kind : {"workloads", "series"}
        What it must hold.

    Raises
    ------
    ValueError
        If the file cannot be read or is not a measurement of this kind in the format of this command.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} must hold JSON: {error}") from error
    found = content.get("format") if isinstance(content, dict) and kind in content else None
    if found != FORMATS[kind]:
        raise ValueError(f"{path} must hold {kind} in format {FORMATS[kind]}, got format {found}: measure again")
    return content


def say(line: str) -> None:
    """Report progress."""
    print(line, file=sys.stderr, flush=True)
