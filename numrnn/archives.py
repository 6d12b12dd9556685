"""What is wrong with an .npz file, before any of it is unpacked: its size in memory, and entries that are lost.

zipfile checks each entry against its CRC, but not how many there should be: a flipped bit in the directory may hide
one, and what is left reads as another file.
"""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

# A few kilobytes can unpack to gigabytes. Below the first number that does no harm; beyond it, archives of numbers that
# were worth keeping shrink by far less than the second.
HARMLESS_BYTES = 2**30
LARGEST_RATIO = 100
END = struct.Struct("<4s4H2LH")  # of a zip archive without a comment; the fifth value is the number of entries


def largest_unpacked_size(size: int) -> int:
    """Return the number of bytes to which an archive of `size` bytes may unpack."""
    return max(HARMLESS_BYTES, LARGEST_RATIO * size)


def check_archive(stream: BinaryIO) -> None:
    """Refuse a zip archive that lacks entries, or is small and would be huge in memory; others are left to the reader.

    Raises
    ------
    ValueError
        If entries are missing, or it would take more than 1 GiB and more than 100 times its size.
    """
    size = os.fstat(stream.fileno()).st_size
    try:
        with zipfile.ZipFile(stream) as archive:
            found = archive.infolist()
    except Exception:  # no archive, or a damaged one
        return
    finally:
        stream.seek(0)
    expected = _number_of_entries(stream, size)
    if expected is not None and expected != len(found):
        raise ValueError(f"damaged: its directory has {len(found)} of {expected} entries")
    unpacked = sum(entry.file_size for entry in found)
    if unpacked > largest_unpacked_size(size):
        raise ValueError(f"its {size} bytes would unpack to {unpacked}, more than {LARGEST_RATIO} times as much")


def _number_of_entries(stream: BinaryIO, size: int) -> int | None:
    """Return the number of entries as the end of an archive has it; None if that is of another form."""
    stream.seek(max(0, size - END.size))
    end = stream.read()
    stream.seek(0)
    if len(end) != END.size or not end.startswith(b"PK\5\6"):
        return None  # with a comment, which numpy.savez does not write
    number = END.unpack(end)[4]
    return None if number == 0xFFFF else number  # which says that the number is elsewhere
