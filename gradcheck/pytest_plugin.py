"""Pytest plugin: a fixture that checks gradients, a report of all checks in JSON, and seeds that reproduce a failure.

``--gradcheck-seed=N`` sets the seed of every check (default 0; ``random`` draws one per run and prints it).
``--gradcheck-report=FILE`` writes one record per check: the test, the report's fields, worst error, evaluations,
seconds. Records travel with the test reports, so that the file is complete under pytest-xdist too. JUnit files get flat
properties for each test: the verdict, how many checks it made, their worst relative error and evaluations.

The fixture has session scope, so that it works under Hypothesis's ``@given``, which refuses fixtures that are created
once per test and shared by many examples. It detects in which test it is called.
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


class Checker:
    """The value of the `gradcheck` fixture: calling it asserts a gradient; its attributes are the package's checks.

    Parameters
    ----------
    seed : int
        Passed to every check that takes one, unless the call gives another.
    record : callable
        Takes each report.
    """

    def __init__(self, seed: int, record: Callable[[Report], None]) -> None:
        self.seed = seed
        self._record = record

    def __call__(self, loss: Callable[[Any], Any], gradient: Any, params: Any, **options: Any) -> Report:
        """Raise `GradientError` unless `check_gradient` passes; return its report."""
        __tracebackhide__ = True
        return self.require(self.check_gradient(loss, gradient, params, **options))

    def require(self, report: Report) -> Report:
        """Raise `GradientError`, which says how to reproduce the check, unless `report` passed; return it."""
        __tracebackhide__ = True
        if not report.passed:
            error = GradientError(report)
            error.add_note(f"replay with --gradcheck-seed={report.seed}")
            raise error
        return report

    def __getattr__(self, name: str) -> Callable[..., Report]:
        """Return a check of the package that uses the fixture's seed and records its report."""
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
    """Set the seed, once for all workers, and collect records if a file is requested."""
    given = getattr(config, "workerinput", {}).get("gradcheck_seed", config.getoption("--gradcheck-seed"))
    if given == "random":
        given = secrets.randbelow(2**31)
    if not str(given).isdecimal():
        raise pytest.UsageError(f"--gradcheck-seed must be an integer >= 0 or 'random', got {given!r}")
    config.stash[SEED] = int(given)
    config.stash[ITEM] = []
    path = config.getoption("--gradcheck-report")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(_writable(path), int(given)), "gradcheck-collector")


SEED = pytest.StashKey[int]()
ITEM = pytest.StashKey[list[pytest.Item]]()  # the test that is running
RECORDS = pytest.StashKey[list[dict[str, Any]]]()


def _writable(path: str) -> pathlib.Path:
    """Return the path of the report after creating its folder; raise before the tests run if that fails."""
    file = pathlib.Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise pytest.UsageError(f"--gradcheck-report: cannot write {path}: {error}") from error
    return file


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the seed to a worker of pytest-xdist."""
    node.workerinput["gradcheck_seed"] = str(node.config.stash[SEED])


def pytest_report_header(config: pytest.Config) -> str:
    """Show the seed."""
    return f"gradcheck seed: {config.stash[SEED]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Note which test runs."""
    before = item.config.stash[ITEM]
    item.config.stash[ITEM] = [item]
    try:
        return (yield)
    finally:
        item.config.stash[ITEM] = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Attach the records of the test to the report of its last phase, in a form that can be sent between processes."""
    report = yield
    records = item.stash.get(RECORDS, [])
    if records and report.when == "teardown":
        report.gradcheck_records = records
        report.user_properties += _properties(records)
    return report


@pytest.fixture(name="gradcheck", scope="session")
def gradcheck_fixture(request: pytest.FixtureRequest) -> Checker:
    """Return a checker: call it to assert a gradient, or use its check_* attributes and `require`."""
    config = request.config

    def record(report: Report) -> None:
        for item in config.stash[ITEM]:
            item.stash.setdefault(RECORDS, []).append(report.to_dict())

    return Checker(config.stash[SEED], record)


def _properties(records: list[dict[str, Any]]) -> list[tuple[str, object]]:
    """Return the properties of one test for a JUnit file: a string for each name."""
    verdicts = [record["verdict"] for record in records]
    errors = [float(record["worst"]["relative_error"]) for record in records]
    return [
        ("gradcheck_verdict", next((word for word in ("failed", "inconclusive") if word in verdicts), "passed")),
        ("gradcheck_checks", str(len(records))),
        ("gradcheck_worst_relative_error", f"{max(errors):.3g}"),
        ("gradcheck_evaluations", str(sum(record["n_evaluations"] for record in records))),
    ]


class _Collector:
    """Gathers records from test reports and writes them at the end."""

    def __init__(self, path: pathlib.Path, seed: int) -> None:
        self.path, self.seed = path, seed
        self.records: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found: list[dict[str, Any]] = getattr(report, "gradcheck_records", [])
        self.records += [{"test": report.nodeid, **record} for record in found]

    def pytest_sessionfinish(self) -> None:
        content = {"version": package.__version__, "seed": self.seed, "checks": self.records}
        self.path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
