"""Run gradcheck, and other checkers that are installed, on planted mistakes, and write docs/kill_matrix.md.

``python -m tools.kill_matrix``, in the root of the repository, takes the problems of tests/mutants/planted.py; others
are named as ``module:name`` or ``path/to/file.py:name``. With ``--counts FILE`` the page can be made in several runs:
``--rules gradcheck`` runs one rule, and takes the counts of the others from the file.
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradcheck.mutants import OURS, kill_matrix
from tools import foreign
from tools.kill_matrix import page

PROBLEMS = "tests/mutants/planted.py:PROBLEMS"
PAGE = "docs/kill_matrix.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; exit with 1 if our rule missed a mistake, raised a false alarm or was too expensive.

    Too expensive: more than three evaluations for each array of a correct gradient.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.kill_matrix", description=__doc__)
    parser.add_argument(
        "problems",
        nargs="?",
        default=PROBLEMS,
        help="module:name or file.py:name of a sequence of Problem (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="seeds of our rule (default: %(default)s)")
    parser.add_argument("--peer-seeds", type=int, metavar="N", help="seeds of the other rules (default: 1, autograd 5)")
    parser.add_argument("--rules", nargs="+", metavar="NAME", help="rules to run (default: all whose library is there)")
    parser.add_argument("--only-ours", action="store_true", help=f"the same as --rules {OURS.name}")
    parser.add_argument("--quick", action="store_true", help="one seed, only ours, to standard output")
    parser.add_argument("--output", default=PAGE, help="file to write, - for standard output (default: %(default)s)")
    parser.add_argument("--counts", type=pathlib.Path, metavar="FILE", help="counts of earlier runs, to be added to")
    given = parser.parse_args(arguments)
    peers = [
        replace(rule, seeds=rule.seeds if given.peer_seeds is None else given.peer_seeds, remembers=True)
        for rule in foreign.installed()
    ]
    every = {rule.name: rule for rule in [replace(OURS, seeds=1 if given.quick else given.seeds), *peers]}
    wanted = [OURS.name] if given.only_ours or given.quick else given.rules or list(every)
    unknown = [name for name in wanted if name not in every]
    if unknown:
        parser.error(f"--rules: no rule {unknown[0]!r}; there are {', '.join(every)}")
    seeds = range(max(every[name].seeds or 0 for name in wanted))
    matrix = kill_matrix(_load(given.problems), [every[name] for name in wanted], seeds=seeds)
    libraries = {OURS.name: ["numpy"], **{name: ["numpy", library] for library, name, *_ in foreign.CHECKERS}}
    found = page.records(matrix, libraries, foreign.versions())
    if given.counts:
        found = page.merge(page.load(given.counts), found, list(libraries))
        page.save(given.counts, found)
        matrix = page.matrix_of(found)
    text = page.page(matrix, found, " ".join(["python -m tools.kill_matrix", *(arguments or [])]))
    if given.quick or given.output == "-":
        print(text, end="")
    else:
        pathlib.Path(given.output).write_text(text, encoding="utf-8")
    if OURS.name not in wanted:
        return 0
    wrong = (
        matrix.survivors(OURS.name) or matrix.false_alarms(OURS.name) or matrix.share(OURS.name, only_correct=True) > 3
    )
    return int(bool(wrong))


def _load(text: str) -> Sequence[Any]:
    module, _, name = text.partition(":")
    if module.endswith(".py"):
        path = pathlib.Path(module)
        sys.path.insert(0, str(path.parent.resolve()))
        module = path.stem
    found = getattr(importlib.import_module(module), name)
    return found() if callable(found) else found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
