"""Entry of `python -m benchmarks`."""

import sys

if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main())
