"""A cell of one's own that is right, and many that have one fault each."""

from typing import ClassVar

import numpy as np

from numrnn.backend import array_namespace, eye, to_numpy
from numrnn.cells.base import Cell, checked


class Leaky(Cell):
    """A cell of one's own: h + rate (tanh(W h + V x + b) - h), without tangent and Jacobian."""

    name: ClassVar[str] = "leaky"

    def __init__(self, input_size, hidden_size, rate=0.5):
        super().__init__(input_size, hidden_size)
        self.rate = rate

    @property
    def parameter_shapes(self):
        m, n = self.input_size, self.hidden_size
        return {"W": (n, n), "V": (n, m), "b": (n,)}

    def output(self, params, x, h):
        return array_namespace(h).tanh(h @ params["W"].T + x @ params["V"].T + params["b"])

    @checked
    def step(self, params, x, h):
        return h + self.rate * (self.output(params, x, h) - h)

    @checked
    def step_vjp(self, params, x, h, dh_next):
        c = self.output(params, x, h)
        return self.adjoint(params, x, h, dh_next, self.rate * (1 - c * c) * dh_next)

    def adjoint(self, params, x, h, dh_next, delta):
        db = array_namespace(h).sum(delta, axis=0)
        dh = (1 - self.rate) * dh_next + delta @ params["W"]
        return {"W": delta.T @ h, "V": delta.T @ x, "b": db}, delta @ params["V"], dh


class Whole(Leaky):
    """The same with tangent and Jacobian."""

    @checked
    def step_jvp(self, params, x, h, params_dot, x_dot, h_dot):
        c = self.output(params, x, h)
        u_dot = h_dot @ params["W"].T + h @ params_dot["W"].T
        u_dot = u_dot + x_dot @ params["V"].T + x @ params_dot["V"].T + params_dot["b"]
        return h_dot + self.rate * ((1 - c * c) * u_dot - h_dot)

    @checked
    def jacobian(self, params, x, h):
        c = self.output(params, x, h)
        return (1 - self.rate) * eye(self.hidden_size, like=h) + self.rate * (1 - c * c)[:, :, None] * params["W"]


class TransposedProduct(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, _ = super().adjoint(params, x, h, dh_next, delta)
        return dparams, dx, (1 - self.rate) * dh_next + delta @ params["W"].T


class TransposedGradient(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams | {"W": h.T @ delta}, dx, dh


class MeanOverTheBatch(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams | {"b": array_namespace(h).mean(delta, axis=0)}, dx, dh


class ForgottenInput(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams, 0 * dx, dh


class ClippedCotangent(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams, dx, dh + 1e-3


class WrongTangent(Whole):
    def step_jvp(self, params, x, h, params_dot, x_dot, h_dot):
        return super().step_jvp(params, x, h, params_dot, 2 * x_dot, h_dot)


class TransposedJacobian(Whole):
    def jacobian(self, params, x, h):
        return super().jacobian(params, x, h).mT


class LeakOfFloat64(Whole):
    def output(self, params, x, h):
        return super().output(params, x, h @ np.eye(self.hidden_size))


class LeakIntoTheGradient(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams | {"b": np.sum(delta, axis=0, dtype=np.float64)}, dx, dh


class WritesIntoTheState(Whole):
    def step(self, params, x, h):
        h += self.rate * (self.output(params, x, h) - h)
        return h.copy()


class WritesIntoTheCotangent(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        found = super().adjoint(params, x, h, dh_next, delta)
        dh_next *= 2
        return found


class WritesIntoTheParameters(Whole):
    def step(self, params, x, h):
        params["W"][1, 2] = 0
        return super().step(params, x, h)


class Forgetful(Whole):
    def config(self):
        return {key: value for key, value in super().config().items() if key != "rate"}


class RoundsItsConfig(Whole):
    def config(self):
        return super().config() | {"rate": round(self.rate, 1)}


class ConfigOfArrays(Whole):
    def config(self):
        return super().config() | {"rate": np.array([self.rate])}


class AnotherName(Whole):
    def config(self):
        return super().config() | {"cell": "elman"}


class TooMuchInItsConfig(Whole):
    def config(self):
        return super().config() | {"units": self.hidden_size}


class MixesRows(Whole):
    def output(self, params, x, h):
        return super().output(params, x - x.mean(axis=0), h)

    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams | {"V": delta.T @ (x - x.mean(axis=0))}, dx - dx.mean(axis=0), dh

    def step_jvp(self, params, x, h, params_dot, x_dot, h_dot):
        x, x_dot = x - x.mean(axis=0), x_dot - x_dot.mean(axis=0)
        return Whole.step_jvp(Whole(3, 4, self.rate), params, x, h, params_dot, x_dot, h_dot)


class Unchecked(Whole):
    def step(self, params, x, h):
        return h + self.rate * (self.output(params, x, h) - h)


class UncheckedCotangent(Whole):
    def step_vjp(self, params, x, h, dh_next):
        return Whole.step_vjp(self, params, x, h, dh_next[:, : self.hidden_size])


class OnlyNumPy(Whole):
    def output(self, params, x, h):
        return np.tanh(h @ params["W"].T + x @ params["V"].T + params["b"])


class OnTheHost(Whole):
    def jacobian(self, params, x, h):
        return Whole.jacobian(self, *({k: to_numpy(v) for k, v in params.items()}, to_numpy(x), to_numpy(h)))


class RowVector(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return dparams | {"b": dparams["b"][None, :]}, dx, dh


class ForgottenGradient(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        dparams, dx, dh = super().adjoint(params, x, h, dh_next, delta)
        return {"W": dparams["W"], "V": dparams["V"]}, dx, dh


class TwoResults(Whole):
    def adjoint(self, params, x, h, dh_next, delta):
        return super().adjoint(params, x, h, dh_next, delta)[:2]


class Random(Whole):
    def output(self, params, x, h):
        return super().output(params, x + np.random.default_rng().standard_normal(), h)


class SquareInitialValues(Whole):
    def draw_params(self, rng, initial):
        return super().draw_params(rng, initial) | {"V": np.zeros((self.hidden_size, self.hidden_size))}


class FadingPrecision(Whole):
    def init_params(self, rng, **options):
        return super().init_params(rng, **options | {"dtype": np.float32})
