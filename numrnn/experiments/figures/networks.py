"""Trained networks, read from the files of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from numrnn.datasets import PixelEncoder
from numrnn.training import Checkpoint, CheckpointError, Classifier, latest_checkpoint, load_checkpoint
from numrnn.training.stored_model import model_from_config


def read_network(path: str | Path) -> tuple[Classifier, dict[str, np.ndarray], Checkpoint]:
    """Return model, parameters and checkpoint of a training run.

    Parameters
    ----------
    path : path
        A checkpoint, or the folder of a run, whose newest complete checkpoint is used.

    Returns
    -------
    model : Classifier
    params : dict of str to numpy.ndarray
        float64, whatever the training's dtype; the average of the weights if the checkpoint holds one.
    checkpoint : Checkpoint

    Raises
    ------
    CheckpointError
        If there is none, or it does not describe a classifier.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint, or folder of a run")
    checkpoint = load_checkpoint(path, backend="numpy") if path.is_file() else latest_checkpoint(path, backend="numpy")
    if checkpoint is None:
        raise CheckpointError(f"{path}: no checkpoint in this folder can be read")
    try:
        model = model_from_config(checkpoint.config.get("model", {}))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(model, Classifier):
        raise CheckpointError(f"{path}: the model must be a Classifier, got {model!r}")
    return model, {name: array.astype(np.float64) for name, array in checkpoint.evaluated.items()}, checkpoint


def pixel_encoder(path: str | Path, checkpoint: Checkpoint) -> PixelEncoder:
    """Return the encoder with which a network was trained.

    Raises
    ------
    CheckpointError
        If the network does not read MNIST pixel by pixel.
    """
    described = dict(checkpoint.config.get("encoder", {}))
    if described.pop("encoder", None) != "PixelEncoder" or described.get("image_shape") != [28, 28]:
        raise CheckpointError(f"{path}: must be of a network that reads MNIST pixel by pixel")
    return PixelEncoder(**described)
