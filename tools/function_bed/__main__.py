"""Run gradcheck, and installed checkers of other libraries, on the bed; write the results and the page.

``python -m tools.function_bed`` runs everything; the other checkers take half an hour. ``--only-ours`` runs gradcheck
and keeps the verdicts of the others. With modules as arguments (``python -m tools.function_bed sorting kinks``) it runs
only their families and keeps the results of the others.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import platform
import sys
from collections.abc import Sequence
from typing import Any

import threadpoolctl

import gradcheck
from tools import foreign
from tools.function_bed import bed, run
from tools.function_bed.page import page
from tools.function_bed.report import Tally, collect, merged

PAGE = "docs/function_bed.md"
RESULTS = "results/gradcheck/function_bed.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and write; exit with 1 if gradcheck called a right gradient wrong, or passed a mistake above the bound."""
    parser = argparse.ArgumentParser(prog="python -m tools.function_bed", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="modules to run (default: all)")
    parser.add_argument("--only-ours", action="store_true", help="run only gradcheck")
    parser.add_argument("--page", default=PAGE, help="page to write (default: %(default)s)")
    parser.add_argument("--results", default=RESULTS, help="results to write (default: %(default)s)")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.families) - set(bed.FAMILIES))
    if unknown:
        parser.error(f"unknown family {unknown[0]!r}; there are {', '.join(bed.FAMILIES)}")
    path = pathlib.Path(given.results)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"functions": {}, "runs": {}}
    results = _run(given.families or bed.FAMILIES, given.only_ours, known)
    path.write_text(to_text(results), encoding="utf-8")
    pathlib.Path(given.page).write_text(page(results), encoding="utf-8")
    tally = Tally(results["functions"], run.OURS)
    return int(bool(tally.objections or tally.wrong[run.PASSED]))


def _run(families: Sequence[str], only_ours: bool, known: dict[str, Any]) -> dict[str, Any]:
    checkers = {run.OURS: run.ours, **({} if only_ours else run.peers())}
    fresh: dict[str, Any] = {}
    for name in families:
        functions = bed.functions([name])
        with threadpoolctl.threadpool_limits(1):  # threads cost more than they save on matrices of this size
            fresh.update(collect(functions, run.run(functions, checkers)))
        print(f"{name}: {len(functions)} functions", file=sys.stderr)
    found = merged(known["functions"], fresh, [function.name for function in bed.functions()])
    runs = {**known["runs"], **{name: _about(name) for name in checkers}}
    complete = [name for name in runs if all(name in entry["verdicts"] for entry in found.values())]
    return {
        "machine": f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}, CPU only",
        "runs": {name: runs[name] for name in complete},
        "functions": found,
    }


def _about(checker: str) -> dict[str, str]:
    library = next((library for library, name, *_ in foreign.CHECKERS if name == checker), None)
    version = f"{library} {foreign.versions()[library]}" if library else f"gradcheck {gradcheck.__version__}"
    return {"version": version, "date": datetime.date.today().isoformat()}


def to_text(results: dict[str, Any]) -> str:
    """Return the results as JSON, one line per function."""
    functions = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in results["functions"].items())
    head = json.dumps({**results, "functions": {}}, indent=1)
    return head[: head.rindex("{}")] + "{\n" + functions + "\n}}\n"


if __name__ == "__main__":
    sys.exit(main())
