"""The disassembler of CUDA's machine code, and what it shows of the loops of a kernel."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shutil
import subprocess
import tempfile

PACKAGES = ("nvidia-cuda-nvdisasm", "nvidia-cuda-nvdisasm-cu12")
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)")


@functools.cache
def tool():
    """Return the path of nvdisasm, from the path or from a wheel, or None."""
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name in ("nvdisasm", "nvdisasm.exe"):
                return str(file.locate())
    return shutil.which("nvdisasm")


def in_loops(cubin):
    """Return the operations inside loops of a kernel: those between a label and a later jump back to it."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool(), "-c", file.name], capture_output=True, text=True, check=True).stdout
    operations, labels, within = [], {}, set()
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(operations)
        elif found := INSTRUCTION.search(line):
            operations.append(found[2])
            target = re.search(r"`\((\.L_x_\d+)\)", found[3])
            if found[2].startswith("BRA") and target and target[1] in labels:
                within.update(range(labels[target[1]], len(operations)))
    return [operations[i] for i in sorted(within)]
