"""Pictures whose text has to stay readable whatever the names in it are."""

import html
import inspect
import itertools
import re

import matplotlib
import numpy as np
import pytest

from numrnn import plots

LONG = "CIFAR-10 padded with independent noise, gated cell: 53.04 % of 10,000 test images"


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that are saved, drawn."""
    figures = []

    def keep(figure, path):
        figure.draw_without_rendering()
        figures.append(figure)
        return path

    monkeypatch.setattr("numrnn.plots.output.save_figure", keep)
    return figures


def assert_inside(text, figure):
    box, whole = text.get_window_extent(), figure.bbox
    assert text.get_text()
    assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
    assert whole.y0 <= box.y0 <= box.y1 <= whole.y1


def confusion(class_names):
    labels = np.arange(len(class_names))
    plots.confusion_matrix(labels, labels[::-1], class_names, "confusion.png", title=LONG)


@pytest.mark.parametrize("draw", [lambda: confusion(["automobile"] * 10), lambda: confusion(list("0123456789"))])
def test_a_long_heading_of_a_confusion_matrix_is_not_cut_off(draw, drawn):
    draw()
    assert_inside(drawn[0].axes[0].title, drawn[0])


def test_a_long_heading_of_the_gradient_flow_is_not_cut_off(drawn):
    heading = "How the gradient travels back in time: CIFAR-10 padded with independent noise, gated cell"
    plots.gradient_flow({"gated": np.geomspace(1, 2, 20)}, "flow.png", title=heading)
    assert_inside(drawn[0].axes[0].title, drawn[0])


def test_a_figure_is_returned_shown_by_notebooks_and_written_only_to_a_path(tmp_path):
    norms = {"gated": np.geomspace(1, 2, 20)}
    figure = plots.gradient_flow(norms)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == []
    written = plots.gradient_flow(norms, tmp_path / "flow.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["flow.svg"]
    assert type(written) is type(figure)


@pytest.mark.parametrize("draw", [plots.learning_curves, plots.compare_learning, plots.stability_report])
def test_every_function_that_draws_can_do_without_a_path(draw):
    assert inspect.signature(draw).parameters["path"].default is None
    assert inspect.signature(draw).return_annotation == "Figure"


def test_cells_are_named_as_in_sentences(drawn):
    assert plots.readable("lstm, at the start; gated elman") == "LSTM, at the start; gated Elman"
    plots.gradient_flow({"lstm": np.geomspace(1, 2, 20)}, "flow.png")
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()] == ["LSTM"]


def test_names_of_classes_do_not_run_into_each_other(drawn):
    confusion(["airplane", "automobile", "bird", "cat"] * 2 + ["horse", "ship"])
    confusion(list("0123456789"))
    long, short = (figure.axes[0].get_xticklabels() for figure in drawn)
    assert all(text.get_rotation() == 45 and text.get_ha() == "right" for text in long)
    for text in long:
        assert_inside(text, drawn[0])
    boxes = [text.get_window_extent() for text in short]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(("norms", "scale"), [([0.0, 0.0], "linear"), ([0.0, 2.0], "log"), ([3.0, 1.0], "log")])
def test_gradients_of_a_single_class_are_all_zero_and_are_drawn(norms, scale, drawn):
    training = [{"step": k, "loss": 0.0, "accuracy": 1.0, "gradient_norm": norm} for k, norm in enumerate(norms, 1)]
    plots.learning_curves(training, training, "curves.png")
    assert drawn[0].axes[2].get_yscale() == scale


def test_the_comparison_starts_at_second_0_and_shows_a_run_of_one_line(drawn, tmp_path):
    plots.compare_learning({"long": ([5.0, 6.0], [0.2, 0.3]), "short": ([5.5], [0.4])}, tmp_path / "a.png")
    (axes,) = drawn[0].axes
    assert axes.get_xlim()[0] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training time [s]", "training accuracy [%]")
    assert [line.get_marker() for line in axes.lines] == ["None", "o"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["long", "short"]


def texts_of(draw, tmp_path):
    """Return the texts of a figure as they are drawn."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(tmp_path / "drawn.svg")
    return [
        html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "drawn.svg").read_text())
    ]


@pytest.mark.parametrize("seed", range(4))
def test_names_are_drawn_letter_by_letter(seed, tmp_path):
    draw = np.random.default_rng(seed)
    signs = list("ab_$$$\\^{}%#&<")
    names = ["".join(draw.choice(signs, int(draw.integers(1, 8)))) for _ in range(6)]
    names = list(dict.fromkeys([*names, "$", "$$", "$_$", "_hidden", "US$ and A$"]))
    curve, run = np.geomspace(1, 2, 5), ([1.0, 2.0], [0.2, 0.3])
    of_flow = texts_of(lambda path: plots.gradient_flow(dict.fromkeys(names, curve), path), tmp_path)
    of_runs = texts_of(lambda path: plots.compare_learning(dict.fromkeys(names, run), path), tmp_path)
    classes = np.arange(len(names))
    of_classes = texts_of(lambda path: plots.confusion_matrix(classes, classes, names, path), tmp_path)
    for found in (of_flow, of_runs, of_classes):
        assert set(names) <= {text.removeprefix(" ") for text in found}


def test_long_names_are_shortened_and_empty_ones_stay(drawn):
    names = ["n" * length for length in (0, 1, 39, 40, 41, 500)]
    plots.gradient_flow(dict.fromkeys(names, np.geomspace(1, 2, 5)), "flow.png")
    plots.confusion_matrix(np.arange(6), np.arange(6), names, "confusion.png")
    expected = [" ", "n", "n" * 39, "n" * 40, *["n" * 39 + "…"] * 2]
    flow, confused = (figure.axes[0] for figure in drawn)
    assert [text.get_text() for text in flow.get_legend().get_texts()] == expected
    assert [text.get_text() for text in confused.get_yticklabels()] == expected


@pytest.mark.parametrize("n", [1, 25, 26, 50, 51, 200])
def test_names_and_counts_of_many_classes_do_not_run_into_each_other(n, drawn):
    draw = np.random.default_rng(n)
    labels, predictions = draw.integers(0, n, (2, 3000))
    plots.confusion_matrix(labels, predictions, [str(k) for k in range(n)], "confusion.png")
    axes = drawn[0].axes[0]
    assert len(axes.texts) == (len({*zip(labels, predictions, strict=True)}) if n <= 25 else 0)
    rows = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert all(below.y1 < above.y0 for above, below in itertools.pairwise(rows))
    columns = axes.get_xticklabels()
    assert [text.get_text() for text in columns] == [str(k) for k in range(0, n, -(-n // 25))]
    if n <= 100:  # longer names are slanted
        boxes = [text.get_window_extent() for text in columns]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(("n", "marker"), [(0, None), (1, "o"), (2, "None")])
def test_the_training_curve_of_a_short_run_is_visible(n, marker, drawn):
    training = [{"step": k, "loss": 1.0, "accuracy": 0.5, "gradient_norm": 1.0} for k in range(n)]
    plots.learning_curves(training, [], "curves.png")
    for axes in drawn[0].axes:
        assert [line.get_marker() for line in axes.lines] == [marker] * (n > 0)


def test_a_long_heading_of_learning_curves_is_not_cut_off(drawn):
    for accuracy in ({}, {"accuracy": 0.5}):
        plots.learning_curves([{"step": 1, "loss": 1.0, **accuracy}], [], "curves.png", title=f"{LONG}, {LONG}")
    for figure in drawn:
        assert_inside(figure._suptitle, figure)
