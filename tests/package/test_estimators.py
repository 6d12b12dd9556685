"""`numrnn.estimators`: fit and predict by scikit-learn's conventions, with scikit-learn's base classes and without."""

import copy
import importlib
import importlib.util
import inspect
import math
import pickle
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

import numrnn
from numrnn.datasets import Sequences, load_speakers
from numrnn.estimators.scores import accuracy, r_squared, step_weights
from numrnn.training import Adam, Classifier, CosineSchedule, Trainer, TrainingConfig, load_checkpoint

OURS = "numrnn.estimators"
HAS_SKLEARN = importlib.util.find_spec("sklearn") is not None
REASON = "scikit-learn is not installed"
needs_sklearn = pytest.mark.skipif(not HAS_SKLEARN, reason=REASON)
SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


@pytest.fixture(params=["scikit-learn", "stand-ins"])
def est(request, monkeypatch):
    """Return the estimators on scikit-learn's base classes, and freshly imported where scikit-learn is hidden."""
    if request.param == "scikit-learn":
        if not HAS_SKLEARN:
            pytest.skip(REASON)
        yield importlib.import_module("numrnn.estimators")
        return
    names = [
        name for name in sys.modules if name.partition(".")[0] == "sklearn" or name.startswith("numrnn.estimators")
    ]
    before = {name: sys.modules.pop(name) for name in names}
    sys.modules["sklearn"] = None
    try:
        found = importlib.import_module("numrnn.estimators")
        assert not importlib.import_module("numrnn.estimators.conventions").has_sklearn
        yield found
    finally:
        for name in [name for name in sys.modules if name.startswith(OURS)] + ["sklearn"]:
            del sys.modules[name]
        sys.modules.update(before)
        numrnn.estimators = sys.modules["numrnn.estimators"]


def make(n=30, m=2, lengths=(3, 8), seed=0):
    """Return sequences in all forms, and targets that can be learnt from them."""
    rng = np.random.default_rng(seed)
    ragged = [rng.standard_normal((t, m)) for t in rng.integers(*lengths, n)]
    array = rng.standard_normal((n, lengths[1], m))
    return SimpleNamespace(ragged=ragged, array=array, flat=array[:, :, 0])


def same(a, b):
    """Tell whether predictions, arrays or lists of them, are the same to the bit."""
    if isinstance(a, list):
        return len(a) == len(b) and all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))
    return a.dtype == b.dtype and np.array_equal(a, b)


# ---------------------------------------------------------------- what is learnt


@pytest.mark.parametrize(
    ("form", "labels"),
    [
        ("ragged", ("falls", "rises")),
        ("array", (7, -3)),
        ("flat", (False, True)),
        ("array", (2.0, 5.0)),
        ("ragged", np.array(["x", "yy"], object)),
    ],
)
def test_labels_of_any_type_come_back_for_sequences_of_any_form(est, form, labels):
    X = getattr(make(60), form)
    above = [np.asarray(x).reshape(len(x), -1)[:, 0].sum() > 0 for x in X]
    y = np.array([labels[int(up)] for up in above], dtype=getattr(labels, "dtype", None))
    model = est.RNNClassifier(hidden_size=8, epochs=12, batch_size=6, random_state=0)
    assert model.fit(X, y) is model
    assert model.classes_.tolist() == sorted(labels)
    assert model.score(X, y) == np.mean(model.predict(X) == y) > 0.8
    probabilities = model.predict_proba(X)
    assert np.allclose(probabilities.sum(axis=1), 1, rtol=8 * np.finfo(np.float32).eps)
    assert same(model.predict(X), model.classes_[probabilities.argmax(axis=1)])
    assert model.n_features_in_ == {"ragged": 2, "array": 2, "flat": 8}[form]


