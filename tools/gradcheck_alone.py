"""Build the wheel of gradcheck alone, install it in an empty environment, and check gradients there.

``python tools/gradcheck_alone.py`` exits with 0 if NumPy is the only dependency of the wheel, a right gradient passes,
a wrong one fails, and pytest finds the plugin. It needs a package index for NumPy and pytest.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = ROOT / "distributions" / "gradcheck"
CHECK = """
import numpy as np, gradcheck
x = np.array([0.3, -0.7, 1.2])
gradcheck.assert_gradient(lambda p: np.sum(np.sin(p)), np.cos(x), x)
assert gradcheck.check_gradient(lambda p: np.sum(np.sin(p)), np.sin(x), x).failed
print(gradcheck.__file__)
"""
TEST = """
import numpy as np
X = np.array([0.3, -0.7, 1.2])
def test_right(gradcheck):
    gradcheck(lambda p: np.sum(np.sin(p)), np.cos(X), X)
"""


def run(*command: object, **options: object) -> str:
    """Return the standard output of a command; end with its error output if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{textwrap.indent(done.stdout + done.stderr, '    ')}")
    return done.stdout


def main() -> int:
    """Build, install, check."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        before = {entry["name"] for entry in json.loads(run(*pip, "list", "--format=json"))}
        shutil.rmtree(SOURCE / "build", ignore_errors=True)  # it may hold deleted modules
        run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", place, SOURCE)
        (wheel,) = place.glob("*.whl")
        held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        wanted = {f"gradcheck/{path.name}" for path in (ROOT / "gradcheck").glob("*.py")} | {"gradcheck/py.typed"}
        if held != wanted:
            sys.exit(f"{wheel.name} holds too much or too little: {', '.join(sorted(held ^ wanted))}")
        run(*pip, "install", "--quiet", wheel)
        brought = {entry["name"] for entry in json.loads(run(*pip, "list", "--format=json"))} - before
        if brought != {"gradcheck-numpy", "numpy"}:
            sys.exit(f"the wheel brings {', '.join(sorted(brought))}, and not NumPy alone")
        where = run(python, "-c", CHECK, cwd=place).strip()
        if not pathlib.Path(where).resolve().is_relative_to((place / "venv").resolve()):
            sys.exit(f"the gradcheck that was checked is {where}, and not that of the wheel")
        run(*pip, "install", "--quiet", "pytest>=8.2")
        (place / "test_alone.py").write_text(TEST, encoding="utf-8")
        run(python, "-m", "pytest", "-q", "test_alone.py", cwd=place)
        print(f"{wheel.name}: installed with NumPy alone, checks gradients, and pytest finds its plugin")
    return 0


if __name__ == "__main__":
    sys.exit(main())
