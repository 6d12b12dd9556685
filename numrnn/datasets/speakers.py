"""Japanese Vowels: 640 utterances of nine speakers, of 7 to 29 steps, included in the package.

Nine men said the two Japanese vowels /ae/ one after the other. An utterance is a sequence of 12 LPC cepstrum
coefficients per frame (sampled at 10 kHz, frames of 25.6 ms every 6.4 ms, 12 linear prediction coefficients). The task
is to identify the speaker. 30 utterances of each speaker are for training, 24 to 88 for testing, as published.

embedded/README.md gives the licence of the file and how it was made.

Source: M. Kudo, J. Toyama, M. Shimbo, "Multidimensional Curve Classification Using Passing-Through Regions", Pattern
Recognition Letters 20(11-13), 1999; UCI Machine Learning Repository, doi:10.24432/C5NS47.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import numpy as np

from numrnn.datasets.collection import Sequences
from numrnn.datasets.dataset import SequenceSplit

__all__ = ["load_speakers"]

FILENAME = "japanese-vowels.npz"
CLASS_NAMES = tuple(f"speaker {number}" for number in range(1, 10))


def load_speakers() -> SequenceSplit:
    """Load Japanese Vowels.

    Returns
    -------
    SequenceSplit
        270 training and 370 test utterances, 7 to 26 and 7 to 29 steps of 12 features, float32; labels 0 .. 8, int64;
        read-only, 0.9 MB.

    Examples
    --------
    >>> import numpy as np, numrnn
    >>> data = load_speakers()
    >>> [utterance.shape for utterance in data.train.x[:3]]
    [(20, 12), (26, 12), (22, 12)]
    >>> cell = numrnn.AntisymmetricCell(data.input_size, 16)
    >>> params = cell.init_params(np.random.default_rng(0))
    >>> batch = data.train.batch(range(32))  # time first, and padded
    >>> states, tape = numrnn.forward(cell, params, batch.x, lengths=batch.lengths)
    >>> states[-1].shape
    (32, 16)
    """
    file = resources.files("numrnn.datasets").joinpath("embedded", FILENAME)
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return SequenceSplit(_part(arrays, "train"), _part(arrays, "test"), CLASS_NAMES)


def _part(arrays: Mapping[str, np.ndarray], part: str) -> Sequences:
    """Return one of the two sets, from the concatenated frames in the file."""
    frames, lengths, y = (arrays[f"{part}_{name}"] for name in ("frames", "lengths", "labels"))
    padded = np.zeros((len(lengths), lengths.max(), frames.shape[1]), frames.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = frames
    labels = y.astype(np.int64)
    for array in (padded, labels):
        array.flags.writeable = False
    return Sequences(padded, labels, lengths=lengths)
