"""Build the source distribution and the wheel, check both, and use the wheel in an empty environment.

``python -m tools.package`` exits with 0 if the index would accept them, they contain the required files, and the wheel
installs only its run-time dependencies, imports fast enough, and runs every Python block of README.md. It needs a
package index.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
LONGEST_IMPORT = 0.35  # processor seconds, the shortest of IMPORTS
IMPORTS = 7
BROUGHT = {"numrnn", "numpy", "scipy", "threadpoolctl"}
IN_SOURCE = (
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "docs/derivation.md",
    "docs/pictures/demo.png",
    "tests/cells/test_cells.py",
    "tools/tags.py",
    "examples/minimal.py",
    "results/README.md",
)
IN_WHEEL = (
    "numrnn/py.typed",
    "gradcheck/py.typed",
    "numrnn/engines/cuda/euler.cu",
    "numrnn/experiments/presets/mnist-antisymmetric.toml",
    "numrnn/datasets/embedded/README.md",
)
IMPORT = "import time; start = time.process_time(); import numrnn; print(time.process_time() - start)"


def run(*command: object, **options: object) -> str:
    """Return the standard output of a command; end with its error output if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{textwrap.indent(done.stdout + done.stderr, '    ')}")
    return done.stdout


def copy_sources(place: pathlib.Path) -> pathlib.Path:
    """Copy the files that git would commit, so that no ignored file or earlier build gets into a distribution."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place


def require(what: str, names: set[str], wanted: tuple[str, ...]) -> None:
    """End with a message if a distribution lacks a file."""
    if missing := [name for name in wanted if name not in names]:
        sys.exit(f"{what} lacks {', '.join(missing)}")


def blocks(page: str) -> str:
    """Return the Python blocks of a page as one script."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))


def use(wheel: pathlib.Path, place: pathlib.Path) -> float:
    """Install the wheel in an empty environment and use it; return the seconds of an import."""
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    before = {entry["name"] for entry in json.loads(run(*pip, "list", "--format=json"))}
    run(*pip, "install", "--quiet", wheel)
    brought = {entry["name"] for entry in json.loads(run(*pip, "list", "--format=json"))} - before
    if brought != BROUGHT:
        sys.exit(f"the wheel brings {', '.join(sorted(brought))}, expected {', '.join(sorted(BROUGHT))}")
    folder = place / "elsewhere"
    folder.mkdir()
    where = run(python, "-c", "import numrnn; print(numrnn.__file__)", cwd=folder).strip()
    if not pathlib.Path(where).resolve().is_relative_to((place / "venv").resolve()):
        sys.exit(f"the numrnn that was imported is {where}, and not that of the wheel")
    seconds = min(float(run(python, "-c", IMPORT, cwd=folder)) for _ in range(IMPORTS))
    if seconds > LONGEST_IMPORT:
        sys.exit(f"import numrnn takes {seconds:.2f} s, at most {LONGEST_IMPORT} expected")
    (folder / "readme.py").write_text(blocks((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
    run(python, "-W", "error", "readme.py", cwd=folder)
    run(python, "-m", "numrnn", "--help", cwd=folder)
    return seconds


def main() -> int:
    """Build, check, install, use."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        source = copy_sources(place / "source")
        # First the source distribution, then the wheel from that only.
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", source, cwd=place)
        (wheel,), (archive,) = (place / "dist").glob("*.whl"), (place / "dist").glob("*.tar.gz")
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, archive)
        run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=ROOT)
        with tarfile.open(archive) as held:
            require(archive.name, {name.partition("/")[2] for name in held.getnames()}, IN_SOURCE)
        require(wheel.name, set(zipfile.ZipFile(wheel).namelist()), IN_WHEEL)
        seconds = use(wheel, place)
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in (wheel, archive))
    print(f"{sizes}: built, checked, installed; imported in {seconds:.2f} s; README's blocks run")
    print(f"{time.monotonic() - start:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
