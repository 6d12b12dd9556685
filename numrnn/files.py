"""Files that are written whole or not at all.

A file is written under a temporary name in the same folder, synchronised to the disk and renamed. Whenever the process
is killed, and if the disk is full, the name has the old content or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

# A file system may refuse to synchronise a directory: some that are mounted over a network, and some of FUSE.
REFUSED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write to, which replaces `path` at the end of the block; an error leaves `path` as it was.

    Of a symbolic link the file is replaced that it points to.

    Yields
    ------
    file
        Open for bytes.

    Raises
    ------
    OSError
        If the file cannot be written or renamed, or `path` is a folder, a device or a pipe; the message names `path`.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():  # a rename would put a file in the place of /dev/null
        raise FileExistsError(errno.EEXIST, "Is no regular file", str(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            raise type(error)(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    sync_directory(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole or not at all, and create its folder if it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())


def sync_directory(directory: Path) -> None:
    """Force a directory's list of names to the disk, so that a rename survives a power cut; where that is possible."""
    if os.name == "nt":  # Windows cannot open a directory
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Delete what killed writers of some files left in a folder; `names` are regular expressions of whole names."""
    pattern = re.compile(rf"\.(?:{'|'.join(names)})(?:\.[0-9a-f]{{8}})?\.tmp")
    for path in Path(folder).iterdir():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)