def test_a_list_of_whole_numbers_beside_fractions_keeps_the_fractions(est):
    X, y = [[1, 2, 3], [0.5, -0.25], [4]], [0.0, 1.0, 2.0]
    fitted = est.RNNRegressor(**SMALL).fit(X, y)
    expected = est.RNNRegressor(**SMALL).fit([np.array(row, float) for row in X], y)
    for again in (X, X[::-1]):
        assert np.array_equal(fitted.predict(again), expected.predict([np.array(row, float) for row in again]))


def test_an_array_of_arrays_is_the_list_of_them(est):
    ragged = make(20).ragged
    X = np.empty(20, object)
    X[:] = ragged
    y = np.arange(20) % 2
    model = est.RNNClassifier(hidden_size=4, epochs=2, batch_size=5, random_state=0)
    from_list = model.fit(ragged, y).predict_proba(ragged)
    assert same(model.fit(X, y).predict_proba(X), from_list)
    X[3] = "abc"
    with pytest.raises((TypeError, ValueError), match="^X must hold numbers"):
        model.fit(X, y)


@pytest.mark.parametrize("form", ["ragged", "array", "flat"])
def test_labels_at_every_step(est, form):
    X = getattr(make(60), form)
    rows = [np.asarray(x).reshape(len(x), -1)[:, 0] for x in X]
    y = [np.where(np.cumsum(row) > 0, "up", "down") for row in rows]
    y = y if form == "ragged" else np.array(y)
    model = est.RNNClassifier(hidden_size=8, epochs=12, batch_size=6, output="every", random_state=0).fit(X, y)
    found = model.predict(X)
    assert isinstance(found, list) is (form == "ragged")
    assert [len(row) for row in found] == [len(row) for row in rows]
    right = np.concatenate(list(found)) == np.concatenate(list(y))
    assert model.score(X, y) == right.mean() > 0.85
    assert [p.shape for p in model.predict_proba(X)] == [(len(row), 2) for row in rows]
    weights = np.arange(60.0)
    expected = np.average(right, weights=np.repeat(weights, [len(row) for row in rows]))
    assert math.isclose(model.score(X, y, weights), expected, rel_tol=1e-12)


@pytest.mark.parametrize("output", ["last", "every"])
@pytest.mark.parametrize("columns", [None, 1, 3])
@pytest.mark.parametrize("form", ["ragged", "array"])
def test_numbers_come_back_in_the_shape_of_y(est, output, columns, form):
    X = getattr(make(60), form)
    sums = [np.cumsum(x[:, 0]) / 3 for x in X]
    sums = sums if columns is None else [np.stack([s * (k + 1) for k in range(columns)], axis=1) for s in sums]
    y = sums if output == "every" else np.array([s[-1] for s in sums])
    y = np.array(y) if form == "array" else y
    model = est.RNNRegressor(hidden_size=8, epochs=8, batch_size=6, output=output, random_state=0).fit(X, y)
    found = model.predict(X)
    assert [np.shape(row) for row in found] == [np.shape(row) for row in y]
    assert isinstance(found, list) is (output == "every" and form == "ragged")
    assert model.score(X, y) > 0.5


def test_defaults_tell_speakers_apart(est):
    data = load_speakers()
    frames = np.concatenate(data.train.x)
    train, test = ([(x - frames.mean(0)) / frames.std(0) for x in part.x] for part in (data.train, data.test))
    model = est.RNNClassifier(epochs=20, random_state=0).fit(train, data.train.y)
    assert model.score(test, data.test.y) > 0.93


def test_fit_is_the_run_of_the_trainer_that_its_arguments_say(est, tmp_path):
    X, y = make(40).ragged, np.arange(40) % 3
    model = est.RNNClassifier("lstm", 5, epochs=3, batch_size=16, clip=0.5, learning_rate=0.02, random_state=4)
    model.fit(X, y)
    network = Classifier(numrnn.LSTMCell(2, 5), 3)
    config = TrainingConfig(epochs=3, batch_size=16, clip=0.5, seed=4)
    optimizer = Adam(CosineSchedule(learning_rate=0.02, total_steps=9))
    trainer = Trainer(network, optimizer, None, Sequences(X, y), config, tmp_path, show_progress=False)
    result = trainer.run()
    assert result.params.keys() == model.params_.keys()
    assert all(np.array_equal(result.params[name], value) for name, value in model.params_.items())
    assert model.history_["training"] == result.history("training")
    assert model.n_iter_ == 3 == len(model.history_["training"])
    assert same(model.predict(X), trainer.predict(result.params, Sequences(X)))


