"""Every tagged line of the reference is held by a check: one percent more in its result is found.

The checks compare step, tangent, adjoint and Jacobian with one another and with complex steps through the forward
pass, so that a wrong line on any side makes two of them disagree. A tag removed from the derivation, from the code, or
from the lists below fails here.
"""

import ast
import types
import unittest.mock

import numpy as np
import pytest

import numrnn
from numrnn.training import Classifier
from tools import tags
from tools.site import companion

B, M, N, K, T = 3, 2, 4, 5, 6
EPS = np.finfo(np.float64).eps
GROWTH = 2**12  # of rounding, relative to the size of what is compared
STEP = 1e-30  # of the complex step: nothing is subtracted, so it can be as small as wanted
# Which tags are held in which file.
HELD = {
    "numrnn/cells/antisymmetric.py": "F1 F2 F3 F4 T1 T2 T3 T4 B1 B2 B3 B4 B5 B6 J1",
    "numrnn/cells/gated.py": "F5 F6 F7 F8 T5 T6 T7 T8 B7 B8 B9 B10 B11 B12 B13 B14 J2 J3",
    "numrnn/cells/unstructured.py": "F9 T9 B15",
    "numrnn/cells/elman.py": "F10 F11 T10 T11 B16 B17 B18 J4",
    "numrnn/cells/lstm.py": "F12 F13 F14 F15 T12 T13 T14 T15 B19 B20 B21 B22 B23 B24 B25 J5 J6 J7 J8",
    "numrnn/cells/stack.py": "F19 T16 B31 B32 J9 J10",
    "numrnn/cells/lipschitz.py": "F20 F21 F22 F23 F24 F25 T17 T18 T19 T20 T21 "
    "B34 B35 B36 B37 B38 B39 B40 B41 J11 J12 J13",
    "numrnn/layered.py": "B33",
    "numrnn/bptt.py": "F16 B26 B27",
    "numrnn/training/readout.py": "F17 B29 B30",
    "numrnn/training/losses.py": "F18 B28",
}
NAMES = {kind.__name__ for kind in numrnn.CELLS.values()}
LINES = [(path, tag) for path, held in HELD.items() for tag in held.split()]


def off(value):
    """Return a result, or each part of it, one percent too large."""
    if isinstance(value, tuple):
        return tuple(off(one) for one in value)
    if isinstance(value, dict):
        return {name: off(one) for name, one in value.items()}
    return value * 1.01 if isinstance(value, np.ndarray | np.generic) else value


