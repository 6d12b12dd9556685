"""The figures, in short: what they write, and that the numbers in them are what docs/figures.md says."""

import json
import math
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import numrnn
from numrnn.datasets import Dataset, PixelEncoder, RowNoiseEncoder
from numrnn.datasets.cifar10 import CLASS_NAMES
from numrnn.experiments import cifar10
from numrnn.experiments.figures import gradient_flow, jacobian, simulation, stability_region, unit_memory
from numrnn.experiments.figures.networks import read_network
from numrnn.stability import ScaledMatrix
from numrnn.training import (
    Checkpoint,
    CheckpointError,
    Classifier,
    Regressor,
    checkpoint_path,
    load_model,
    save_checkpoint,
)

PNG = b"\x89PNG"
ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
STORED = ROOT / "results" / "figures"


def table(first, last):
    """Return the numbers in the columns after the first of the rows of docs/figures.md from one to another."""
    rows = PAGE[PAGE.index(f"| {first} |") : PAGE.index("\n", PAGE.index(f"| {last} |"))].splitlines()
    numbers = [[re.fullmatch(r" (-?\d+\.\d+)( %)? ", text) for text in row.split("|")[2:]] for row in rows]
    return [[float(found[1]) for found in row if found] for row in numbers]


def save_network(folder, cell, encoder, step=7):
    """Write a checkpoint as a training run would, without training."""
    folder.mkdir()
    model = Classifier(cell, 10)
    params = model.init_params(np.random.default_rng(0))
    config = {"model": model.config(), "encoder": encoder.config()}
    save_checkpoint(checkpoint_path(folder, step), Checkpoint(step=step, params=params, config=config))
    return folder


def refused(module, argv, message, capsys):
    """Assert that a command ends with status 1 and one clear error."""
    assert module.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


# Figure 1


@pytest.fixture(scope="module")
def figure1(tmp_path_factory):
    """Return the folder of the figure, and its panels by name."""
    out = tmp_path_factory.mktemp("figure1")
    panels = simulation.run(simulation.Config(out=str(out)))
    return out, {panel.name: panel for panel in panels}


def test_figure_1_is_written_as_png_svg_and_numbers(figure1):
    out, panels = figure1
    assert (out / "figure1.png").read_bytes().startswith(PNG)
    assert (out / "figure1.png").stat().st_size < 250_000
    assert "<svg" in (out / "figure1.svg").read_text(encoding="utf-8")
    stored = json.loads((out / "figure1.json").read_text())
    assert list(stored["panels"]) == ["random", "identity", "reflection", "rotation", "W+", "W-", "W0", "Wdiff"]
    for name, panel in panels.items():
        np.testing.assert_allclose(stored["panels"][name]["orbits"], panel.orbits.transpose(1, 0, 2), atol=5.1e-5)


def test_the_animation_has_a_frame_for_the_start_and_for_each_step(tmp_path):
    path = tmp_path / "film" / "figure1.gif"
    assert simulation.main(["--steps", "3", "--out", str(tmp_path), "--animation", str(path)]) == 0
    with Image.open(path) as film:
        assert (film.format, film.n_frames) == ("GIF", 4)


def test_the_orbits_are_those_of_the_two_rules(figure1):
    for panel in figure1[1].values():
        h = np.array([[0.0, 0.5], [-0.5, -0.5], [0.5, -0.75]])
        for t in range(51):
            np.testing.assert_allclose(panel.orbits[t], h, rtol=1e-12, atol=1e-14)
            h = (h + 0.1 * np.tanh(h @ panel.W.T)) if panel.feedback else np.tanh(h @ panel.W.T)


def test_one_random_orthogonal_matrix_reflects_and_the_other_rotates():
    for seed in range(20):
        found = simulation.matrices(seed)
        for name, determinant in (("reflection", -1), ("rotation", 1)):
            W = found[name]
            np.testing.assert_allclose(W @ W.T, np.eye(2), atol=1e-15)
            assert np.linalg.det(W) == pytest.approx(determinant, abs=1e-15)
        assert not np.array_equal(found["random"], simulation.matrices(seed + 1)["random"])


