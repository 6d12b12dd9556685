"""The pytest plugin: fixture, seed, report file."""

import json
import pathlib
import xml.etree.ElementTree as ElementTree
from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

INSTALLED = bool(entry_points(group="pytest11", name="gradcheck"))
TESTS = """
import numpy as np
X = np.array([1.0, 2.0])
def loss(p): return np.sum(p ** 2)
def test_right(gradcheck):
    gradcheck(loss, 2 * X, X)
    gradcheck.require(gradcheck.taylor_test(loss, 2 * X, X))
def test_wrong(gradcheck):
    gradcheck(loss, X, X)
def test_purity(gradcheck):
    assert gradcheck.check_purity(loss, X).passed
def test_none():
    pass
"""


@pytest.fixture
def run(pytester):
    pytester.makepyfile(TESTS)
    plugin = [] if INSTALLED else ["-p", "gradcheck.pytest_plugin"]

    def call(*options):
        return pytester.runpytest("-p", "no:cacheprovider", *plugin, *options)

    return call


def test_fixture_passes_right_and_fails_wrong_gradients(run):
    result = run()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*GradientError: gradcheck: FAILED*", "*analytic = 1/2 x numeric*"])


def test_failure_says_how_to_replay_it(run):
    run("--gradcheck-seed=42").stdout.fnmatch_lines(
        ["gradcheck seed: 42", "*seed 42*", "*replay with --gradcheck-seed=42*"]
    )


def test_random_seed_is_printed(run):
    result = run("--gradcheck-seed=random", "-k", "right")
    line = next(line for line in result.outlines if line.startswith("gradcheck seed: "))
    assert line.removeprefix("gradcheck seed: ").isdecimal()


@pytest.mark.parametrize("seed", ["-1", "x", "1.5"])
def test_bad_seed_is_a_usage_error(run, seed):
    result = run(f"--gradcheck-seed={seed}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gradcheck-seed must be an integer >= 0 or 'random'*"])


def test_report_file_holds_every_check(run, pytester):
    run("--gradcheck-report=checks.json", "--gradcheck-seed=5")
    content = json.loads((pytester.path / "checks.json").read_text())
    assert content["seed"] == 5
    found = [(check["test"].split("::")[1], check["title"], check["verdict"]) for check in content["checks"]]
    assert found == [
        ("test_right", "gradcheck", "passed"),
        ("test_right", "taylor_test", "passed"),
        ("test_wrong", "gradcheck", "failed"),
        ("test_purity", "check_purity", "passed"),
    ]
    for check in content["checks"]:
        assert check["n_evaluations"] > 0
        assert check["seconds"] >= 0
        assert "relative_error" in check["worst"]


def test_unknown_check_is_an_attribute_error(pytester, run):
    pytester.makepyfile("def test_it(gradcheck):\n    gradcheck.check_nothing\n")
    run().stdout.fnmatch_lines(["*AttributeError: gradcheck has no check 'check_nothing'*"])


def test_own_seed_wins(pytester, run):
    pytester.makepyfile(
        "import numpy as np\n"
        "def test_it(gradcheck):\n"
        "    x = np.ones(2)\n"
        "    assert gradcheck.check_gradient(np.sum, x, x, seed=3).seed == 3\n"
        "    assert gradcheck.check_gradient(np.sum, x, x).seed == 9\n"
    )
    run("--gradcheck-seed=9").assert_outcomes(passed=1)


@pytest.mark.parametrize("folder", ["new", "new/er", "."])
def test_folder_of_the_report_is_made(run, pytester, folder):
    run(f"--gradcheck-report={folder}/checks.json", "-k", "right")
    assert len(json.loads((pytester.path / folder / "checks.json").read_text())["checks"]) == 2


@pytest.mark.parametrize("target", ["file/checks.json", "."])
def test_report_that_cannot_be_written_is_refused_before_the_tests_run(run, pytester, target):
    (pytester.path / "file").touch()
    result = run(f"--gradcheck-report={target}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--gradcheck-report: cannot write {target}: *"])