@pytest.mark.parametrize("name", sorted(numrnn.CELLS))
def test_every_cell_by_name_and_by_class(est, name):
    X, y = make(12).array, [0, 1, 2] * 4
    by_name = est.RNNClassifier(name, **SMALL).fit(X, y)
    by_class = est.RNNClassifier(numrnn.CELLS[name], **SMALL).fit(X, y)
    assert isinstance(by_name.model_.cell, numrnn.CELLS[name])
    assert same(by_name.predict_proba(X), by_class.predict_proba(X))
    taken = inspect.signature(numrnn.CELLS[name]).parameters
    for argument in ("step_size", "diffusion"):
        model = est.RNNClassifier(name, **{argument: 0.25}, **SMALL)
        if argument in taken:
            assert getattr(model.fit(X, y).model_.cell, argument) == 0.25
        else:
            with pytest.raises(ValueError, match=f"takes no {argument} from an estimator, got 0.25"):
                model.fit(X, y)


def test_options_and_initial_values_arrive(est):
    X, y = make(12).array, [0, 1] * 6
    options = {"triangular": False, "step_size": 0.1}
    model = est.RNNClassifier(cell_options=options, initial_values={"weight_std": 0.0}, **SMALL)
    model.set_params(learning_rate=1e-30, dtype="float64").fit(X, y)
    assert model.model_.cell.matrix.triangular is False
    assert model.model_.cell.step_size == 0.1
    assert np.abs(model.params_["W"]).max() < 1e-20 < np.abs(model.params_["V"]).max()


@pytest.mark.parametrize("steps", [1, 3, 100])
def test_the_step_size_falls_with_the_median_length(est, steps):
    X = [np.ones((t, 1)) for t in (steps, steps, steps, 500)]
    cell = est.RNNRegressor(**SMALL).fit(X, np.arange(4.0)).model_.cell
    assert cell.step_size == {1: 1.0, 3: 1.0, 100: 0.05}[steps]


# ---------------------------------------------------------------- seeds, files, copies


def test_one_random_state_gives_the_same_bits_and_another_gives_others(est):
    X, y = make().ragged, np.arange(30) % 2
    for state in (0, 11):
        model = est.RNNClassifier(**SMALL | {"random_state": state})
        first = model.fit(X, y).params_
        second = model.fit(X, y).params_
        assert all(np.array_equal(first[name], second[name]) for name in first)
        other = est.RNNClassifier(**SMALL | {"random_state": 5}).fit(X, y).params_
        assert not np.array_equal(first["V"], other["V"])
    for make_state in (np.random.default_rng, np.random.RandomState):
        a, b = (est.RNNClassifier(**SMALL | {"random_state": make_state(3)}).fit(X, y).params_["V"] for _ in range(2))
        assert np.array_equal(a, b)
    a, b = (est.RNNClassifier(**SMALL | {"random_state": None}).fit(X, y).params_["V"] for _ in range(2))
    assert not np.array_equal(a, b)


def test_nothing_is_left_behind_unless_a_folder_is_given(est, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    X, y = make().array, np.arange(30) % 2
    est.RNNClassifier(**SMALL).fit(X, y).predict(X)
    with pytest.raises(ArithmeticError, match=r"is not finite at step \d+: try a smaller learning_rate, or clip$"):
        est.RNNRegressor(**SMALL | {"learning_rate": 1e38, "epochs": 9}).fit(X, np.arange(30.0))
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]
    model = est.RNNClassifier(**SMALL, out=tmp_path / "run").fit(X, y)
    assert load_checkpoint(max((tmp_path / "run").glob("checkpoint_*.npz"))).step == 2
    assert (tmp_path / "run" / "metrics.jsonl").exists()
    before = model.predict_proba(X)
    with pytest.raises(FileExistsError):
        model.fit(X[:20], y[:20])
    assert same(before, model.predict_proba(X))  # a fit that fails leaves the fitted network as it was


