"""Metrics as JSON lines: one object per line, appended during the run, truncated when it is resumed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from numrnn.checks import check_path

__all__ = ["JsonLines", "cut_back", "cut_to", "drop_half_line", "read_json_lines", "training_seconds"]


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
        self._digest = hashlib.sha256(self.path.read_bytes())

    def append(self, record: dict[str, Any]) -> None:
        """Write one line.

        Raises
        ------
        ValueError
            If a number is NaN or infinite, which JSON cannot represent.
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._digest.update(line)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal, as this object wrote it; it reveals changes by other processes."""
        return self._digest.hexdigest()

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
    TypeError, ValueError
        If path is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is not a JSON object, such as the last one of a killed process; the message names path and line.
    """
    records = []
    path = check_path("path", path)
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise ValueError(f"{path}: line {number} must be a JSON object, got {line[:50]!r}")
        records.append(record)
    return records


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
    size = _size_up_to(path.read_bytes(), step)
    os.truncate(path, size)
    return size


def _size_up_to(content: bytes, step: int) -> int:
    """Return the number of bytes of the whole lines up to `step`."""
    size = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or _step(line) > step:
            break
        size += len(line)
    return size


def cut_to(path: Path, step: int, size: int, sha256: str | None, *, counts: str) -> None:
    """Truncate a file of JSON lines to the lines that a checkpoint refers to, after checking that they are complete.

    Parameters
    ----------
    path : Path
        The file; a missing one counts as empty. If the check fails, it stays as it is.
    step : int
        Last step of these lines.
    size : int
        Their bytes.
    sha256 : str or None
        Their SHA-256 in hexadecimal; None if the checkpoint is of a version that did not record it.
    counts : str
        Name of the checkpoint in the message.

    Raises
    ------
    ValueError
        If lines are missing, or their bytes differ.
    """
    content = path.read_bytes() if path.exists() else b""
    found = _size_up_to(content, step)
    if sha256 is None or len(content) < size:
        if found != size:
            raise ValueError(f"{path}: holds {found} bytes up to step {step}, but {counts} counts on {size}")
    elif hashlib.sha256(content[:size]).hexdigest() != sha256:
        broken = [n for n, line in enumerate(content[:size].splitlines(), 1) if _step(line) == float("inf")]
        where = f"line {broken[0]} is damaged" if broken else "a number or a letter of it was changed"
        raise ValueError(f"{path}: its first {size} bytes are not those that {counts} counts on; {where}")
    if path.exists():
        os.truncate(path, size)


def drop_half_line(path: str | os.PathLike[str]) -> None:
    """Truncate a file after its last complete line: the rest was left by a killed process."""
    content = Path(path).read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


def _step(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return float("inf")
