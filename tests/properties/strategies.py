"""What the properties are tried on: cells, parameters and sequences described by a few bounded numbers.

hypothesis draws sizes, scales and a seed; the arrays come from a generator with that seed. Shrinking then makes a case
smaller but never degenerate: no array of zeros, no equal rows, no parameter that hides another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from hypothesis import given, settings, target
from hypothesis import strategies as st

import numrnn

UNGATED = ("antisymmetric",)
BOTH = ("antisymmetric", "gated")
ENGINES = ("reference", "fused")
GAMMA_ZERO = st.just(0.0)


def bounded(low, high):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


# Shares of a critical step, in half of the cases the whole of it: a step that is a little too long must be found.
TO_THE_CRITICAL_STEP = st.just(1.0) | bounded(0.2, 1)
GAMMA_POSITIVE = bounded(0.01, 0.5)
GAMMA_ANY = GAMMA_ZERO | GAMMA_POSITIVE


@dataclass(frozen=True)
class Case:
    """A cell, its parameters and a sequence; its repr is all that is needed to make it again.

    `gain` is the standard deviation of W times sqrt(n), `spread` that of h0 and x.
    """

    kind: str = "antisymmetric"
    triangular: bool = False
    n: int = 3
    m: int = 2
    batch: int = 2
    n_steps: int = 3
    seed: int = 0
    gain: float = 1.0
    spread: float = 1.0
    step_size: float = 0.1
    diffusion: float = 0.0
    dtype: str = "float64"
    engine: str = "reference"

    def but(self, **changes):
        return replace(self, **changes)

    def rng(self, purpose):
        """Return a generator for one purpose, so that another size of x leaves the parameters as they are."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def normal(self, purpose, shape, scale=1.0):
        return (scale * self.rng(purpose).standard_normal(shape)).astype(self.dtype)

    @property
    def gated(self):
        return self.kind == "gated"

    @property
    def eps(self):
        return self.step_size

    @property
    def unit(self):
        """The distance from 1 to the next number of the case's dtype."""
        return float(np.finfo(self.dtype).eps)

    @cached_property
    def cell(self):
        return numrnn.CELLS[self.kind](
            self.m, self.n, step_size=self.step_size, diffusion=self.diffusion, triangular=self.triangular
        )

    @cached_property
    def params(self):
        """Parameters without a zero; the entries of a triangular W that are no parameters are noise."""
        stds = {"W": self.gain / self.n**0.5, "V": 1 / self.m**0.5, "b": 0.5}
        return {name: self.normal(name, s, stds[name[0]]) for name, s in self.cell.parameter_shapes.items()}

    @cached_property
    def x(self):
        return self.normal("x", (self.n_steps, self.batch, self.m), self.spread)

    @cached_property
    def h0(self):
        return self.normal("h0", (self.batch, self.n), self.spread)

    @cached_property
    def d_states(self):
        return self.normal("d_states", (self.n_steps + 1, self.batch, self.n))

    @cached_property
    def lengths(self):
        return self.rng("lengths").integers(1, self.n_steps + 1, self.batch)

    @cached_property
    def M(self):
        """W - W^T in float64, by its definition and not by the library's code."""
        W = self.params["W"].astype(np.float64)
        U = np.triu(W, 1) if self.triangular else W
        return U - U.T

    @cached_property
    def A(self):
        return self.M - self.diffusion * np.eye(self.n)

    @cached_property
    def omega(self):
        return float(np.linalg.norm(self.M, 2))

    @property
    def norm_A(self):
        return math.hypot(self.diffusion, self.omega)

    def pre_activation(self, x, h, V="V", b="b"):
        return h @ self.A.T + x @ self.params[V].T + self.params[b]

    def forward(self, params=None, x=None, h0=None, **options):
        return numrnn.forward(
            self.cell,
            self.params if params is None else params,
            self.x if x is None else x,
            self.h0 if h0 is None else h0,
            **{"engine": self.engine, **options},
        )

    def gradients(self, d_states=None, *, params=None, x=None, h0=None, d_final=None, **options):
        """Return states and gradients; the cotangents are the case's own unless given."""
        states, tape = self.forward(params, x, h0, **options)
        if d_states is None and d_final is None:
            d_states = self.d_states
        return states, numrnn.backward(tape, d_states, d_final=d_final, wrt=("params", "x", "h0", "states"))

    @cached_property
    def u_max(self):
        """Bound of the terms of a pre-activation, at any state that the case can reach."""
        h_max = np.max(np.abs(self.h0)) + self.eps * self.n_steps
        V = max(np.max(np.sum(np.abs(self.params[k]), axis=1)) for k in self.params if k[0] == "V")
        b = max(np.max(np.abs(self.params[k])) for k in self.params if k[0] == "b")
        x_max = np.max(np.abs(self.x))
        return float(np.max(np.sum(np.abs(self.A), axis=1)) * h_max + V * x_max + b)

    @cached_property
    def amplification(self):
        """Bound of the growth of an error over the sequence: (1 + eps norm(A))^T."""
        return (1 + self.eps * self.norm_A) ** self.n_steps

    @property
    def state_tolerance(self):
        """Rounding of the states: that of a step, added up over T steps, each amplified by the rest."""
        h_max = float(np.max(np.abs(self.h0))) + self.eps * self.n_steps
        terms = self.n + self.m + 4
        return 4 * self.unit * terms * self.n_steps * self.amplification * (h_max + self.eps * self.u_max)

    @property
    def gradient_tolerance(self):
        """Rounding of the gradients for cotangents of size one: sums over n, m, B and T of terms that grow so much."""
        terms = (self.n + self.m + 4) * self.batch * self.n_steps
        factors = (1 + np.max(np.abs(self.h0)) + self.eps * self.n_steps) * (1 + np.max(np.abs(self.x)))
        sizes = np.sum(np.max(np.abs(self.d_states), axis=(1, 2)))
        return float(4 * self.unit * terms * self.amplification * factors * (1 + self.u_max) * sizes)


