"""python -m benchmarks.pairwise: each side holds the numrnn of its own checkout, and the ratio is that within pairs."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pairwise
from benchmarks.checkout import HERE, CheckoutWorker
from benchmarks.workloads import Workload

TINY = Workload(name="tiny", title="tiny", T=12, B=6, m=3, n=8, contenders=("fused",), calls=2)
LSTM = replace(TINY, name="tiny-lstm", cell="lstm")

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores"
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(pairwise, "select", lambda wanted, option: [TINY, LSTM])


@pytest.fixture
def other(tmp_path):
    """Make a checkout with a numrnn in which a line was added at the end of its __init__."""

    def made(line):
        shutil.copytree(HERE / "numrnn", tmp_path / "numrnn", ignore=shutil.ignore_patterns("__pycache__"))
        with (tmp_path / "numrnn" / "__init__.py").open("a") as file:
            file.write(line)
        return tmp_path

    return made


def test_a_checkout_beside_itself(tiny, capsys):
    assert pairwise.main([str(HERE), "--pairs", "3", "--cores", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"cores: 1; this: {HERE}; other: {HERE}" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("tiny")]
    assert [row[0] for row in rows] == ["tiny", "tiny-lstm"]
    for row in rows:
        low, middle, high = float(row[4]), float(row[3]), float(row[6])
        assert 0 < low <= middle <= high
        assert row[-2:] == ["of", "3"]


def test_a_slower_engine_of_another_checkout_is_seen_as_slower(tiny, other):
    slow = other(
        "\nimport time as _time\n_backward = backward\n"
        "def backward(*a, **k):\n    _time.sleep(0.1)\n    return _backward(*a, **k)\n"
    )
    this, theirs = pairwise.time_pairs(TINY, slow, 1, 3)
    assert (len(this), len(theirs)) == (3, 3)
    assert min(theirs) > 0.1
    assert float(pairwise.row(TINY, this, theirs)[3]) > 1


def test_an_engine_that_computes_other_numbers_has_no_time(tiny, other, capsys):
    wrong = other(
        "\n_forward = forward\ndef forward(c, p, x, *a, **k):\n    return _forward(c, p, 1.01 * x, *a, **k)\n"
    )
    assert pairwise.main([str(wrong), "--pairs", "1", "--cores", "1"]) == 1
    for line in (line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny")):
        assert "off by 0.0" in line


def test_an_engine_that_raises_is_told(tiny, other, capsys):
    broken = other("\ndef forward(*a, **k):\n    raise ValueError('no such engine')\n")
    assert pairwise.main([str(broken), "--pairs", "1", "--cores", "1"]) == 1
    assert "ValueError: no such engine" in capsys.readouterr().out


def test_both_sides_are_bound_to_as_many_cores_as_were_asked_for():
    mine = os.sched_getaffinity(0)
    for cores in range(1, min(2, len(mine)) + 1):
        with CheckoutWorker(HERE, "fused", TINY, cores) as worker:
            worker.ask("start")
            assert os.sched_getaffinity(worker._process.pid) == set(sorted(mine)[:cores])
            environment = Path(f"/proc/{worker._process.pid}/environ").read_bytes().split(b"\0")
            assert f"OPENBLAS_NUM_THREADS={cores}".encode() in environment
    assert os.sched_getaffinity(0) == mine


def test_the_ratio_is_that_within_pairs():
    rng = np.random.default_rng(3)
    slowness = rng.uniform(1, 100, 9)  # of the machine, from pair to pair
    ratios = rng.uniform(0.5, 2, 9)
    found = pairwise.row(TINY, list(slowness), list(slowness * ratios))
    low, middle, high = np.sort(ratios)[[2, 4, 6]]
    assert found[3:] == (f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{np.sum(ratios > 1)} of 9")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pairs", "0"], "--pairs must be >= 1, got 0"),
        (["--cores", "0"], "--cores must be from 1 to "),
        (["--cores", "1", "100000"], "the process's cores, got 1 100000"),
        (["--workloads", "imagenet"], "--workloads must name workloads of "),
    ],
)
def test_options_out_of_range_are_refused(arguments, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        pairwise.main([str(HERE), *arguments])
    assert told in capsys.readouterr().err


def test_a_folder_without_numrnn_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        pairwise.main([str(tmp_path)])
    assert f"PATH_OF_OTHER_CHECKOUT must hold numrnn/__init__.py, got {tmp_path}" in capsys.readouterr().err