def test_the_plain_network_only_ever_contracts_where_its_matrix_is_orthogonal(figure1):
    for name in ("identity", "reflection", "rotation"):
        assert np.all(np.diff(figure1[1][name].radii, axis=0) < 0)


def test_W_plus_leaves_and_W_minus_falls_into_the_origin(figure1):
    panels = figure1[1]
    assert np.all(panels["W+"].radii[-1] > 6)
    assert np.all(panels["W-"].radii[-1] < 2e-4)
    assert panels["W-"].late[1] == 0


def test_W0_spirals_outward_and_never_loses_energy(figure1):
    panel = figure1[1]["W0"]
    energy = np.sum(np.log(np.cosh(panel.orbits @ panel.W.T)), axis=-1)
    assert np.all(np.diff(energy, axis=0) > 0)
    assert np.all(panel.radii[-1] > 1.3 * panel.radii[0])
    assert panel.late[0] > 6
    np.testing.assert_allclose(panel.factors, math.sqrt(1.04), rtol=1e-14)


def test_Wdiff_violates_proposition_2_at_the_origin_and_keeps_its_radius_all_the_same(figure1):
    panel = figure1[1]["Wdiff"]
    assert [f"{factor:.4f}" for factor in panel.factors] == ["1.0051", "1.0051"]
    ratio = panel.radii / panel.radii[0]
    assert 0.90 < ratio.min() < ratio.max() < 1.08
    assert 0.56 < panel.late[0] < panel.late[1] < 0.60


def test_Wdiff_without_the_saturation_of_tanh_would_grow_for_ever():
    step = np.eye(2) + 0.1 * simulation.FEEDBACK["Wdiff"]
    far = np.linalg.matrix_power(step, 5000) @ [0.0, 1e-9]
    assert np.linalg.norm(far) > 1


def test_Wdiff_grows_from_within_its_circle_and_shrinks_from_without():
    ends = []
    for start in (1e-3, 3.0):
        h = np.array([start, 0.0])
        for _ in range(5000):
            h = h + 0.1 * np.tanh(simulation.FEEDBACK["Wdiff"] @ h)
        ends.append(np.linalg.norm(h))
    assert all(0.56 < end < 0.60 for end in ends)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--steps", "0"], "steps must be an integer >= 1, got 0"),
        (["--seed", "-1"], "seed must be an integer >= 0, got -1"),
        (["--step-size", "-1"], "step_size must be"),
        (["--animation", "film.mp4"], "animation must end in .gif, got film.mp4"),
    ],
)
def test_figure_1_refuses_what_it_cannot_draw(argv, message, tmp_path, capsys):
    refused(simulation, [*argv, "--out", str(tmp_path / "out")], message, capsys)
    assert not (tmp_path / "out").exists()


# Figure 2

SMALL = {"data": "synthetic", "lengths": (50, 100, 200), "hidden_size": 12, "images": 2}


@pytest.fixture(scope="module")
def figure2(tmp_path_factory):
    """Return the folder of a small figure, and its curves by panel and name."""
    out = tmp_path_factory.mktemp("figure2")
    curves = jacobian.run(jacobian.Config(**SMALL, out=str(out)))
    return out, {(curve.panel, jacobian.plain(curve.name)): curve.moduli for curve in curves}


def test_figure_2_is_written_and_says_that_its_images_are_synthetic(figure2):
    out, _ = figure2
    assert (out / "figure2.png").read_bytes().startswith(PNG)
    stored = json.loads((out / "figure2.json").read_text())
    assert stored["images_are"] == "SYNTHETIC random images, not CIFAR-10"
    assert stored["settings"]["noise"] == "independent"
    assert [row["name"] for row in stored["networks"]][-3:] == ["gamma = 10", "lstm", "elman"]