def test_early_stopping_keeps_the_best_parameters_and_holds_out_the_share(est, tmp_path):
    data = make(50)
    y = np.random.default_rng(1).standard_normal(50)  # noise, which is soon learnt by heart
    arguments = {"epochs": 60, "patience": 3, "validation_fraction": 0.3, "learning_rate": 0.05, "random_state": 0}
    model = est.RNNRegressor(hidden_size=16, out=tmp_path, schedule="constant", **arguments).fit(data.array, y)
    losses = [record["loss"] for record in model.history_["validation"]]
    assert model.n_iter_ == len(losses) == int(np.argmin(losses)) + 1 + 3 < 60
    best = load_checkpoint(tmp_path / "best.npz").params
    assert all(np.array_equal(best[name], value) for name, value in model.params_.items())
    assert model.history_["training"][-1]["step"] == 2 * model.n_iter_  # 35 sequences, 32 in an update


def test_estimators_are_pickled_and_copied_before_and_after_fit(est):
    data = make()
    y = np.array(["a", "b"])[np.arange(30) % 2]
    model = est.RNNClassifier(numrnn.ElmanCell, **SMALL)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.get_params() == model.get_params()
    model.fit(data.ragged, y)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert same(again.predict_proba(data.ragged), model.predict_proba(data.ragged))
        assert same(again.predict(data.ragged), model.predict(data.ragged))
        assert repr(again) == repr(model)


def test_parameters_are_read_set_and_shown(est):
    model = est.RNNRegressor(hidden_size=8, epochs=3)
    names = list(inspect.signature(est.RNNRegressor).parameters)
    assert sorted(model.get_params()) == sorted(names)
    assert model.set_params(epochs=5, cell="lstm") is model
    assert (model.epochs, model.get_params(deep=False)["cell"]) == (5, "lstm")
    assert repr(model) == "RNNRegressor(cell='lstm', epochs=5, hidden_size=8)"
    assert repr(est.RNNClassifier()) == "RNNClassifier()"
    with pytest.raises(ValueError, match="'hidden'"):
        model.set_params(hidden=3)


def test_what_is_fitted_stays_as_it_was_when_arguments_change(est):
    X = make().array
    model = est.RNNClassifier(**SMALL).fit(X, np.arange(30) % 2)
    before = model.predict_proba(X)
    model.set_params(output="every", hidden_size=9, dtype="float64", cell="lstm")
    assert same(before, model.predict_proba(X))
    assert model.predict(X).shape == (30,)
    with pytest.raises(ValueError, match="X must not hold NaN, infinity or a value too large for float32"):
        model.predict(X * 1e40)
    for kind, y in ((est.RNNClassifier, np.arange(30) % 2), (est.RNNRegressor, np.arange(30))):
        model = kind(**SMALL | {"dtype": "float64"}).fit(X, y)
        before = model.score(X * 1e40, y)
        assert model.set_params(dtype="float32").score(X * 1e40, y) == before


def test_sequences_do_not_see_those_beside_them(est):
    data = make()
    model = est.RNNRegressor(**SMALL | {"dtype": "float64"}).fit(data.ragged, np.arange(30) / 30)
    together = model.predict(data.ragged)
    alone = np.concatenate([model.predict([x]) for x in data.ragged])
    assert np.allclose(together, alone, rtol=0, atol=64 * np.finfo(np.float64).eps * np.abs(together).max())


# ---------------------------------------------------------------- what is refused


