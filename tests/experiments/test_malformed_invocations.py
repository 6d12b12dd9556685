"""Every malformed command line ends with one line that says what is wrong, a status that is not zero, and no traceback.

Most are made from the fields of the configurations, so that a new option cannot be forgotten; the others by hand.
"""

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import typing

import numpy as np
import pytest

import numrnn
from benchmarks import command as benchmarks
from gradcheck.__main__ import main as gradcheck_main
from numrnn.__main__ import COMMANDS, main
from numrnn.commands import EXIT_CODES, NOBODY_READS
from numrnn.experiments.figures import FIGURES
from numrnn.options import options, without_none
from numrnn.training import Checkpoint, Regressor, load_checkpoint, save_checkpoint, trainer

# What else a command needs, so that the malformed part alone is wrong.
NEEDS = {
    "train": ["DATA.npz"],
    "predict": ["CK.npz", "DATA.npz"],
    "mnist": ["--data", "embedded"],
    "figure jacobian": ["--data", "synthetic"],
}
CONFIGS = {name: COMMANDS[name][0] for name in COMMANDS if name not in ("figure", "stability", "gradcheck", "info")}
CONFIGS |= {f"figure {name}": module for name, (module, _) in FIGURES.items()}
WRONG_WORDS = {int: ("x", "1.5", "", "nan", "9" * 5000), float: ("x", "", "nan", "inf", "1e999"), str: ()}
LONGEST = 600  # characters


def config_of(name):
    module = importlib.import_module(CONFIGS[name])
    return module.EXPERIMENT.config if hasattr(module, "EXPERIMENT") else module.Config


def bad_values(hint, meaning):
    """Return values that an option must refuse."""
    kind = without_none(hint)
    if kind is bool:
        return ()
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
    if kind == tuple[str, str]:
        return "nameless", "=x", "x="
    if meaning.choices or typing.get_origin(kind) is typing.Literal:
        return "no-such", "", "a\nb"
    values = WRONG_WORDS[kind]
    if kind in (int, float) and (meaning.at_least is not None or meaning.above is not None):
        values += ("-7",)
    if kind in (int, float) and meaning.above == 0:
        values += ("0",)
    if kind is int:
        values += ("99999999999999999999999",)
    return values


def generated():
    """Yield command, what the error must name, and the arguments."""
    for name in CONFIGS:
        config = config_of(name)
        hints, meanings = typing.get_type_hints(config), options(config)
        base = [*name.split(), *NEEDS.get(name, [])]
        for field in dataclasses.fields(config):
            key = field.name
            if hints[field.name] == tuple[tuple[str, str], ...]:
                key = key.removesuffix("s")
            flag = "--" + key.replace("_", "-")
            if meanings[field.name].positional:
                continue
            for value in bad_values(hints[field.name], meanings[field.name]):
                yield name, key, [*base, f"{flag}={value}"]
            if without_none(hints[field.name]) is bool:
                yield name, key, [*base, f"{flag}=3"]
            elif meanings[field.name].nargs != "*":
                yield name, key, [*base, flag]
        yield name, "no-such", [*base, "--no-such"]
        yield name, "extra", [*base, "extra", "--seed" if name != "predict" else "--out", "3"]


