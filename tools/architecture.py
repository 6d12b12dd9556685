"""The architecture: the parts of numrnn, their floors, and their imports.

    python -m tools.architecture    redraw docs/pictures/architecture.png and rewrite the table of ARCHITECTURE.md

The imports are read from the source by tools/imports.py. tests/package/test_import_directions.py checks that each
module stays on its floor; here modules are grouped into parts, few enough for a picture.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tools.imports import imports, sources

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
PICTURE = ROOT / "docs" / "pictures" / "architecture.png"
BEGIN, END = "<!-- floors: written by tools/architecture.py -->", "<!-- end of the floors -->"

# From the bottom: the subject of a floor, and its parts, each a module or a package of numrnn.
FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "files and the locks of folders",
        ("files", "locks", "archives"),
    ),
    (
        "arrays, whatever library they are of",
        ("gpu", "extras", "typing", "backend", "checks", "options", "kernels", "blas", "subnormals"),
    ),
    ("one step: the cells and their initial values", ("initializers", "cells")),
    ("a pass over a sequence, and what it leaves behind", ("problem", "tape", "layered", "reversal")),
    ("the fused engines", ("engines",)),
    ("time: forward and backward", ("bptt",)),
    ("data", ("datasets",)),
    ("training", ("training",)),
    ("pictures, the machine, and how a command ends", ("plots", "info", "commands")),
    ("analysis of a trajectory, a network, the ODE", ("stability", "reversible", "ode")),
    ("models and cells of your own", ("estimators", "interop", "testing")),
    ("experiments and the command", ("stability_command", "experiments", "__main__")),
)


def part_of(module: str) -> str | None:
    """Return the part of a module, such as `cells` for numrnn.cells.base.

    None for numrnn itself, and for modules that `python -m` runs.
    """
    names = module.split(".")
    if len(names) > 2 and names[-1] == "__main__":
        return None
    known = {part for _, parts in FLOORS for part in parts}
    return names[1] if len(names) > 1 and names[1] in known else None


def edges(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the parts that each part of numrnn imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in imports(modules):
        part, other = part_of(one.module), part_of(one.target)
        if part is not None and other not in (None, part):
            found[part].add(other)
    return {part: found[part] for part in map(part_of, modules) if part is not None}


def table(modules: Mapping[str, str]) -> str:
    """Return the floors as a Markdown table, the highest first, with the summary of each part's docstring."""
    lines = ["| floor | part | what it holds |", "|---|---|---|"]
    for title, parts in reversed(FLOORS):
        for part in parts:
            source = modules.get(f"numrnn.{part}") or modules.get(f"numrnn.{part}.__init__")
            if source is not None:
                summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0].replace("\n", " ")
                lines.append(f"| {title} | `numrnn.{part}` | {summary} |")
                title = ""
    return "\n".join(lines)


def page_with_table(page: str, modules: Mapping[str, str]) -> str:
    """Return the text of the page with an updated table."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(modules)}\n\n{END}{rest.split(END)[1]}"


def without_shortcuts(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the graph without imports of parts that are also imported through another part."""

    def reached(part: str) -> set[str]:
        direct = graph.get(part, set())
        return direct.union(*(reached(other) for other in direct))

    return {part: others - set().union(*(reached(other) for other in others)) for part, others in graph.items()}


def draw(graph: Mapping[str, set[str]], path: Path) -> None:
    """Draw the floors, and an arrow for each import that is not a shortcut."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 9))
    places = {}
    for height, (title, parts) in enumerate(FLOORS):
        axes.axhspan(height - 0.42, height + 0.42, color="#f2f2ee" if height % 2 else "#e6ecf2", lw=0)
        axes.text(-0.62, height + 0.3, title, fontsize=8, color="#555555", va="center")
        there = [part for part in parts if part in graph]
        for i, part in enumerate(there):
            # Shifted from floor to floor, so that arrows do not pass through boxes.
            places[part] = ((i + 1) / (len(there) + 1) * 4.4 + 0.23 * (-1) ** height, height - 0.05)
    for part, others in without_shortcuts(graph).items():
        for other in others:
            arrow = {"arrowstyle": "->", "color": "#34557a", "alpha": 0.45, "shrinkA": 11, "shrinkB": 11}
            axes.annotate("", xy=places[other], xytext=places[part], arrowprops=arrow)
    for part, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": "#34557a"}
        axes.text(x, y, part, ha="center", va="center", fontsize=9, family="monospace", bbox=box)
    axes.set(xlim=(-0.7, 4.8), ylim=(-0.5, len(FLOORS) - 0.5))
    axes.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Update the page and the picture."""
    modules = sources(ROOT, ["numrnn"])
    graph = edges(modules)
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8"), modules), encoding="utf-8")
    draw(graph, PICTURE)


if __name__ == "__main__":
    main()
