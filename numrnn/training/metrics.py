"""Metrics as JSON lines: one object a line, appended while the run goes on, cut back when it is resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["JsonLines", "cut_back", "read_json_lines", "training_seconds"]


class JsonLines:
    """A file of JSON lines that is written in order of the field "step".

    Each line reaches the operating system at once, so that a killed process loses no whole line.

    Parameters
    ----------
    path : path
        The file; made if it is not there, appended to if it is.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = open(self.path, "ab")  # noqa: SIM115 - `close` closes it

    def append(self, record: dict[str, Any]) -> None:
        """Write one line.

        Raises
        ------
        ValueError
            If a number is NaN or infinite, which JSON has no word for.
        """
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> int:
        """Force the file to the disk and return its size in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_json_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines, in order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is no JSON, as the last one of a process that was killed may be.
    """
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def training_seconds(path: str | os.PathLike[str]) -> float:
    """Return the seconds of a whole run, all its processes together, from its timings.jsonl.

    What a process did after its last line there, and what was done twice after a kill, is not counted.
    """
    last = {record.get("since", 0): record["seconds"] for record in read_json_lines(path)}
    return sum(last.values())


def cut_back(path: str | os.PathLike[str], step: int) -> int:
    """Shorten a file of JSON lines to the whole lines that lead up to `step`, and return its size in bytes.

    Everything from the first record of a later step on goes, and so does a line that was half written. A file that is
    not there has size 0.
    """
    path = Path(path)
    if not path.exists():
        return 0
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or _step(line) > step:
            break
        size += len(line)
    os.truncate(path, size)
    return size


def _step(line: bytes) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
