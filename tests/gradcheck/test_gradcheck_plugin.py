"""The pytest plugin: fixture, seed, report file."""

import json
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
