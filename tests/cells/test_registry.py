"""Cells by name: those of the package, and those of one's own, from a class, a file, a module or the environment."""

import json
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import numrnn
import numrnn.estimators
from numrnn import __main__ as command
from numrnn.cells import CELLS, Cell, cell_from_config, load_cells
from numrnn.training import Adam, Classifier, Trainer, TrainingConfig, load_model

SOURCE = textwrap.dedent(
    '''
    import numrnn
    from numrnn import ElmanCell  # not defined here: not to be registered


    class Scaled(ElmanCell):
        """An Elman cell of a scaled input."""

        name = "scaled"

        def __init__(self, input_size, hidden_size, scale=0.5, *, kind="plain"):
            super().__init__(input_size, hidden_size)
            self.scale, self.kind = scale, kind

        def step(self, params, x, h):
            return super().step(params, self.scale * x, h)

        def step_vjp(self, params, x, h, dh_next):
            dparams, dx, dh = super().step_vjp(params, self.scale * x, h, dh_next)
            return dparams, self.scale * dx, dh

        def jacobian(self, params, x, h):
            return super().jacobian(params, self.scale * x, h)


    class Half(numrnn.Cell):
        name = "half"  # without a step: not to be registered
    '''
)


@pytest.fixture(autouse=True)
def known_cells(monkeypatch):
    before = dict(CELLS)
    monkeypatch.delenv(command.CELLS_VARIABLE, raising=False)
    yield
    os.environ.pop(command.CELLS_VARIABLE, None)
    CELLS.clear()
    CELLS.update(before)
    for name in ("scaled_cells", "cells"):  # of the files below, and no module that the package imports when needed
        sys.modules.pop(name, None)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "scaled_cells.py"
    path.write_text(SOURCE)
    return path


def leaky(**attributes):
    """Return a class of cells with the argument `rate`, and further attributes."""

    class Leaky(numrnn.ElmanCell):
        name = "leaky"

        def __init__(self, input_size, hidden_size, rate=0.5):
            super().__init__(input_size, hidden_size)
            self.rate = rate

    for name, value in attributes.items():
        setattr(Leaky, name, value)
    return Leaky


def test_config_is_taken_from_the_signature(file):
    (kind,) = load_cells(str(file))
    cell = kind(3, 4, 0.25, kind="other")
    assert cell.config() == {
        "cell": "scaled",
        "input_size": 3,
        "hidden_size": 4,
        "scale": 0.25,
        "kind": "other",
    }
    assert list(cell.config()) == ["cell", "input_size", "hidden_size", "scale", "kind"]
    assert cell_from_config(json.loads(json.dumps(cell.config()))).config() == cell.config()
    assert repr(cell) == "Scaled(input_size=3, hidden_size=4, scale=0.25, kind='other')"


def test_an_argument_that_is_not_kept_is_named():
    class Careless(numrnn.ElmanCell):
        def __init__(self, input_size, hidden_size, *, leak=0.5):
            super().__init__(input_size, hidden_size)
            self._leak = leak

    with pytest.raises(TypeError, match=r"^Careless must keep its argument 'leak' as self.leak, or override config"):
        Careless(1, 2).config()


@pytest.mark.parametrize("layers", [1, 2])
def test_a_run_refuses_a_config_that_forgets_an_argument(layers, tmp_path):
    def forgetful(self):
        return {"cell": "leaky", "input_size": self.input_size, "hidden_size": self.hidden_size}

    cell = leaky(config=forgetful)(1, 2, rate=0.75)
    cell = cell if layers == 1 else numrnn.Stack([numrnn.ElmanCell(1, 1), cell])
    model = Classifier(cell, 2)
    data = numrnn.datasets.Sequences(np.zeros((4, 3, 1), np.float32), np.array([0, 1, 0, 1]))
    trainer = Trainer(model, Adam(0.1), None, data, TrainingConfig(iterations=1), tmp_path, show_progress=False)
    with pytest.raises(TypeError, match=r"^Leaky.config\(\) must have 'rate', got only cell, input_size, hidden_size$"):
        trainer.run()
    assert not list(tmp_path.iterdir())


def test_every_cell_of_the_package_has_a_complete_config(cell):
    config = cell.config()
    assert cell_from_config(json.loads(json.dumps(config))).config() == config
    assert Classifier(cell, 2).config()["cell"] == config


def test_a_registered_cell_is_found_by_checkpoints_and_estimators(tmp_path):
    kind = numrnn.register_cell(leaky())
    assert CELLS["leaky"] is kind
    x, y = np.random.default_rng(0).standard_normal((12, 5, 2)).astype(np.float32), np.arange(12) % 2
    data = numrnn.datasets.Sequences(x, y)
    model = Classifier(kind(2, 3, rate=0.25), 2)
    config = TrainingConfig(iterations=3, batch_size=4)
    result = Trainer(model, Adam(0.1), None, data, config, tmp_path, show_progress=False).run()
    again, params, _ = load_model(tmp_path)
    assert again.config() == model.config()
    assert again.cell.rate == 0.25
    for name, value in result.params.items():
        np.testing.assert_array_equal(params[name], value)
    estimator = numrnn.estimators.RNNClassifier("leaky", hidden_size=3, epochs=1, cell_options={"rate": 0.125})
    assert estimator.fit(x, y).model_.cell.config() == kind(2, 3, rate=0.125).config()


