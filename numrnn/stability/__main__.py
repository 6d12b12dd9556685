"""python -m numrnn.stability CHECKPOINT: see numrnn/stability/report.py."""

import sys

from numrnn.stability.report import main

if __name__ == "__main__":
    sys.exit(main())
