"""gradcheck as a distribution of its own."""

import configparser
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CHECK = """
import importlib.abc, sys
sys.path.insert(0, {built!r})

class OnlyNumPy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"numrnn", "scipy", "threadpoolctl", "pytest"}}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, OnlyNumPy())
import numpy as np, gradcheck
x = np.array([0.3, -0.7, 1.2])
gradcheck.assert_gradient(lambda p: np.sum(np.sin(p)), np.cos(x), x)
assert gradcheck.check_gradient(lambda p: np.sum(np.abs(p)), -np.sign(x), x).failed
assert gradcheck.check_function(np.multiply, lambda a, b, w: (w * b, w * a), x, x + 1).passed
print(gradcheck.__file__)
"""


def build(tmp_path):
    pytest.importorskip("setuptools")
    setup = ROOT / "distributions" / "gradcheck" / "setup.py"
    info = tmp_path / "info"
    info.mkdir()
    commands = ["build_py", "--build-lib", str(tmp_path / "lib"), "egg_info", "--egg-base", str(info)]
    subprocess.run([sys.executable, str(setup), "-q", *commands], check=True, cwd=tmp_path, capture_output=True)
    return tmp_path / "lib", info / "gradcheck_numpy.egg-info"


def test_gradcheck_alone_holds_its_package_and_needs_numpy_only(tmp_path):
    built, info = build(tmp_path)
    assert {path.name for path in built.iterdir()} == {"gradcheck"}
    source = {path.name for path in (ROOT / "gradcheck").glob("*.py")} | {"py.typed"}
    assert {path.name for path in (built / "gradcheck").iterdir()} == source
    assert (info / "requires.txt").read_text().split() == ["numpy>=2.0"]
    plugin = configparser.ConfigParser()
    plugin.read(info / "entry_points.txt")
    assert dict(plugin["pytest11"]) == {"gradcheck": "gradcheck.pytest_plugin"}


def test_gradcheck_alone_checks_gradients_without_other_packages(tmp_path):
    built, _ = build(tmp_path)
    code = CHECK.format(built=str(built))
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pathlib.Path(done.stdout.strip()).parent == built / "gradcheck"


def test_both_distributions_register_the_same_plugin():
    found = [
        re.search(r'"pytest11": \[(.*?)\]', (folder / "setup.py").read_text(encoding="utf-8"))[1]
        for folder in (ROOT, ROOT / "distributions" / "gradcheck")
    ]
    assert found[0] == found[1]
