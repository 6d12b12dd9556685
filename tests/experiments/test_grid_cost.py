"""The cost of the paper's grid: the simulation against what can be counted."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("distributed", reason="Dask is not installed")

from tools.grid_cost.simulation import Plan, ideal, ideal_seconds, simulate, training

PLAN = Plan(
    trials=11, lengths=(10, 30, 90), seconds_per_update=60.0, workers=3, hours_between_deaths=math.inf, scale=20_000.0
)


def test_ideal_time_is_that_of_workers_which_take_the_next_trial():
    assert ideal_seconds([5.0, 1.0, 1.0, 1.0], 2) == 5.0
    assert ideal_seconds([1.0] * 7, 3) == 3.0
    assert ideal_seconds([2.0], 1000) == 2.0


def test_training_counts_each_rung_beyond_the_one_before():
    # 11 trials for 10 updates, 4 of them for 20 more, 2 of these for 60 more
    assert training(PLAN) == 60 * (11 * 10 + 4 * 20 + 2 * 60)
    assert ideal(PLAN) == 60 * (4 * 10 + 2 * 20 + 1 * 60)


def test_search_without_deaths_trains_everything_once():
    outcome = simulate(PLAN)
    assert outcome.tasks == 11 + 4 + 2
    assert outcome.wall >= ideal(PLAN) / PLAN.scale
    assert (outcome.deaths, outcome.restarts, outcome.repeated) == (0, 0, 0.0)


def test_search_ends_although_workers_die():
    deadly = Plan(11, (10, 30, 90), 60.0, 3, hours_between_deaths=2.5, scale=3_000.0)
    outcome = simulate(deadly)
    assert outcome.tasks == 11 + 4 + 2
    assert outcome.deaths > 0
    assert outcome.restarts > 0
    assert outcome.wall >= ideal(deadly) / deadly.scale
