"""Every planted change still applies, and makes the test of its property fail, and those that are listed beside it."""

import pytest
from mutants.edits import edited_package
from mutants.properties.changes import CHANGES
from mutants.properties.runner import breaks, drawn_and_plain, edited_test, fails

NUMBERS = range(1, 34)
IDS = [f"{change.number}: {change.edit.name}" for change in CHANGES]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_property_has_a_test_and_a_planted_change(number):
    assert drawn_and_plain(number)
    assert [change for change in CHANGES if change.number == number]


@pytest.mark.parametrize("number", [3, 10, 20, 29, 32])
def test_the_runner_fails_no_property_of_the_untouched_package(number):
    assert not any(fails(test) for test in drawn_and_plain(number))


@pytest.mark.parametrize("change", CHANGES, ids=IDS)
def test_every_change_still_applies(change):
    assert edited_package(change.edit) if change.of_code else edited_test(change)


@pytest.mark.parametrize("change", CHANGES, ids=IDS)
def test_a_planted_change_makes_its_property_fail_and_those_listed(change):
    assert [number for number in (change.number, *change.also) if not breaks(change, number)] == []
