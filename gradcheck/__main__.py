"""Command line: ``python -m gradcheck module:loss module:gradient module:params``.

Prints the report. Exit codes: 0 passed, 1 failed, 2 inconclusive, 3 bad usage or input (an unknown option, a name that
cannot be imported, a loss that raises), 141 (the reader of the output has gone).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from gradcheck.arguments import METHOD_NAMES
from gradcheck.check import BUDGET, check_gradient

CODES = {"passed": 0, "failed": 1, "inconclusive": 2}
BAD_INPUT = 3
NOBODY_READS = 141  # 128 + SIGPIPE, as in a shell
LONGEST_LINE = 400


class _Parser(argparse.ArgumentParser):
    """Exits with 3, after one line, where argparse would exit with 2, which means inconclusive here."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {_line(message)}; see {self.prog} --help\n")


def _line(text: str) -> str:
    """Return a text shortened to one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def main(arguments: Sequence[str] | None = None, *, program: str = "python -m gradcheck") -> int:
    """Run the command line and return its exit code; `program` is the name of the command."""
    try:
        try:
            return _run(_parser(program).parse_args(arguments))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # piped into a program that has stopped reading; discard what is left to flush
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS


def _run(given: argparse.Namespace) -> int:
    try:
        with _importing_from(os.getcwd()):
            params = _load(given.params)
            params = params() if callable(params) else params
            loss, gradient = _load(given.loss), _load(given.gradient)
            options = {name: getattr(given, name) for name in ("method", "directions", "rtol", "seed", "budget")}
            report = check_gradient(loss, gradient, params, sizes=dict(given.size), **options)
    except BrokenPipeError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's module raises must not look like a verdict
        print(f"gradcheck: {type(error).__name__}: {_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    print(json.dumps(report.to_dict(), indent=2) if given.json else report)
    return CODES[report.verdict]


@contextlib.contextmanager
def _importing_from(folder: str) -> Iterator[None]:
    """Import modules from a folder too, as `python -m` does from the current one and an installed command does not."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Check a gradient against numerical derivatives of its loss.",
        epilog="Exit codes: 0 passed, 1 failed, 2 inconclusive, 3 bad usage or input.",
    )
    parser.add_argument("loss", help="module:name of loss(params) -> scalar")
    parser.add_argument("gradient", help="module:name of gradient(params), or of the arrays themselves")
    parser.add_argument(
        "params", help="module:name of the parameters, or of a function without arguments that makes them"
    )
    parser.add_argument("--method", choices=METHOD_NAMES, default="auto")
    parser.add_argument("--directions", type=int, default=3, metavar="K", help="random directions per parameter")
    parser.add_argument("--rtol", type=float, default=None, help="allowed error relative to norm(gradient)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=BUDGET, help="evaluations to spend on explaining a failure")
    parser.add_argument(
        "--size", type=_size, action="append", default=[], metavar="NAME=N", help="name for a wrong factor, such as B=8"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not (name and number.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected NAME=N, got {text!r}")
    return name, int(number)


def _load(text: str) -> Any:
    """Return the object that ``module:name`` (or ``module:name.attribute``) names."""
    module, _, name = text.partition(":")
    if not (module and name):
        raise ValueError(f"expected module:name, got {text!r}")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


if __name__ == "__main__":
    sys.exit(main())
