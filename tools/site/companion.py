"""The companion: each tagged file in full, every tagged line beside its equation and the shapes of its results.

It is generated from the code and docs/derivation.md whenever the site is built, so it cannot differ from either. The
build fails if a tag of the code has no equation, or an equation no line.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping

from tools import tags

ROOT = tags.ROOT
# File, title, and introduction.
FILES = (
    ("numrnn/cells/antisymmetric.py", "The antisymmetric cell", "Equation (12): the matrix, the step and the cell."),
    ("numrnn/cells/gated.py", "The gated antisymmetric cell", "Equation (13): the step with a gate."),
    ("numrnn/cells/unstructured.py", "The unstructured cells", "The ablation: the same steps with another matrix."),
    ("numrnn/cells/elman.py", "The Elman network", "The classical cell, for comparison."),
    ("numrnn/cells/lstm.py", "The LSTM", "The cell that the paper compares with."),
    ("numrnn/cells/lipschitz.py", "The Lipschitz cell", "A step of Euler's method or of the midpoint rule."),
    ("numrnn/cells/stack.py", "Stacks of cells", "Layers, by composition."),
    ("numrnn/bptt.py", "The loops over time", "Forward and backward through time, in their simplest form."),
    ("numrnn/layered.py", "Stacks through time", "One layer after the other over a whole segment."),
    ("numrnn/training/readout.py", "The read-out", "From states to logits, and back."),
    ("numrnn/training/losses.py", "The losses", "From logits to a number, and its gradient."),
    ("numrnn/stability/euler.py", "The ODE behind a cell", "The rate of the ODE, and the slopes of its Jacobian."),
    ("numrnn/engines/cpu/steps.py", "The fused steps", "The steps as the CPU engine runs them, in place."),
    ("numrnn/engines/cpu/lipschitz.py", "The fused Lipschitz step", "The step as the CPU engine runs it."),
    ("numrnn/engines/cpu/slices.py", "The fused loops", "A slice of the batch through chunks of time."),
    ("numrnn/engines/cuda/euler.cu", "The CUDA kernels", "All steps of a pass in one launch."),
    ("numrnn/engines/cuda/lean.cu", "The leaner CUDA kernels", "The same steps and the Elman network's."),
    ("numrnn/engines/cuda/lstm.cu", "The CUDA kernels of the LSTM", "All steps of a pass in one launch."),
    (
        "numrnn/engines/cuda/product.cuh",
        "The product in the kernels",
        "The product of a step, with what is fused to it.",
    ),
    ("numrnn/engines/cuda/gradients.cuh", "Gradients in the kernels", "Sums over the steps, in registers."),
    ("numrnn/engines/cuda/tape.py", "Products around the kernels", "What is computed for all steps at once."),
)
LANGUAGE = {".py": "python", ".cu": "cuda", ".cuh": "cuda"}
INTRODUCTION = """{first} This is the whole of `{path}`. Each line that ends with a tag is beside its equation of
[the derivation]({derivation}){shapes}.
"""
INDEX = """# Code beside equations

Each file of the algorithm in full, every tagged line beside its equation. These pages are generated from the code and
from [the derivation](../docs/derivation.md) when the site is built, and the shapes are those that the code had when it
ran.

| file | what it holds |
|---|---|
{files}

```{{toctree}}
:hidden:

{entries}
```

## Every equation and its lines

