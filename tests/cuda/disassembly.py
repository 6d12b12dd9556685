"""Machine code of the kernels as text: what one step of the loop over time executes. It needs neither driver nor GPU.

NVRTC makes the code (nvrtc.py), nvdisasm prints it: from the wheel nvidia-cuda-nvdisasm, or from a toolkit on the path.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "nvidia-cuda-nvdisasm"
FUNCTION = re.compile(r"\.text\.(\S+):")
LABEL = re.compile(r"(\.L_\S+):")
INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
TARGET = re.compile(r"`\((\.L_\S+)\)")
BARRIERS = ("BAR.SYNC", "UCGABAR_WAIT", "SYNCS.PHASECHK")  # one per step: of a block, of a cluster, for messages


@functools.cache
def disassembler():
    """Return the path of nvdisasm, or None."""
    try:
        for file in importlib.metadata.files(PACKAGE) or []:
            if file.name in ("nvdisasm", "nvdisasm.exe"):
                return str(file.locate())
    except importlib.metadata.PackageNotFoundError:
        pass
    return shutil.which("nvdisasm")


@dataclass(frozen=True)
class Loop:
    """The loop over time of a kernel.

    Attributes
    ----------
    instructions : collections.Counter
        Opcodes, such as "BAR.SYNC.DEFER_BLOCKING", from the loop's first instruction to the branch back to it. A path
        that is rarely taken and stands elsewhere is not counted.
    steps : int
        Steps in it, more than one where the compiler or the text has unrolled it.
    """

    instructions: Counter
    steps: int

    @property
    def per_step(self):
        """Instructions of a step."""
        return self.instructions.total() / self.steps

    def count(self, *opcodes):
        """Return how many instructions have one of these opcodes, whatever their modifiers."""
        return sum(count for name, count in self.instructions.items() if name.startswith(opcodes))

    @property
    def cluster_barrier(self):
        """Whether its steps end with the hardware's barrier of a cluster."""
        return self.count("UCGABAR") > 0


def loops(cubin):
    """Return the loop over time of every kernel in the machine code, by mangled name."""
    return {name: _loop_over_time(name, code) for name, code in _functions(_text(cubin)).items()}


def _text(cubin):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.cubin")
        path.write_bytes(cubin)
        result = subprocess.run([disassembler(), "-c", str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _functions(text):
    """Return lists of labels, as ":name", and of pairs of opcode and operands, by function."""
    found, own = {}, []
    for line in text.splitlines():
        if match := FUNCTION.match(line):
            own = found.setdefault(match[1], [])
        elif match := LABEL.match(line):
            own.append(match[1])
        elif match := INSTRUCTION.match(line):
            own.append((match[1], match[2]))
    return found


def _loop_over_time(name, code):
    """Return the longest loop: the one around the product, of which every step has shuffles between lanes."""
    labels = {line: index for index, line in enumerate(code) if isinstance(line, str)}
    found = []
    for index, line in enumerate(code):
        target = TARGET.search(line[1]) if not isinstance(line, str) and line[0].startswith("BRA") else None
        if target and labels.get(target[1], index) < index:
            found.append(Counter(line[0] for line in code[labels[target[1]] : index + 1] if not isinstance(line, str)))
    with_product = [one for one in found if any(opcode.startswith("SHFL") for opcode in one)]
    assert with_product, f"{name} has no loop with shuffles"
    longest = max(with_product, key=Counter.total)
    steps = sum(count for opcode, count in longest.items() if opcode.startswith(BARRIERS))
    return Loop(longest, max(steps, 1))
