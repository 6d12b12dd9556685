"""Search for data files: the only file that looks for them, and the only one that downloads.

Places, in this order:

1. `root`, if given: no other place is searched, and nothing is downloaded;
2. the folder named by the environment variable NUMRNN_DATA;
3. the user's cache: $XDG_CACHE_HOME/numrnn, or ~/.cache/numrnn if that variable is not set;
4. a download into the cache, by pooch, which verifies the SHA-256 before a file gets its name.

In each place the folder itself and the data set's subfolder are searched. A folder counts only if it holds every file,
so that no set is combined from two places.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from numrnn.checks import check_path
from numrnn.locks import locked

__all__ = ["DataFiles", "Download", "NoHomeError", "StrPath", "cache_folder", "locate"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Download:
    """One public file: local name, SHA-256 in hexadecimal, URLs in order of preference, and size in bytes.

    No more bytes than its size are ever received; the SHA-256 is verified before the file gets its name.
    """

    filename: str
    sha256: str
    urls: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class DataFiles:
    """The files of one data set.

    Parameters
    ----------
    title : str
        Name of the set in messages.
    folder : str
        Name of its subfolder.
    names : mapping of str to tuple of str
        For each file a key and its accepted names; messages use the first.
    downloads : tuple of Download
        Files to download if the set is not found.
    unpack : callable or None
        Called with each downloaded file; puts the files of `names` next to it.
    """

    title: str
    folder: str
    names: Mapping[str, tuple[str, ...]]
    downloads: tuple[Download, ...]
    unpack: Callable[[Path], None] | None = None


class NoHomeError(RuntimeError):
    """The process has no home folder, like some services."""


def cache_folder() -> Path:
    """Return the user's cache folder of this package, which need not exist; raises `NoHomeError` without a home."""
    # By the XDG specification a relative path is ignored.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else _expanded("~") / ".cache") / "numrnn"


