"""Executes a notebook in a fresh kernel, as its reader would, and writes it with its outputs.

    python -m tools.run_notebook notebooks/first_cell_by_hand.ipynb executed.ipynb

The kernel works in the folder of the new file and imports numrnn from this checkout. A cell that raises ends the
command with its traceback.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS_PER_CELL = 120


def run(source: Path, target: Path) -> None:
    """Execute `source` and write `target`."""
    import nbformat
    from jupyter_client import AsyncKernelManager
    from nbclient import NotebookClient

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        # Sockets in a folder, if the system has them: through ports, other users of this machine could reach the
        # kernel.
        options = {} if sys.platform == "win32" else {"transport": "ipc", "ip": f"{sockets}/kernel"}
        manager = AsyncKernelManager(kernel_name="python3", **options)
        folder = {"metadata": {"path": str(target.parent)}}
        NotebookClient(notebook, timeout=SECONDS_PER_CELL, resources=folder, km=manager).execute()
    nbformat.write(notebook, target)


if __name__ == "__main__":
    run(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
