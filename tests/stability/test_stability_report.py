"""python -m numrnn.stability: the page about a checkpoint."""

import subprocess
import sys

import numpy as np
import pytest
from training_run import make_trainer

import numrnn
from numrnn import stability
from numrnn.datasets import PixelEncoder, RowNoiseEncoder
from numrnn.stability_command import main
from numrnn.training import CheckpointError, Classifier, list_checkpoints
from numrnn.training.checkpoint import Checkpoint, save_checkpoint
from numrnn.training.stored_model import load_model


def write(path, cell, encoder=None, **config):
    """Write a checkpoint of a network that was not trained, and return its path."""
    model = Classifier(cell, 10)
    described = {"model": model.config(), "encoder": None if encoder is None else encoder.config()}
    params = model.init_params(np.random.default_rng(0))
    return save_checkpoint(path, Checkpoint(step=7, params=params, config=described | config))


@pytest.fixture
def checkpoint(tmp_path):
    cell = numrnn.AntisymmetricCell(1, 6, step_size=0.1, diffusion=0.15)
    return write(tmp_path / "a.npz", cell, PixelEncoder((28, 28)))


def test_the_report_is_about_what_the_checkpoint_holds(checkpoint):
    report = stability.stability_report(checkpoint, steps=40)
    assert (report.step, report.n_steps, report.batch) == (7, 40, 2)
    assert isinstance(report.cell, numrnn.AntisymmetricCell)
    assert report.cell.step_size == 0.1
    assert report.input == "test images of the embedded MNIST"
    assert report.exponents.shape == (2, 6)
    assert report.log_singular_values.shape == (len(report.times), 2, 6)
    assert report.times[-1] == 40


def test_the_numbers_of_the_report_are_those_of_the_library(checkpoint):
    report = stability.stability_report(checkpoint, steps=40)
    model = Classifier(report.cell, 10)
    drawn = model.init_params(np.random.default_rng(0))
    params = {k: drawn[k].astype(np.float64) for k in report.cell.parameter_shapes}
    wanted = stability.euler_stability(report.cell, params)
    assert report.stability.critical_step_size == wanted.critical_step_size
    assert report.stability.required_diffusion == wanted.required_diffusion
    text = str(report)
    for number in (wanted.critical_step_size, wanted.spectrum.omega, wanted.required_diffusion):
        assert f"{number:.4g}" in text


@pytest.mark.parametrize("seed", range(3))
def test_the_report_is_about_the_average_of_the_weights_if_there_is_one(seed, tmp_path):
    model = Classifier(numrnn.AntisymmetricCell(1, 6), 10)
    last, average = (model.init_params(np.random.default_rng([seed, part])) for part in range(2))
    path = save_checkpoint(tmp_path / "a.npz", Checkpoint(7, last, average=average, config={"model": model.config()}))
    report, (_, loaded, _) = stability.stability_report(path, steps=5), load_model(path)
    for found in (average, loaded):  # as predictions and tests use it
        params = {name: found[name].astype(np.float64) for name in model.cell.parameter_shapes}
        assert np.array_equal(report.spectrum.frequencies, stability.spectrum(model.cell, params).frequencies)


def test_a_checkpoint_of_the_trainer_is_read_and_its_encoder_replaced_where_unknown(tmp_path):
    make_trainer(tmp_path).run()
    report = stability.stability_report(list_checkpoints(tmp_path)[-1], images=3, steps=11)
    assert report.step == 15
    assert report.input == "random N(0, 1) numbers"
    assert (report.n_steps, report.batch) == (11, 3)
    assert report.stability is None
    assert report.spectrum is not None
    assert "none is known: the gate lets slopes be negative" in str(report)
    assert report.saturation.open is not None


@pytest.mark.parametrize("name", [*numrnn.CELLS])
def test_every_cell_has_a_page_and_a_picture(name, tmp_path, capsys):
    path = write(tmp_path / "c.npz", numrnn.CELLS[name](2, 5))
    assert main([str(path), "--steps", "30"]) == 0
    text = capsys.readouterr().out
    assert type(numrnn.CELLS[name](1, 1)).__name__ in text
    assert "Lyapunov exponents" in text
    assert max(map(len, text.splitlines())) < 300
    assert (tmp_path / "c-stability.png").read_bytes()[:4] == b"\x89PNG"
    no_bound = name in ("gated", "unstructured", "gated-unstructured")
    assert ("critical step size      none is known" in text) == no_bound
    assert ("is not an Euler step" in text) == (name in ("elman", "lstm"))


def test_images_of_another_shape_are_random_ones_through_the_same_encoder(tmp_path):
    encoder = RowNoiseEncoder((3, 4, 4), length=20)
    path = write(tmp_path / "n.npz", numrnn.GatedAntisymmetricCell(12, 4), encoder)
    report = stability.stability_report(path, images=1)
    assert (report.n_steps, report.batch, report.input) == (20, 1, "random images")


def test_the_seed_decides_random_input(tmp_path):
    path = write(tmp_path / "s.npz", numrnn.AntisymmetricCell(2, 4))
    pages = [str(stability.stability_report(path, steps=20, seed=seed)) for seed in (1, 1, 2)]
    assert pages[0] == pages[1] != pages[2]


