"""What the tests of the training loop share: a recording encoder, a crash, and what makes two runs the same."""

import numpy as np
import pytest
from training_run import encode, make_data, make_trainer

from numrnn.training import read_json_lines

STEPS = 15


def assert_same_run(result, reference):
    assert result.step == reference.step == STEPS
    assert result.metrics.read_bytes() == reference.metrics.read_bytes()
    assert result.checkpoint.read_bytes() == reference.checkpoint.read_bytes()
    for name, array in reference.params.items():
        assert np.array_equal(result.params[name], array)
    timed, wanted = (read_json_lines(run.metrics.with_name("timings.jsonl")) for run in (result, reference))
    assert [record["step"] for record in timed] == [record["step"] for record in wanted]


class Recorder:
    """Encodes like `encode`, keeps what it was shown, and does something at one call."""

    def __init__(self, at=None, action=None):
        self.batches, self.at, self.action = [], at, action

    def __call__(self, images, rng):
        self.batches.append(images)
        if len(self.batches) == self.at:
            self.action()
        return encode(images, rng)

    def config(self):
        return "encode"


def crash():
    raise RuntimeError("power cut")


def crash_at(out, call, **changes):
    """Run until the encoder's call of this number raises. An epoch has 5 calls to train and 2 to validate."""
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(out, encoder=Recorder(call, crash), **changes).run()


def rows_of(images):
    """Return the number of each image in the data."""
    return [int(np.flatnonzero((make_data()[0] == image).all(axis=1))[0]) for image in images]
