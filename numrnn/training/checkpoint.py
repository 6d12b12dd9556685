"""Checkpoints: one .npz file with everything that a run needs to continue bit for bit.

A file is written under a temporary name, forced to the disk and then renamed, so that under its name there is the whole
file or nothing, whenever the process is killed. The file contains a SHA-256 over names, dtypes, shapes, bytes and
metadata, which is verified on reading. Nothing is pickled: reading an untrusted file runs no code.

Entries of the archive: "params/NAME", "optimizer/SLOT/NAME", "average/NAME", "metadata" (JSON in UTF-8) and "checksum".
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.archives import check_archive
from numrnn.backend import Array, from_numpy
from numrnn.checks import check_generator, check_integer, check_path
from numrnn.files import remove_leftovers, replacing
from numrnn.training import entries
from numrnn.typing import Backend

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "checkpoint_path",
    "generator_from_state",
    "generator_state",
    "latest_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "prune_checkpoints",
    "save_checkpoint",
]

FORMAT = "numrnn checkpoint"
VERSION = 1
CHECKPOINT_NAME = re.compile(r"checkpoint_(\d{8,})\.npz")


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message gives its path and the reason."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` updates.

    Attributes
    ----------
    step : int
        Number of updates.
    params : dict of str to array
        Parameters.
    optimizer : dict
        The optimiser's state: numbers, arrays, and dictionaries of them.
    average : dict of str to array
        The average of the weights, like `params`; empty if there is none.
    generators : dict of str to dict
        States of random generators, see `generator_state`.
    config : dict
        The configuration of the run; JSON.
    progress : dict
        Anything else the run needs to continue; JSON.
    path : Path or None
        Where it was read or written.
    """

    step: int
    params: dict[str, Array]
    optimizer: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Array] = field(default_factory=dict)
    generators: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def evaluated(self) -> dict[str, Array]:
        """The weights to evaluate: the average if there is one, else the parameters."""
        return self.average or self.params


def checkpoint_path(directory: str | os.PathLike[str], step: int) -> Path:
    """Return the path of the checkpoint of `step` in `directory`, such as checkpoint_00000469.npz."""
    return check_path("directory", directory) / f"checkpoint_{check_integer('step', step, at_least=0):08d}.npz"


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> Path:
    """Write `checkpoint` to `path`, whole or not at all.

    Parameters
    ----------
    path : path
        A file name in an existing directory; an existing file is replaced.
    checkpoint : Checkpoint
        Its arrays may live on a GPU; they are copied to the host.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If an array or a number in it is NaN or infinite: such a state must not replace a good one; or if a name cannot
        be kept.
    TypeError
        If a part is of a wrong type, or would not load equal: arrays of objects or with a mask, and what JSON cannot
        hold in `generators`, `config` or `progress`.
    OSError
        If the file cannot be written.

    Notes
    -----
    Costs one pass over all bytes for the checksum and two disk synchronisations: the file's content, then its name.
    """
    path = check_path("path", path)
    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"checkpoint must be a Checkpoint, got {type(checkpoint).__name__}")
    found = _entries(checkpoint)
    with replacing(path) as file:
        np.savez(file, **found)
    return path


