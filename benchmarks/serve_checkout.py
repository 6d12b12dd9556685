"""Serves measurements of the numrnn of a checkout: python benchmarks/serve_checkout.py CHECKOUT DESCRIPTOR CORES.

The workloads and the method come from the checkout of this file; only the standard library is imported before numrnn.
"""

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def main(checkout: Path, descriptor: int, cores: set[int]) -> None:
    """Answer commands from a pipe until it is closed, bound to cores before anything counts them.

    Raises
    ------
    ImportError
        If another numrnn than that of the checkout is found.
    """
    os.sched_setaffinity(0, cores)
    pipe = Connection(descriptor)
    sys.path[0] = str(checkout)  # numrnn's worker processes inherit this path
    import numrnn

    found = Path(numrnn.__file__).resolve().parent
    if found != checkout.resolve() / "numrnn":
        raise ImportError(f"expected the numrnn of {checkout}, found {found}")
    sys.path.insert(0, str(HERE))
    from benchmarks.worker import serve

    del sys.path[0]
    serve(pipe, *pipe.recv())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), {int(core) for core in sys.argv[3].split(",")})
