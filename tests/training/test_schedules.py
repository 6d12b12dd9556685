"""Learning-rate schedules: their formula, torch's figures, bad input."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from helpers import EPS64

from numrnn import training
from numrnn.training import ConstantSchedule, CosineSchedule, StepSchedule, TimedCosineSchedule

STORED = np.load(Path(__file__).parent / "data" / "optimizer_trajectories.npz", allow_pickle=False)
CASES = json.loads(str(STORED["about"]))["schedules"]


@pytest.mark.parametrize("case", CASES)
def test_schedule_follows_torch_over_50_steps(case):
    kind, arguments = CASES[case]
    schedule = getattr(training, kind)(**arguments)
    got = np.array([schedule(step) for step in range(50)])
    wanted = STORED[f"schedule/{case}"]
    # torch multiplies from step to step, so that its rounding grows with the step
    assert np.abs(got / wanted - 1).max() < 50 * 50 * EPS64


def test_warmup_is_a_line_that_reaches_the_full_rate_at_its_end():
    schedule = ConstantSchedule(learning_rate=0.8, warmup_steps=3)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8], rel=4 * EPS64)


def test_a_constant_schedule_without_warmup_gives_the_full_rate_at_once():
    schedule = ConstantSchedule(learning_rate=0.8)
    assert (schedule(0), schedule(10**9)) == (0.8, 0.8)


def test_steps_are_counted_from_the_end_of_the_warmup():
    schedule = StepSchedule(learning_rate=1.0, period=2, factor=0.25, warmup_steps=3)
    assert [schedule(step) for step in range(3, 9)] == [1.0, 1.0, 0.25, 0.25, 0.0625, 0.0625]


def test_cosine_is_halfway_in_the_middle_and_stays_at_its_end():
    schedule = CosineSchedule(learning_rate=0.5, total_steps=24, final_learning_rate=0.1, warmup_steps=4)
    assert [schedule(step) for step in (4, 14, 24, 1000)] == pytest.approx([0.5, 0.3, 0.1, 0.1], rel=4 * EPS64)


def test_cosine_falls_at_every_step_after_the_warmup():
    schedule = CosineSchedule(learning_rate=0.5, total_steps=30, warmup_steps=4)
    rates = [schedule(step) for step in range(4, 31)]
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))
    assert rates[-1] == 0


def test_a_timed_cosine_is_halfway_at_half_the_time_and_stays_at_its_end():
    schedule = TimedCosineSchedule(learning_rate=0.5, total_seconds=20, final_learning_rate=0.1)
    got = [schedule(step, seconds) for step, seconds in [(0, 0), (3, 10), (7, 20), (8, 1e6)]]
    assert got == pytest.approx([0.5, 0.3, 0.1, 0.1], rel=4 * EPS64)


def test_a_timed_cosine_looks_at_the_time_alone_after_its_warmup():
    schedule = TimedCosineSchedule(learning_rate=0.8, total_seconds=20, warmup_steps=3)
    full = TimedCosineSchedule(learning_rate=0.8, total_seconds=20)
    for step, share in [(0, 0.25), (1, 0.5), (2, 0.75), (3, 1), (4, 1), (10**9, 1)]:
        for seconds in (0.0, 5.0, 19.0):
            assert schedule(step, seconds) == pytest.approx(share * full(0, seconds), rel=4 * EPS64)


def test_where_all_updates_take_as_long_a_timed_cosine_is_that_of_the_steps():
    by_steps = CosineSchedule(learning_rate=0.3, total_steps=50, final_learning_rate=0.01)
    by_clock = TimedCosineSchedule(learning_rate=0.3, total_seconds=25, final_learning_rate=0.01)
    got = [by_clock(step, 0.5 * step) for step in range(60)]
    assert got == pytest.approx([by_steps(step) for step in range(60)], rel=100 * EPS64)


@pytest.mark.parametrize("number", [np.float64(0.1), np.float32(0.1)])
def test_a_schedule_gives_python_floats_whatever_it_was_made_from(number):
    assert type(ConstantSchedule(learning_rate=number)(0)) is float
    assert type(StepSchedule(learning_rate=number, period=1, factor=number)(3)) is float
    assert type(CosineSchedule(learning_rate=number, total_steps=5)(3)) is float
    assert type(TimedCosineSchedule(learning_rate=number, total_seconds=number)(3, number)) is float


@pytest.mark.parametrize(
    "schedule",
    [
        ConstantSchedule(learning_rate=0.3, warmup_steps=np.int64(2)),
        StepSchedule(learning_rate=0.3, period=7),
        CosineSchedule(learning_rate=0.3, total_steps=9, warmup_steps=2),
        TimedCosineSchedule(learning_rate=0.3, total_seconds=np.float32(1.5), warmup_steps=2),
    ],
    ids=lambda schedule: schedule.name,
)
def test_config_survives_json_and_makes_the_same_schedule(schedule):
    config = json.loads(json.dumps(schedule.config()))
    assert config.pop("schedule") == schedule.name
    assert type(schedule)(**config) == schedule


def test_a_learning_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="learning_rate must be a finite number > 0, got 0"):
        ConstantSchedule(learning_rate=0)


def test_a_negative_warmup_is_refused():
    with pytest.raises(ValueError, match="warmup_steps must be an integer >= 0, got -1"):
        ConstantSchedule(learning_rate=0.1, warmup_steps=-1)


def test_a_period_of_zero_is_refused():
    with pytest.raises(ValueError, match="period must be an integer >= 1, got 0"):
        StepSchedule(learning_rate=0.1, period=0)


def test_a_factor_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="factor must be a finite number > 0, got nan"):
        StepSchedule(learning_rate=0.1, period=1, factor=math.nan)


def test_a_run_that_is_all_warmup_is_refused():
    with pytest.raises(ValueError, match="total_steps must be an integer >= 6, got 5"):
        CosineSchedule(learning_rate=0.1, total_steps=5, warmup_steps=5)


def test_an_end_above_the_start_is_refused():
    with pytest.raises(ValueError, match=r"final_learning_rate must be at most learning_rate = 0.1, got 0.2"):
        CosineSchedule(learning_rate=0.1, total_steps=5, final_learning_rate=0.2)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="step must be an integer >= 0, got -1"):
        ConstantSchedule(learning_rate=0.1)(-1)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_a_length_of_no_seconds_is_refused(seconds):
    with pytest.raises(ValueError, match="total_seconds must be a finite number > 0, got"):
        TimedCosineSchedule(learning_rate=0.1, total_seconds=seconds)


def test_a_timed_end_above_the_start_is_refused():
    with pytest.raises(ValueError, match=r"final_learning_rate must be at most learning_rate = 0.1, got 0.2"):
        TimedCosineSchedule(learning_rate=0.1, total_seconds=5, final_learning_rate=0.2)


@pytest.mark.parametrize(
    ("step", "seconds", "message"),
    [
        (-1, 0.0, "step must be an integer >= 0, got -1"),
        (0, -0.5, r"seconds must be a finite number >= 0, got -0\.5"),
        (0, math.nan, "seconds must be a finite number >= 0, got nan"),
    ],
)
def test_a_negative_step_or_time_is_refused(step, seconds, message):
    with pytest.raises(ValueError, match=message):
        TimedCosineSchedule(learning_rate=0.1, total_seconds=5)(step, seconds)
