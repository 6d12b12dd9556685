"""Japanese Vowels: what was published of it, and how its file is made."""

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import numrnn
from numrnn.datasets import Sequences, SequenceSplit, load_speakers
from numrnn.datasets.speakers import FILENAME
from tools import make_embedded_speakers as tool

FOLDER = Path(str(resources.files("numrnn.datasets").joinpath("embedded")))
SHA256 = hashlib.sha256((FOLDER / FILENAME).read_bytes()).hexdigest()
# Of the UCI repository: utterances of each speaker, in the order of speakers.
TRAIN_COUNTS = [30] * 9
TEST_COUNTS = [31, 35, 88, 44, 29, 24, 40, 50, 29]


@pytest.fixture(scope="module")
def data():
    return load_speakers()


def test_every_speaker_has_as_many_utterances_as_published(data):
    assert np.bincount(data.train.y).tolist() == TRAIN_COUNTS
    assert np.bincount(data.test.y).tolist() == TEST_COUNTS
    assert len(data.train) == 270
    assert len(data.test) == 370
    assert data.n_classes == len(data.class_names) == 9
    assert data.input_size == 12


def test_lengths_are_from_7_to_29_as_published(data):
    lengths = np.concatenate([data.train.lengths, data.test.lengths])
    assert lengths.min() == 7
    assert lengths.max() == 29


# Frames of ae.train, counted from 0 through all utterances, as others have printed them: five of their coefficients.
PRINTED = {
    0: (1.860936, -0.207383, 0.261557, -0.214562, -0.171253),
    1: (1.891651, -0.193249, 0.235363, -0.249118, -0.112890),
    20: (1.303905, 0.067256, 0.597720, -0.271474, -0.236808),
    600: (0.357779, -0.937038, 0.183809, -0.487891, 0.416678),
    603: (0.312645, -1.006147, 0.188503, -0.373804, 0.575191),
}


def test_frames_are_those_that_were_printed_elsewhere(data):
    frames = np.concatenate(data.train.x)
    for number, values in PRINTED.items():
        assert np.array_equal(frames[number, :5], np.array(values, np.float32))
    # The second utterance begins at frame 20, and frame 600 lies in the fourth of the second speaker.
    utterance = np.repeat(np.arange(270), data.train.lengths)
    assert utterance[[19, 20]].tolist() == [0, 1]
    assert data.train.y[utterance[600]] == 1
    assert utterance[600] == 30 + 3


@pytest.mark.parametrize("part", ["train", "test"])
def test_dtypes_are_those_of_training_and_nothing_can_be_written(data, part):
    part = getattr(data, part)
    assert part.x[0].dtype == np.float32
    assert part.y.dtype == part.lengths.dtype == np.int64
    for array in (part.y, *part.x):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("part", ["train", "test"])
def test_sequences_are_the_rows_of_a_batch_up_to_their_lengths_and_the_rest_is_zero(data, part):
    part = getattr(data, part)
    assert len(part.x) == len(part)
    for sequence, row, length in zip(part.x, part.batch(range(len(part))).x.swapaxes(0, 1), part.lengths, strict=True):
        assert sequence.shape == (length, 12)
        assert np.array_equal(sequence, row[:length])
        assert sequence.any(axis=1).all()
        assert not row[length:].any()


def test_padding_changes_no_final_state(data):
    cell = numrnn.GatedAntisymmetricCell(12, 5, step_size=0.5, diffusion=0.1)
    params = cell.init_params(np.random.default_rng(0))
    rows = np.random.default_rng(1).integers(0, 370, 8)
    x, lengths = data.test.batch(rows).x, data.test.lengths[rows]
    states, _ = numrnn.forward(cell, params, x, lengths=lengths)
    for i, row in enumerate(rows):
        alone, _ = numrnn.forward(cell, params, data.test.x[row][:, None])
        assert np.abs(states[-1, i] - alone[-1, 0]).max() < 100 * np.finfo(np.float32).eps


def test_the_file_is_small_and_its_readme_has_its_sha256():
    assert (FOLDER / FILENAME).stat().st_size < 600_000
    assert SHA256 in (FOLDER / "README.md").read_text(encoding="utf-8")


# --- the tool


def written(part, folder, name):
    """Write a set as the archive does."""
    lines = ["# a comment", "@problemName JapaneseVowels", "@data"]
    for sequence, label in zip(part.x, part.y, strict=True):
        lines.append(":".join([*(",".join(map(repr, map(float, values))) for values in sequence.T), str(label + 1)]))
    (folder / f"JapaneseVowels_{name}.ts").write_text("\n".join(lines) + "\n")


def test_the_tool_makes_the_file_again_byte_for_byte(data, tmp_path, capsys):
    written(data.train, tmp_path, "TRAIN")
    written(data.test, tmp_path, "TEST")
    tool.main([str(tmp_path), "--output", str(tmp_path / "out.npz")])
    with np.load(tmp_path / "out.npz") as made, np.load(FOLDER / FILENAME) as there:
        assert made.files == there.files
        assert all(np.array_equal(made[name], there[name]) for name in there.files)
    assert hashlib.sha256((tmp_path / "out.npz").read_bytes()).hexdigest() in capsys.readouterr().out


ROW = ":".join(["1.0,2.0"] * 12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (":".join(["1.0,2.0"] * 11) + ":1", "12 coefficients of one length and no gaps"),
        (":".join(["1.0,2.0"] * 11) + ":1.0:1", "12 coefficients of one length and no gaps"),
        (":".join(["1.0,NaN"] * 12) + ":1", "12 coefficients of one length and no gaps"),
        (ROW + ":0", "a speaker must be from 1 to 9, got '0'"),
        (ROW + ":10", "a speaker must be from 1 to 9, got '10'"),
    ],
)
def test_the_tool_refuses_what_is_no_utterance(line, message):
    assert tool.read([ROW + ":9"], "train")["train_labels"].tolist() == [8]
    with pytest.raises(ValueError, match=message):
        tool.read([line], "train")


def test_both_classes_are_public():
    assert isinstance(load_speakers(), SequenceSplit)
    assert isinstance(load_speakers().train, Sequences)
