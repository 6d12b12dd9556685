"""Eigenvalues of a cell over the disc of Euler's method, epoch by epoch.

The command `numrnn figure stability-region` under its old name, with the same options.
"""

import sys

from numrnn.experiments.figures.stability_region import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/stability_region.py"))
