"""CIFAR-10 as a sequence: train, test and draw, or repeat a row of the paper's Table 2.

The command `numrnn cifar10` under its old name, with the same options:

    python examples/cifar10.py --task noise-padded --cell gated

From Python, the same is

    from numrnn.experiments import cifar10
    result = cifar10.run(cifar10.make_config("gated", task="noise-padded"))
"""

import sys

from numrnn.experiments.cifar10 import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/cifar10.py"))
