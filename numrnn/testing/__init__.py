"""What numrnn's own tests demand of a cell, for cells of your own: `assert_cell`.

It tells whether the methods of a cell fit each other, the loops over time, the array libraries and the configuration.
Whether the step is the equation that you meant, it cannot know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from numrnn.backend import Params
from numrnn.cells.base import Cell
from numrnn.checks import check_integer
from numrnn.testing.cell_checks import BATCH, CHECKS, OPTIONAL, Point

__all__ = ["CellChecks", "assert_cell"]


@dataclass(frozen=True)
class CellChecks:
    """What `assert_cell` found of a cell that passed.

    Attributes
    ----------
    passed : tuple of str
        The checks that were made.
    skipped : dict of str to str
        Those that were not made, or could not decide on a parameter, and why.
    """

    passed: tuple[str, ...]
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"passed: {name}" for name in self.passed]
        return "\n".join([*lines, *(f"skipped: {name}: {reason}" for name, reason in self.skipped.items())])


def assert_cell(cell: Cell, params: Params | None = None, *, seed: int = 0) -> CellChecks:
    """Check a cell as numrnn's tests check its own.

    Parameters
    ----------
    cell : Cell
        A small one, with m and n of 2 to 8, and with constants that differ from their defaults.
    params : mapping of str to numpy.ndarray, optional
        Where to check, float64; N(0, 1/4) unless given. Give them if a parameter must lie in a range.
    seed : int
        >= 0, of all random numbers.

    Returns
    -------
    CellChecks
        What was checked and what was skipped: checks of `step_jvp` or `jacobian` where they raise NotImplementedError,
        and of other array libraries where array-api-strict is not installed.

    Raises
    ------
    AssertionError
        At the first check that fails: one line that says what is wrong, and the worst element.
    TypeError, ValueError
        If an argument is of a wrong type or out of range, or `params` do not fit the cell.

    Notes
    -----
    The checks, in their order:

    - arguments are not written into, and the same arguments give the same bits;
    - shapes; float32 for float32 and float64 for float64;
    - `step_vjp` against complex steps or differences of `step`, in both precisions, and linear in its cotangent;
    - `step_jvp` against `step` and against `step_vjp`; `jacobian` against `step`;
    - a row of the batch depends on no other, and gradients of parameters are sums over the rows;
    - `config` makes the same cell again;
    - wrong arguments raise errors that name them;
    - engine="auto" gives the numbers of engine="reference";
    - a row of a padded batch gives what it gives alone;
    - everything runs on the device of another array library, so that no call is NumPy's alone.

    It takes less than a second for a cell of the recommended size.

    Examples
    --------
    >>> import numrnn
    >>> checks = assert_cell(numrnn.ElmanCell(input_size=3, hidden_size=4))
    >>> "step_vjp is the adjoint of step" in checks.passed
    True
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a numrnn cell, got {type(cell).__name__}")
    rng = np.random.default_rng(check_integer("seed", seed, at_least=0))
    if params is None:
        params = {name: 0.5 * rng.standard_normal(shape) for name, shape in cell.parameter_shapes.items()}
    cell.check_params(params)
    x = rng.standard_normal((BATCH, cell.input_size))
    h, w = rng.standard_normal((2, BATCH, cell.state_size))
    point = Point(cell, params, x, h, w)
    absent = {name: "it raises NotImplementedError" for name in OPTIONAL if point.lacks(name)}
    point = point.with_methods(*(name for name in OPTIONAL if name not in absent))
    reasons = {name: check(point) for name, check in CHECKS.items()}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    return CellChecks(tuple(name for name in reasons if name not in skipped), absent | skipped)
