"""The cost of the paper's grid: the simulation against what can be counted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed", reason="Dask is not installed")
pytest.importorskip("resource", reason="no limits of open files to raise")

from numrnn.experiments.workers import require_dask
from results import cost
from tools.grid_cost import fleet
from tools.grid_cost.__main__ import main as command
from tools.grid_cost.fleet import scheduler
from tools.grid_cost.simulation import Plan, ideal, ideal_seconds, simulate, training

PLAN = Plan(
    trials=11, lengths=(10, 30, 90), seconds_per_update=60.0, workers=3, hours_between_deaths=math.inf, scale=20_000.0
)


@pytest.fixture(scope="module")
def of_dask():
    with scheduler() as started:
        yield started


def test_ideal_time_is_that_of_workers_which_take_the_next_trial():
    assert ideal_seconds([5.0, 1.0, 1.0, 1.0], 2) == 5.0
    assert ideal_seconds([1.0] * 7, 3) == 3.0
    assert ideal_seconds([2.0], 1000) == 2.0


def test_training_counts_each_rung_beyond_the_one_before():
    # 11 trials for 10 updates, 4 of them for 20 more, 2 of these for 60 more
    assert training(PLAN) == 60 * (11 * 10 + 4 * 20 + 2 * 60)
    assert ideal(PLAN) == 60 * (4 * 10 + 2 * 20 + 1 * 60)


@pytest.mark.timeout(60)
def test_search_without_deaths_trains_everything_once(of_dask):
    outcome = simulate(PLAN, of_dask)
    assert outcome.tasks == 11 + 4 + 2
    assert outcome.wall >= ideal(PLAN) / PLAN.scale
    assert (outcome.deaths, outcome.restarts, outcome.given_up, outcome.repeated) == (0, 0, 0, 0.0)
    assert outcome.scheduler_seconds > 0
    assert outcome.memory > 10_000_000  # bytes: Python alone takes as many


@pytest.mark.timeout(60)
def test_search_ends_although_workers_die(of_dask):
    # With this seed one worker dies 0.3 s after the begin, in the middle of its first trial, and others hardly ever.
    deadly = replace(PLAN, trials=4, lengths=(10, 30), hours_between_deaths=0.53, scale=1_000.0, seed=746)
    outcome = simulate(deadly, of_dask)
    assert outcome.tasks == 4 + 2
    assert outcome.deaths > 0
    assert outcome.restarts > 0
    assert outcome.repeated > 0
    assert outcome.wall >= ideal(deadly) / deadly.scale


@pytest.mark.timeout(60)
def test_search_ends_with_an_error_if_a_dead_worker_has_no_successor(monkeypatch):
    deadly, real = replace(PLAN, hours_between_deaths=0.5, scale=2_000.0), require_dask()
    started = []

    def start(*arguments, **settings):
        started.append(arguments)
        if len(started) > PLAN.workers:
            raise OSError("no machine is left")
        return real.Worker(*arguments, **settings)

    monkeypatch.setattr(fleet, "require_dask", lambda: SimpleNamespace(Worker=start))
    with scheduler() as lost, pytest.raises(RuntimeError, match="a worker could not be started: .*no machine is left"):
        simulate(deadly, lost)


def test_rows_of_the_page_are_the_logs_times_the_paper_s_settings_and_updates():
    assert (cost.settings("mnist-gated"), cost.settings("mnist-lstm")) == (2 * 6 * 3 * 4 * 7, 2 * 6 * 7)
    assert (cost.updates("mnist-lstm"), cost.updates("cifar10-noise-padded-gated")) == (50_000, 10_000)
    logs = [("here", 10.0), ("there", 1.0), ("here", 20.0), (None, 0.0)]
    runs = [
        SimpleNamespace(result={"seconds": seconds, "iterations": 100, "machine": machine} if machine else {})
        for machine, seconds in logs
    ]
    lines = cost.rows({"pmnist-lstm": runs}).splitlines()
    found = [line for line in lines if line.startswith("| pmnist-lstm ")]
    # .15 s x 50,000 = 7,500 s = 2.083 h; times 84 settings / 24 h = 7.29 days
    assert found == [
        "| pmnist-lstm | here | 0.1500 | 50,000 | 2.08 | 84 | 7.3 |",
        "| pmnist-lstm | there | 0.0100 | 50,000 | 0.14 | 84 | 0.5 |",
    ]
    assert "| mnist-gated | no finished run | | 50,000 | | 1,008 | |" in lines


def test_table_of_the_simulation_scales_what_was_slept_and_not_what_the_scheduler_added(tmp_path):
    calm = {"wall": 12.0, "tasks": 4, "scheduler_seconds": 0.1, "memory": 70_000_000}
    deadly = {"wall": 14.0, "deaths": 3, "restarts": 2, "given_up": 0, "repeated": 1800.0}
    found = {
        "trials": 3,
        "row": "r",
        "seconds_per_update": 0.1,
        "lengths": [1, 3],
        "training": 7200.0,
        "full": 36000.0,
        "hours_between_deaths": 24,
        "version": "Dask",
        "date": "today",
        "processor": "p",
        "searches": [{"workers": 1000, "scale": 360.0, "ideal": 3600.0, "calm": calm, "deadly": deadly}],
    }
    (tmp_path / "found.json").write_text(json.dumps(found))
    line = cost.searches(tmp_path / "found.json").splitlines()[-1]
    # 3,600 s are 10 s of sleep, so the calm search has 2 s that are not; 14 - 2 = 12 s are 1.2 h.
    assert line == "| 1,000 | 1.0 | 1.2 | 3 | 2 | 0 | 0.5 | 2.0 | 25.0 | 70 |"
    assert cost.searches(tmp_path / "none.json") == cost.NOT_SIMULATED


def test_no_worker_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        command(["--workers", "10", "0"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: --workers must be >= 1, got 0")
