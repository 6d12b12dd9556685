"""python -m results [--check]: rewrite the tables made from logs and presets, or check that they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from numrnn.commands import Parser
from results import cost, grid, tasks
from results.runs import FOLDER, LogError, read_runs
from results.tables import of_the_paper, rebuilt

PAGE = Path(__file__).parent / "README.md"
ON_THE_GRID = Path(__file__).parents[1] / "docs" / "what_the_paper_does_not_say.md"
COSTS = ON_THE_GRID.with_name("grid_cost.md")


def pages(
    page: Path, grid_page: Path, cost_page: Path, folder: Path, task_folder: Path
) -> dict[Path, Callable[[str], str]]:
    """Return the pages with tables, and for each the function that rewrites it."""

    def with_costs(text: str) -> str:
        text = rebuilt(text, {"cost of the grid": cost.rows(read_runs(folder))})
        return rebuilt(text, {"simulation of the grid": cost.searches()}, cost.SOURCE)

    return {
        page: lambda text: rebuilt(text, of_the_paper(read_runs(folder)) | tasks.tables(task_folder)),
        grid_page: lambda text: rebuilt(text, {"outside the grid": grid.table()}, "the presets"),
        cost_page: with_costs,
    }


def main(
    argv: list[str] | None = None,
    *,
    page: Path = PAGE,
    grid_page: Path = ON_THE_GRID,
    cost_page: Path = COSTS,
    folder: Path = FOLDER,
    task_folder: Path = tasks.FOLDER,
) -> int:
    """Run from the command line; return 0, or 1 if logs are wrong or, with --check, a page is not up to date."""
    parser = Parser(prog="python -m results", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a table differs")
    check, status = parser.parse_args(argv).check, 0
    try:
        for path, remake in pages(page, grid_page, cost_page, folder, task_folder).items():
            before = path.read_text(encoding="utf-8")
            after = remake(before)
            if check and before != after:
                print(f"{path}: its tables are not up to date; run python -m results", file=sys.stderr)
                status = 1
            if not check:
                path.write_text(after, encoding="utf-8")
                print(f"written: {path}")
        if not check:
            print(f"written: {tasks.draw(tasks.read_runs(task_folder), task_folder / 'curves.png')}")
    except (LogError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
