"""Figure 2 of the paper: eigenvalues of the end-to-end Jacobian.

The command `numrnn figure jacobian` under its old name, with the same options.
"""

import sys

from numrnn.experiments.figures.jacobian import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/jacobian.py"))
