"""Cells of one's own under analysis: by their own Jacobian, or not at all."""

import numpy as np
import pytest
from helpers import EPS64, draw_sequence

import numrnn
from numrnn import plots, stability
from numrnn.cells.base import Cell, checked
from numrnn.training import Checkpoint, Classifier, save_checkpoint


def assert_near(got, wanted):
    """Demand that two arrays differ by a few roundings of sums of some products."""
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 100 * EPS64 * np.abs(wanted).max()


class Leaky(Cell):
    """(1 - rate) h + rate tanh(W h + V x + b)."""

    name = "leaky"

    def __init__(self, input_size, hidden_size, rate=0.5):
        super().__init__(input_size, hidden_size)
        self.rate = rate

    @property
    def parameter_shapes(self):
        n, m = self.hidden_size, self.input_size
        return {"W": (n, n), "V": (n, m), "b": (n,)}

    @checked
    def step(self, params, x, h):
        return (1 - self.rate) * h + self.rate * np.tanh(h @ params["W"].T + x @ params["V"].T + params["b"])

    @checked
    def step_vjp(self, params, x, h, dh_next):
        raise AssertionError("no analysis needs it")


class Doubled(Leaky):
    """A leaky cell with twice the step, and the Jacobian of that."""

    def step(self, params, x, h):
        return 2 * super().step(params, x, h)

    def jacobian(self, params, x, h):
        slope = 1 - np.tanh(h @ params["W"].T + x @ params["V"].T + params["b"]) ** 2
        return 2 * ((1 - self.rate) * np.eye(self.hidden_size) + self.rate * slope[:, :, None] * params["W"])


@pytest.mark.parametrize("name", [*numrnn.CELLS])
def test_a_subclass_with_a_step_of_its_own_and_the_jacobian_of_another_is_refused(name, rng):
    kind = numrnn.CELLS[name]

    class Mine(kind):
        def step(self, params, x, h):
            return 2 * kind.step(self, params, x, h)

    cell = Mine(3, 4)
    params, x, _ = draw_sequence(cell, rng)
    with pytest.raises(TypeError, match=r"jacobian of its own step: Mine takes its step from Mine, and "):
        stability.linearize(cell, params, x)


@pytest.mark.parametrize("name", [*numrnn.CELLS])
def test_a_subclass_with_its_own_jacobian_is_analysed_by_it(name, rng):
    kind = numrnn.CELLS[name]

    class Mine(kind):
        def step(self, params, x, h):
            return 2 * kind.step(self, params, x, h)

        def jacobian(self, params, x, h):
            return 2 * kind.jacobian(self, params, x, h)

    cell = Mine(3, 4)
    params, x, _ = draw_sequence(cell, rng)
    lin = stability.linearize(cell, params, x)
    for t in range(1, lin.n_steps + 1):
        wanted = 2 * kind.jacobian(kind(3, 4), params, x[t - 1], lin.states[t - 1])
        v = rng.standard_normal((lin.batch, 2, cell.state_size))
        assert_near(lin.apply(t, v), v @ wanted.swapaxes(1, 2))
        assert_near(lin.apply_adjoint(t, v), v @ wanted)
        assert_near(lin.row(1).apply(t, v[1:2]), lin.apply(t, v)[1:2])
    np.testing.assert_allclose(
        np.sort_complex(stability.step_eigenvalues(cell, params, x, lin.states)),
        np.sort_complex(np.linalg.eigvals(stability.step_jacobians(cell, params, x, lin.states))),
    )
    with pytest.raises(TypeError, match="cell must use the step of one of numrnn.CELLS, got Mine, which has its own"):
        stability.saturation(cell, params, x, lin.states)


def test_a_cell_without_a_jacobian_is_refused_and_one_with_it_has_a_page(rng, tmp_path, monkeypatch):
    monkeypatch.setitem(numrnn.CELLS, "leaky", Leaky)
    params, x, _ = draw_sequence(Leaky(3, 4), rng)
    with pytest.raises(TypeError, match=r"jacobian of its own step: Leaky takes its step from Leaky, .* from Cell$"):
        stability.linearize(Leaky(3, 4), params, x)
    monkeypatch.setitem(numrnn.CELLS, "leaky", Doubled)
    model = Classifier(Doubled(3, 4, rate=0.25), 2)
    params = model.init_params(rng, weight_std=0.1)
    path = tmp_path / "final.npz"
    save_checkpoint(path, Checkpoint(7, params, config={"model": model.config()}))
    report = stability.stability_report(path, steps=20)
    assert report.saturation is None
    assert "Lyapunov" in str(report)
    assert "saturated" not in str(report)
    # W is small: the mean Jacobian is about 2 (1 - rate).
    np.testing.assert_allclose(report.exponents, np.log(1.5), atol=0.1)
    plots.stability_report(report, tmp_path / "page.png")
    assert (tmp_path / "page.png").exists()