def test_no_diffusion_and_no_weights_have_pages_too(tmp_path):
    for diffusion, weight in ((0.0, 1.0), (0.5, 0.0), (0.0, 0.0)):
        cell = numrnn.AntisymmetricCell(1, 4, step_size=3.0, diffusion=diffusion)
        params = Classifier(cell, 2).init_params(np.random.default_rng(0), weight_std=weight)
        config = {"model": Classifier(cell, 2).config()}
        path = save_checkpoint(tmp_path / "e.npz", Checkpoint(step=0, params=params, config=config))
        assert main([str(path), "--steps", "5"]) == 0


def test_the_page_says_with_which_diffusion_the_step_is_stable(tmp_path):
    draw, found = np.random.default_rng(3), {True: 0, False: 0, None: 0}
    for number in range(40):
        eps, gamma = 10.0 ** draw.uniform(-2, 1.5), 10.0 ** draw.uniform(-3, 3)
        cell = numrnn.AntisymmetricCell(1, 3, step_size=eps, diffusion=gamma)
        report = stability.stability_report(write(tmp_path / f"{number}.npz", cell), steps=3)
        (line,) = [line for line in str(report).splitlines() if "it is stable with" in line]
        if eps * report.spectrum.omega > 1:
            assert line.endswith("a smaller step: no diffusion makes this one stable")
            assert not report.stability.stable
            found[None] += 1
            continue
        smallest, largest = (float(word) for word in line.split("diffusion from ")[1].split(" to "))
        assert report.stability.stable == (smallest <= gamma <= largest), f"{line}, diffusion {gamma}"
        found[report.stability.stable] += 1
    assert min(found.values()) >= 5


@pytest.mark.parametrize(("eps", "units"), [(0.25, 1), (2.0, 3)])
def test_a_step_that_ends_at_zero_has_a_page(eps, units, tmp_path, capsys):
    cell = numrnn.AntisymmetricCell(1, units, step_size=eps, diffusion=1 / eps)
    params = Classifier(cell, 2).init_params(np.random.default_rng(0), weight_std=0.0)
    config = {"model": Classifier(cell, 2).config()}
    path = save_checkpoint(tmp_path / "z.npz", Checkpoint(step=0, params=params, config=config))
    assert main([str(path), "--steps", "5"]) == 0
    assert "largest amplification   0.000000 per step, 0 in T steps" in capsys.readouterr().out


def test_a_network_without_any_gradient_has_a_page(tmp_path, capsys):
    cell = numrnn.ElmanCell(1, 3)
    params = Classifier(cell, 2).init_params(np.random.default_rng(0))
    params["b"] = params["b"] + np.float32(100)  # every tanh is 1, every slope 0
    path = save_checkpoint(tmp_path / "s.npz", Checkpoint(0, params, config={"model": Classifier(cell, 2).config()}))
    assert main([str(path), "--steps", "5"]) == 0
    assert "singular values         0 to 0 of dh_T/dh_0" in capsys.readouterr().out


def test_the_command_line_works_as_a_module(checkpoint):
    command = [sys.executable, "-W", "error", "-m", "numrnn.stability", str(checkpoint), "--steps", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "step size eps           0.1" in done.stdout
    assert done.stderr == ""


def test_a_file_that_is_missing(tmp_path, capsys):
    assert main([str(tmp_path / "none.npz")]) == 1
    assert "none.npz: no such file" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "is a folder; name a checkpoint" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint(tmp_path, capsys):
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    assert main([str(tmp_path / "other.npz")]) == 1
    assert "other.npz: not a numrnn checkpoint" in capsys.readouterr().err


def test_a_checkpoint_that_names_no_cell(checkpoint):
    save_checkpoint(checkpoint, Checkpoint(step=0, params={"w": np.ones(2)}, config={"model": "mine"}))
    with pytest.raises(CheckpointError, match="its configuration must name a cell of numrnn, got model 'mine'"):
        stability.stability_report(checkpoint)


def test_a_checkpoint_whose_cell_cannot_be_made(checkpoint):
    model = {"cell": {"cell": "elman", "input_size": 1, "hidden_size": 2, "colour": "red"}}
    save_checkpoint(checkpoint, Checkpoint(step=0, params={"w": np.ones(2)}, config={"model": model}))
    with pytest.raises(CheckpointError, match="its cell cannot be made: .*colour"):
        stability.stability_report(checkpoint)


def test_a_checkpoint_whose_parameters_do_not_fit_its_cell(checkpoint):
    config = {"model": Classifier(numrnn.AntisymmetricCell(1, 4), 2).config()}
    save_checkpoint(checkpoint, Checkpoint(step=0, params={"W": np.ones((4, 4))}, config=config))
    with pytest.raises(CheckpointError, match="lacks the parameters V, b of its AntisymmetricCell"):
        stability.stability_report(checkpoint)


@pytest.mark.parametrize("option", ["--images", "--steps"])
def test_no_rows_or_steps(checkpoint, option, capsys):
    assert main([str(checkpoint), option, "0"]) == 1
    assert f"{option[2:]} must be an integer >= 1, got 0" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written(checkpoint, tmp_path, capsys):
    assert main([str(checkpoint), "--steps", "5", "--out", str(tmp_path / "no" / "x.png")]) == 1
    assert "cannot write the picture" in capsys.readouterr().err