def test_a_cell_may_be_defined_again_but_not_take_the_name_of_another():
    first, second = numrnn.register_cell(leaky()), numrnn.register_cell(leaky())
    assert CELLS["leaky"] is second is not first
    for name in ("leaky", "lstm", "stack"):
        other = type("Other", (numrnn.ElmanCell,), {"name": name, "__module__": __name__})
        with pytest.raises(ValueError, match=rf"^kind must have a name of its own: '{name}' belongs to "):
            numrnn.register_cell(other)


@pytest.mark.parametrize("name", [None, 3, ""])
def test_a_cell_without_a_name_is_refused(name):
    with pytest.raises(ValueError, match=r"^kind must have a name: a string as the attribute `name` of Leaky, got "):
        numrnn.register_cell(leaky(name=name))


@pytest.mark.parametrize("kind", [None, "lstm", 3, dict, numrnn.ElmanCell(1, 2)])
def test_what_is_no_class_of_cells_is_refused(kind):
    with pytest.raises(TypeError, match=r"^kind must be a cell class, got "):
        numrnn.register_cell(kind)


def test_classes_that_cannot_be_made_are_refused():
    class Needy(numrnn.ElmanCell):
        name = "needy"

        def __init__(self, input_size, hidden_size, rate):
            super().__init__(input_size, hidden_size)

    with pytest.raises(
        TypeError, match=r"^kind must be made from input_size and hidden_size, .* Needy takes .*, rate "
    ):
        numrnn.register_cell(Needy)
    with pytest.raises(TypeError, match=r"^kind must define parameter_shapes, step, step_vjp: Bare does not$"):
        numrnn.register_cell(type("Bare", (Cell,), {"name": "bare"}))
    with pytest.raises(TypeError, match=r"^kind must be made from .*; Stack takes cells without defaults$"):
        numrnn.register_cell(numrnn.Stack)


def test_a_file_gives_the_cells_that_it_defines_and_is_executed_once(file):
    (kind,) = load_cells(str(file))
    assert CELLS["scaled"] is kind
    assert load_cells(str(file)) == [kind]
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_a_file_named_like_a_module_does_not_take_its_place(tmp_path):
    path = tmp_path / "json.py"
    path.write_text(SOURCE)
    (kind,) = load_cells(str(path))
    assert kind.__name__ == "Scaled"
    assert sys.modules["json"] is json


