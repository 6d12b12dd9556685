"""Search for settings, on the paper's grid or at random, on many cores.

The command `numrnn sweep` under its old name, with the same options:

    python examples/sweep.py --preset mnist-gated --search random --trials 100

From Python, the same is

    from numrnn.experiments import sweep
    ranked = sweep.run(sweep.Config(preset="mnist-gated", search="random", trials=100), say=print)
"""

import sys

from numrnn.experiments.sweep import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/sweep.py"))
