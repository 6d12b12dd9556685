"""AntisymmetricRNN in NumPy and CuPy, with every gradient written by hand.

The paper: B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural
Networks", ICLR 2019, arXiv:1902.09689. Equation numbers without a letter, such as (12), are the paper's; those with a
letter, such as (F1) or (B3), are from docs/derivation.md.

What the `__all__` of a module lists is public. A module without it, such as numrnn.checks, is internal: its names may
change in any version.
"""

from numrnn.bptt import ReferenceLoopWarning, backward, forward
from numrnn.cells import (
    CELLS,
    AntisymmetricCell,
    Cell,
    ElmanCell,
    GatedAntisymmetricCell,
    GatedUnstructuredCell,
    LipschitzCell,
    LSTMCell,
    Stack,
    UnstructuredCell,
    register_cell,
)
from numrnn.reversal import reverse
from numrnn.subnormals import flush_subnormals
from numrnn.tape import Gradients, Tape

__all__ = [
    "CELLS",
    "AntisymmetricCell",
    "Cell",
    "ElmanCell",
    "GatedAntisymmetricCell",
    "GatedUnstructuredCell",
    "Gradients",
    "LSTMCell",
    "LipschitzCell",
    "ReferenceLoopWarning",
    "Stack",
    "Tape",
    "UnstructuredCell",
    "backward",
    "flush_subnormals",
    "forward",
    "register_cell",
    "reverse",
]

__version__ = "0.1.0"