def _entries(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the entries of the archive by name."""
    arrays = entries.named_arrays("params", checkpoint.params) | entries.named_arrays("average", checkpoint.average)
    optimizer, slots = entries.split(checkpoint.optimizer, "optimizer")
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "step": check_integer("step", checkpoint.step, at_least=0),
        "optimizer": optimizer,
        "generators": checkpoint.generators,
        "config": checkpoint.config,
        "progress": checkpoint.progress,
    }
    arrays |= slots | {"metadata": np.frombuffer(entries.as_json(metadata), np.uint8)}
    return {**arrays, "checksum": entries.checksum(arrays)}


def load_checkpoint(path: str | os.PathLike[str], *, backend: Backend | None = None) -> Checkpoint:
    """Read and verify a checkpoint.

    Parameters
    ----------
    path : path
        A file that `save_checkpoint` wrote.
    backend : {"numpy", "cupy"} or None
        Where its arrays will live; None uses NUMRNN_BACKEND, or "numpy".

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, corrupted, of a newer version or not a checkpoint at all.
    """
    path = check_path("path", path)
    arrays = _read_archive(path)
    stored = arrays.pop("checksum", None)
    if stored is None or "metadata" not in arrays:
        raise CheckpointError(f"{path}: not a numrnn checkpoint: it lacks the entries 'metadata' and 'checksum'")
    if not np.array_equal(stored, entries.checksum(arrays)):
        raise CheckpointError(f"{path}: corrupted: its content does not match its checksum")
    try:
        return _from_entries(path, arrays, backend)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # from another writer that knew the checksum
        raise CheckpointError(f"{path}: its metadata is not the state of a run ({error!r})") from error


def _from_entries(path: Path, arrays: dict[str, np.ndarray], backend: Backend | None) -> Checkpoint:
    metadata = json.loads(arrays.pop("metadata").tobytes())
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        got = f"{metadata.get('format')} version {metadata.get('version')}"
        raise CheckpointError(f"{path}: expected {FORMAT} version {VERSION}, got {got}")
    moved = {name: from_numpy(array, backend) for name, array in arrays.items()}
    return Checkpoint(
        step=metadata["step"],
        params=entries.under("params", moved),
        optimizer=entries.join(metadata["optimizer"], moved, "optimizer"),
        average=entries.under("average", moved),
        generators=metadata["generators"],
        config=metadata["config"],
        progress=metadata["progress"],
        path=path,
    )


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; name a checkpoint, such as final.npz of a run")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            check_archive(file)
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive makes zipfile, zlib and numpy raise a dozen different types
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: truncated, corrupted or not an .npz file ({reason})") from error


def list_checkpoints(directory: str | os.PathLike[str]) -> list[Path]:
    """Return the paths in `directory` named like checkpoints, by ascending step; none if it does not exist."""
    directory = check_path("directory", directory)
    if not directory.is_dir():
        return []
    found = [(int(match[1]), path) for path in directory.iterdir() if (match := CHECKPOINT_NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def latest_checkpoint(directory: str | os.PathLike[str], *, backend: Backend | None = None) -> Checkpoint | None:
    """Return the newest complete checkpoint in `directory`, or None if there is none.

    Parameters
    ----------
    directory : path
        Where to look; it need not exist.
    backend : {"numpy", "cupy"} or None
        As for `load_checkpoint`.

    Returns
    -------
    Checkpoint or None

    Warns
    -----
    RuntimeWarning
        For each newer file that is rejected: its path and the reason.
    """
    for path in reversed(list_checkpoints(directory)):
        try:
            return load_checkpoint(path, backend=backend)
        except CheckpointError as error:
            warnings.warn(f"refused {error}; trying the checkpoint before it", RuntimeWarning, stacklevel=2)
    return None


def prune_checkpoints(directory: str | os.PathLike[str], *, keep: int = 2) -> None:
    """Delete all but the newest `keep` >= 1 checkpoints, and incomplete files of killed writers."""
    keep = check_integer("keep", keep, at_least=1)
    for path in list_checkpoints(directory)[:-keep]:
        path.unlink(missing_ok=True)
    remove_leftovers(directory, [CHECKPOINT_NAME.pattern])


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator, JSON-serialisable; integers of any size are exact."""
    check_generator("generator", generator)
    return _plain(generator.bit_generator.state)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def generator_from_state(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a generator that continues exactly from `state`.

    Raises
    ------
    TypeError, ValueError
        If the state names no bit generator of NumPy, or is not a state of it.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping, got {type(state).__name__}")
    kinds = {"PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"}
    name = state.get("bit_generator")
    if name not in kinds:
        raise ValueError(f"the state's bit_generator must be one of {', '.join(sorted(kinds))}, got {name!r}")
    bit_generator = getattr(np.random, name)(0)
    try:
        bit_generator.state = {key: _arrays(item) for key, item in state.items()}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"state must be one of {name}, as generator_state returns it: {error!r}") from error
    return np.random.Generator(bit_generator)


def _arrays(value: Any) -> Any:
    """Turn the lists in a state back into the arrays of uint64 that bit generators take."""
    if isinstance(value, Mapping):
        return {key: _arrays(item) for key, item in value.items()}
    return np.array(value, np.uint64) if isinstance(value, list) else value
