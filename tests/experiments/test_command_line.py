"""What the command lines of the examples share: options from a dataclass, and errors as one line."""

import dataclasses

import pytest

from numrnn.experiments import cifar10, command_line, demo, mnist, sweep
from numrnn.experiments.command_line import guarded, make_parser, read
from numrnn.experiments.figures import gradient_flow, jacobian, simulation, stability_region
from numrnn.training import CheckpointError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    units: int = 3
    rate: float | None = None
    name: str = "a"
    turn: bool = False
    sizes: tuple[int, ...] = (1, 2)
    ends: tuple[float, float] | None = None
    words: tuple[str, ...] = dataclasses.field(default=(), metadata={"nargs": "*"})
    checkpoints: tuple[tuple[str, str], ...] = ()
    backend: str = "numpy"


EXAMPLES = (cifar10, demo, gradient_flow, jacobian, mnist, simulation, stability_region, sweep)
HELPS = {field.name: f"100 % of {field.name}" for field in dataclasses.fields(Config)}


def parsed(*argv):
    return read(make_parser("x.py", "Head.\n\nTail.", Config, HELPS, {"name": ("a", "b")}), argv, Config)


def test_only_what_stands_on_the_command_line_is_given():
    assert parsed() == {}
    assert parsed("--units", "5") == {"units": 5}


def test_every_kind_of_field_is_read_as_its_type():
    line = "--rate 2 --name b --turn --sizes 4 5 6 --ends 1 2 --words --checkpoint p=q --checkpoint r=s=t"
    given = parsed(*line.split())
    expected = {"rate": 2.0, "name": "b", "turn": True, "sizes": (4, 5, 6), "ends": (1.0, 2.0), "words": ()}
    assert given == {**expected, "checkpoints": (("p", "q"), ("r", "s=t"))}
    assert type(given["rate"]) is float
    assert parsed("--no-turn") == {"turn": False}


@pytest.mark.parametrize("argv", [("--name", "c"), ("--ends", "1"), ("--sizes",), ("--backend", "torch"), ("--x",)])
def test_what_is_no_option_or_no_value_ends_with_status_2(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed(*argv)
    assert "python examples/x.py: error" in capsys.readouterr().err


def test_help_shows_head_tail_explanations_and_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Head." in text
    assert text.endswith("Tail.")
    assert "100 % of units (default: 3)" in text
    assert "100 % of sizes (default: 1 2)" in text
    assert "100 % of rate --" in text  # no default to name
    assert "--checkpoint NAME=PATH" in text


def test_a_field_without_help_is_a_mistake_of_the_programmer():
    with pytest.raises(KeyError, match="rate"):
        make_parser("x.py", "", Config, {"units": "n"})


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (ValueError("n must be 1"), 1, "error: n must be 1\n"),
        (CheckpointError("a.npz: corrupted"), 1, "error: a.npz: corrupted\n"),
        (FileNotFoundError("nowhere"), 1, "error: nowhere\nlook elsewhere\n"),
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


@pytest.mark.parametrize("module", EXAMPLES)
def test_every_example_answers_clearly_where_cupy_cannot_be_had(module, tmp_path, monkeypatch, capsys):
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