def test_a_module_gives_its_cells(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    (kind,) = load_cells("scaled_cells")
    assert kind.__module__ == "scaled_cells"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("import numrnn", ValueError, r"^source must define a cell, a complete .*: \S+cells.py does not$"),
        (
            "1 / 0",
            ValueError,
            r"^source must be importable, but \S+cells.py raised ZeroDivisionError: division by zero$",
        ),
        ("if", ValueError, r"^source must be importable, but \S+cells.py raised SyntaxError: "),
        (None, FileNotFoundError, r"^source must be the path of an existing file, got \S+cells.py$"),
    ],
)
def test_files_without_cells_are_refused(text, error, message, tmp_path, capsys):
    path = tmp_path / "cells.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        load_cells(str(path))
    assert command.main(["--cells", str(path), "info"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: source")
    assert str(path) in line


@pytest.mark.parametrize(
    "text",
    ["import numrnn", "1 / 0", "if", f"{SOURCE}\nraise OSError", SOURCE.replace('"scaled"', '"lstm"')],
)
def test_a_file_that_was_refused_is_read_again_once_it_is_corrected(text, tmp_path):
    path = tmp_path / "cells.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^(source|kind) must "):
        load_cells(str(path))
    path.write_text(f"{SOURCE}\n# corrected")
    (kind,) = load_cells(str(path))
    assert CELLS["scaled"] is kind
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_an_absent_module_is_refused():
    with pytest.raises(ValueError, match=r"^source must be importable, but no_such_module raised ModuleNotFoundError"):
        load_cells("no_such_module")
    with pytest.raises(TypeError, match=r"^source must be the name of a module or the path of a .py file, got int$"):
        load_cells(3)


def test_the_option_needs_a_value(capsys):
    assert command.main(["--cells"]) == 1
    assert capsys.readouterr().err == "error: --cells must be followed by a .py file or the name of a module\n"


def numrnn_command(*arguments, **variables):
    """Run the command in a process of its own and return its exit status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "numrnn", *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_commands_train_resume_and_judge_a_cell_of_ones_own(file, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((20, 6, 2), dtype=np.float32), y=np.arange(20) % 2)
    out = tmp_path / "run"
    train = ("train", tmp_path / "data.npz", "--cell", "scaled", "--cell-option", "scale=0.25", "--hidden-size", "4")
    status, _, errors = numrnn_command("--cells", file, *train, "--epochs", "1", "--out", out)
    assert status == 0, errors
    assert json.loads((out / "config.json").read_text())["cell_options"] == [["scale", "0.25"]]
    again = ("train", tmp_path / "data.npz", "--resume", "--out", out)
    status, output, errors = numrnn_command(f"--cells={file}", *again)
    assert status == 0, errors
    assert "scale=0.25" in output
    status, _, errors = numrnn_command("stability", out / "final.npz", NUMRNN_CELLS=str(file))
    assert status == 0, errors
    for arguments in (again, ("stability", out / "final.npz")):
        status, _, errors = numrnn_command(*arguments)
        assert status != 0
        assert "got 'scaled'" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("cell", "option", "message"),
    [
        (
            "lstm",
            "scale=1",
            "cell_options must name arguments of the cell 'lstm', got 'scale'; it has no other arguments",
        ),
        ("lipschitz", "beta=1", "got 'beta'; other arguments are beta_A, beta_W, diffusion_A, diffusion_W, method"),
        ("lipschitz", "hidden_size=3", "got 'hidden_size'; other arguments are"),
        ("lipschitz", "method=rk9", "method must be"),
        ("lipschitz", "method", "expected NAME=VALUE, got 'method'"),
    ],
)
def test_options_that_the_cell_does_not_take_are_refused(cell, option, message, tmp_path, capsys):
    arguments = ["--cell", cell, "--cell-option", option, "--epochs", "1", "--out", str(tmp_path / "run")]
    assert command.main(["speakers", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("code", ["0", "3", "'done'", ""])
def test_file_of_cells_that_calls_exit_is_an_error_and_not_the_end(tmp_path, capsys, code):
    path = tmp_path / "ending_cells.py"
    path.write_text(f"import sys\nsys.exit({code})\n")
    with pytest.raises(ValueError, match=r"^source must be importable, but .*ending_cells\.py raised SystemExit: "):
        load_cells(str(path))
    assert command.main(["--cells", str(path), "info"]) == 1
    assert "raised SystemExit" in capsys.readouterr().err


def test_options_of_a_cell_reach_it_and_come_from_presets(tmp_path):
    from numrnn.experiments import speakers
    from numrnn.experiments.builders import make_cell

    preset = tmp_path / "rk2.toml"
    preset.write_text('cell = "lipschitz"\n[cell_options]\nmethod = "rk2"\nbeta_A = 0.75\n')
    config = speakers.EXPERIMENT.make_config(preset=str(preset), out=str(tmp_path / "run"))
    cell = make_cell(config, 3)
    assert (cell.method, cell.matrix_A.beta) == ("rk2", 0.75)
    given = speakers.EXPERIMENT.make_config(cell="lipschitz", diffusion=0.5, cell_options=(("diffusion_W", "0.25"),))
    cell = make_cell(given, 3)
    assert (cell.matrix_A.diffusion, cell.matrix_W.diffusion) == (0.5, 0.25)


def test_own_parameters_are_drawn_by_the_hook():
    class Scales(numrnn.ElmanCell):
        @property
        def parameter_shapes(self):
            return super().parameter_shapes | {"alpha": (self.hidden_size,)}

    with pytest.raises(NotImplementedError, match=r"^Scales must override draw_params to draw alpha: Cell.draw_params"):
        Scales(2, 3).init_params(np.random.default_rng(0))

    class Drawn(Scales):
        def draw_params(self, rng, initial):
            others = numrnn.ElmanCell(self.input_size, self.hidden_size).draw_params(rng, initial)
            return others | {"alpha": rng.uniform(1, 2, self.hidden_size)}

    params = Drawn(2, 3).init_params(np.random.default_rng(0), weight_std=2.0)
    plain = numrnn.ElmanCell(2, 3).init_params(np.random.default_rng(0), weight_std=2.0)
    for name, value in plain.items():
        np.testing.assert_array_equal(params[name], value)
    assert params["alpha"].dtype == np.float32
    assert ((params["alpha"] > 1) & (params["alpha"] < 2)).all()


def test_methods_that_are_left_out_say_so():
    class Bare(Cell):
        name = "bare"
        parameter_shapes = {}  # noqa: RUF012

        def step(self, params, x, h):
            return h

        def step_vjp(self, params, x, h, dh_next):
            return {}, 0 * x, dh_next

    zero = np.zeros((1, 1))
    with pytest.raises(NotImplementedError, match=r"^Bare has no step_jvp, the tangent of its step$"):
        Bare(1, 1).step_jvp({}, zero, zero, {}, zero, zero)
    with pytest.raises(NotImplementedError, match=r"^Bare has no jacobian, which the analysis of stability needs$"):
        Bare(1, 1).jacobian({}, zero, zero)