@pytest.mark.parametrize("panel", ["antisymmetric", "gated"])
def test_moduli_fall_with_diffusion_and_with_length(figure2, panel):
    means = np.array([[m.mean for m in figure2[1][panel, f"gamma = {g:g}"]] for g in (0.1, 1, 5, 10)])
    assert np.all(np.diff(means, axis=0) < 0)
    assert np.all(np.diff(means, axis=1) < 0)


def test_without_much_diffusion_moduli_stay_about_1_and_all_can_be_told(figure2):
    for panel in ("antisymmetric", "gated"):
        for gamma in ("0.001", "0.01", "0.1"):
            for found in figure2[1][panel, f"gamma = {gamma}"]:
                assert abs(found.mean) < 0.1
                assert found.unresolved == 0


def test_lstm_and_elman_lie_far_below_and_hide_most_eigenvalues_in_rounding(figure2):
    for name in ("lstm", "elman"):
        found = figure2[1]["other cells", name][-1]
        assert found.mean < -10
        assert found.unresolved > 0.4


def test_statistics_of_known_eigenvalues():
    product = ScaledMatrix(np.diag([1.0, 0.5, 1e-30])[None], np.array([-1000.0]))
    found = jacobian.moduli(product, 10)
    shift = -1000 / math.log(10)
    assert found.mean == pytest.approx(math.log10(0.5) + shift)
    assert found.std == pytest.approx(math.log10(np.std([1, 0.5, 0])) + shift)
    assert found.median == pytest.approx(math.log10(0.5) + shift)
    assert found.smallest == pytest.approx(-30 + shift)
    assert found.floor == pytest.approx(math.log10(3 * 2.0**-52) + shift)
    assert found.unresolved == pytest.approx(1 / 3)


def test_products_beyond_the_range_of_float64_are_drawn_as_logarithms(tmp_path):
    config = jacobian.Config(
        data="synthetic",
        lengths=(100, 1600),
        diffusions=(1.0,),
        hidden_size=3,
        images=1,
        weight_std=0.1,
        out=str(tmp_path),
    )
    elman = jacobian.run(config)[-1]
    assert elman.moduli[-1].mean < -330
    assert (tmp_path / "figure2.png").read_bytes().startswith(PNG)


def test_a_trained_network_takes_the_place_of_initial_ones(tmp_path, capsys):
    encoder = RowNoiseEncoder(length=60, noise="fixed")
    folder = save_network(tmp_path / "run", numrnn.AntisymmetricCell(96, 5, diffusion=0.5), encoder)
    argv = ["--data", "synthetic", "--lengths", "40", "80", "--checkpoint", f"mine={folder}", "--out", str(tmp_path)]
    assert jacobian.main(argv) == 0
    assert "mine" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "figure2.json").read_text())["networks"]
    assert (row["name"], row["updates"], row["cell"]["diffusion"]) == ("mine", 7, 0.5)


def test_networks_are_trained_once_and_drawn(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 32, 32), np.uint8)
    labels = rng.integers(0, 10, 60).astype(np.uint8)
    data = Dataset(images[:40], labels[:40], images[40:], labels[40:], CLASS_NAMES)
    monkeypatch.setattr(cifar10.Cifar10, "load_data", lambda self, config: data)
    monkeypatch.setattr(jacobian, "load_cifar10", lambda root: data)
    monkeypatch.setitem(jacobian.TRAINING, "validation_size", 8)
    argv = ["--cells", "antisymmetric", "lstm", "--diffusions", "0.01", "1", "--lengths", "40", "50"]
    argv += ["--hidden-size", "4", "--updates", "2", "--out", str(tmp_path)]
    for _ in range(2):
        assert jacobian.main(argv) == 0
    assert capsys.readouterr().out.count("test accuracy") == 3
    rows = json.loads((tmp_path / "figure2.json").read_text())["networks"]
    assert [(row["name"], row["updates"]) for row in rows] == [("gamma = 0.01", 2), ("gamma = 1", 2), ("lstm", 2)]


