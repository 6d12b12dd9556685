"""Pytest plugin: a fixture that checks gradients, a report of all checks in JSON, and seeds that replay a failure.

``--gradcheck-seed=N`` sets the seed of every check (0 without it; ``random`` draws one a run and prints it).
``--gradcheck-report=FILE`` writes one record a check: the test, the report's fields, worst error, evaluations, seconds.
Records travel with the test reports, so that the file is complete under pytest-xdist too.
"""

from __future__ import annotations

import functools
import json
import pathlib
import secrets
from collections.abc import Callable
from typing import Any

import pytest

import gradcheck as package
from gradcheck.report import GradientError, Report

KEY = "gradcheck"


class Checker:
    """What the `gradcheck` fixture gives: calling it asserts a gradient, its attributes are the package's checks.

    Parameters
    ----------
    seed : int
        Given to every check that takes one, unless the call names another.
    record : callable
        Takes each report.
    """

    def __init__(self, seed: int, record: Callable[[Report], None]) -> None:
        self.seed = seed
        self._record = record

    def __call__(self, loss: Callable[[Any], Any], gradient: Any, params: Any, **options: Any) -> Report:
        """Raise `GradientError` unless `check_gradient` passes; return its report."""
        return self.require(self.check_gradient(loss, gradient, params, **options))

    def require(self, report: Report) -> Report:
        """Raise `GradientError`, saying how to replay the check, unless `report` passed; return it."""
        if not report.passed:
            error = GradientError(report)
            error.add_note(f"replay with --gradcheck-seed={report.seed}")
            raise error
        return report

    def __getattr__(self, name: str) -> Callable[..., Report]:
        """Return a check of the package that records its report and has its seed set."""
        check = getattr(package, name, None)
        if not (name.startswith("check_") or name in ("taylor_test", "adjoint_test")) or check is None:
            raise AttributeError(f"gradcheck has no check {name!r}")
        seeded = name not in ("check_determinism", "check_purity")

        @functools.wraps(check)
        def recorded(*args: Any, **options: Any) -> Report:
            if seeded:
                options.setdefault("seed", self.seed)
            report = check(*args, **options)
            self._record(report)
            return report

        return recorded


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("gradcheck", "gradient checks")
    group.addoption("--gradcheck-report", metavar="FILE", help="write every gradient check to FILE as JSON")
    group.addoption(
        "--gradcheck-seed", metavar="N", default="0", help="seed of the gradient checks, or 'random' (default: 0)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed, once for all workers, and collect records where a file is asked for."""
    given = getattr(config, "workerinput", {}).get("gradcheck_seed", config.getoption("--gradcheck-seed"))
    if given == "random":
        given = secrets.randbelow(2**31)
    if not str(given).isdecimal():
        raise pytest.UsageError(f"--gradcheck-seed must be an integer >= 0 or 'random', got {given!r}")
    config.stash[SEED] = int(given)
    path = config.getoption("--gradcheck-report")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(pathlib.Path(path), int(given)), "gradcheck-collector")


SEED = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seed to a worker of pytest-xdist."""
    node.workerinput["gradcheck_seed"] = str(node.config.stash[SEED])


def pytest_report_header(config: pytest.Config) -> str:
    """Show the seed."""
    return f"gradcheck seed: {config.stash[SEED]}"


@pytest.fixture(name="gradcheck")
def gradcheck_fixture(request: pytest.FixtureRequest) -> Checker:
    """Return a checker: call it to assert a gradient, or use its check_* attributes and `require`."""

    def record(report: Report) -> None:
        request.node.user_properties.append((KEY, report.to_dict()))

    return Checker(request.config.stash[SEED], record)


class _Collector:
    """Gathers records from test reports and writes them at the end."""

    def __init__(self, path: pathlib.Path, seed: int) -> None:
        self.path, self.seed = path, seed
        self.records: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":  # user_properties are complete, and appear in each phase's report
            found: list[Any] = [value for key, value in report.user_properties if key == KEY]
            self.records += [{"test": report.nodeid, **value} for value in found]

    def pytest_sessionfinish(self) -> None:
        content = {"version": package.__version__, "seed": self.seed, "checks": self.records}
        self.path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