| equation | lines of code |
|---|---|
{equations}
"""
ROW = """::::{{container}} companion-row
{code}
:::{{container}} companion-equation
{beside}
:::
::::
"""


def page_of(path: pathlib.Path | str) -> str:
    """Return the page of a file, without its extension: numrnn/cells/gated.py is companion/cells/gated."""
    inside = pathlib.PurePosixPath(path).relative_to("numrnn")
    return f"companion/{inside.with_suffix('') if inside.suffix == '.py' else str(inside).replace('.', '_')}"


def companions() -> dict[str, str]:
    """Return the companion page of every file that has one."""
    return {path: f"{page_of(path)}.md" for path, *_ in FILES}


def check(known: Iterable[str], found: Mapping[str, list[tags.TaggedLine]]) -> None:
    """Compare the tags of the derivation, of the code, and the files that have a page here.

    Raises
    ------
    ValueError
        If they differ; the message names the tags, or the files.
    """
    if strangers := set(found) ^ set(known):
        raise ValueError(f"tags of the derivation or of the code, but not of both: {sorted(strangers)}")
    if strangers := {line.path.as_posix() for lines in found.values() for line in lines} ^ {path for path, *_ in FILES}:
        raise ValueError(f"files with tags and FILES of tools/site/companion.py differ: {sorted(strangers)}")


def pages(watched: Mapping[tuple[str, int], str]) -> dict[str, str]:
    """Return all companion pages, path to Markdown; `watched` holds the shapes, by file and line."""
    known, found = tags.equations(tags.PAGE.read_text(encoding="utf-8")), tags.places()
    check(known, found)
    made = {f"{page_of(path)}.md": page(path, title, first, known, watched) for path, title, first in FILES}
    made["companion/index.md"] = index(known, found)
    return made


def page(path: str, title: str, first: str, known: Mapping[str, str], watched: Mapping[tuple[str, int], str]) -> str:
    """Return one companion page."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    tagged = {line.number: line.tags for line in tags.tagged_lines(ROOT / path)}
    language = LANGUAGE[pathlib.PurePosixPath(path).suffix]
    derivation = "../" * page_of(path).count("/") + "docs/derivation.md"
    shapes = ", with the shapes of what it computes" if any(place[0] == path for place in watched) else ""
    parts = [
        f"---\nhide-toc: true\n---\n# {title}\n",
        INTRODUCTION.format(first=first, path=path, derivation=derivation, shapes=shapes),
    ]
    start = 1
    for number, its_tags in tagged.items():
        if number > start:
            parts.append(code(lines, start, number, language, "companion-code"))
        beside = [f"$$ {known[tag]} \\tag{{{tag}}} $$" for tag in its_tags]
        if shape := watched.get((path, number)):
            beside.append(shape.replace("_", "\\_").replace("[", "\\["))
        row = code(lines, number, number + 1, language, "companion-line")
        parts.append(ROW.format(code=row, beside="\n\n".join(beside)))
        start = number + 1
    if start <= len(lines):
        parts.append(code(lines, start, len(lines) + 1, language, "companion-code"))
    return "\n".join(parts)


def code(lines: list[str], start: int, stop: int, language: str, kind: str) -> str:
    """Return lines `start` to `stop - 1` as a numbered block of code."""
    body = "\n".join(lines[start - 1 : stop - 1])
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"{fence}{{code-block}} {language}\n:lineno-start: {start}\n:class: {kind}\n\n{body}\n{fence}\n"


def index(known: Iterable[str], found: Mapping[str, list[tags.TaggedLine]]) -> str:
    """Return the page that lists the companions, and every equation with its lines."""
    names = {path: page_of(path).removeprefix("companion/") for path, *_ in FILES}

    def place(tag: str, line: tags.TaggedLine) -> str:
        label = f"{line.path.relative_to('numrnn').as_posix()}, line {line.number}"
        return f'<a href="{names[line.path.as_posix()]}.html#eq-{tag}">{label}</a>'

    ordered = sorted(known, key=lambda tag: ("FTBJ".index(tag[0]), int(tag[1:])))
    return INDEX.format(
        files="\n".join(f"| [{title}]({names[path]}.md) | {first} `{path}` |" for path, title, first in FILES),
        entries="\n".join(names.values()),
        equations="\n".join(f"| ({tag}) | {'; '.join(place(tag, line) for line in found[tag])} |" for tag in ordered),
    )
