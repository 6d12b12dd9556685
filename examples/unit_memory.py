"""How long each unit of the antisymmetric cell remembers.

The command `numrnn figure unit-memory` under its old name, with the same options.
"""

import sys

from numrnn.experiments.figures.unit_memory import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/unit_memory.py"))
