"""The AntisymmetricRNN next to an LSTM: the same images, the same training time.

The command `numrnn demo` under its old name, with the same options:

    python examples/demo.py --seconds 20

From Python, the same is

    from numrnn.experiments import demo
    accuracies = demo.run(demo.Config(seconds=20.0))
"""

import sys

from numrnn.experiments.demo import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/demo.py"))
