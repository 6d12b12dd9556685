"""assert_cell passes what is right, and names the fault of what is wrong."""

import importlib
import re
import sys

import numpy as np
import pytest
import wrong_cells as wrong
from wrong_cells import Leaky, Whole

import numrnn
from numrnn.backend import array_namespace
from numrnn.cells.base import checked
from numrnn.datasets import Sequences
from numrnn.testing import assert_cell
from numrnn.testing.cell_checks import BATCH, CHECKS, Point
from numrnn.training import Adam, Regressor, Trainer, TrainingConfig

# --- what is right


def test_every_cell_of_the_package_passes_every_check(cell):
    for seed in range(3):
        checks = assert_cell(cell, seed=seed)
        assert checks.passed == tuple(CHECKS)
        assert checks.skipped == {}


def test_a_cell_of_ones_own_passes_and_what_it_lacks_is_said():
    assert assert_cell(Whole(3, 4, rate=0.3)).skipped == {}
    checks = assert_cell(Leaky(3, 4, rate=0.3))
    assert set(checks.skipped) == {
        "step_jvp",
        "jacobian",
        "step_jvp is the tangent of step",
        "step_jvp and step_vjp are transposes",
        "jacobian is the derivative of step by h",
    }
    assert "skipped: jacobian: it raises NotImplementedError" in str(checks).splitlines()
    assert "passed: step_vjp is the adjoint of step" in str(checks).splitlines()


def test_the_smallest_sizes_pass():
    for m, n in ((1, 1), (1, 3), (4, 1)):
        for kind in numrnn.CELLS.values():
            checks = assert_cell(kind(m, n))
            # W - W^T of one unit is zero, whatever W is: of its gradient nothing can be told.
            assert all(reason.startswith("params.W: ") for reason in checks.skipped.values())
            assert bool(checks.skipped) == (n == 1 and "triangular" in kind(m, n).config())


def test_without_array_api_strict_that_check_is_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    assert assert_cell(Whole(2, 3)).skipped == {"any array library will do": "array-api-strict is not installed"}


