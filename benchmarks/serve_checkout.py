"""Serves measurements of the numrnn of a checkout: python benchmarks/serve_checkout.py CHECKOUT DESCRIPTOR.

What is measured, and how, comes from the checkout that this file is in; nothing but the standard library is imported
before numrnn is.
"""

import sys
from multiprocessing.connection import Connection
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def main(checkout: Path, descriptor: int) -> None:
    """Answer the commands that come through a pipe until it is closed.

    Raises
    ------
    ImportError
        If another numrnn is found than that of the checkout.
    """
    pipe = Connection(descriptor)
    sys.path[0] = str(checkout)  # numrnn's own worker processes take this path over
    import numrnn

    found = Path(numrnn.__file__).resolve().parent
    if found != checkout.resolve() / "numrnn":
        raise ImportError(f"expected the numrnn of {checkout}, found {found}")
    sys.path.insert(0, str(HERE))
    from benchmarks.worker import serve

    del sys.path[0]
    serve(pipe, *pipe.recv())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
