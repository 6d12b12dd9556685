"""The shapes of the results of each tagged line, recorded while small examples run.

Every size of an example is a different number, so a shape identifies its letters: 7 can only be m. A line that stores
its result with `out=` shows the shape of that array.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import numpy as np

import numrnn
from numrnn.stability import EulerForm
from numrnn.training import Classifier, Regressor
from tools import tags

T, B, M, N, K = 23, 13, 7, 17, 19
LETTERS = {B: "B", M: "m", N: "n", 2 * N: "2n", 4 * N: "4n", T: "T", T + 1: "T + 1", K: "K", 1: "1", T * B: "T B"}


def cells() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield every cell, and a stack of two, with parameters."""
    rng = np.random.default_rng(0)
    made = [kind(M, N) for kind in numrnn.CELLS.values()]
    made += [numrnn.LipschitzCell(M, N, method=method) for method in ("euler", "rk2")]
    made.append(numrnn.Stack([numrnn.ElmanCell(M, N), numrnn.AntisymmetricCell(N, N)]))
    for cell in made:
        yield cell, {name: rng.standard_normal(shape) for name, shape in cell.parameter_shapes.items()}


def examples() -> None:
    """Run every tagged line of the reference, and those of the CPU engine."""
    rng = np.random.default_rng(1)
    for cell, params in cells():
        x, h = rng.standard_normal((B, M)), rng.standard_normal((B, cell.state_size))
        cell.step(params, x, h)
        cell.step_jvp(params, x, h, params, x, h)
        cell.step_vjp(params, x, h, h)
        cell.jacobian(params, x, h)
        for engine in ("reference", "fused"):
            states, tape = numrnn.forward(cell, params, rng.standard_normal((T, B, M)), engine=engine)
            numrnn.backward(tape, states)
        if hasattr(cell, "matrix"):
            form = EulerForm(cell, params)
            for name in ("rate", "slopes"):
                if callable(method := getattr(form, name, None)):
                    method(x, h)
    cell = numrnn.ElmanCell(M, N)
    for model, y in ((Classifier(cell, K), np.arange(B)), (Regressor(cell, K), rng.standard_normal((B, K)))):
        params = model.init_params(np.random.default_rng(0), dtype=np.float64)
        model.loss_and_gradient(params, rng.standard_normal((T, B, M)), y)


@dataclass(frozen=True, eq=False)
class Tagged:
    """A statement that ends at a tagged line: the line, and its results; None for a returned value."""

    number: int
    results: list[tuple[str, CodeType]] | None


class Watch:
    """A trace function that records the shapes of the results of tagged lines."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], str] = {}
        self.lines: dict[str, dict[int, Tagged]] = {}
        for path in tags.code_files():
            if path.suffix == ".py" and (numbers := {line.number for line in tags.tagged_lines(path)}):
                self.lines[str(path)] = dict(statements(path.read_text(encoding="utf-8"), numbers))
        self.before: dict[int, int] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """Follow the frames of tagged files, and record the results of each line when the next begins."""
        lines = self.lines.get(frame.f_code.co_filename)
        if lines is None or frame.f_code.co_name.startswith("<"):  # not the insides of a comprehension
            return None
        last = self.before.get(id(frame))
        if last in lines and (event == "return" or (event == "line" and lines.get(frame.f_lineno) is not lines[last])):
            self.note(frame, last, argument)
        self.before[id(frame)] = frame.f_lineno
        if event == "return":
            self.before.pop(id(frame), None)
        return self

    def note(self, frame: FrameType, number: int, returned: Any) -> None:
        """Record the shapes of the results of a line, once."""
        tagged = self.lines[frame.f_code.co_filename][number]
        place = (frame.f_code.co_filename.removeprefix(f"{tags.ROOT}/"), tagged.number)
        if place in self.found:
            return
        if tagged.results is None:
            parts = [("returns" if not i else "", one) for i, one in enumerate(_parts(returned))]
        else:
            parts = [(name, eval(code, frame.f_globals, frame.f_locals)) for name, code in tagged.results]
        shown = [f"{name} {shape(value)}".strip() for name, value in parts if hasattr(value, "shape")]
        if shown:
            self.found[place] = ", ".join(shown)


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def shape(value: Any) -> str:
    """Return a shape in letters."""
    if not value.shape:
        return "a number"
    letters = [LETTERS.get(size, str(size)) for size in value.shape]
    return f"({', '.join(letters)}{',' if len(letters) == 1 else ''})"


def written(call: ast.Call) -> Iterator[ast.expr]:
    """Yield the target of a call: its `out`, the last argument of a ufunc, or the end of a list."""
    yield from (word.value for word in call.keywords if word.arg == "out")
    name = ast.unparse(call.func).removeprefix("np.")
    if isinstance(getattr(np, name, None), np.ufunc):
        yield call.args[-1]
    elif name.endswith(".append"):
        yield ast.parse(f"{name.removesuffix('.append')}[-1]", mode="eval").body


def statements(source: str, numbers: set[int]) -> Iterator[tuple[int, Tagged]]:
    """Yield every line of each statement that ends at a tagged line, with the results of the statement."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or node.end_lineno not in numbers:
            continue
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [one for target in node.targets for one in getattr(target, "elts", [target])]
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            targets = list(written(node.value))
        names = [ast.unparse(target) for target in targets]
        if names or isinstance(node, ast.Return):
            results = [(name, compile(name, "<result>", "eval")) for name in names]
            tagged = Tagged(node.end_lineno, None if isinstance(node, ast.Return) else results)
            yield from ((number, tagged) for number in range(node.lineno, node.end_lineno + 1))


def watch() -> dict[tuple[str, int], str]:
    """Return the shapes, by file and line."""
    watcher, before = Watch(), sys.gettrace()
    sys.settrace(watcher)
    try:
        examples()
    finally:
        sys.settrace(before)
    return watcher.found
