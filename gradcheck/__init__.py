"""gradcheck: a gradient checker that lets nothing pass, and says what is wrong.

>>> import numpy as np, gradcheck
>>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
>>> report = gradcheck.check_gradient(lambda p: np.sum(np.sin(p)), np.cos(x), x)
>>> report.passed
True

`check_gradient` and `assert_gradient` are for losses, `check_batched_gradient` for a batch of (B,) losses;
`check_function` for functions with hand-written reverse passes, `check_vjp`, `check_jvp`, `adjoint_test` and
`check_linearity` for their parts; `check_hessian_vector_product`, `taylor_test`, `check_precision`, `check_determinism`
and `check_purity` for other possible faults; `first_wrong_step` for gradients through time; `numerical_gradient`
returns the numbers themselves.
"""

from gradcheck.adjoint import adjoint_test, check_linearity
from gradcheck.batches import check_batched_gradient
from gradcheck.behaviour import check_determinism, check_purity
from gradcheck.check import assert_gradient, check_gradient
from gradcheck.evaluate import FunctionError
from gradcheck.functions import check_function, pair
from gradcheck.mutants import kill_matrix
from gradcheck.numeric import numerical_gradient
from gradcheck.operators import check_hessian_vector_product, check_jvp, check_vjp
from gradcheck.precision import check_precision
from gradcheck.prefixes import WrongStep, first_wrong_step
from gradcheck.report import Entry, GradientError, Report, Worst
from gradcheck.taylor import taylor_test

__version__ = "0.1.0"
__all__ = [
    "Entry",
    "FunctionError",
    "GradientError",
    "Report",
    "Worst",
    "WrongStep",
    "adjoint_test",
    "assert_gradient",
    "check_batched_gradient",
    "check_determinism",
    "check_function",
    "check_gradient",
    "check_hessian_vector_product",
    "check_jvp",
    "check_linearity",
    "check_precision",
    "check_purity",
    "check_vjp",
    "first_wrong_step",
    "kill_matrix",
    "numerical_gradient",
    "pair",
    "taylor_test",
]
