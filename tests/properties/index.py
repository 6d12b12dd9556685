"""Writes the index of docs/properties.md from the tests and the planted changes.

    PYTHONPATH=tests python -m properties.index

The statement of a property and its hypotheses are the docstring of its first test; nobody writes them twice.
"""

from __future__ import annotations

import inspect
import pathlib
import re

from mutants.properties.changes import CHANGES
from mutants.properties.runner import MODULES, module

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "properties.md"
BEGIN, END = "<!-- begin of the index -->", "<!-- end of the index -->"
PATTERN = re.compile(r"test_property_(\d\d)_\w+")


def by_number():
    """Return, for every number, the tests of the property as (module, name, docstring), in the order of the files."""
    found = {}
    for name in MODULES:
        for key, test in vars(module(name)).items():
            match = PATTERN.fullmatch(key)
            if match:
                found.setdefault(int(match[1]), []).append((name, key, inspect.getdoc(test) or ""))
    return dict(sorted(found.items()))


def statement_and_hypotheses(tests):
    """Return both from the one docstring that has hypotheses."""
    stated = [doc for _, _, doc in tests if "\n\nHypotheses: " in doc]
    if len(stated) != 1:
        raise ValueError(f"just one test of a property states its hypotheses, got {len(stated)}: {tests[0][1]}")
    return [" ".join(part.split()) for part in stated[0].split("\n\nHypotheses: ")]


def planted(number):
    """Yield a line for every planted change of a property."""
    for change in CHANGES:
        if change.number == number:
            if change.of_code:
                where = f"in `numrnn.{change.edit.place.replace(':', '.')}`"
                also = ", ".join(map(str, change.also))
                verdict = f"breaks {also} too" if also else "breaks no other"
            else:
                where, verdict = "in the statement", "breaks no other"
            edit = change.edit
            becomes = f"becomes `{edit.new}`" if edit.new else "is left out"
            yield f"  - {edit.name}: `{edit.old.strip()}` {becomes} {where}; {verdict}"


def index():
    """Return the index as Markdown."""
    lines = []
    for number, tests in by_number().items():
        statement, hypotheses = (text.replace("<", r"\<") for text in statement_and_hypotheses(tests))
        lines += [f"**{number}.** {statement}", "", f"- Hypotheses: {hypotheses}"]
        lines += [f"- Test: `{name}` in `tests/properties/{file}.py`" for file, name, _ in tests]
        lines += ["- Planted changes:", *planted(number), ""]
    return "\n".join(lines)


def page_with_index(page):
    """Return the text of the page with the index between its marks renewed."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{index()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_index(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
