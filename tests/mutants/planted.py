"""The problems of docs/kill_matrix.md: every hand-written derivative of numrnn, each with slips planted in it.

The loss is always that of the real package, the gradient that of an edited copy (edits.py). Points are drawn with no
zeros in them: cases that hide bugs (T = 1, h0 = 0, zero biases, gamma = 0) would make survivors of bugs that cannot be
seen there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import slips
from edits import Edit, edited_package

import numrnn
import numrnn.training
from gradcheck.mutants import Instance, Problem

Arrays = dict[str, np.ndarray]
EULER = {"step_size": 0.3, "diffusion": 0.2}
LIPSCHITZ = {"step_size": 0.3, "beta_A": 0.8, "beta_W": 0.6, "diffusion_A": 0.2, "diffusion_W": 0.1}
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "antisymmetric, triangular": ("antisymmetric", {**EULER, "triangular": True}),
    "antisymmetric, full": ("antisymmetric", {**EULER, "triangular": False}),
    "gated, triangular": ("gated", {**EULER, "triangular": True}),
    "gated, full": ("gated", {**EULER, "triangular": False}),
    "unstructured": ("unstructured", EULER),
    "gated-unstructured": ("gated-unstructured", EULER),
    "elman": ("elman", {}),
    "lstm": ("lstm", {}),
    "lipschitz, euler": ("lipschitz", {**LIPSCHITZ, "method": "euler"}),
    "lipschitz, rk2": ("lipschitz", {**LIPSCHITZ, "method": "rk2"}),
    "stack": ("stack", {}),
}


@dataclass(frozen=True)
class Family:
    """A way to make a loss and its gradient from numrnn.

    Attributes
    ----------
    name : str
        How the table calls it.
    cell : str
        A key of `CELLS`.
    loss : callable
        ``loss(cell, params, data)``, by the real package.
    gradient : callable
        ``gradient(package, cell, params, data)``, a dict like params.
    edits : sequence of Edit
        Slips that the gradient is asked with.
    model : bool
        Whether the parameters are those of a classifier, and not those of a cell with x and h0.
    sizes : mapping
        T, B, m, n.
    """

    name: str
    cell: str
    loss: Callable[..., Any]
    gradient: Callable[..., Arrays]
    edits: Sequence[Edit]
    model: bool = False
    sizes: Mapping[str, int] = field(default_factory=lambda: {"T": 5, "B": 3, "m": 2, "n": 3})

    def make_cell(self, package: ModuleType) -> Any:
        """Return the cell, of the class of `package`."""
        return make_cell(package, self.cell, self.sizes["m"], self.sizes["n"])

    def draw(self, seed: int, dtype: str) -> tuple[Arrays, Arrays]:
        """Return parameters and data; no parameter is zero anywhere."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        cell, (T, B, m) = self.make_cell(numrnn), (self.sizes[k] for k in "TBm")
        shapes = {**cell.parameter_shapes}
        if self.model:
            shapes |= {"W_out": (4, cell.hidden_size), "b_out": (4,)}
        params = {name: 0.6 * rng.standard_normal(shape) for name, shape in shapes.items()}
        x, h0 = rng.standard_normal((T, B, m)), rng.standard_normal((B, cell.state_size))
        data = {
            "d_states": rng.standard_normal((T + 1, B, cell.state_size)),
            "d_final": rng.standard_normal((B, cell.state_size)),
            "targets": rng.standard_normal((B, cell.hidden_size)),
            "labels": rng.integers(0, 4, B),
            "lengths": np.array([T, *rng.integers(1, T, B - 1)]),
        }
        if self.model:
            data["x"] = x
        else:
            params |= {"x": x, "h0": h0}
        return {name: p.astype(dtype) for name, p in params.items()}, data

    def make(self, seed: int, dtype: str, scale: float) -> Instance:
        """Return the problem at one seed."""
        params, data = self.draw(seed, dtype)

        def loss(p: Arrays) -> Any:
            kind = real_type(p)
            return self.loss(self.make_cell(numrnn), p, cast(data, kind)) * kind(scale)

        def gradient_by(package: Callable[[], ModuleType]) -> Callable[[Arrays], Arrays]:
            def gradient(p: Arrays) -> Arrays:
                kind, module = real_type(p), package()
                found = self.gradient(module, self.make_cell(module), p, cast(data, kind))
                return {name: found[name] * kind(scale) for name in p}

            return gradient

        mutants = {edit.name: gradient_by(lambda edit=edit: edited_package(edit)) for edit in self.edits}
        return Instance(loss, gradient_by(lambda: numrnn), params, mutants)


def make_cell(package: ModuleType, kind: str, m: int, n: int, **changes: Any) -> Any:
    """Return a cell of `package`: a key of `CELLS`, some of its options changed; a stack has an LSTM below."""
    name, options = CELLS[kind]
    if name == "stack":
        return package.Stack([package.LSTMCell(m, 2), package.AntisymmetricCell(2, n, **EULER)])
    return package.CELLS[name](m, n, **{**options, **changes})


