"""A few kills and damaged files in CI; thousands by hand: `python -m fuzz.kills` and `python -m fuzz.damage`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import numrnn

ROOT = Path(numrnn.__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (["fuzz.kills", "--kills", "13"], "nothing differs"),
        (["fuzz.damage", "--files", "540"], "no wrong content, no unclear message"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_nothing_is_lost_and_nothing_read_wrongly(arguments, end, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert end in done.stdout
