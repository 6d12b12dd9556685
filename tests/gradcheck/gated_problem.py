"""A small gated antisymmetric network with a hand-written backward pass, and the mistakes people make in one.

A  = W - W^T - gamma I
a  = h A^T + x V^T + b,   z = sigmoid(h A^T + x Vz^T + bz)
h' = h + eps z tanh(a)
loss = scale / (B T) sum over all steps of |h - y|^2 / 2
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.mutants import Instance, Problem

BUGS = (
    "sign of W",
    "factor 2 in V",
    "factor 1.0005 in W",
    "1/B forgotten",
    "1/T applied twice",
    "transpose of W",
    "transpose term of W forgotten",
    "transpose term of W added",
    "first step forgotten",
    "one step in the middle forgotten",
    "last step forgotten",
    "V and Vz swapped",
    "b and bz swapped",
    "states off by one in time",
    "inputs off by one in time",
    "diffusion forgotten",
    "gate detached",
    "gate's part of the state forgotten",
    "derivative of tanh forgotten",
    "derivative of the gate is z",
    "identity forgotten",
    "step size forgotten",
    "A not transposed",
    "one element zero",
    "b averaged over the batch",
    "truncated after one step",
    "first row of the batch only",
    "h0 zero",
    "step size 1 percent off in the state",
    "loss at the last step only",
)


@dataclass(frozen=True)
class Gated:
    """A drawn problem: no zeros anywhere, so that no mistake can hide."""

    T: int = 5
    B: int = 3
    n: int = 4
    m: int = 2
    scale: float = 1.0
    seed: int = 0
    eps: float = 0.3
    gamma: float = 0.2
    dtype: str = "float64"

    def params(self):
        rng = np.random.default_rng([self.seed, 1])
        n, m = self.n, self.m
        shapes = {"W": (n, n), "V": (n, m), "b": (n,), "Vz": (n, m), "bz": (n,), "h0": (self.B, n)}
        return {name: (rng.normal(size=s) / np.sqrt(s[-1])).astype(self.dtype) for name, s in shapes.items()}

    def data(self, dtype):
        rng = np.random.default_rng([self.seed, 2])
        real = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        x, y = rng.normal(size=(self.T, self.B, self.m)), rng.normal(size=(self.T, self.B, self.n))
        return x.astype(real), y.astype(real)

    def forward(self, p):
        x, y = self.data(p["W"].dtype)
        h, tape, loss = p["h0"], [], 0
        A = p["W"] - p["W"].T - self.gamma * np.eye(self.n, dtype=x.dtype)
        for t in range(self.T):
            a = np.tanh(h @ A.T + x[t] @ p["V"].T + p["b"])
            z = (1 + np.tanh((h @ A.T + x[t] @ p["Vz"].T + p["bz"]) / 2)) / 2
            tape.append((x[t], h, a, z))
            h = h + self.eps * z * a
            loss = loss + np.sum((h - y[t]) ** 2) / 2
        return loss * p["W"].dtype.type(self.scale / (self.B * self.T)), tape, h, y, A

    def loss(self, p):
        return self.forward(p)[0]

    def gradient(self, p, bug=None):
        """Return the gradient, with one mistake if `bug` names it."""
        _, tape, last, y, A = self.forward(p)
        kind = p["W"].dtype.type
        weight = kind(self.scale / (self.T if bug == "1/B forgotten" else self.B * self.T))
        weight = weight / kind(self.T if bug == "1/T applied twice" else 1)
        hs = [h for _, h, _, _ in tape] + [last]
        g = {name: np.zeros_like(value) for name, value in p.items()}
        dh, dA = np.zeros_like(last), np.zeros_like(A)
        back = A + self.gamma * np.eye(self.n, dtype=A.dtype) if bug == "diffusion forgotten" else A
        for t in reversed(range(self.T)):
            x, h, a, z = tape[t]
            if bug != "loss at the last step only" or t == self.T - 1:
                dh = dh + weight * (hs[t + 1] - y[t])
            if bug == "first row of the batch only":
                dh = dh * np.eye(1, self.B, dtype=dh.dtype).T
            step = kind(1 if bug == "step size forgotten" else self.eps)
            da = step * dh * z * (1 if bug == "derivative of tanh forgotten" else 1 - a * a)
            dz = step * dh * a * (z if bug == "derivative of the gate is z" else z * (1 - z))
            if bug == "gate detached":
                dz = np.zeros_like(dz)
            skipped = {
                "first step forgotten": 0,
                "one step in the middle forgotten": 2,
                "last step forgotten": self.T - 1,
            }
            if skipped.get(bug) != t:
                source = hs[t + 1] if bug == "states off by one in time" else h
                inputs = tape[max(t - 1, 0)][0] if bug == "inputs off by one in time" else x
                state = da if bug == "gate's part of the state forgotten" else da + dz
                dA = dA + state.T @ source
                g["V"] += da.T @ inputs
                g["Vz"] += dz.T @ inputs
                g["b"] += da.mean(0) if bug == "b averaged over the batch" else da.sum(0)
                g["bz"] += dz.sum(0)
            through = (da + dz) @ (back.T if bug == "A not transposed" else back)
            if bug == "step size 1 percent off in the state":
                through = through * kind(1.01)
            dh = through if bug == "identity forgotten" else dh + through
            if bug == "truncated after one step":
                dh = np.zeros_like(dh)
        g["h0"] = np.zeros_like(dh) if bug == "h0 zero" else dh
        g["W"] = dA - dA.T
        return self._afterwards(g, dA, bug)

    @staticmethod
    def _afterwards(g, dA, bug):
        if bug == "sign of W":
            g["W"] = -g["W"]
        elif bug == "factor 2 in V":
            g["V"] = 2 * g["V"]
        elif bug == "factor 1.0005 in W":
            g["W"] = g["W"] * g["W"].dtype.type(1.0005)
        elif bug == "transpose of W":
            g["W"] = np.ascontiguousarray(g["W"].T)
        elif bug == "transpose term of W forgotten":
            g["W"] = dA
        elif bug == "transpose term of W added":
            g["W"] = dA + dA.T
        elif bug == "V and Vz swapped":
            g["V"], g["Vz"] = g["Vz"], g["V"]
        elif bug == "b and bz swapped":
            g["b"], g["bz"] = g["bz"], g["b"]
        elif bug == "one element zero":
            g["V"][1, 1] = 0
        return g


def make_gated(seed, dtype, scale):
    problem = Gated(seed=seed, dtype=dtype, scale=scale)
    mutants = {bug: (lambda p, bug=bug: problem.gradient(p, bug)) for bug in BUGS[:4]}
    return Instance(problem.loss, problem.gradient, problem.params(), mutants)


def make_invisible(seed, dtype, scale):
    """Return a problem whose mutant is off by less than the rule can see."""
    problem = Gated(seed=seed, dtype=dtype, scale=scale)

    def nearly(p):
        return {name: g * (1 + 4 * np.finfo(g.dtype).eps) for name, g in problem.gradient(p).items()}

    return Instance(problem.loss, problem.gradient, problem.params(), {"a few roundings": nearly})


INVISIBLE = [Problem("invisible", make_invisible)]
PROBLEMS = [Problem("gated", make_gated)]
