"""How far the gradient travels back in time, for four cells.

The command `numrnn figure gradient-flow` under its old name, with the same options.
"""

import sys

from numrnn.experiments.figures.gradient_flow import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/gradient_flow.py"))