def real_type(params: Arrays) -> Any:
    """Return the real type of the parameters' precision."""
    return np.float32 if next(iter(params.values())).dtype in (np.float32, np.complex64) else np.float64


def cast(data: Arrays, kind: Any) -> Arrays:
    """Return the data with its floating-point arrays in another precision."""
    return {name: value.astype(kind) if value.dtype.kind == "f" else value for name, value in data.items()}


def core(cell: Any, params: Arrays) -> Arrays:
    """Return the parameters of the cell."""
    return {name: params[name] for name in cell.parameter_shapes}


def one_step_loss(cell: Any, p: Arrays, data: Arrays) -> Any:
    """Return <w, step(params, x_0, h_0)>."""
    return np.sum(data["d_final"] * cell.step(core(cell, p), p["x"][0], p["h0"]))


def one_step_by_tangents(package: ModuleType, cell: Any, p: Arrays, data: Arrays) -> Arrays:
    """Return the gradient of one step, one tangent an element; that of h by the Jacobian."""
    params, x, h, w = core(cell, p), p["x"][0], p["h0"], data["d_final"]
    found = {name: np.zeros_like(value) for name, value in p.items()}
    for name in [*params, "x"]:
        target = found[name] if name in params else found["x"][0]
        for index in np.ndindex(target.shape):
            dots = {key: np.zeros_like(value) for key, value in {**params, "x": x, "h": h}.items()}
            dots[name][index] = 1
            x_dot, h_dot = dots.pop("x"), dots.pop("h")
            target[index] = np.sum(w * cell.step_jvp(params, x, h, dots, x_dot, h_dot))
    found["h0"] = np.einsum("bi,bij->bj", w, cell.jacobian(params, x, h))
    return found


def through_time(**options: Any) -> dict[str, Any]:
    """Return loss and gradient of a weighted sum of all states; `lengths=True` takes the lengths of the data."""

    def settings(data: Arrays) -> dict[str, Any]:
        return {key: data["lengths"] if key == "lengths" else value for key, value in options.items()}

    def loss(cell: Any, p: Arrays, data: Arrays) -> Any:
        engine = {"engine": "auto"}  # the fused engine leaves complex steps to the reference
        states, _ = numrnn.forward(cell, core(cell, p), p["x"], p["h0"], **{**settings(data), **engine})
        states = np.stack(list(states)) if "recompute_every" in options else states
        return np.sum(data["d_states"] * states) + np.sum(data["d_final"] * states[-1])

    def gradient(package: ModuleType, cell: Any, p: Arrays, data: Arrays) -> Arrays:
        _, tape = package.forward(cell, core(cell, p), p["x"], p["h0"], **settings(data))
        grads = package.backward(tape, data["d_states"], d_final=data["d_final"])
        return {**grads.params, "x": grads.x, "h0": grads.h0}

    return {"loss": loss, "gradient": gradient}


def classifier_loss(cell: Any, p: Arrays, data: Arrays) -> Any:
    """Return the mean cross-entropy of padded rows."""
    return numrnn.training.Classifier(cell, 4).loss(p, data["x"], data["labels"], lengths=data["lengths"])


def classifier_gradient(package: ModuleType, cell: Any, p: Arrays, data: Arrays) -> Arrays:
    """Return its gradient as `loss_and_gradient` gives it."""
    model = package.training.Classifier(cell, 4)
    return model.loss_and_gradient(p, data["x"], data["labels"], lengths=data["lengths"])[1]


def regression_loss(cell: Any, p: Arrays, data: Arrays) -> Any:
    """Return the mean squared error of the last hidden state."""
    last = numrnn.forward(cell, core(cell, p), p["x"], p["h0"])[0][-1]
    return numrnn.training.mean_squared_error(last, data["targets"])[0]


def regression_gradient(package: ModuleType, cell: Any, p: Arrays, data: Arrays) -> Arrays:
    """Return its gradient."""
    states, tape = package.forward(cell, core(cell, p), p["x"], p["h0"])
    _, d_last = package.training.mean_squared_error(states[-1], data["targets"])
    grads = package.backward(tape, d_final=d_last)
    return {**grads.params, "x": grads.x, "h0": grads.h0}


CLIPPED = 0.25  # max_norm; every gradient drawn here is larger


def clipped_gradient(package: ModuleType, cell: Any, p: Arrays, data: Arrays) -> Arrays:
    """Return the clipped gradient, what an optimiser is given, times the factor by which it must have been scaled."""
    found = classifier_gradient(package, cell, p, data)
    norm = np.sqrt(sum(np.sum(value.astype(np.float64) ** 2) for value in found.values()))
    assert norm > CLIPPED, "nothing is clipped here"
    clipped, _ = package.training.clip_by_global_norm(found, CLIPPED)
    return {name: value * real_type(p)(norm / CLIPPED) for name, value in clipped.items()}


