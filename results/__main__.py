"""python -m results [--check]: write the tables of results/README.md anew, or say whether they are as the logs are."""

from __future__ import annotations

import sys
from pathlib import Path

from numrnn.commands import Parser
from results import tasks
from results.runs import FOLDER, LogError, read_runs
from results.tables import rebuilt

PAGE = Path(__file__).parent / "README.md"


def main(
    argv: list[str] | None = None, *, page: Path = PAGE, folder: Path = FOLDER, task_folder: Path = tasks.FOLDER
) -> int:
    """Run from the command line; return 0, or 1 where logs are wrong or, with --check, the page is not theirs."""
    parser = Parser(prog="python -m results", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the tables differ")
    check = parser.parse_args(argv).check
    try:
        before = page.read_text(encoding="utf-8")
        after = rebuilt(before, read_runs(folder), tasks.tables(task_folder))
    except (LogError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if check:
        if before != after:
            print(f"{page}: the tables are not those of the logs; run python -m results", file=sys.stderr)
        return int(before != after)
    page.write_text(after, encoding="utf-8")
    picture = tasks.draw(tasks.read_runs(task_folder), task_folder / "curves.png")
    print(f"written: {page}, {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