def _expanded(path: StrPath) -> Path:
    """Return a path with the home folder in place of ~; raises `NoHomeError` if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NoHomeError(f"{os.fspath(path)} needs a home folder, and none is known: HOME is not set") from None


def locate(data: DataFiles, root: StrPath | None = None, *, download: bool = True) -> dict[str, Path]:
    """Return the path of every file of a data set.

    Parameters
    ----------
    data : DataFiles
        The data set.
    root : path or None
        If given, the only place to search.
    download : bool
        Whether to download files that are not found. Ignored if `root` is given.

    Returns
    -------
    dict of str to pathlib.Path
        The keys of `data.names`.

    Raises
    ------
    TypeError
        If root is not a path.
    ValueError
        If root is empty.
    FileNotFoundError
        If the data are not found or cannot be downloaded: the message lists every place, what is missing there, and
        how to get it.
    """
    report = []
    try:
        for folder, origin in _folders(data.folder, root):
            found, problem = _look(folder, data.names)
            if found:
                return found
            report.append(f"{folder} ({origin}): {problem}")
    except NoHomeError as error:
        report.append(f"the user's cache: {error}")
        raise FileNotFoundError(
            _message(data, report, "Set HOME or XDG_CACHE_HOME for a download, or give root=")
        ) from None
    if root is None and download:
        return _download(data, report)
    raise FileNotFoundError(_message(data, report))


def _folders(name: str, root: StrPath | None) -> Iterator[tuple[Path, str]]:
    """Yield every folder to search and its origin, in order."""
    for place, origin in _places(root):
        yield place, origin
        yield place / name, origin


def _places(root: StrPath | None) -> Iterator[tuple[Path, str]]:
    if root is not None:
        yield _checked_root(root), "root"
        return
    if os.environ.get("NUMRNN_DATA"):
        yield _expanded(os.environ["NUMRNN_DATA"]), "NUMRNN_DATA"
    yield cache_folder(), "the user's cache"


def _checked_root(root: StrPath) -> Path:
    return _expanded(
        check_path("root", root, "the path of a folder")
    )  # refuses "", which Path would take for the working directory


def _look(folder: Path, names: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, Path], str]:
    """Return the files of `names` in a folder, or nothing and the problem with that folder."""
    if not folder.exists():
        return {}, "no such folder"
    if not folder.is_dir():
        return {}, "not a folder"
    present = {
        key: [folder / name for name in spellings if (folder / name).is_file()] for key, spellings in names.items()
    }
    missing = [names[key][0] for key, paths in present.items() if not paths]
    if missing:
        return {}, "missing " + ", ".join(missing)
    return {key: paths[0] for key, paths in present.items()}, ""


def _download(data: DataFiles, report: list[str]) -> dict[str, Path]:
    try:
        import pooch
    except ImportError as error:
        remedy = f"To let numrnn download it: pip install numrnn[examples] (found: {error})"
        raise FileNotFoundError(_message(data, report, remedy)) from error

    folder = cache_folder() / data.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # One process downloads and unpacks; others wait meanwhile, and then find the files.
        with locked(folder, wait=True):
            found, _ = _look(folder, data.names)
            return found or _fetch(pooch, data, folder, report)
    except (OSError, ValueError) as error:
        found, _ = _look(folder, data.names)
        if found:  # by another process, if the file system has no locks
            return found
        if not isinstance(error, OSError) or (isinstance(error, FileNotFoundError) and error.errno is None):
            raise  # it has its own message
        raise FileNotFoundError(_message(data, report, f"The download failed: {error}")) from error


def _fetch(pooch: Any, data: DataFiles, folder: Path, report: list[str]) -> dict[str, Path]:
    """Download the files into their folder, and unpack them."""
    for wanted in data.downloads:
        failures = []
        for url in wanted.urls:
            try:
                path = pooch.retrieve(
                    url,
                    known_hash=f"sha256:{wanted.sha256}",
                    fname=wanted.filename,
                    path=folder,
                    progressbar=False,
                    downloader=_bounded(pooch, wanted.size),
                )
                break
            except (OSError, ValueError) as error:  # no network, no space, or a wrong SHA-256
                failures.append(f"{url}: {error}")
        else:
            remedy = "The download failed:\n  " + "\n  ".join(failures)
            raise FileNotFoundError(_message(data, report, remedy))
        if data.unpack is not None:
            data.unpack(Path(path))
    found, problem = _look(folder, data.names)
    if not found:
        raise FileNotFoundError(_message(data, [*report, f"{folder} (downloaded): {problem}"]))
    return found


def _bounded(pooch: Any, size: int) -> Callable[[str, str, Any], None]:
    """Return a downloader that receives at most `size` bytes."""

    def download(url: str, output_file: str, caller: Any) -> None:
        show = find_spec("tqdm") is not None and sys.stderr is not None and sys.stderr.isatty()
        with open(output_file, "wb") as file:
            pooch.HTTPDownloader(progressbar=show)(url, _Bounded(file, size), caller)

    return download


class _Bounded:
    """A file that accepts at most a given number of bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._left = file, size, size

    def write(self, block: bytes) -> None:
        """Write a block.

        Raises
        ------
        OSError
            If there are more bytes than there should be.
        """
        self._left -= len(block)
        if self._left < 0:
            raise OSError(f"the server sends more than the {self._size} bytes of the file")
        self._file.write(block)


def _message(data: DataFiles, report: list[str], remedy: str = "") -> str:
    expected = ", ".join(spellings[0] for spellings in data.names.values())
    sources = ", ".join(url for wanted in data.downloads for url in wanted.urls[:1])
    lines = [
        f"{data.title} was not found. Looked for {expected} in",
        *(f"  {line}" for line in report),
        f"Put these files into one folder and name it by root= or by the environment variable NUMRNN_DATA; "
        f"they come from {sources}",
        remedy or "With root=None and download=True they are downloaded (needs: pip install numrnn[examples])",
    ]
    return "\n".join(lines)
