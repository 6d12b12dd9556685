"""docs/first_half_hour.md, followed to the letter in an empty folder: files written, commands run, output compared."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first_half_hour.md").read_text(encoding="utf-8")
FILES = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = re.findall(r"```\n(python .+)\n```(?:\n\n```text\n(.*?)\n```)?", PAGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("half-hour")
    for name, text in FILES:
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def follow(folder, command):
    """Run a command of the page with this interpreter, in its folder, and return what it prints."""
    words = [sys.executable, *command.split()[1:]]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_of_python_is_a_file_of_the_page():
    assert [name for name, _ in FILES] == ["look.py", "sine_cell.py", "test_sine_cell.py", "train.py"]
    assert len(FILES) == PAGE.count("```python")
    assert [command.split()[-1] for command, _ in COMMANDS] == ["look.py", "test_sine_cell.py", "train.py"]


def test_the_commands_print_what_the_page_says(folder):
    compared = [(command, printed) for command, printed in COMMANDS if printed]
    assert len(compared) == 2
    for command, printed in compared:
        assert printed in follow(folder, command)


def test_the_cell_learns_to_tell_speakers_apart(folder):
    share = int(re.fullmatch(r"(\d+) % of 370 utterances\n", follow(folder, COMMANDS[-1][0]))[1])
    promised = int(re.search(r"about (\d+) % of 370 utterances", PAGE)[1])
    assert abs(share - promised) <= 3  # another BLAS rounds otherwise, and a run of 20 epochs magnifies it
