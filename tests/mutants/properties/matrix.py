"""Prints, for every change of the code, which properties fail; what `also` in changes.py must say.

A number that `also` lacks may be one whose test fails for rare examples only: those are left out there.

    $ PYTHONPATH=tests python -m mutants.properties.matrix
"""

from __future__ import annotations

from mutants.properties.changes import CHANGES
from mutants.properties.runner import breaks

NUMBERS = range(1, 34)


def main() -> None:
    for change in CHANGES:
        broken = [number for number in NUMBERS if breaks(change, number)]
        also = tuple(number for number in broken if number != change.number)
        verdict = "as stated" if change.number in broken and also == change.also else "DIFFERS"
        print(f"{change.number:2}  {change.edit.name:55} {verdict:10} also {also}", flush=True)


if __name__ == "__main__":
    main()
