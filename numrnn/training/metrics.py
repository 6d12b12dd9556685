"""Metrics as JSON lines: one object per line, appended during the run, truncated when it is resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["JsonLines", "cut_back", "read_json_lines", "training_seconds"]


class JsonLines:
    """A file of JSON lines, written in the order of the field "step".

    Each line is passed to the operating system at once, so a killed process loses no whole line.

    Parameters
    ----------
    path : path
        The file; created if it is missing, else appended to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = open(self.path, "ab")  # noqa: SIM115 - `close` closes it

    def append(self, record: dict[str, Any]) -> None:
        """Write one line.

        Raises
        ------
        ValueError
            If a number is NaN or infinite, which JSON cannot represent.
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
        If a line is not JSON, such as the last one of a killed process.
    """
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def training_seconds(path: str | os.PathLike[str]) -> float:
    """Return the seconds of a whole run, summed over its processes, from its timings.jsonl.

    Work of a process after its last line there, and work repeated after a kill, is not counted.
    """
    last = {record.get("since", 0): record["seconds"] for record in read_json_lines(path)}
    return sum(last.values())


def cut_back(path: str | os.PathLike[str], step: int) -> int:
    """Truncate a file of JSON lines to the whole lines up to `step`, and return its size in bytes.

    Removes everything from the first record of a later step on, and an incomplete line. A missing file has size 0.
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
