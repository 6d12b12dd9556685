"""Sizes of .npz files: what an archive would take in memory is known before any of it is unpacked."""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

# A few kilobytes can unpack to gigabytes. Below the first number that does no harm; beyond it, archives of numbers that
# were worth keeping shrink by far less than the second.
HARMLESS_BYTES = 2**30
LARGEST_RATIO = 100


def largest_unpacked_size(size: int) -> int:
    """Return the bytes to which an archive of so many bytes may unpack."""
    return max(HARMLESS_BYTES, LARGEST_RATIO * size)


def check_unpacked_size(stream: BinaryIO) -> None:
    """Refuse a zip archive that is small and would be huge in memory; anything else is left to who reads it.

    Raises
    ------
    ValueError
        If it would take more than 1 GiB and more than 100 times its size.
    """
    size = os.fstat(stream.fileno()).st_size
    try:
        with zipfile.ZipFile(stream) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        unpacked = 0  # no archive
    finally:
        stream.seek(0)
    if unpacked > largest_unpacked_size(size):
        raise ValueError(f"its {size} bytes would unpack to {unpacked}, more than {LARGEST_RATIO} times as much")