def test_parameters_may_be_given():
    class Root(Whole):
        """A cell whose b must be positive."""

        def output(self, params, x, h):
            return super().output(params | {"b": params["b"] ** 0.5}, x, h)

        def adjoint(self, params, x, h, dh_next, delta):
            dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
            return dparams | {"b": dparams["b"] / (2 * params["b"] ** 0.5)}, dx, dh

        def step_jvp(self, *arguments):
            raise NotImplementedError

    rng, cell = np.random.default_rng(0), Root(2, 3)
    params = {name: rng.random(shape) + 0.5 for name, shape in cell.parameter_shapes.items()}
    assert "step_vjp is the adjoint of step" in assert_cell(cell, params).passed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("elman",), TypeError, "cell must be a numrnn cell, got str"),
        ((Leaky(2, 3), {"W": np.ones((3, 3))}), ValueError, "params must have the names W, V, b, got W"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        assert_cell(*arguments)
    with pytest.raises(ValueError, match="seed must be an integer >= 0"):
        assert_cell(Leaky(2, 3), seed=-1)


# --- what is wrong: each cell has one fault

ADJOINT = "it is not true that step_vjp is the adjoint of step: "
FAULTS = [
    (wrong.TransposedProduct, ADJOINT + r"worst element h\[\d, \d\]: analytic .*, numeric .*"),
    (wrong.TransposedGradient, ADJOINT + r"worst element params\.W\[\d, \d\].*\(diagnosis: .*transpos"),
    (wrong.MeanOverTheBatch, ADJOINT + r"worst element params\.b\[\d\].*, ratio 0\.2 "),
    (wrong.ForgottenInput, ADJOINT + r"worst element x\[\d, \d\]: analytic -?0, "),
    (wrong.ClippedCotangent, ADJOINT + r"worst element h\[\d, \d\]"),
    (
        wrong.WrongTangent,
        r"it is not true that step_jvp is the tangent of step: worst element x\[\d\].*, ratio 2 ",
    ),
    (wrong.TransposedJacobian, r"it is not true that jacobian is the derivative of step by h: "),
    (wrong.LeakOfFloat64, "step must be float32 for arguments of float32, got float64"),
    (
        wrong.LeakIntoTheGradient,
        r"dparams\['b'\] of step_vjp must be float32 for arguments of float32, got float64",
    ),
    (wrong.WritesIntoTheState, r"h must not be written into: element \[\d, \d\] is .*, expected "),
    (wrong.WritesIntoTheCotangent, r"dh_next must not be written into: element \[\d, \d\] is .*, expected "),
    (wrong.WritesIntoTheParameters, r"params\['W'\] must not be written into: element \[1, 2\] is 0, expected "),
    (wrong.Forgetful, r"config must have 'rate', an argument of Forgetful, got \['input_size', 'hidden_size'\]"),
    (
        wrong.RoundsItsConfig,
        r"config must make the same cell again, but its step differs: element \[\d, \d\] is ",
    ),
    (wrong.ConfigOfArrays, "config must return what JSON can hold: .*ndarray"),
    (wrong.AnotherName, "config must have the cell's name under 'cell', got 'elman'"),
    (wrong.TooMuchInItsConfig, "config must make the cell again, got TypeError: .*units"),
    (wrong.MixesRows, r"row 0 of step must not depend on the other rows: element \[0, \d\] is .*, expected "),
    (
        wrong.Unchecked,
        r"step must raise a TypeError or ValueError that names x where it has the shape \(5, 4\).*; got ",
    ),
    (
        wrong.UncheckedCotangent,
        "step_vjp must raise a TypeError or ValueError that names dh_next where it .*; got no error",
    ),
    (wrong.OnlyNumPy, "every method must run on any array library .* with array-api-strict it raises "),
    (
        wrong.OnTheHost,
        "jacobian must stay in the library and on the device of the arguments, got numpy.ndarray on cpu",
    ),
    (wrong.RowVector, r"dparams\['b'\] of step_vjp must have the shape \(4,\), got \(1, 4\)"),
    (wrong.ForgottenGradient, "dparams of step_vjp must have the names W, V, b, got W, V"),
    (wrong.TwoResults, r"step_vjp must return a tuple \(dparams, dx, dh\)"),
    (wrong.Random, "step must be the same for the same arguments: element "),
    (wrong.SquareInitialValues, r"init_params must give the shapes .*, got .*'V': \(4, 4\)"),
    (wrong.FadingPrecision, "W of init_params must be float64 for arguments of float64, got float32"),
]


@pytest.mark.parametrize(("kind", "message"), FAULTS, ids=[kind.__name__ for kind, _ in FAULTS])
def test_a_wrong_cell_fails_with_a_line_that_names_its_fault(kind, message):
    for seed in range(3):
        with pytest.raises(AssertionError, match=message) as caught:
            assert_cell(kind(3, 4, rate=0.37), seed=seed)
        assert "\n" not in str(caught.value)


RESULTS = ("step", "dx of step_vjp", "dh of step_vjp", "dparams['V'] of step_vjp", "step_jvp", "jacobian")


def with_result(name, change):
    """Return a cell one of whose results is changed."""

    class Changed(Whole):
        def step(self, *arguments):
            found = super().step(*arguments)
            return change(found) if name == "step" else found

        def step_vjp(self, *arguments):
            dparams, dx, dh = super().step_vjp(*arguments)
            dparams = dparams | {"V": change(dparams["V"])} if name.startswith("dparams") else dparams
            dx, dh = (change(d) if name.startswith(place) else d for place, d in (("dx", dx), ("dh", dh)))
            return dparams, dx, dh

        def step_jvp(self, *arguments):
            found = super().step_jvp(*arguments)
            return change(found) if name == "step_jvp" else found

        def jacobian(self, *arguments):
            found = super().jacobian(*arguments)
            return change(found) if name == "jacobian" else found

    return Changed(3, 4, rate=0.37)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_is_not_finite_or_no_array_is_named(name, rng):
    for bad in (np.nan, np.inf, -np.inf):
        place = int(rng.integers(12))

        def spoil(array, bad=bad, place=place):
            flat = array.ravel().copy()
            flat[place] = bad
            return flat.reshape(array.shape)

        message = rf"^{re.escape(name)} must be finite for finite arguments: element \[[\d, ]+\] is {bad}$"
        with pytest.raises(AssertionError, match=message):
            assert_cell(with_result(name, spoil))
    for change, kind in ((lambda array: None, "NoneType"), (lambda array: array.tolist(), "list")):
        with pytest.raises(AssertionError, match=rf"^{re.escape(name)} must be an array, got {kind}$"):
            assert_cell(with_result(name, change))


def test_a_config_that_is_no_dict_is_named():
    class Nothing(Whole):
        def config(self):
            return None

    with pytest.raises(AssertionError, match=r"^config must return a dict, got NoneType$"):
        assert_cell(Nothing(3, 4))


class Reservoir(numrnn.Cell):
    """A fixed recurrent network, of which only the read-out is trained: it has no parameters."""

    name = "reservoir"
    parameter_shapes = {}  # noqa: RUF012

    def draw_params(self, rng, initial):
        return {}

    @checked
    def step(self, params, x, h):
        return 0.5 * h + array_namespace(x).sum(x, axis=1)[:, None]

    @checked
    def step_vjp(self, params, x, h, dh_next):
        xp = array_namespace(x)
        return {}, xp.sum(dh_next, axis=1)[:, None] * xp.ones_like(x), 0.5 * dh_next


def test_a_cell_without_parameters_passes_and_its_readout_is_trained(tmp_path, rng):
    checks = assert_cell(Reservoir(3, 4))
    assert "step_vjp is the adjoint of step" in checks.passed
    assert "errors name the argument" in checks.passed
    model = Regressor(Reservoir(2, 4), n_outputs=1)
    x = rng.normal(size=(40, 6, 2))
    data = Sequences(list(x), (x.sum(axis=2) @ 0.5 ** np.arange(5, -1, -1))[:, None])  # each state's elements
    config = TrainingConfig(epochs=60, batch_size=10, dtype="float64")
    result = Trainer(model, Adam(0.05), None, data, config, tmp_path, show_progress=False).run()
    assert set(result.params) == {"W_out", "b_out"}
    losses = [record["loss"] for record in result.history("training")]
    assert losses[-1] < 1e-3 * losses[0]


def test_arguments_of_a_checked_method_have_the_names_by_which_they_are_checked():
    def step(self, p, x, h): ...
    def jacobian(self, params, h, x): ...
    def step_vjp(self, params, x): ...
    def step_jvp(self, params, x, h, dparams, dx, dh): ...

    for method in (step, jacobian, step_vjp, step_jvp):
        with pytest.raises(
            TypeError, match=rf"{method.__name__} must name its arguments params, x, h.*, as it is checked, got "
        ):
            checked(method)


# --- checks of what a cell alone can hardly get wrong


def point_of(cell, rng):
    params = {name: 0.5 * rng.standard_normal(shape) for name, shape in cell.parameter_shapes.items()}
    x, (h, w) = rng.standard_normal((BATCH, 3)), rng.standard_normal((2, BATCH, 4))
    return Point(cell, params, x, h, w)


def test_engines_that_differ_are_found(rng, monkeypatch):
    cell = numrnn.ElmanCell(3, 4)
    cell.step = lambda params, x, h: 0.5 * numrnn.ElmanCell.step(cell, params, x, h)
    # An engine that looks at the class only.
    monkeypatch.setattr(importlib.import_module("numrnn.engines.cpu.tape"), "same_step", isinstance)
    with pytest.raises(AssertionError, match=r"states by engine='auto' must be that by engine='reference': element \["):
        CHECKS["engines agree"](point_of(cell, rng))


def test_a_step_that_divides_by_its_input_may_read_padded_sequences():
    class Normed(Whole):
        def output(self, params, x, h):
            return super().output(params, x / self.norm(x), h)

        def adjoint(self, params, x, h, dh_next, delta):
            dparams, dy, dh = super().adjoint(params, x, h, dh_next, delta)
            y, norm = x / self.norm(x), self.norm(x)
            dx = (dy - y * array_namespace(x).sum(y * dy, axis=1)[:, None]) / norm
            return dparams | {"V": delta.T @ y}, dx, dh

        def norm(self, x):
            return (array_namespace(x).sum(x * x, axis=1) ** 0.5)[:, None]

        def step_jvp(self, *arguments):
            raise NotImplementedError

    assert_cell(Normed(3, 4))  # the padding is 0, and no adjoint is evaluated there