def updates(package: ModuleType, cell: Any, p: Arrays, data: Arrays) -> Arrays:
    """Return the gradient as read off two Nesterov updates of SGD that start at zero, and off the mean of Adam."""
    found = classifier_gradient(package, cell, p, data)
    training, rate, mu = package.training, 0.5, 0.5  # powers of two: nothing is rounded on the way back
    sgd, adam = training.SGD(rate, momentum=mu, nesterov=True), training.Adam(rate, beta1=0.5)
    zero = {name: np.zeros_like(value) for name, value in found.items()}
    moved, state = zero, sgd.init(zero)
    for _ in range(2):
        moved, state = sgd.update(moved, found, state)
    steps = rate * ((1 + mu) + (1 + mu + mu * mu))  # v is 1 and then 1 + mu gradients
    _, adam_state = adam.update(zero, found, adam.init(zero))
    read = {name: -value / real_type(p)(steps) for name, value in moved.items()}
    return {**read, "b_out": 2 * adam_state["mean"]["b_out"]}


REFERENCE = through_time(engine="reference")
TANGENTS = {"loss": one_step_loss, "gradient": one_step_by_tangents}
LONG = {"T": 70, "B": 2, "m": 2, "n": 3}  # two chunks of the fused engine
FAMILIES = (
    Family("antisymmetric, triangular", "antisymmetric, triangular", **REFERENCE, edits=slips.TRIANGULAR),
    Family("antisymmetric, full", "antisymmetric, full", **REFERENCE, edits=slips.ANTISYMMETRIC),
    Family("gated, full", "gated, full", **REFERENCE, edits=slips.GATED),
    Family("gated, triangular", "gated, triangular", **REFERENCE, edits=slips.GATED_TRIANGULAR),
    Family("unstructured", "unstructured", **REFERENCE, edits=slips.UNSTRUCTURED),
    Family("gated unstructured", "gated-unstructured", **REFERENCE, edits=slips.GATED_UNSTRUCTURED),
    Family("elman", "elman", **REFERENCE, edits=slips.ELMAN),
    Family("lstm", "lstm", **REFERENCE, edits=slips.LSTM),
    Family("lipschitz, Euler", "lipschitz, euler", **REFERENCE, edits=slips.LIPSCHITZ),
    Family("lipschitz, RK2", "lipschitz, rk2", **REFERENCE, edits=slips.LIPSCHITZ_RK2),
    Family("stack", "stack", **REFERENCE, edits=slips.STACK),
    Family("layer by layer", "stack", **through_time(engine="auto", lengths=True), edits=slips.LAYERED),
    Family(
        "layer by layer, checkpoints",
        "stack",
        **through_time(engine="auto", recompute_every=1),
        edits=slips.LAYERED_CHECKPOINTS,
        sizes=LONG,
    ),
    Family("through time", "gated, full", **REFERENCE, edits=slips.TIME),
    Family("lengths", "gated, triangular", **through_time(engine="reference", lengths=True), edits=slips.LENGTHS),
    Family(
        "checkpoints",
        "antisymmetric, full",
        **through_time(engine="reference", recompute_every=3),
        edits=slips.CHECKPOINTS,
    ),
    Family(
        "fused engine",
        "gated, full",
        **through_time(engine="fused", lengths=True),
        edits=slips.FUSED,
        sizes=LONG,
    ),
    Family(
        "fused engine, checkpoints",
        "antisymmetric, triangular",
        **through_time(engine="fused", recompute_every=16),
        edits=slips.FUSED_CHECKPOINTS,
        sizes=LONG,
    ),
    Family(
        "fused engine, lipschitz, Euler",
        "lipschitz, euler",
        **through_time(engine="fused", lengths=True),
        edits=slips.FUSED_LIPSCHITZ,
    ),
    Family(
        "fused engine, lipschitz, RK2",
        "lipschitz, rk2",
        **through_time(engine="fused", lengths=True),
        edits=slips.FUSED_LIPSCHITZ_RK2,
    ),
    Family("classifier", "lstm", classifier_loss, classifier_gradient, slips.READ_OUT, model=True),
    Family("squared error", "antisymmetric, full", regression_loss, regression_gradient, slips.SQUARES),
    Family("clipping", "gated, full", classifier_loss, clipped_gradient, slips.CLIP, model=True),
    Family("updates", "gated, triangular", classifier_loss, updates, slips.UPDATE, model=True),
    Family("tangents, antisymmetric", "antisymmetric, full", **TANGENTS, edits=slips.EULER_TANGENT),
    Family("tangents, gated", "gated, full", **TANGENTS, edits=slips.GATED_TANGENT),
    Family("tangents, elman", "elman", **TANGENTS, edits=slips.ELMAN_TANGENT),
    Family("tangents, lstm", "lstm", **TANGENTS, edits=slips.LSTM_TANGENT),
    Family("tangents, lipschitz, Euler", "lipschitz, euler", **TANGENTS, edits=slips.LIPSCHITZ_TANGENT),
    Family("tangents, lipschitz, RK2", "lipschitz, rk2", **TANGENTS, edits=slips.LIPSCHITZ_RK2_TANGENT),
    Family("tangents, stack", "stack", **TANGENTS, edits=slips.STACK_TANGENT),
)
PROBLEMS = tuple(Problem(family.name, family.make) for family in FAMILIES)