GENERATED = list(generated())
TRAINING = ["mnist", "--data", "embedded", "--hidden-size", "3", "--iterations", "2"]
SWEEP = ["sweep", "--set", "data=embedded"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of files that are what they should be, or not."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    np.savez(folder / "DATA.npz", x=rng.standard_normal((6, 4, 2)), y=np.array([0, 1, 0, 1, 0, 1]))
    np.savez(folder / "NO_X.npz", z=np.ones(3))
    np.savez(folder / "OBJECTS.npz", x=np.array([None]))
    (folder / "TEXT.npz").write_text("no archive")
    (folder / "CONFIG.toml").write_text("hidden_size = 'few'\n")
    (folder / "KEYS.toml").write_text("colour = 3\n")
    (folder / "NO.toml").write_text("= 3\n")
    (folder / "BYTES.toml").write_bytes(b"\xff\xfe")
    model = Regressor(numrnn.ElmanCell(2, 3), 1)
    params = model.init_params(rng)
    save_checkpoint(folder / "CK.npz", Checkpoint(1, params, config={"model": model.config()}))
    save_checkpoint(folder / "BARE.npz", Checkpoint(1, params))
    for name, text in {
        "EMPTY": "",
        "LIST": "[1]",
        "NULL": "null",
        "NOTHING": "{}",
        "UNKNOWN": '{"colour": 3}',
        "TYPE": '{"hidden_size": "few"}',
        "NONE": '{"hidden_size": null}',
        "PRESET": '{"preset": 3}',
        "RANGE": '{"hidden_size": -3}',
        "CHOICE": '{"cell": "gru"}',
        "HALF": '{"hidden_size": 3',
    }.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    (folder / "BINARY").mkdir()
    (folder / "BINARY" / "config.json").write_bytes(b"\xff\xfe\x00")
    (folder / "FILE").write_text("")
    (folder / "HOLDS").mkdir()
    (folder / "HOLDS" / "metrics.jsonl").write_text("")
    return folder


BY_HAND = [
    # commands
    ([], "COMMAND"),
    (["trane"], "trane"),
    ([""], "COMMAND"),
    (["--no-such"], "COMMAND"),
    (["figure"], "COMMAND"),
    (["figure", "3"], "'3'"),
    (["info", "--bogus"], "--bogus"),
    (["info", "extra"], "extra"),
    # sequences of one's own
    (["train"], "DATA.npz"),
    (["predict"], "CHECKPOINT, DATA.npz"),
    (["predict", "CK.npz"], "DATA.npz"),
    *((["train", f"{name}.npz", "--out", "out"], name) for name in ("NOWHERE", "NO_X", "OBJECTS", "TEXT", "CK")),
    (["train", ".", "--out", "out"], "."),
    (["train", "", "--out", "out"], "path must be a path"),
    (["train", "DATA.npz", "--test", "TEXT.npz", "--out", "out"], "TEXT.npz"),
    (["train", "DATA.npz", "--validation", "NOWHERE.npz", "--out", "out"], "NOWHERE.npz"),
    (["train", "DATA.npz", "--validation-size", "6", "--out", "out"], "validation_size"),
    (["train", "DATA.npz", "--patience", "2", "--validation-size", "0", "--out", "out"], "patience"),
    (["train", "DATA.npz", "--hidden-size", "10000000", "--out", "out"], "memory"),
    (["predict", "NOWHERE.npz", "DATA.npz"], "NOWHERE.npz"),
    (["predict", "TEXT.npz", "DATA.npz"], "TEXT.npz"),
    (["predict", "BARE.npz", "DATA.npz"], "BARE.npz"),
    (["predict", "CK.npz", "DATA.npz", "--out", "NOWHERE/x.npz"], "NOWHERE"),
    (["predict", "CK.npz", "DATA.npz", "--out", "EMPTY"], "EMPTY"),
    # runs
    *(
        ([*TRAINING[:3], "--resume", "--out", name], f"{name}/config.json")
        for name in ["EMPTY", "LIST", "NULL", "NOTHING", "UNKNOWN", "TYPE", "NONE", "PRESET", "HALF", "BINARY"]
    ),
    (["mnist", "--resume", "--out", "RANGE"], "hidden_size"),
    (["mnist", "--resume", "--out", "CHOICE"], "cell"),
    ([*TRAINING, "--out", "FILE"], "FILE"),
    ([*TRAINING, "--out", "FILE/deeper"], "FILE"),
    ([*TRAINING, "--out", "HOLDS"], "HOLDS holds a run already (metrics.jsonl)"),
    ([*TRAINING, "--out", "out", "--resume", "--overwrite"], "--resume and --overwrite"),
    ([*TRAINING, "--epochs", "3", "--out", "out"], "--epochs"),
    (["mnist", "--data", "embedded", "--hidden-size", "1000000", "--out", "out"], "memory"),
    (["mnist", "--data", "embedded", "--validation-size", "5000", "--out", "out"], "validation_size"),
    (["mnist", "--data", "embedded", "--rotations", "1", "--out", "out"], "--rotations"),
    (["mnist", "--data", "embedded", "--rotations", "2", "1", "--out", "out"], "rotations"),
    (["mnist", "--data", "embedded", "--input-gains", "0", "1", "--out", "out"], "input_gains"),
    (["mnist", "--data", "embedded", "--forget-bias", "often", "--cell", "lstm", "--out", "out"], "forget_bias"),
    (["mnist", "--data", "embedded", "--t-max", "9", "--out", "out"], "t_max"),
    (["mnist", "--data", "embedded", "--average", "tail", "--seconds", "1", "--out", "out"], "average"),
    (["mnist", "--data", "embedded", "--schedule", "step", "--seconds", "1", "--out", "out"], "schedule"),
    (["mnist", "--preset", "mnist-gru"], "preset must be one of"),
    (["mnist", "--preset", "NOWHERE.toml"], "NOWHERE.toml"),
    (["mnist", "--preset", "CONFIG.toml"], "CONFIG.toml: hidden_size"),
    (["mnist", "--preset", "KEYS.toml"], "KEYS.toml: unknown keys colour"),
    (["mnist", "--preset", "NO.toml"], "NO.toml: expected TOML"),
    (["mnist", "--preset", "BYTES.toml"], "BYTES.toml: expected TOML"),
    ([*TRAINING, "--backend", "cupy", "--out", "out"], "CuPy"),
    ([*TRAINING, "--log-level", "loud"], "--log-level"),
    ([*TRAINING, "--quiet=3"], "--quiet"),
    (["cifar10", "--length", "31"], "length"),
    # sweeps
    *(
        ([*SWEEP, "--set", f"{name}=5"], f"--set: {name} would have no effect")
        for name in ["seed", "backend", "out", "optimizer", "weight_std", "step_size", "diffusion", "learning_rate"]
        if name not in ("backend", "out", "optimizer")
    ),
    ([*SWEEP, "--set", "out=x"], "--set: out would have no effect: give --out"),
    ([*SWEEP, "--set", "epochs=3"], "--set: epochs would have no effect"),
    ([*SWEEP, "--set", "colour=5"], "--set: unknown keys colour"),
    ([*SWEEP, "--set", "hidden_size=few"], "--set: hidden_size"),
    ([*SWEEP, "--weight-stds", "nan"], "weight_stds"),
    ([*SWEEP, "--weight-stds", "1", "-1"], "weight_stds[1]"),
    ([*SWEEP, "--workers", "0"], "workers"),
    ([*SWEEP, "--workers", "-1"], "workers"),
    ([*SWEEP, "--iterations", "8"], "iterations must be >= 9"),
    ([*SWEEP, "--rungs", "100"], "iterations"),
    ([*SWEEP, "--preset", "mnist-gru"], "preset"),
    ([*SWEEP, "--out", "FILE"], "FILE"),
    ([*SWEEP, "--scheduler", "nonsense://x:1", "--out", "out"], "nonsense"),
    # figures
    (["figure", "simulation", "--steps", "99999999999"], "steps must be an integer >= 1 and <= 1e+06"),
    (["figure", "simulation", "--animation", "film.mp4"], "animation must end in .gif"),
    (["figure", "simulation", "--out", "FILE"], "FILE"),
    (["figure", "jacobian", "--data", "synthetic", "--lengths", "10"], "lengths"),
    (["figure", "jacobian", "--data", "synthetic", "--cells", "gru"], "cells"),
    (["figure", "jacobian", "--data", "synthetic", "--checkpoint", "a=NOWHERE"], "NOWHERE"),
    (["figure", "jacobian", "--data", "synthetic", "--hidden-size", "10000000"], "memory"),
    (["figure", "gradient-flow", "--cells"], "nothing to draw"),
    (["figure", "gradient-flow", "--cells", "--checkpoint", "a=TEXT.npz"], "TEXT.npz"),
    (["figure", "stability-region", "--checkpoint", "a=CK.npz"], "CK.npz"),
    (["figure", "unit-memory", "--input-gains", "3", "1"], "input_gains"),
    # stability
    (["stability"], "checkpoint"),
    (["stability", "NOWHERE.npz"], "NOWHERE.npz"),
    (["stability", "."], "."),
    (["stability", "TEXT.npz"], "TEXT.npz"),
    (["stability", "BARE.npz"], "BARE.npz"),
    (["stability", "CK.npz", "--images", "0"], "images"),
    (["stability", "CK.npz", "--images", "x"], "--images"),
    (["stability", "CK.npz", "--images", "99999999999"], "memory"),
    (["stability", "CK.npz", "--steps", "0"], "steps"),
    (["stability", "CK.npz", "--steps", "999999999999"], "memory"),
    (["stability", "CK.npz", "--seed", "-1"], "seed"),
    (["stability", "CK.npz", "--seed", "9" * 5000], "--seed"),
    (["stability", "CK.npz", "--out", "foo.xyz", "--steps", "3"], "--out must end in"),
    (["stability", "CK.npz", "--out", "foo", "--steps", "3"], "--out must end in"),
    (["stability", "CK.npz", "--out", "NOWHERE/foo.png", "--steps", "3"], "NOWHERE"),
    (["stability", "CK.npz", "--bogus"], "--bogus"),
    # gradcheck
    (["gradcheck"], "loss"),
    (["gradcheck", "math:sin", "math:cos"], "params"),
    (["gradcheck", "math", "math:cos", "math:pi"], "module:name"),
    (["gradcheck", "nowhere:f", "math:cos", "math:pi"], "nowhere"),
    (["gradcheck", "math:none", "math:cos", "math:pi"], "none"),
    (["gradcheck", "math:sin", "math:cos", "math:sin"], "sin"),
    *(
        (["gradcheck", "math:sin", "math:cos", "math:pi", *bad], name)
        for bad, name in [
            (["--method", "guess"], "--method"),
            (["--directions", "0"], "directions"),
            (["--directions", "1.5"], "--directions"),
            (["--rtol", "nan"], "rtol"),
            (["--rtol", "-1"], "rtol"),
            (["--rtol", "x"], "--rtol"),
            (["--seed", "-1"], "seed"),
            (["--seed", "9" * 5000], "--seed"),
            (["--budget", "-1"], "budget"),
            (["--size", "q"], "--size"),
            (["--size", "=3"], "--size"),
            (["--size", "q=0"], "sizes"),
            (["--size", "q=-3"], "--size"),
            (["--bogus"], "--bogus"),
        ]
    ),
]


@pytest.fixture(autouse=True)
def in_the_folder(files, monkeypatch):
    """Run in the folder of the files; a run that starts in spite of all is a failure, not hours of training."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NUMRNN_BACKEND", raising=False)
    begin = trainer.begin_run

    def short(plan):
        if (plan.total_steps or 0) > 10 and plan.model.cell.hidden_size < 10_000:
            raise AssertionError("this run should have been refused")
        return begin(plan)

    monkeypatch.setattr(trainer, "begin_run", short)


def refusal(run, capsys):
    """Return the one line and the status with which a command ends."""
    try:
        status = run()
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err[-2000:]
    assert len(lines[0]) <= LONGEST
    assert status not in (0, None)
    return lines[0], status


def test_there_are_more_than_three_hundred_of_them():
    assert len(GENERATED) + len(BY_HAND) > 300


@pytest.mark.parametrize("name", CONFIGS)
def test_a_malformed_value_of_any_option_is_one_line_that_names_it(name, capsys):
    for command, field, argv in GENERATED:
        if command == name:
            line, status = refusal(lambda argv=argv: main(argv), capsys)
            assert re.match(r"(error: |numrnn [a-z0-9 -]+: error: )", line), argv
            assert field in line.replace("-", "_") or field in line, (argv, line)
            assert status in (1, 2)


@pytest.mark.parametrize(("argv", "named"), BY_HAND, ids=[" ".join(argv)[:60] for argv, _ in BY_HAND])
def test_a_malformed_invocation_is_one_line_that_names_what_is_wrong(argv, named, capsys):
    line, _ = refusal(lambda: main(argv), capsys)
    assert named in line


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--only", "nothing"], "nothing"),
        (["--contenders", "nobody"], "nobody"),
        (["--repetitions", "0"], "repetitions"),
        (["--repetitions", "x"], "--repetitions"),
        (["--threads", "0"], "threads"),
        (["--compile-limit", "0"], "compile-limit"),
        (["--bogus"], "--bogus"),
    ],
)
def test_a_malformed_invocation_of_the_benchmarks_is_one_line(argv, named, capsys):
    line, _ = refusal(lambda: benchmarks.main(argv), capsys)
    assert named in line


def test_gradcheck_alone_is_refused_alike(capsys):
    line, status = refusal(lambda: gradcheck_main(["a", "b"]), capsys)
    assert line.startswith("python -m gradcheck: error: the following arguments are required: params")
    assert status == 3


# ---------------------------------------------------------------- exit codes, pipes, warnings


def test_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert EXIT_CODES in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "argv", [["info"], ["--help"], ["mnist", "--help"], ["figure", "--help"], ["gradcheck", "--help"]]
)
def test_a_command_whose_output_nobody_reads_ends_in_silence(argv, tmp_path):
    script = f"import sys; from numrnn.__main__ import main; sys.exit(main({argv!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()  # before it has written anything
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert errors == ""
    # argparse hides an error of its own output, which a buffer puts off until it has ended.
    assert process.wait() in ((0, NOBODY_READS) if "--help" in argv else (NOBODY_READS,))


@pytest.mark.parametrize(("options", "printed"), [([], True), (["--quiet"], False), (["--log-level", "error"], False)])
def test_quiet_prints_nothing_and_does_the_same(options, printed, tmp_path, capsys):
    argv = [*TRAINING, "--validation-size", "100", "--batch-size", "20", "--out", str(tmp_path / "out"), *options]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert (bool(out), bool(err)) == (printed, printed)
    assert json.loads((tmp_path / "out" / "result.json").read_text())["iterations"] == 2


LEVELS = """
import sys
from numrnn.__main__ import main
for level in ("info", "warning", "error"):
    print(level, file=sys.stderr)
    main(["predict", sys.argv[1], "DATA.npz", "--log-level", level])
"""


def test_warnings_are_one_line_each_unless_errors_only_are_asked_for(tmp_path, files):
    checkpoint = load_checkpoint(files / "CK.npz")
    for step in (1, 2):
        save_checkpoint(tmp_path / f"checkpoint_0000000{step}.npz", checkpoint)
    (tmp_path / "checkpoint_00000002.npz").write_bytes(b"damaged")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LEVELS, str(tmp_path)]
    done = subprocess.run(command, cwd=files, env=environment, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    refused = f"warning: refused {tmp_path / 'checkpoint_00000002.npz'}: truncated, corrupted or not an .npz file"
    assert [line[: len(refused)] for line in lines] == ["info", refused, "warning", refused, "error"]
    assert done.stdout.count("sequences; written: predictions.npz") == 1
