"""docs/properties.md and the tests say the same."""

import re

import pytest
from properties.index import PAGE, PATTERN, by_number, page_with_index, planted

TEXT = PAGE.read_text(encoding="utf-8")
FOUND = by_number()


def test_there_are_thirty_three_properties():
    assert list(FOUND) == list(range(1, 34))


def test_the_page_holds_the_index_that_the_tests_make():
    assert page_with_index(TEXT) == TEXT, "run PYTHONPATH=tests python -m properties.index"


def test_every_test_is_on_the_page_and_every_test_on_the_page_exists():
    listed = {match[0] for match in PATTERN.finditer(TEXT)}
    assert listed == {name for tests in FOUND.values() for _, name, _ in tests}


@pytest.mark.parametrize("number", FOUND)
def test_every_property_has_a_statement_and_a_planted_change_on_the_page(number):
    assert re.search(rf"^\*\*{number}\.\*\* \S", TEXT, re.MULTILINE)
    changes = list(planted(number))
    assert changes
    assert all(line in TEXT for line in changes)