def poisoned(value, seed):
    """Return sequences with a bad value somewhere, and where it is."""
    rng = np.random.default_rng(seed)
    X = make(seed=seed).ragged
    row = int(rng.integers(30))
    step, feature = int(rng.integers(len(X[row]))), int(rng.integers(2))
    X[row][step, feature] = value
    return X, f"sequence {row}, step {step}, feature {feature}"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(est, value):
    model = est.RNNClassifier(**SMALL)
    y = np.arange(30) % 2
    for seed in range(5):
        X, where = poisoned(value, seed)
        with pytest.raises(ValueError, match=f"^X must not hold NaN, infinity or .* got .* at {where}$"):
            model.fit(X, y)
    model.fit(make().ragged, y)
    with pytest.raises(ValueError, match=f" at {where}$"):
        model.predict(X)


A = np.ones((6, 4, 2))
Y = [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "X", "y", "error", "match"),
    [
        ({}, A[0, :, 0], Y, ValueError, r"X must be \(N, T, m\), .* got shape \(4,\)"),
        ({}, A[None], Y, ValueError, r"got shape \(1, 6, 4, 2\)"),
        ({}, A[:0], [], ValueError, r"X is empty: 0 sample\(s\) \(shape=\(0, 4, 2\)\)"),
        ({}, A[:, :0], Y, ValueError, r"X is empty: 0 step\(s\)"),
        ({}, A[:, :0, 0], Y, ValueError, r"X is empty: 0 feature\(s\)"),
        ({}, A.astype(complex), Y, ValueError, "Complex data not supported: X "),
        ({}, A.astype(str), Y, ValueError, "X must hold numbers, got dtype <U"),
        ({}, [A[0], A[1, :, :1]], [0, 1], ValueError, r"X\[1\] must be \(T_i, m=2\) .* got \(4, 1\)"),
        ({}, [A[0], A[1, 0]], [0, 1], ValueError, r"X\[1\] must be \(T_i, m=2\)"),
        ({}, [A[0], A[1, :0]], [0, 1], ValueError, r"X\[1\] must be"),
        ({}, A, None, ValueError, "requires y to be passed, but the target y is None"),
        ({}, A, Y[:5], ValueError, r"y must have a target for each of the 6 sequences, got \(5,\)"),
        ({}, A, A[:, :, 0], ValueError, "y must be a 1d array of labels"),
        ({}, A, [0.5, 1, 0, 1, 0, 1], ValueError, "Unknown label type: continuous"),
        ({}, A, np.array(["a", 1] * 3, object), TypeError, "^y must hold labels of one type: "),
        ({}, A, [np.nan, 1, 0, 1, 0, 1], ValueError, "y must not hold NaN or infinity"),
        ({}, A, np.array([np.nan, 1, 0] * 2, object), ValueError, "y must not hold missing labels, None or NaN"),
        ({}, A, np.array(["a", "b", np.float32("nan")] * 2, object), ValueError, "y must not hold missing labels"),
        ({}, A, ["a", None] * 3, ValueError, "y must not hold missing labels, None or NaN"),
        ({}, A, ["a", np.nan] * 3, TypeError, "^y must hold labels of one type, got text and nan"),
        ({}, A, ["a", 1] * 3, TypeError, "^y must hold labels of one type, got text and 1"),
        ({}, A, np.array(["2000-01-01", "NaT"] * 3, "M8[D]"), ValueError, "y must not hold missing labels, NaT"),
        ({}, A, np.array([0.5, 1, 0] * 2, object), ValueError, "Unknown label type: continuous"),
        ({"output": "every"}, A, [[0] * 4, ["a"] * 4] * 3, TypeError, "got text for some sequences and numbers for "),
        ({"output": "every"}, A, [["a", 1] * 2] * 6, TypeError, r"y\[0\] must hold labels of one type, got text and 1"),
        ({"output": "every"}, A, [[0, 1]] * 6, ValueError, r"y\[0\] must have a target for each of the 4 steps"),
        ({"output": "every"}, A, [[0, 1, 1, 0]] * 5, ValueError, "targets for each of the 6 sequences, got 5"),
        ({"output": "first"}, A, Y, ValueError, "output must be 'last' or 'every', got 'first'"),
        ({"cell": "gru"}, A, Y, ValueError, "cell must be one of antisymmetric, .* got 'gru'"),
        ({"cell": int}, A, Y, TypeError, "cell must be a name in numrnn.CELLS or a class of cells"),
        ({"cell": numrnn.Stack}, A, Y, TypeError, "takes input_size and hidden_size, got Stack"),
        ({"cell": "elman", "cell_options": {"triangular": True}}, A, Y, ValueError, "ElmanCell takes no triangular"),
        ({"cell_options": {"hidden_size": 3}}, A, Y, ValueError, "takes no hidden_size from an estimator"),
        ({"cell_options": 3}, A, Y, TypeError, "cell_options must be None or a dict, got 3"),
        (
            {"initial_values": {"seed": 3}},
            A,
            Y,
            ValueError,
            "initial_values must be fields of InitialValues, got 'seed'",
        ),
        ({"hidden_size": 0}, A, Y, ValueError, "hidden_size must be an integer >= 1, got 0"),
        ({"step_size": -1.0}, A, Y, ValueError, "step_size must be a finite number > 0"),
        ({"epochs": 0}, A, Y, ValueError, "epochs must be an integer >= 1, got 0"),
        ({"epochs": None}, A, Y, TypeError, "epochs must be an integer >= 1, got None"),
        ({"batch_size": 2.5}, A, Y, TypeError, "batch_size must be an integer"),
        ({"learning_rate": 0.0}, A, Y, ValueError, "learning_rate must be a finite number > 0"),
        ({"schedule": "linear"}, A, Y, ValueError, "schedule must be one of cosine, constant, got 'linear'"),
        ({"optimizer": "lbfgs"}, A, Y, ValueError, "optimizer must be one of adam, .* got 'lbfgs'"),
        ({"clip": 0}, A, Y, ValueError, "clip must be"),
        ({"patience": 2, "validation_fraction": 1.0}, A, Y, ValueError, "validation_fraction must be .* < 1"),
        ({"patience": 2, "validation_fraction": 0.99}, A, Y, ValueError, "validation_fraction must leave sequences"),
        ({"random_state": -1}, A, Y, ValueError, "random_state must be an integer >= 0, got -1"),
        ({"random_state": "seed"}, A, Y, TypeError, "random_state must be an integer >= 0, got 'seed'"),
        ({"dtype": "float16"}, A, Y, ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"engine": "fast"}, A, Y, ValueError, "engine must be"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(est, arguments, X, y, error, match):
    with pytest.raises(error, match=match) as caught:
        est.RNNClassifier(**SMALL | arguments).fit(X, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([np.nan, 1, 0, 1, 0, 1], "y must not hold NaN, infinity"),
        ([1e39, 1, 0, 1, 0, 1], "a value too large for float32"),
        (np.ones((6, 2, 2)), r"y must hold numbers or vectors of k numbers, got shape \(6, 2, 2\)"),
        (np.ones((6, 0)), r"got shape \(6, 0\)"),
        (["a"] * 6, "y must hold numbers, got dtype <U1"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(est, y, match):
    with pytest.raises(ValueError, match=match):
        est.RNNRegressor(**SMALL).fit(A, y)


def test_predict_asks_for_a_fit_and_for_the_features_of_the_fit(est):
    conventions = importlib.import_module("numrnn.estimators.conventions")
    data, y = make(), np.arange(30) % 2
    with pytest.raises(conventions.NotFittedError, match="RNNClassifier instance is not fitted yet: call fit first"):
        est.RNNClassifier().predict(data.array)
    wide = est.RNNClassifier(**SMALL).fit(data.array, y)
    for X in (data.array[:, :, :1], data.flat):
        with pytest.raises(ValueError, match="X has 1 features, but RNNClassifier is expecting 2 features as input"):
            wide.predict(X)
    flat = est.RNNClassifier(**SMALL).fit(data.flat, y)
    with pytest.raises(ValueError, match="X has 5 features, but RNNClassifier is expecting 8 features as input"):
        flat.predict(data.flat[:, :5])
    assert same(flat.predict(data.flat), flat.predict(data.flat[:, :, None]))
    assert flat.predict(data.flat[:, :5, None]).shape == (30,)  # sequences may be of any length
    numbers = est.RNNRegressor(**SMALL).fit(data.flat, y)
    with pytest.raises(ValueError, match="y must have k=1 numbers as in fit, got 2"):
        numbers.score(data.flat, np.ones((30, 2)))


def test_a_column_of_labels_is_taken_with_a_warning(est):
    conventions = importlib.import_module("numrnn.estimators.conventions")
    data, y = make(), np.arange(30)[:, None] % 2
    with pytest.warns(conventions.DataConversionWarning, match="A column-vector y was passed"):
        model = est.RNNClassifier(**SMALL).fit(data.array, y)
    assert model.predict(data.array).shape == (30,)


def test_interrupt_ends_a_search_rather_than_one_fit(est, monkeypatch):
    base = importlib.import_module("numrnn.estimators.base")
    monkeypatch.setattr(base.Trainer, "run", lambda self: SimpleNamespace(interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        est.RNNClassifier(**SMALL).fit(A, Y)


# ---------------------------------------------------------------- scores


def test_scores_are_those_of_their_definitions(rng):
    y, p = rng.standard_normal((2, 40, 3))
    w = rng.random(40)
    mean = (w[:, None] * y).sum(0) / w.sum()
    expected = 1 - (w[:, None] * (y - p) ** 2).sum(0) / (w[:, None] * (y - mean) ** 2).sum(0)
    assert math.isclose(r_squared(y, p, w), expected.mean(), rel_tol=1e-12)
    assert r_squared(np.ones((4, 1)), np.ones((4, 1)), np.ones(4)) == 1.0
    assert r_squared(np.ones((4, 1)), np.zeros((4, 1)), np.ones(4)) == 0.0
    for value in (0.1, -1e6 / 3, *rng.standard_normal(5)):
        y, w = np.full((40, 1), value), rng.random(40)
        assert r_squared(y, y, w) == 1.0  # though the mean of y is not exactly this value
        assert r_squared(y, y + np.eye(40)[:, :1], w) == 0.0
        y[:5], w[:5] = 0, 0  # without weight a row does not count
        assert r_squared(y, y, w) == 1.0
        assert r_squared(y, y + 1, w) == 0.0
    a, b, w = *rng.integers(0, 3, (2, 40)), rng.random(40)
    assert math.isclose(accuracy(a, b, w), w[a == b].sum() / w.sum(), rel_tol=1e-12)
    for bad in ([1.0], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="sample_weight must be"):
            step_weights(bad, [2, 3])
    assert step_weights([1.0, 2.0], [2, 1]).tolist() == [1, 1, 2]


@needs_sklearn
def test_scores_are_those_of_scikit_learn(rng):
    metrics = importlib.import_module("sklearn.metrics")
    for _ in range(20):
        k = int(rng.integers(1, 4))
        y, p = rng.standard_normal((2, 30, k))
        y[:, 0] *= rng.integers(0, 2)  # constant now and then
        w = rng.random(30)
        assert math.isclose(r_squared(y, p, w), metrics.r2_score(y, p, sample_weight=w), rel_tol=1e-12)
        a, b = rng.integers(0, 3, (2, 30))
        assert math.isclose(accuracy(a, b, w), metrics.accuracy_score(a, b, sample_weight=w), rel_tol=1e-12)


# ---------------------------------------------------------------- scikit-learn's own checks and tools

CHECKED = {"hidden_size": 8, "epochs": 3, "batch_size": 8, "learning_rate": 0.05, "dtype": "float64"}
NOT_PASSED = {
    "RNNRegressor": {
        "check_regressors_train": "asks for R^2 > 0.5 on ten columns of which one counts, after 3 epochs of a network "
        "that does not know one column from another before it has learnt it; it passes with more epochs, below"
    },
}


def checks():
    """Return an estimator with each of scikit-learn's checks; one that is skipped where it is not installed."""
    if not HAS_SKLEARN:
        return pytest.mark.parametrize(
            ("estimator", "check"), [pytest.param(None, None, marks=pytest.mark.skip(reason=REASON))]
        )
    from sklearn.utils.estimator_checks import parametrize_with_checks

    from numrnn.estimators import RNNClassifier, RNNRegressor

    return parametrize_with_checks(
        [RNNClassifier(**CHECKED), RNNRegressor(**CHECKED)],
        expected_failed_checks=lambda estimator: NOT_PASSED.get(type(estimator).__name__, {}),
    )


@pytest.mark.filterwarnings("default")  # some checks give warnings of scikit-learn's own
@checks()
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@needs_sklearn
def test_the_check_that_needs_a_longer_training():
    checks = importlib.import_module("sklearn.utils.estimator_checks")
    estimators = importlib.import_module("numrnn.estimators")
    model = estimators.RNNRegressor("lstm", 16, epochs=15, batch_size=8, learning_rate=0.05)
    checks.check_regressors_train("RNNRegressor", model)


@needs_sklearn
def test_pipeline_search_and_cross_validation():
    estimators = importlib.import_module("numrnn.estimators")
    selection = importlib.import_module("sklearn.model_selection")
    pipeline = importlib.import_module("sklearn.pipeline")
    preprocessing = importlib.import_module("sklearn.preprocessing")
    base = importlib.import_module("sklearn.base")
    X = 100 + 30 * make(90).flat
    y = np.where(X.mean(axis=1) > 100, "above", "below")
    network = estimators.RNNClassifier(hidden_size=8, epochs=8, batch_size=8, random_state=0)
    steps = pipeline.make_pipeline(preprocessing.StandardScaler(), network)
    assert selection.cross_val_score(steps, X, y, cv=3).mean() > 0.8
    grid = {"rnnclassifier__cell": ["antisymmetric", "lstm"], "rnnclassifier__learning_rate": [1e-5, 0.03]}
    search = selection.GridSearchCV(steps, grid, cv=2).fit(X, y)
    assert search.best_params_["rnnclassifier__learning_rate"] == 0.03
    assert search.score(X, y) == np.mean(search.predict(X) == y) > 0.8
    again = base.clone(search.best_estimator_[-1])
    assert again.get_params() == search.best_estimator_[-1].get_params()
    assert not hasattr(again, "params_")
    assert base.is_classifier(network)
    assert base.is_regressor(estimators.RNNRegressor())


@needs_sklearn
@pytest.mark.parametrize("output", ["last", "every"])
def test_cross_validation_of_lists_of_sequences(output):
    estimators = importlib.import_module("numrnn.estimators")
    selection = importlib.import_module("sklearn.model_selection")
    X = make(24).ragged
    y = [x[:, 0] for x in X] if output == "every" else [x[:, 0].sum() for x in X]
    model = estimators.RNNRegressor(output=output, **SMALL)
    scores = selection.cross_val_score(model, X, y, cv=selection.KFold(3))
    expected = [
        model.fit([X[i] for i in train], [y[i] for i in train]).score([X[i] for i in test], [y[i] for i in test])
        for train, test in selection.KFold(3).split(X)
    ]
    assert scores.tolist() == expected


@needs_sklearn
def test_a_data_frame_keeps_the_names_of_its_columns():
    estimators = importlib.import_module("numrnn.estimators")
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(make().flat, columns=[f"hour {i}" for i in range(8)])
    model = estimators.RNNRegressor(**SMALL).fit(X, np.arange(30.0))
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    assert same(model.predict(X), model.fit(X.to_numpy(), np.arange(30.0)).predict(X.to_numpy()))