def test_missing_images_are_never_replaced_unasked(tmp_path, capsys):
    refused(jacobian, ["--root", str(tmp_path), "--out", str(tmp_path / "out")], "data_batch_1.bin", capsys)
    assert jacobian.main(["--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "--data synthetic" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lengths", "10"], "lengths must rise and be >= 32"),
        (["--lengths", "200", "100"], "lengths must rise"),
        (["--images", "0"], "images must be an integer >= 1, got 0"),
        (["--updates", "5"], "updates must be >= 0, and 0 with synthetic images or checkpoints, got 5"),
        (["--cells", "gru"], "cells must be of antisymmetric, gated, lstm, elman, got gru"),
        (["--hidden-size", "0"], "hidden_size must be"),
        (["--step-size", "-1"], "step_size must be"),
        (["--checkpoint", "nameless"], "expected NAME=PATH, got 'nameless'"),
        (["--checkpoint", "a=nowhere"], "there is no such checkpoint, or folder of a run"),
        (["--checkpoint", "a=."], "no checkpoint in this folder"),
    ],
)
def test_figure_2_refuses_what_it_cannot_draw(argv, message, tmp_path, capsys):
    refused(jacobian, ["--data", "synthetic", *argv, "--out", str(tmp_path / "out")], message, capsys)


def test_a_network_that_reads_something_else_is_refused(tmp_path, capsys):
    folder = save_network(tmp_path / "run", numrnn.AntisymmetricCell(1, 3), PixelEncoder((28, 28)))
    refused(jacobian, ["--data", "synthetic", "--checkpoint", f"a={folder}"], "rows of CIFAR-10", capsys)


# Gradient flow


def test_gradients_of_cells_and_checkpoints_are_drawn(tmp_path, capsys):
    folder = save_network(tmp_path / "run", numrnn.AntisymmetricCell(1, 4, step_size=0.01), PixelEncoder((28, 28)))
    argv = ["--hidden-size", "6", "--checkpoint", f"mine={folder}", "--out", str(tmp_path)]
    assert gradient_flow.main(argv) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "gradient_flow_cells.png").read_bytes().startswith(PNG)
    curves = json.loads((tmp_path / "gradient_flow_cells.json").read_text())["curves"]
    starts = [f"{name}, at the start" for name in gradient_flow.CELLS]
    assert list(curves) == [*starts, "mine, 7 updates"]
    for name, curve in curves.items():
        assert name in printed
        assert len(curve["norms"]) == 785
    lost = {name.split(",")[0]: curve["log10_first_over_last"] for name, curve in curves.items()}
    assert abs(lost["mine"]) < 1
    assert abs(lost["gated"]) < 1
    assert lost["lstm"] < -10


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--cells"], "nothing to draw"),
        (["--hidden-size", "0"], "hidden_size must be"),
        (["--checkpoint", "=x"], "expected NAME=PATH"),
        (["--checkpoint", "a=nowhere"], "there is no such checkpoint, or folder of a run"),
        (["--checkpoint", "a=."], "no checkpoint in this folder"),
    ],
)
def test_gradient_flow_refuses_what_it_cannot_draw(argv, message, tmp_path, capsys):
    refused(gradient_flow, [*argv, "--out", str(tmp_path)], message, capsys)


