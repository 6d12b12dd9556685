"""What the commands share: options from a dataclass, and errors as one line."""

import dataclasses
from typing import Literal

import pytest

from numrnn.experiments import cifar10, command_line, demo, mnist, sweep
from numrnn.experiments.command_line import guarded, make_parser, read
from numrnn.experiments.figures import gradient_flow, jacobian, simulation, stability_region
from numrnn.extras import MissingExtraError
from numrnn.options import option
from numrnn.training import CheckpointError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    units: int = option(3, "100 % of units", at_least=1)
    rate: float | None = option(None, "100 % of rate, {range} always", above=0)
    root: str | None = option(None, "where", none="here")
    name: str = option("a", "which", choices=("a", "b"))
    mode: Literal["fast", "slow"] = option("fast", "how")
    pace: Literal["even", "odd"] | None = option(None, "how, or not")
    turn: bool = option(False, "round")
    sizes: tuple[int, ...] = option((1, 2), "100 % of sizes")
    ends: tuple[float, float] | None = option(None, "both")
    words: tuple[str, ...] = option((), "any", nargs="*", metavar="WORD")
    checkpoints: tuple[tuple[str, str], ...] = option((), "trained")
    sets: tuple[tuple[str, str], ...] = option((), "settings", metavar="NAME=VALUE")


COMMANDS = (cifar10, demo, gradient_flow, jacobian, mnist, simulation, stability_region, sweep)


def parsed(*argv):
    return read(make_parser("numrnn x", "Head.\n\nTail of numrnn x.", Config, program="x.py"), argv, Config)


def test_only_what_stands_on_the_command_line_is_given():
    assert parsed() == {}
    assert parsed("--units", "5") == {"units": 5}


def test_every_kind_of_field_is_read_as_its_type():
    line = "--root r --mode slow --pace odd --rate 2 --name b --turn --sizes 4 5 6 --ends 1 2 --words"
    given = parsed(*line.split(), *["--set", "m=n", "--checkpoint", "p=q", "--checkpoint", "r=s=t"])
    expected = {
        "root": "r",
        "mode": "slow",
        "pace": "odd",
        "sets": (("m", "n"),),
        "rate": 2.0,
        "name": "b",
        "turn": True,
        "sizes": (4, 5, 6),
        "ends": (1.0, 2.0),
        "words": (),
    }
    assert given == {**expected, "checkpoints": (("p", "q"), ("r", "s=t"))}
    assert type(given["rate"]) is float
    assert parsed("--no-turn") == {"turn": False}


@pytest.mark.parametrize(
    "argv",
    [("--name", "c"), ("--mode", "c"), ("--pace", "c"), ("--ends", "1"), ("--sizes",), ("--units", "many"), ("--x",)],
)
def test_what_is_no_option_or_no_value_ends_with_status_2(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed(*argv)
    assert "x.py: error" in capsys.readouterr().err


def test_help_shows_head_tail_explanations_and_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Head." in text
    assert text.endswith("Tail of x.py.")  # the name that the user typed, everywhere
    assert "100 % of units, >= 1 (default: 3)" in text
    assert "100 % of sizes (default: 1 2)" in text
    assert "100 % of rate, > 0 always --" in text  # no default to name
    assert "where; default: here" in text
    assert "--name {a,b}" in text
    assert "--checkpoint NAME=PATH" in text
    assert "--set NAME=VALUE" in text


@pytest.mark.parametrize(("option", "form"), [("--checkpoint", "NAME=PATH"), ("--set", "NAME=VALUE")])
@pytest.mark.parametrize("text", ["a", "=b", "a=", "="])
def test_a_pair_of_which_a_half_is_missing_is_refused(option, form, text):
    with pytest.raises(ValueError, match=f"expected {form}, got '{text}'"):
        parsed(f"{option}={text}")


def test_a_field_without_help_is_a_mistake_of_the_programmer():
    bare = dataclasses.make_dataclass("Bare", [("rate", float, 1.0)])
    with pytest.raises(KeyError, match="rate"):
        make_parser("numrnn x", "", bare)


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (ValueError("n must be 1"), 1, "error: n must be 1\n"),
        (CheckpointError("a.npz: corrupted"), 1, "error: a.npz: corrupted\n"),
        (FileNotFoundError("nowhere"), 1, "error: nowhere\nlook elsewhere\n"),
        (IsADirectoryError(21, "Is a directory", "runs"), 1, "error: runs: Is a directory\n"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device\n"),
        (MissingExtraError("needs Dask"), 1, "error: needs Dask\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_one_line_and_a_status(error, status, printed, capsys):
    def work():
        raise error

    assert guarded(work, {FileNotFoundError: "look elsewhere"}) == status
    assert capsys.readouterr().err == printed


def test_a_mistake_of_the_programmer_is_not_hidden():
    with pytest.raises(KeyError):
        guarded(lambda: {}["x"])


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_answers_clearly_where_cupy_cannot_be_had(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)  # as if it were not installed
    argv = {mnist: ["--data", "embedded"], jacobian: ["--data", "synthetic"]}.get(module, [])
    assert module.main([*argv, "--backend", "cupy", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: backend='cupy' needs CuPy: install ")
    assert "pip install numrnn[gpu-cuda12]" in error
    assert not (tmp_path / "out").exists()


def test_json_is_written_into_a_folder_that_is_made(tmp_path):
    command_line.write_json(tmp_path / "new" / "a.json", {"b": 1})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n "b": 1\n}\n'
