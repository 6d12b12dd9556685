"""What somebody with a problem of their own writes: programs of at most 15 lines that must solve it.

Each program stands here as its author would write it, and runs in an empty folder; the data lie there as data.npz.
"""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import numrnn

LINES = 15
RIGHT = 0.9  # of the labels; guessing gives half of them


@pytest.fixture(autouse=True)
def known_cells():
    before, path = dict(numrnn.CELLS), list(sys.path)
    yield
    numrnn.CELLS.clear()
    numrnn.CELLS.update(before)
    sys.path[:] = path
    sys.modules.pop("mine", None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Enter a folder with data.npz: 240 series of 5 to 24 steps and 2 channels; y: is the sum of the first > 0."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((length, 2)).astype(np.float32) for length in rng.integers(5, 25, 240)]
    y = np.array([int(one[:, 0].sum() > 0) for one in x])
    np.savez(tmp_path / "data.npz", y=y, **{f"x_{i}": one for i, one in enumerate(x)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(program):
    """Run a program of at most 15 lines and return its names."""
    lines = textwrap.dedent(program).strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= LINES
    names = {}
    exec(compile("\n".join(lines), "program", "exec"), names)
    return names


def command(line):
    """Run a command line of numrnn and return what it prints."""
    done = subprocess.run([sys.executable, "-m", *line.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_series_of_different_lengths_by_the_command_line(folder):
    command("numrnn train data.npz --hidden-size 16 --epochs 20 --batch-size 16 --out mine")
    command("numrnn predict mine data.npz --out predictions.npz")
    with np.load("data.npz") as data, np.load("predictions.npz") as found:
        assert np.mean(found["predictions"] == data["y"]) > RIGHT


def test_series_of_different_lengths_by_the_trainer(folder):
    names = run(
        """
        import numrnn
        from numrnn.datasets import Sequences
        from numrnn.training import Adam, Classifier, Trainer, TrainingConfig

        data = Sequences.from_npz("data.npz")
        model = Classifier(numrnn.AntisymmetricCell(2, 16, step_size=0.2), n_classes=2)
        config = TrainingConfig(epochs=20, batch_size=16, validation_size=40)
        trainer = Trainer(model, Adam(0.01), None, data, config, "mine", show_progress=False)
        result = trainer.run()
        accuracy = trainer.evaluate(result.params, data).accuracy
        """
    )
    assert names["accuracy"] > RIGHT


def test_series_of_different_lengths_by_an_estimator_in_cross_val_score(folder):
    pytest.importorskip("sklearn")
    names = run(
        """
        import numpy as np
        from sklearn.model_selection import cross_val_score
        from numrnn.estimators import RNNClassifier

        file = np.load("data.npz")
        x, y = np.empty(240, object), file["y"]
        x[:] = [file[f"x_{i}"] for i in range(240)]
        model = RNNClassifier(hidden_size=16, epochs=20, batch_size=16, random_state=0)
        scores = cross_val_score(model, x, y, cv=3)
        """
    )
    assert names["scores"].min() > RIGHT - 0.1  # of 80 series each


def test_a_regression(folder):
    names = run(
        """
        import numpy as np
        import numrnn
        from numrnn.datasets import Sequences
        from numrnn.training import Adam, Regressor, Trainer, TrainingConfig

        x = np.random.default_rng(0).standard_normal((300, 12, 2)).astype(np.float32)
        y = x[:, :, :1].mean(axis=1)
        train, test = Sequences(x[:240], y[:240]), Sequences(x[240:], y[240:])
        model = Regressor(numrnn.GatedAntisymmetricCell(2, 16, step_size=0.2), n_outputs=1)
        config = TrainingConfig(epochs=40, batch_size=16)
        trainer = Trainer(model, Adam(0.01), None, train, config, "mine", show_progress=False)
        loss = trainer.evaluate(trainer.run().params, test).loss
        share = loss / y[240:].var()
        """
    )
    assert names["share"] < 0.1  # of the variance that is left


def test_a_label_for_every_step_of_series_of_different_lengths(folder):
    names = run(
        """
        import numpy as np
        import numrnn
        from numrnn.datasets import Sequences
        from numrnn.training import Adam, Classifier, Trainer, TrainingConfig

        file = np.load("data.npz")
        x = [file[f"x_{i}"] for i in range(240)]
        y = [(np.cumsum(one[:, 0]) > 0).astype(int) for one in x]
        model = Classifier(numrnn.AntisymmetricCell(2, 16, step_size=0.2), n_classes=2, output="every")
        config = TrainingConfig(epochs=20, batch_size=16, group_lengths=True)
        trainer = Trainer(model, Adam(0.01), None, Sequences(x, y), config, "mine", show_progress=False)
        found = trainer.predict(trainer.run().params, Sequences(x, y))
        right = np.mean(np.concatenate(found) == np.concatenate(y))
        """
    )
    assert names["right"] > RIGHT
    assert [one.shape for one in names["found"]] == [(len(one),) for one in names["x"]]


def test_two_layers_that_are_resumed(folder):
    names = run(
        """
        import numrnn
        from numrnn.datasets import Sequences
        from numrnn.training import Adam, Classifier, Trainer, TrainingConfig

        data = Sequences.from_npz("data.npz")
        layers = numrnn.Stack([numrnn.AntisymmetricCell(2, 16, step_size=0.2), numrnn.LSTMCell(16, 8)])
        config = TrainingConfig(epochs=20, batch_size=16, validation_size=40, patience=5)
        trainer = Trainer(Classifier(layers, 2), Adam(0.01), None, data, config, "mine", show_progress=False)
        first = trainer.run()
        again = trainer.run(resume=True)
        accuracy = trainer.evaluate(again.params, data).accuracy
        """
    )
    assert names["accuracy"] > RIGHT
    assert names["again"].step == names["first"].step


def test_an_own_cell_is_verified_and_trained(folder):
    (folder / "mine.py").write_text(
        textwrap.dedent(
            '''
            import numrnn
            from numrnn.backend import array_namespace
            from numrnn.cells.base import checked

            @numrnn.register_cell
            class Adding(numrnn.Cell):
                """h + tanh(V x)."""
                name, parameter_shapes = "adding", property(lambda self: {"V": (self.hidden_size, self.input_size)})
                @checked
                def step(self, params, x, h):
                    return h + array_namespace(x).tanh(x @ params["V"].T)
                @checked
                def step_vjp(self, params, x, h, dh_next):
                    du = (1 - array_namespace(x).tanh(x @ params["V"].T) ** 2) * dh_next
                    return {"V": du.T @ x}, du @ params["V"], dh_next
            '''
        )
    )
    assert len([line for line in (folder / "mine.py").read_text().splitlines() if line.strip()]) <= LINES
    names = run(
        """
        import sys
        sys.path.insert(0, ".")
        import numrnn
        from mine import Adding
        from numrnn.testing import assert_cell

        checks = assert_cell(Adding(3, 4))
        """
    )
    assert "step_vjp is the adjoint of step" in names["checks"].passed
    command(
        "numrnn --cells mine.py train data.npz --cell adding --hidden-size 16 --epochs 20 --batch-size 16 --out own"
    )
    command("numrnn --cells mine.py predict own data.npz --out predictions.npz")
    with np.load("data.npz") as data, np.load("predictions.npz") as found:
        assert np.mean(found["predictions"] == data["y"]) > RIGHT