def cases(
    kinds=UNGATED,
    *,
    n=(2, 6),
    m=(1, 3),
    batch=(1, 3),
    n_steps=(1, 6),
    storages=(True, False),
    gammas=GAMMA_ANY,
    step_sizes=(0.02, 0.3),
    gains=(0.2, 1.5),
    spreads=(0.1, 1.5),
    dtypes=("float64",),
    engines=ENGINES,
):
    """Return a strategy for `Case`; pairs are bounds."""
    return st.builds(
        Case,
        kind=st.sampled_from(kinds),
        triangular=st.sampled_from(storages),
        n=st.integers(*n),
        m=st.integers(*m),
        batch=st.integers(*batch),
        n_steps=st.integers(*n_steps),
        seed=st.integers(0, 2**32 - 1),
        gain=bounded(*gains),
        spread=bounded(*spreads),
        step_size=bounded(*step_sizes),
        diffusion=gammas,
        dtype=st.sampled_from(dtypes),
        engine=st.sampled_from(engines),
    )


def for_all(*, examples, by_hand=None, **strategies):
    """Return a decorator: hypothesis's `given`, with so many examples in the derandomised profile.

    A random profile sets the number itself; `by_hand` is the most that a property takes which is too dear for that.
    The strategies stay readable on the test, for those who run it on a broken package.
    """

    def decorate(function):
        profile = settings.default
        count = examples if profile.derandomize else min(profile.max_examples, by_hand or profile.max_examples)
        test = settings(max_examples=count)(given(**strategies)(function))
        test.strategies, test.by_hand = strategies, by_hand
        return test

    return decorate


def assert_within(error, tolerance, label="error"):
    """Assert that the largest error is within the tolerance, after asking hypothesis to make it larger."""
    worst = float(np.max(np.abs(error)))
    assert math.isfinite(worst), f"{label} is {worst}"
    target(math.log10(max(worst / tolerance, 1e-300)), label=label)
    assert worst <= tolerance, f"{label} {worst:.3g} is above {tolerance:.3g}"


def assert_same_gradients(got, wanted, tolerance, label="gradient"):
    """Assert it for the parameters, the input and the first state at once."""
    pairs = [(got.params[k], wanted.params[k]) for k in wanted.params]
    pairs += [(got.x, wanted.x), (got.h0, wanted.h0)]
    assert_within(max(np.max(np.abs(a - b)) for a, b in pairs), tolerance, label)


def bits_equal(got, wanted):
    """Tell whether two results of `Case.gradients` agree bit for bit."""
    arrays = [
        [np.asarray(states), *grads.params.values(), grads.x, grads.h0, grads.states] for states, grads in (got, wanted)
    ]
    return all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))
