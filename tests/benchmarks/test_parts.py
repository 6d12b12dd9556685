"""The table of what a pass of the CPU engine is made of."""

import json
from pathlib import Path

import numpy as np
import pytest

import numrnn
from benchmarks import parts


def test_a_trial_measures_every_operation_and_the_pass(tmp_path, capsys):
    assert parts.main(["--quick", "--repeat", "1", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / parts.FILE).read_text())
    for one in result["workloads"].values():
        assert set(parts.PRODUCTS) < set(one["us"])
        assert all(value > 0 for value in one["us"].values())
    assert capsys.readouterr().out.strip() == parts.table(result)


def test_the_operations_of_one_step_compute_its_pass():
    one = parts.Parts({"T": 1, "B": 6, "m": 3, "n": 8})
    states, tape = numrnn.forward(one.cell, one.params, one.x, engine="reference")
    grads = numrnn.backward(tape, d_final=one.d_final, wrt=("params", "h0"))
    one.whole.states[1:] = np.nan
    one.of_V_b.d_params[0][...] = 0
    one.slice.s[:, 0] = 0  # the last state of the pass before
    for work in one.operations().values():
        work()
    rounding = 100 * np.finfo(np.float32).eps
    dV_b = one.cell.step_size * one.of_V_b.d_params[0]  # q is d_final here, and eps d_final in the engine
    for got, wanted in [
        (one.whole.states, states),
        (dV_b[:, :-1], grads.params["V"]),
        (dV_b[:, -1], grads.params["b"]),
    ]:
        assert np.abs(got - wanted).max() <= rounding * np.abs(wanted).max()


@pytest.mark.parametrize("argv", [["--repeat", "0"], ["--quick", "--page", "x.md"]])
def test_options_that_make_no_sense_are_refused(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        parts.main(argv)
    assert argv[0] in capsys.readouterr().err


def test_the_page_shows_the_stored_times():
    root = Path(__file__).parents[2]
    result = json.loads((root / "results" / "benchmarks" / parts.FILE).read_text())
    assert parts.table(result) in (root / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for one in result["workloads"].values():
        alone = sum(us for name, us in one["us"].items() if name != "the pass")
        assert 0.8 < alone / one["us"]["the pass"] < 1.2  # the operations are the pass, and little else is
