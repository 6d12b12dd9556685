"""The lines to begin from pass pyright's strict mode, as mypy's: users have the one or the other."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("pyright")

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ("minimal.py", "own_cell.py", "adding.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return the errors by file, of the README's first lines, of these with a slip, and of the scripts.

    The package lies apart from them as in an installation.
    """
    installed, folder = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("user")
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(installed)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    lines = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    files = {name: (ROOT / "examples" / name).read_text(encoding="utf-8") for name in SCRIPTS}
    files |= {"right.py": lines, "wrong.py": lines.replace("hidden_size=128", 'hidden_size="128"')}
    for name, text in files.items():
        (folder / name).write_text(f"# pyright: strict\n{text}", encoding="utf-8")
    settings = {"extraPaths": [str(installed)], "pythonVersion": f"{sys.version_info[0]}.{sys.version_info[1]}"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    check = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(folder)]
    done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=False)
    errors = {name: [] for name in files}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        errors[pathlib.Path(one["file"]).name].append(f"{one['range']['start']['line']}: {one['message']}")
    return errors


@pytest.mark.parametrize("name", ["right.py", *SCRIPTS])
def test_the_lines_to_begin_from_have_no_error(name, found):
    assert found[name] == []


def test_a_slip_is_named(found):
    assert any("hidden_size" in error for error in found["wrong.py"])