def edited(path, number=None):
    """Return a module, run anew with the result of the statement that ends at a line passed through `off`."""
    tree = ast.parse((tags.ROOT / path).read_text(encoding="utf-8"))
    changed = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or getattr(node, "end_lineno", None) != number:
            continue
        if isinstance(node, ast.Return | ast.Assign | ast.AugAssign):
            node.value = wrapped(node.value)
            changed.append(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # of a list's append
            node.value.args[-1] = wrapped(node.value.args[-1])
            changed.append(node)
    assert len(changed) == (number is not None), (path, number)
    module = types.ModuleType(path.removesuffix(".py").replace("/", "."))
    module.__dict__["off"] = off
    exec(compile(ast.fix_missing_locations(tree), path, "exec"), module.__dict__)
    return module


def wrapped(value):
    return ast.Call(func=ast.Name("off", ast.Load()), args=[value], keywords=[])


def drawn(rng, shapes):
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def differ(a, b, size=None):
    """Tell whether two results differ by more than rounding, relative to `size` or to the larger of them."""
    size = np.max(np.abs(a)) + np.max(np.abs(b)) if size is None else size
    return bool(np.max(np.abs(np.asarray(a) - b)) > GROWTH * EPS * size)


def derivative(function, point, direction):
    """Return the derivative of a function of a dict of arrays along a direction, by a complex step."""
    return np.imag(function({name: point[name] + 1j * STEP * direction[name] for name in point})) / STEP


def one_step_is_wrong(cell, seed=0):
    rng = np.random.default_rng(seed)
    params, params_dot = drawn(rng, cell.parameter_shapes), drawn(rng, cell.parameter_shapes)
    arrays = {"x": (B, M), "h": (B, cell.state_size)}
    at, along = drawn(rng, arrays), drawn(rng, arrays)
    dh_next = rng.standard_normal((B, cell.state_size))

    def step(both):
        return cell.step({name: both[name] for name in params}, both["x"], both["h"])

    wanted = derivative(step, params | at, params_dot | along)
    tangent = cell.step_jvp(params, at["x"], at["h"], params_dot, along["x"], along["h"])
    dparams, dx, dh = cell.step_vjp(params, at["x"], at["h"], dh_next)
    terms = [dparams[name] * params_dot[name] for name in params] + [dx * along["x"], dh * along["h"]]
    inner, size = sum(np.sum(term) for term in terms), sum(np.sum(np.abs(term)) for term in terms)
    still = {name: np.zeros_like(value) for name, value in (params | at).items()}
    by_h = derivative(step, params | at, still | {"h": along["h"]})
    jacobian = np.einsum("bij,bj->bi", cell.jacobian(params, at["x"], at["h"]), along["h"])
    return differ(wanted, tangent) or differ(inner, np.sum(dh_next * wanted), size) or differ(by_h, jacobian)


def cells_of(module):
    """Return the cells that a module of numrnn/cells defines, both methods of the Lipschitz cell."""
    if hasattr(module, "Stack"):
        return [module.Stack([numrnn.LSTMCell(M, N), numrnn.AntisymmetricCell(N, N, step_size=0.3, diffusion=0.2)])]
    if hasattr(module, "LipschitzCell"):
        options = {"step_size": 0.3, "beta_A": 0.8, "beta_W": 0.6, "diffusion_A": 0.1, "diffusion_W": 0.2}
        return [module.LipschitzCell(M, N, method=method, **options) for method in ("euler", "rk2")]
    own = [kind for kind in vars(module).values() if getattr(kind, "__module__", "") == module.__name__]
    kinds = [kind for kind in own if isinstance(kind, type) and kind.__name__ in NAMES]
    return [
        kind(M, N, **({"step_size": 0.3, "diffusion": 0.2} if "step_size" in kind(M, N).config() else {}))
        for kind in kinds
    ]


def time_is_wrong(module, cell=None, engine="reference"):
    """Tell whether the gradient through time differs from complex steps through the reference loop."""
    rng, cell = np.random.default_rng(1), cell or numrnn.ElmanCell(M, N)
    params, along = drawn(rng, cell.parameter_shapes), drawn(rng, cell.parameter_shapes)
    x, d_states = rng.standard_normal((T, B, M)), rng.standard_normal((T + 1, B, cell.state_size))

    def loss(params):
        return np.sum(
            module.forward(cell, params, x.astype(next(iter(params.values())).dtype), engine="reference")[0] * d_states
        )

    tape = module.forward(cell, params, x, engine=engine)[1]
    grads = module.backward(tape, d_states).params
    terms = [np.sum(grads[name] * along[name]) for name in params]
    return differ(derivative(loss, params, along), sum(terms), sum(map(abs, terms)))


def layers_are_wrong(module):
    stack = numrnn.Stack([numrnn.LSTMCell(M, N), numrnn.ElmanCell(N, N)])
    with unittest.mock.patch.object(numrnn.bptt, "LayeredTape", module.LayeredTape):
        return time_is_wrong(numrnn.bptt, stack, engine="auto")


def readout_is_wrong(module):
    rng = np.random.default_rng(2)
    model = Classifier(numrnn.ElmanCell(M, N), K)
    at, along = (drawn(rng, {"W_out": (K, N), "b_out": (K,), "h": (B, N)}) for _ in range(2))
    d_outputs = rng.standard_normal((B, K))
    wanted = np.sum(d_outputs * derivative(lambda both: module.ReadOut._readout(model, both, both["h"]), at, along))
    grads, dh = module.ReadOut._readout_vjp(model, at, at["h"], d_outputs)
    terms = [np.sum((grads | {"h": dh})[name] * along[name]) for name in at]
    return differ(wanted, sum(terms), sum(map(abs, terms)))


def loss_is_wrong(module):
    rng = np.random.default_rng(3)
    logits, along, labels = rng.standard_normal((B, K)), rng.standard_normal((B, K)), np.arange(B)
    wanted = derivative(lambda at: module.softmax_cross_entropy(at["y"], labels)[0], {"y": logits}, {"y": along})
    terms = module.softmax_cross_entropy(logits, labels)[1] * along
    return differ(wanted, np.sum(terms), np.sum(np.abs(terms)))


def is_wrong(path, module):
    checks = {
        "numrnn/bptt.py": time_is_wrong,
        "numrnn/layered.py": layers_are_wrong,
        "numrnn/training/readout.py": readout_is_wrong,
        "numrnn/training/losses.py": loss_is_wrong,
    }
    if path in checks:
        return checks[path](module)
    return any(one_step_is_wrong(cell) for cell in cells_of(module))


@pytest.mark.parametrize("path", HELD)
def test_as_it_is_nothing_is_found(path):
    assert not is_wrong(path, edited(path))


@pytest.mark.parametrize(("path", "tag"), LINES)
def test_one_percent_more_in_a_tagged_line_is_found(path, tag):
    numbers = [line.number for line in tags.tagged_lines(tags.ROOT / path) if tag in line.tags]
    assert numbers, f"({tag}) is not in {path}"
    for number in numbers:
        assert is_wrong(path, edited(path, number)), f"{path}, line {number}"


def test_every_equation_of_the_derivation_is_held_once():
    assert sorted(tag for _, tag in LINES) == sorted(tags.tags_of_page(tags.PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("tag", sorted({tag for _, tag in LINES}))
def test_a_tag_that_goes_missing_from_one_side_stops_the_companion(tag, tmp_path):
    """Take it from the derivation; take it from every line of code."""
    page, found = tags.PAGE.read_text(encoding="utf-8"), tags.places()
    known = tags.equations(page)
    companion.check(known, found)
    with pytest.raises(ValueError, match=rf"not of both: \['{tag}'\]"):
        companion.check(tags.equations(page.replace(rf"\tag{{{tag}}}", "")), found)
    for line in found[tag]:
        copy = tmp_path / line.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = copy if copy.exists() else tags.ROOT / line.path
        copy.write_text(
            text.read_text(encoding="utf-8").replace(f" ({tag})\n", "\n").replace(f" ({tag}) (", " ("), "utf-8"
        )
        assert not [one for one in tags.tagged_lines(copy, tmp_path) if tag in one.tags]
    with pytest.raises(ValueError, match=rf"not of both: \['{tag}'\]"):
        companion.check(known, {name: lines for name, lines in found.items() if name != tag})
