"""Search for data files: the only file that looks for them, and the only one that downloads.

Places, in this order:

1. `root`, if given: then no other place, and no download;
2. the folder named by the environment variable NUMRNN_DATA;
3. the user's cache: $XDG_CACHE_HOME/numrnn, or ~/.cache/numrnn if that variable is not set;
4. a download into the cache, by pooch, which verifies the SHA-256 before a file gets its name.

In each place the folder itself and the data set's subfolder are searched. A folder counts only if it holds every file,
so that no set is combined from two places.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = ["DataFiles", "Download", "StrPath", "cache_folder", "locate"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Download:
    """One public file: its local name, its SHA-256 in hexadecimal, and its URLs in order of preference."""

    filename: str
    sha256: str
    urls: tuple[str, ...]


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


def cache_folder() -> Path:
    """Return the user's cache folder of this package, which need not exist."""
    # By the XDG specification a relative path is ignored.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "numrnn"


def locate(data: DataFiles, root: StrPath | None = None, *, download: bool = True) -> dict[str, Path]:
    """Return the path of every file of a data set.

    Parameters
    ----------
    data : DataFiles
        The data set.
    root : path or None
        If given, the only place to search.
    download : bool
        Whether to download files that are not found. Never with `root`.

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
    for folder, origin in _folders(data.folder, root):
        found, problem = _look(folder, data.names)
        if found:
            return found
        report.append(f"{folder} ({origin}): {problem}")
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
        yield Path(os.environ["NUMRNN_DATA"]).expanduser(), "NUMRNN_DATA"
    yield cache_folder(), "the user's cache"


def _checked_root(root: StrPath) -> Path:
    if not isinstance(root, str | os.PathLike):
        raise TypeError(f"root must be the path of a folder, got {root!r}")
    if not os.fspath(root):  # Path("") is the working directory, which is not intended
        raise ValueError("root must be the path of a folder, got ''")
    return Path(root).expanduser()


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
    for wanted in data.downloads:
        failures = []
        for url in wanted.urls:
            try:
                path = pooch.retrieve(
                    url,
                    known_hash=f"sha256:{wanted.sha256}",
                    fname=wanted.filename,
                    path=folder,
                    progressbar=find_spec("tqdm") is not None,
                )
                break
            except (OSError, ValueError) as error:  # no network, no space; another SHA-256
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