def test_gradient_flow_refuses_an_unknown_cell(capsys):
    with pytest.raises(SystemExit, match="2"):
        gradient_flow.main(["--cells", "gru"])
    assert "invalid choice: 'gru'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "with a cell, got None"),
        ({}, "with a cell, got {}"),
        ("mine", "with a cell, got 'mine'"),
        ({"model": ["classifier"]}, "with a cell, got {'model'"),
        ({"model": "classifier", "n_classes": 2, "cell": {"cell": "gru"}}, "config must name one of antisymmetric, "),
        (Regressor(numrnn.ElmanCell(1, 2), 1).config(), "the model must be a Classifier, got Regressor"),
    ],
)
def test_a_checkpoint_that_does_not_describe_its_network_is_refused(model, message, tmp_path):
    config = {"model": model}
    path = save_checkpoint(checkpoint_path(tmp_path, 1), Checkpoint(step=1, params={"W": np.zeros(1)}, config=config))
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_network(tmp_path)
    if "Regressor" not in message:
        with pytest.raises(ValueError, match=re.escape(message)):
            load_model(path)


def test_figures_show_the_average_of_the_weights_if_there_is_one(tmp_path):
    model = Classifier(numrnn.ElmanCell(1, 4), 3)
    last, average = (model.init_params(np.random.default_rng(seed)) for seed in range(2))
    state = Checkpoint(7, last, average=average, config={"model": model.config()})
    path = save_checkpoint(checkpoint_path(tmp_path, 7), state)
    for place in (path, tmp_path):
        _, params, _ = read_network(place)
        assert all(np.array_equal(params[name], value) for name, value in average.items())


# Stability region


def test_the_spectrum_is_drawn_at_the_start_and_after_each_epoch(tmp_path):
    config = stability_region.Config(
        hidden_size=6, batch_size=500, epochs=2, images=2, times=5, diffusion=0.3, weight_std=0.5, out=str(tmp_path)
    )
    panels = stability_region.run(config)
    assert [panel.name for panel in panels] == ["at the start", "after epoch 1", "after epoch 2"]
    assert (tmp_path / "stability_region.png").read_bytes().startswith(PNG)
    stored = json.loads((tmp_path / "stability_region.json").read_text())["panels"]
    for panel, row in zip(panels, stored, strict=True):
        assert panel.eigenvalues.shape == (5, 2, 6)
        upper = panel.eigenvalues[panel.eigenvalues.imag >= 0]
        np.testing.assert_allclose(row["real"], upper.real, rtol=6e-3)
        np.testing.assert_allclose(row["imaginary"], upper.imag, rtol=6e-3)
        assert np.all(panel.eigenvalues.real <= 1e-12)
    # The linear rule holds at the start, and slopes below 1 can only help.
    omega = panels[0].omega
    assert config.step_size <= 2 * config.diffusion / (config.diffusion**2 + omega**2)
    assert panels[0].outside == panels[0].steps_outside == 0
    assert panels[0].omega != panels[1].omega != panels[2].omega


def test_the_share_outside_is_that_of_the_eigenvalues(tmp_path):
    cell = numrnn.AntisymmetricCell(1, 5, step_size=0.5, diffusion=0.1)  # an odd n has an eigenvalue near -gamma d
    folder = save_network(tmp_path / "run", cell, PixelEncoder((28, 28)))
    config = stability_region.Config(checkpoints=(("mine", str(folder)),), images=2, times=5, out=str(tmp_path))
    (panel,) = stability_region.run(config)
    modulus = np.abs(1 + panel.eigenvalues)
    assert panel.name == "mine, 7 updates"
    assert 0 < panel.outside < 1
    assert panel.outside == np.mean(modulus > 1)
    assert panel.steps_outside == np.mean(modulus.max(axis=-1) > 1)
    assert panel.largest == modulus.max()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "0"], "epochs must be an integer >= 1, got 0"),
        (["--step-size", "-1"], "step_size must be"),
        (["--checkpoint", "a="], "expected NAME=PATH"),
        (["--checkpoint", "a=nowhere"], "there is no such checkpoint, or folder of a run"),
        (["--checkpoint", "a=."], "no checkpoint in this folder"),
    ],
)
def test_stability_region_refuses_what_it_cannot_draw(argv, message, tmp_path, capsys):
    refused(stability_region, [*argv, "--out", str(tmp_path)], message, capsys)


