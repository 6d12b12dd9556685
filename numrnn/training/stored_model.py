"""The model of a checkpoint, recreated from the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numrnn.backend import Array
from numrnn.cells.registry import cell_from_config
from numrnn.checks import check_path
from numrnn.training.checkpoint import Checkpoint, CheckpointError, latest_checkpoint, load_checkpoint
from numrnn.training.model import Classifier, Regressor
from numrnn.typing import Backend

__all__ = ["load_model", "model_from_config"]

KINDS: dict[str, type[Classifier] | type[Regressor]] = {kind.kind: kind for kind in (Classifier, Regressor)}
# Files of a run's folder that hold a network, the preferred first: the tested one, that of the lowest validation loss.
# The newest checkpoint comes after them.
NAMES = ("final.npz", "best.npz")


def load_model(
    path: str | os.PathLike[str], *, backend: Backend | None = None
) -> tuple[Classifier | Regressor, dict[str, Array], dict[str, Any]]:
    """Recreate the model of a checkpoint.

    Parameters
    ----------
    path : path
        A checkpoint; or the folder of a run, from which final.npz is used, else best.npz, else the newest checkpoint.
    backend : {"numpy", "cupy"} or None
        As for `load_checkpoint`.

    Returns
    -------
    model : Classifier or Regressor
        With its cell, any of `numrnn.cells`.
    params : dict of str to array
        Its parameters; the average of the weights if the checkpoint holds one.
    config : dict
        The configuration of the run, as `Trainer.describe` returned it.

    Raises
    ------
    CheckpointError
        If there is no such file, no checkpoint in the folder, or it cannot be read.
    ValueError
        If the model or its cell is your own and not of this package: create the model yourself, and take its parameters
        from `load_checkpoint`.

    Examples
    --------
    >>> import tempfile, numpy as np, numrnn
    >>> from numrnn.training import Checkpoint, save_checkpoint
    >>> model = Regressor(numrnn.LSTMCell(2, 4), n_outputs=1, output="every")
    >>> params = model.init_params(np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as out:
    ...     _ = save_checkpoint(f"{out}/final.npz", Checkpoint(7, params, config={"model": model.config()}))
    ...     again, its_params, config = load_model(out)
    >>> again
    Regressor(LSTMCell(input_size=2, hidden_size=4), n_outputs=1, output='every')
    """
    checkpoint = _read(check_path("path", path), backend)
    try:
        model = model_from_config(checkpoint.config.get("model", {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{checkpoint.path}: {error}") from None
    params = checkpoint.evaluated
    shapes = {name: tuple(value.shape) for name, value in params.items()}
    if shapes != model.parameter_shapes:
        raise ValueError(f"{checkpoint.path}: parameters must be {model.parameter_shapes} of {model!r}, got {shapes}")
    return model, params, checkpoint.config


def model_from_config(config: Mapping[str, Any]) -> Classifier | Regressor:
    """Return the model that a result of `Classifier.config` or `Regressor.config` describes, also if read from JSON.

    Raises
    ------
    TypeError, ValueError
        If it describes neither of the two, its cell is unknown, or an argument does not fit.
    """
    # A model of your own may describe itself by a text.
    kind = KINDS.get(str(config.get("model"))) if isinstance(config, Mapping) else None
    if kind is None or "cell" not in config or kind.outputs_name not in config:
        known = " or ".join(KINDS)
        raise ValueError(f"the model must be a {known} with a cell, got {config!r}")
    return kind(cell_from_config(config["cell"]), config[kind.outputs_name], config.get("output", "last"))


def _read(path: Path, backend: Backend | None) -> Checkpoint:
    if not path.is_dir():
        return load_checkpoint(path, backend=backend)
    for name in NAMES:
        if (path / name).exists():
            return load_checkpoint(path / name, backend=backend)
    checkpoint = latest_checkpoint(path, backend=backend)
    if checkpoint is None:
        raise CheckpointError(f"{path}: no checkpoint in this folder can be read")
    return checkpoint
