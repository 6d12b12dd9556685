"""python -m numrnn.stability CHECKPOINT: the same as numrnn stability CHECKPOINT."""

import sys

from numrnn.stability_command import main

if __name__ == "__main__":
    sys.exit(main(program="python -m numrnn.stability"))