def test_stability_region_refuses_a_cell_that_is_no_euler_step(tmp_path, capsys):
    folder = save_network(tmp_path / "run", numrnn.ElmanCell(1, 3), PixelEncoder((28, 28)))
    refused(
        stability_region, ["--checkpoint", f"a={folder}", "--out", str(tmp_path)], "must be of an Euler cell", capsys
    )


@pytest.mark.parametrize("module", [simulation, jacobian, gradient_flow, stability_region])
def test_every_command_explains_itself(module, capsys):
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    text = capsys.readouterr().out
    assert f"numrnn figure {module.__name__.rpartition('.')[2].replace('_', '-')} " in text
    assert "--out" in text


# Memory of the units


def test_the_memory_of_the_units_is_drawn_and_follows_the_size_of_their_rows(tmp_path, capsys):
    argv = ["--hidden-size", "12", "--steps", "600", "--sequences", "1", "--out", str(tmp_path)]
    assert unit_memory.main(argv) == 0
    assert (tmp_path / "unit_memory.png").read_bytes().startswith(PNG)
    result = json.loads((tmp_path / "unit_memory.json").read_text())
    noise, images = (result["memories"][name] for name in ("noise", "permuted MNIST"))
    order = np.argsort(result["row_sizes"])
    for label in ("predicted", "without W"):
        values = np.array([np.inf if value is None else value for value in noise[label]])[order]
        assert values[-1] > 3 * values[0]
    predicted, measured = (np.array(noise[label], float)[order[:8]] for label in ("predicted", "without W"))
    np.testing.assert_allclose(measured, predicted, rtol=0.2)
    assert max(images["without W"][:8]) < 2 * min(images["without W"][:8])
    assert "noise           without W" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--diffusion", "0"], "diffusion must be a finite number > 0"),
        (["--sequences", "0"], "sequences must be an integer >= 1"),
        (["--input-gains", "2", "1"], "input_gains must be (low, high)"),
    ],
)
def test_unit_memory_refuses_what_it_cannot_measure(argv, message, tmp_path, capsys):
    refused(unit_memory, [*argv, "--out", str(tmp_path)], message, capsys)


# docs/figures.md


def test_the_table_of_memories_is_that_of_the_stored_numbers():
    result = json.loads((STORED / "unit_memory.json").read_text())
    cells = [
        line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith(("| noise |", "| permuted MNIST |"))
    ]
    rows = [(name, label) for name, own in result["memories"].items() for label in own]
    assert len(cells) == len(rows) == 6
    for (name, label), (first, second, *medians) in zip(rows, cells, strict=True):
        assert first.strip() == name
        assert second.strip() in (label, f"measured {label}", f"measured, {label}")
        expected = unit_memory.quarters(result, result["memories"][name][label])
        assert [int(median) for median in medians] == [round(value) for value in expected]


def test_the_table_of_figure_2_is_that_of_the_stored_numbers():
    networks = json.loads((STORED / "figure2.json").read_text())["networks"]
    rows = table("antisymmetric, gamma = 0.001", "Elman")
    assert len(rows) == len(networks) == 14
    for row, network in zip(rows, networks, strict=True):
        np.testing.assert_allclose(row[:4], [m["mean"] for m in network["log10_moduli"]], atol=0.0051)


def test_the_table_of_the_stability_region_is_that_of_the_stored_numbers():
    panels = json.loads((STORED / "stability_region.json").read_text())["panels"]
    rows = table("at the start", "after epoch 5")
    assert len(rows) == len(panels) == 6
    for row, panel in zip(rows, panels, strict=True):
        shares = [100 * panel["outside"], 100 * panel["steps_outside"]]
        expected = [panel["omega"], *shares, panel["largest"], 100 * panel["accuracy"]]
        assert [f"{value:.1f}" for value in row[1:3]] == [f"{value:.1f}" for value in expected[1:3]]
        np.testing.assert_allclose(row, expected, rtol=3e-3, atol=0.051)


