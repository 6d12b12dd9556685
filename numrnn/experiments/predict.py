"""Predict with a trained network.

    numrnn predict runs/mine NEW.npz                         into predictions.npz
    numrnn predict runs/mine/best.npz NEW.npz --out new.npz

CHECKPOINT is a file, or the folder of a run: its final.npz, else best.npz, else its newest checkpoint. NEW.npz holds
sequences as for `numrnn train`; targets, if there are any, are ignored. The sequences are standardized like the
training sequences.

The file given by --out receives predictions: the class of each sequence, (N,), or its numbers, (N, k); at every step,
predictions_0, predictions_1, ..., one for each sequence. A classifier also writes probabilities, (N, K), or
probabilities_0, probabilities_1, ... An existing file is replaced, unless it is NEW.npz or belongs to the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.datasets import Sequences, Standardization
from numrnn.experiments.command_line import add_verbosity, guarded, is_quiet, make_parser, read
from numrnn.experiments.sequence_command import STANDARDIZATION, read_sequences, saved_values
from numrnn.files import replacing
from numrnn.options import Checked, documented, inherited, option
from numrnn.training import Classifier, TrainingConfig, load_model
from numrnn.training.batches import OwnSequences
from numrnn.training.evaluation import outputs_of_rows
from numrnn.training.run import CONFIG_FILE, traces_of_a_run
from numrnn.typing import Backend

BATCH_SIZE = 500


@documented
@dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The network and the sequences."""

    checkpoint: str = option("", "a checkpoint, or the folder of a run", metavar="CHECKPOINT", positional=True)
    data: str = option("", "the sequences", metavar="DATA.npz", positional=True)
    out: str = option("predictions.npz", "file to write")
    backend: Backend = inherited(TrainingConfig, "backend", "numpy")


def predict(checkpoint: str, data: Sequences, *, backend: Backend = "numpy") -> dict[str, np.ndarray]:
    """Return predictions, and for a classifier probabilities, by the keys of the file.

    Parameters
    ----------
    checkpoint : path
        As for `numrnn.training.load_model`.
    data : Sequences
        Not standardized.
    backend : {"numpy", "cupy"}
        Where to compute.

    Raises
    ------
    CheckpointError, ValueError
        As `load_model`; or if the sequences have another number of features.
    """
    model, params, config = load_model(checkpoint, backend=backend)
    if data.n_features != model.cell.input_size:
        raise ValueError(
            f"the sequences must have {model.cell.input_size} features a step, as those that {checkpoint} was trained "
            f"on, got {data.n_features}"
        )
    if STANDARDIZATION in config:
        data = Standardization.from_config(config[STANDARDIZATION]).apply(data)
    like, rng = next(iter(params.values())), np.random.default_rng(0)  # sequences draw nothing from it
    outputs = outputs_of_rows(
        model,
        params,
        OwnSequences(data).batches(like),
        np.arange(len(data)),
        rng,
        lambda batch: batch,
        size=BATCH_SIZE,
        engine="auto",
    )
    found: dict[str, np.ndarray] = saved_values("predictions", _each(model.predictions, outputs))
    if isinstance(model, Classifier):
        found |= saved_values("probabilities", _each(model.probabilities, outputs))
    return found


def _check_output(out: str, data: str, checkpoint: str) -> None:
    """Raise ValueError if the predictions would replace the sequences, the checkpoint, or a file of its run."""
    folder = Path(checkpoint)
    run = [*traces_of_a_run(folder), folder / CONFIG_FILE] if folder.is_dir() else [folder]
    for path in (Path(data), *run):
        if path.exists() and Path(out).exists() and path.samefile(out):
            raise ValueError(f"--out must be another file than {path}, which it would replace")


def _each(function: Any, outputs: Any) -> Any:
    return [function(one) for one in outputs] if isinstance(outputs, list) else function(outputs)


def main(argv: list[str] | None = None, *, program: str | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""

    def work() -> None:
        parser = make_parser("numrnn predict", __doc__, Config, program=program)
        add_verbosity(parser)
        given = read(parser, argv, Config)
        quiet = is_quiet(given)
        if missing := [name for key, name in (("checkpoint", "CHECKPOINT"), ("data", "DATA.npz")) if key not in given]:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
        config = Config(**given)
        _check_output(config.out, config.data, config.checkpoint)
        data = read_sequences(config.data)
        found = predict(config.checkpoint, data, backend=config.backend)
        with replacing(config.out) as file:  # numpy.savez would add .npz to a name without it
            np.savez(file, **found)  # type: ignore[arg-type]
        if not quiet:
            print(f"{len(data):,} sequences; written: {config.out}")

    return guarded(work)