UNDER_HYPOTHESIS = """
import numpy as np, gradcheck as package
from hypothesis import given, settings, strategies as st
@settings(max_examples=7, deadline=None)
@given(x=st.lists(st.floats(1, 2), min_size=2, max_size=3))
def test_fixture(gradcheck, x):
    x = np.array(x)
    gradcheck(lambda p: np.sum(p ** 2), 2 * x, x)
@settings(max_examples=7, deadline=None)
@given(x=st.floats(1, 2))
def test_function(x):
    package.assert_gradient(lambda p: p ** 2, 2 * x, x)
@settings(max_examples=7, deadline=None)
@given(x=st.floats(1, 2))
def test_wrong(gradcheck, x):
    gradcheck(lambda p: p ** 2, x, x)
"""


def test_fixture_and_function_stand_under_given(pytester, run):
    pytester.makepyfile(UNDER_HYPOTHESIS)
    result = run("--gradcheck-report=checks.json", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.no_fnmatch_line("*FailedHealthCheck*")
    checks = json.loads((pytester.path / "checks.json").read_text())["checks"]
    assert {check["test"].split("::")[1] for check in checks} == {"test_fixture", "test_wrong"}


def test_parametrized_tests_keep_their_records_apart(pytester, run):
    pytester.makepyfile(
        """
        import numpy as np, pytest
        @pytest.mark.parametrize("factor", [2.0, 3.0])
        def test_it(gradcheck, factor):
            x = np.ones(3)
            gradcheck(lambda p: np.sum(p ** 2), factor * x, x)
        """
    )
    run("--gradcheck-report=checks.json").assert_outcomes(passed=1, failed=1)
    checks = json.loads((pytester.path / "checks.json").read_text())["checks"]
    found = {check["test"].split("::")[1]: check["verdict"] for check in checks}
    assert found == {"test_it[2.0]": "passed", "test_it[3.0]": "failed"}


def test_junit_properties_are_flat(pytester, run):
    run("--junit-xml=junit.xml")
    cases = {case.get("name"): case for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}
    found = {p.get("name"): p.get("value") for p in cases["test_right"].iter("property")}
    assert found["gradcheck_verdict"] == "passed"
    assert found["gradcheck_checks"] == "2"
    assert float(found["gradcheck_worst_relative_error"]) >= 0
    assert int(found["gradcheck_evaluations"]) > 0
    wrong = {p.get("name"): p.get("value") for p in cases["test_wrong"].iter("property")}
    assert wrong["gradcheck_verdict"] == "failed"
    assert not list(cases["test_none"].iter("property"))


def test_report_is_complete_under_xdist(pytester, run):
    pytest.importorskip("xdist")
    run("--gradcheck-report=checks.json", "--gradcheck-seed=5", "-n", "2").assert_outcomes(passed=3, failed=1)
    content = json.loads((pytester.path / "checks.json").read_text())
    assert content["seed"] == 5
    assert len(content["checks"]) == 4
    assert {check["seed"] for check in content["checks"] if check["title"] != "check_purity"} == {5}


def test_traceback_of_a_failure_ends_at_the_test(pytester, run):
    pytester.makepyfile(
        """
        import numpy as np, gradcheck as package
        X = np.ones(2)
        def test_function():
            package.assert_gradient(lambda p: np.sum(p ** 2), X, X)
        def test_fixture(gradcheck):
            gradcheck(lambda p: np.sum(p ** 2), X, X)
        """
    )
    result = run("--tb=short")
    result.assert_outcomes(failed=2)
    result.stdout.no_fnmatch_line("*gradcheck/*.py:*")


def test_unittest_reports_a_failure_and_not_an_error(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[2]))
    pytester.makepyfile(
        test_by_unittest="""
        import unittest
        import numpy as np, gradcheck
        class Case(unittest.TestCase):
            def test_wrong(self):
                x = np.ones(2)
                gradcheck.assert_gradient(lambda p: np.sum(p ** 2), x, x)
            def test_right(self):
                x = np.ones(2)
                gradcheck.assert_gradient(lambda p: np.sum(p ** 2), 2 * x, x)
        """
    )
    result = pytester.runpython_c("import unittest; unittest.main('test_by_unittest')")
    result.stderr.fnmatch_lines(["*GradientError: gradcheck: FAILED*", "FAILED (failures=1)"])
