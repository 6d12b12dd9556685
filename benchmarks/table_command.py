"""Commands that measure one table: they print it, store its JSON, and put it between two marks of a page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.page import put_between
from numrnn.commands import Parser


def run(
    argv: list[str] | None,
    program: str,
    description: str,
    *,
    file: str,
    marks: tuple[str, str],
    repeat: int,
    repeated: str,
    measure: Callable[[bool, int], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> int:
    """Measure, print and write; return 0, or 1 after an error.

    Parameters
    ----------
    argv : list of str or None
        Arguments of the command, by default the process's.
    program, description : str
        For --help.
    file : str
        Name of the JSON in the folder --out.
    marks : (str, str)
        Lines of the page --page before and after the table.
    repeat, repeated : int, str
        Default of --repeat, and what is repeated.
    measure : callable
        measure(quick, repeat) returns what the JSON holds; with `quick`, of a trial with 20 steps.
    table : callable
        Returns the table of that, in Markdown.
    """
    parser = Parser(prog=program, description=description)
    help_of_repeat = f"measurements of each {repeated}, >= 1 (default: {repeat})"
    parser.add_argument("--repeat", type=int, default=repeat, help=help_of_repeat)
    parser.add_argument("--quick", action="store_true", help="a trial with 20 steps; its figures mean nothing")
    parser.add_argument("--out", type=Path, help=f"folder for {file} (default: only print)")
    parser.add_argument("--page", type=Path, help="a page with the marks of the table")
    options = parser.parse_args(argv)
    if options.repeat < 1:
        parser.error(f"--repeat must be >= 1, got {options.repeat}")
    if options.quick and options.page:
        parser.error("--page takes measurements only, not those of --quick")
    try:
        if options.out is not None:
            output.prepare(options.out, [file], quick=options.quick)
        result = measure(options.quick, options.repeat)
        print(table(result))
        if options.out is not None:
            output.write_json(options.out / file, {"quick": options.quick, **result})
        if options.page is not None:
            put_between(options.page, *marks, lambda: table(result))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
