"""Sequential MNIST: train, test and draw, or repeat a row of the paper's Table 1.

The command `numrnn mnist` under its old name, with the same options:

    python examples/mnist.py --data embedded --hidden-size 32 --epochs 1

From Python, the same is

    from numrnn.experiments import mnist
    result = mnist.run(mnist.make_config("antisymmetric", data="embedded", hidden_size=32, epochs=1))
"""

import sys

from numrnn.experiments.mnist import main

if __name__ == "__main__":
    sys.exit(main(program="python examples/mnist.py"))
