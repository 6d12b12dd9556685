"""python -m benchmarks.interop: options, the sentence that it ends with, and a trial of the whole."""

import importlib.util
import re

import pytest

from benchmarks import interop


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--repetitions", "0"], "--repetitions must be >= 1, got 0"),
        (["--threads", "0"], "--threads must be from 1"),
        (["--workload", "mnist"], "--workload must name one workload"),
        (["--workload", "nothing"], "--workload must name workloads of .* got 'nothing'"),
    ],
)
def test_options_that_make_no_sense_are_refused(argv, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        interop.parse_arguments(argv)
    assert re.search(message, capsys.readouterr().err)


def test_the_conclusion_is_the_ratio_of_the_medians():
    medians = {interop.LAYER: 0.1, interop.EAGER: 0.28, interop.ALONE: 0.08}
    timed = [{"name": name, "status": "timed", "median": median} for name, median in medians.items()]
    told = interop.conclusion({"contenders": timed})
    assert told == "the layer is 2.80 times as fast as torch's eager mode, and takes 1.25 times numrnn's own time"
    missing = {"name": interop.EAGER, "status": "missing"}
    assert interop.conclusion({"contenders": [timed[0], missing, timed[2]]}) == "no ratio: torch missing"


@pytest.mark.usefixtures("here")
def test_a_trial_compares_the_three_or_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(interop, "hold_to", lambda threads: None)
    there = importlib.util.find_spec("torch") is not None
    assert interop.main(["--quick", "--repetitions", "1", "--workload", "small-8-16"]) == (0 if there else 1)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("the layer is" if there else "no ratio: numrnn in torch missing")
    assert all(name in printed for name in (interop.LAYER, interop.EAGER, interop.ALONE))
