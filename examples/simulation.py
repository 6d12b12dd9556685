"""Figure 1 of the paper: what two units do for fifty steps.

The command `numrnn figure simulation` under its old name, with the same options.
"""

import sys

from numrnn.experiments.figures.simulation import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/simulation.py"))
