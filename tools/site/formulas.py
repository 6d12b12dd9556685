r"""Sphinx extension: formulas as MathML, converted while the site is built.

A browser draws them itself; no script and no network is needed. `\tag{F2}` becomes the number of its equation, with the
anchor `eq-F2`. On the page of the derivation the lines of code are beside it; elsewhere the number leads to the
derivation. A tag in a sentence, "(F2)", becomes a link to its equation.
"""

from __future__ import annotations

import functools
import html
import re
from typing import Any
from xml.etree import ElementTree

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from tools import tags
from tools.site.companion import page_of

DERIVATION = "docs/derivation"
IN_TEXT = re.compile(r"\(([FTBJ]\d+)\)")
VERBATIM = (nodes.literal, nodes.FixedTextElement, nodes.reference, nodes.math, nodes.title)
BAR = re.compile(r'<mover><mrow>((?:(?!<mrow>).)*?)</mrow><mo stretchy="true">&#x000AF;</mo></mover>')
CLOSING = ",.;:?!)-"
BREAKS = "=<>≤≥≈∈→+−·,"  # a line may end after them
TAG = re.compile(r"\\tag\{([^}]*)\}")


def mathml(tex: str, display: str) -> str:
    """Return a formula as MathML; `display` is "inline" or "block".

    Raises
    ------
    ValueError
        If a command of the formula is not understood.
    """
    # latex2mathml sets the one letter of \mathrm{d} in italics.
    upright = re.sub(r"\\mathrm\{(\w)\}", r"\\text{\1}", " ".join(tex.split()))
    found = latex2mathml.converter.convert(upright, display=display)
    found = re.sub(r"<mtext>(\w)</mtext>", r'<mi mathvariant="normal">\1</mi>', found)
    # The bars of the font are shorter than the terms below them.
    found = BAR.sub(r'<mrow class="barred">\1</mrow>', found)
    if left := re.findall(r">(\\[^<]*)<", found):
        raise ValueError(f"{tex}: not understood: {', '.join(left)}")
    return found


_places = functools.cache(tags.places)


@functools.cache
def known_tags() -> frozenset[str]:
    """Return the tags of the derivation."""
    return frozenset(tags.equations(tags.PAGE.read_text(encoding="utf-8")))


def code_places(tag: str) -> list[tuple[str, str]]:
    """Return page and label of every line of code that carries a tag."""
    found = []
    for line in _places().get(tag, []):
        folder = f"{line.path.parent.name}/" if "engines" in line.path.parts else ""
        found.append((page_of(line.path), f"{folder}{line.path.name}:{line.number}"))
    return found


def breakable(math: str) -> str:
    """Split an inline formula after = and + outside brackets: no browser breaks lines within a formula."""
    rows = re.fullmatch(r"(<math [^>]*>)<mrow>(.*)</mrow></math>", math, re.DOTALL)
    if rows is None:
        return math
    parts, depth = [[]], 0
    for child in ElementTree.fromstring(f"<mrow>{rows[2]}</mrow>"):
        sign = (child.text or "") if child.tag == "mo" else ""
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(sign, 0)
        parts[-1].append(child)
        if sign and sign in BREAKS and depth == 0 and len(parts[-1]) > 1:
            child.set("form", "infix")  # it keeps its spaces at the end of a part
            parts.append([])
    text = [_text(part) for part in parts if part]
    return "<wbr>".join(f"{rows[1]}<mrow>{part}</mrow></math>" for part in text)


def _text(children: list[ElementTree.Element]) -> str:
    return "".join(ElementTree.tostring(child, encoding="unicode") for child in children)


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    *parts, last = breakable(mathml(node.astext(), "inline")).split("<wbr>")
    if closing := node.get("closing"):
        last = f'<span class="unbroken">{last}{html.escape(closing)}</span>'
    self.body.append(f'<span class="math">{"<wbr>".join([*parts, last])}</span>')
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on separate lines, with its number."""
    tex = node.astext()
    number = TAG.search(tex)
    page, uri = self.builder.current_docname, self.builder.get_relative_uri
    marks, anchor = "", ""
    if number:
        tag = number[1]
        seen = self.__dict__.setdefault("numrnn_numbers", set())
        anchor = "" if tag in seen else f' id="eq-{tag}"'
        seen.add(tag)
        if page == DERIVATION:
            lines = [f'<a href="{uri(page, to)}#eq-{tag}">{label}</a>' for to, label in code_places(tag)]
            marks = f'<a class="eqno" href="#eq-{tag}">({tag})</a><span class="eqcode">{" ".join(lines)}</span>'
        else:  # a page may have its own equation numbers
            place = f"{uri(page, DERIVATION)}#eq-{tag}" if tag in known_tags() else f"#eq-{tag}"
            marks = f'<a class="eqno" href="{place}">({tag})</a>'
    formula = mathml(TAG.sub("", tex), "block")
    self.body.append(f'<div class="math equation"{anchor}><div class="formula">{formula}</div>{marks}</div>')
    raise nodes.SkipNode


class Punctuation(SphinxPostTransform):
    """Attach the following punctuation mark to a formula, so that no line begins with a comma."""

    default_priority = 390

    def run(self, **_: Any) -> None:
        """Move the punctuation marks."""
        for node in list(self.document.findall(nodes.math)):
            after = node.next_node(descend=False, siblings=True)
            if isinstance(after, nodes.Text) and str(after)[0] in CLOSING:
                node["closing"] = str(after)[0]
                after.parent.replace(after, nodes.Text(str(after)[1:]))


class TagsInText(SphinxPostTransform):
    """Make every "(F2)" in a sentence a link to its equation."""

    default_priority = 400

    def run(self, **_: Any) -> None:
        """Replace the text nodes that hold tags."""
        known = known_tags()
        for text in list(self.document.findall(nodes.Text)):
            if isinstance(text.parent, VERBATIM):
                continue
            parts = IN_TEXT.split(str(text))
            if not any(tag in known for tag in parts[1::2]):
                continue
            uri = self.app.builder.get_relative_uri(self.env.docname, DERIVATION)
            new: list[nodes.Node] = [nodes.Text(parts[0])]
            for tag, after in zip(parts[1::2], parts[2::2], strict=True):
                label, link = f"({tag})", f"{uri if self.env.docname != DERIVATION else ''}#eq-{tag}"
                new.append(
                    nodes.reference("", label, refuri=link, internal=True) if tag in known else nodes.Text(label)
                )
                new.append(nodes.Text(after))
            text.parent.replace(text, [node for node in new if node.astext()])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer of formulas and the links of tags."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.add_post_transform(Punctuation)
    app.add_post_transform(TagsInText)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
