"""Text of figures that comes from the user: names of files, classes and curves."""

from __future__ import annotations

LONGEST_NAME = 40  # characters


def literal(name: str) -> str:
    """Return a name of the user's as matplotlib must get it to draw every character, shortened if it is long.

    It draws text between dollars as a formula, or raises an error, and leaves labels out of legends that are empty or
    begin with an underscore.
    """
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return (" " if short[:1] in ("", "_") else "") + short.replace("$", r"\$")