def test_the_table_of_trained_networks_is_that_of_the_stored_numbers():
    networks = json.loads((STORED / "figure2_trained.json").read_text())["networks"]
    rows = table("trained, gamma = 0.001", "trained LSTM")
    assert len(rows) == len(networks) == 7
    for row, network in zip(rows, networks, strict=True):
        name = "lstm" if network["name"] == "lstm" else network["name"].replace("gamma = ", "antisymmetric-")
        run = json.loads((STORED / "figure2_networks" / f"{name}.json").read_text())
        assert (run["iterations"], network["updates"]) == (200, 200)
        np.testing.assert_allclose(row[:4], [m["mean"] for m in network["log10_moduli"]], rtol=0, atol=0.0051)
        assert row[4] == pytest.approx(100 * run["test_accuracy"], abs=0.051)


def test_cost_of_10000_updates_is_that_of_the_stored_runs():
    stored = {path.stem: json.loads(path.read_text()) for path in (STORED / "figure2_networks").glob("*.json")}
    hours = {name: 10_000 / run["iterations"] * run["seconds"] / 3600 for name, run in stored.items()}
    lstm = hours.pop("lstm")
    assert len(hours) == 6
    prose = " ".join(PAGE.split())
    assert (
        f"{sum(hours.values()):.1f} hours for the six antisymmetric networks and {lstm:.1f} hours for the LSTM" in prose
    )
    path = ROOT / "results" / "paper" / "cifar10-noise-padded-gated" / "seed-0" / "result.json"
    row = json.loads(path.read_text())
    assert (row["iterations"], row["machine"].split()[:2]) == (10_000, ["NVIDIA", "H100"])
    assert f"of 10,000 updates, took {row['seconds'] / 60:.0f} minutes (NVIDIA H100)" in prose


def test_the_table_of_the_rows_of_table_2_is_that_of_the_stored_numbers():
    networks = json.loads((STORED / "figure2_rows.json").read_text())["networks"]
    stored = {network["name"]: network for network in networks}
    names = ("antisymmetric", "gated", "gated-unstructured", "LSTM", "LSTM-chrono")
    first, last = (f"row {name}, {stored[name]['updates']:,} updates" for name in (names[0], names[-1]))
    for name, row in zip(names, table(first, last), strict=True):
        result = ROOT / "results" / "paper" / f"cifar10-noise-padded-{name.lower()}" / "seed-0" / "result.json"
        run = json.loads(result.read_text())
        assert run["iterations"] == stored[name]["updates"]
        moduli = stored[name]["log10_moduli"]
        np.testing.assert_allclose(row[:4], [m["mean"] for m in moduli], rtol=0, atol=0.0051)
        spread = [10 ** moduli[-1]["std"], 10 ** moduli[-1]["largest"]]
        np.testing.assert_allclose(row[4:6], spread, rtol=0, atol=0.0051)
        assert row[6] == pytest.approx(100 * run["test_accuracy"], abs=0.051)


def test_every_picture_of_the_page_is_there_and_small():
    names = re.findall(r"\(pictures/(\w+\.png)\)", PAGE)
    assert len(names) == 7
    for name in names:
        assert (ROOT / "docs" / "pictures" / name).stat().st_size < 250_000


def test_the_stored_numbers_are_those_of_the_default_configurations():
    stored = {name: json.loads((STORED / f"{name}.json").read_text())["settings"] for name in ("figure1", "figure2")}
    default = {"figure1": simulation.Config(), "figure2": jacobian.Config()}
    for name, settings in stored.items():
        for key, value in settings.items():
            expected = getattr(default[name], key)
            assert value == (list(expected) if isinstance(expected, tuple) else expected)
