"""Sphinx extension: docstrings as reStructuredText, and names in them and in pages as links.

Names in backticks become links if they are documented. A name that begins with numrnn. or gradcheck. and does not exist
is an error.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from tools.site import api, companion
from tools.site.markup import as_rst

logger = logging.getLogger(__name__)
NAME = re.compile(r"^(?:numpy\.)?([A-Za-z_][\w.]*?)(\(.*\))?$", re.DOTALL)
PACKAGES = ("numrnn", "numrnn.training", "numrnn.datasets", "numrnn.estimators", "gradcheck")
FIXTURE = {"gradcheck.require"}  # of the pytest fixture of that name, not of the package


def process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place, before numpydoc reads its sections."""
    lines[:] = as_rst(lines)


def skip_foreign(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Omit members inherited from another library, whose own documentation describes them."""
    function = getattr(obj, "fget", None) or getattr(obj, "__func__", obj)
    module = getattr(function, "__module__", None) or ""
    foreign = callable(function) and module.split(".")[0] not in {"numrnn", "gradcheck"}
    return True if foreign and what == "class" else None


def note_aliases(app: Sphinx, env: BuildEnvironment) -> None:
    """Add the other names of public objects to the index, so that links and searches find them."""
    objects = env.get_domain("py").objects
    for one in api.public():
        entry = objects.get(one.shown)
        if entry is None:
            logger.warning("%s is public and on no page", one.shown)
            continue
        for path in one.paths:
            objects.setdefault(path, ObjectEntry(entry.docname, entry.node_id, entry.objtype, True))


def exists(name: str) -> bool:
    """Tell whether a dotted name can be imported."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError as error:
            if "torch" in name:  # an optional package
                return True
            if length == 1:
                return False
            del error
            continue
        for part in parts[length:]:
            if not hasattr(found, part):  # a field without a default is not an attribute of its class
                return part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def name_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()
) -> Any:
    """Return single backticks as code, with the class and module that contain them."""
    env = inliner.document.settings.env
    context = [env.ref_context.get("py:module") or "", env.ref_context.get("py:class") or ""]
    return [nodes.literal(rawtext, text, classes=["name"], context=context)], []


class LinkNames(SphinxPostTransform):
    """Turn code that names a documented object into a link to it."""

    default_priority = 420

    def run(self, **_: Any) -> None:
        """Wrap the literals."""
        objects, files = self.env.get_domain("py").objects, companion.companions()
        for node in list(self.document.findall(nodes.literal)):
            if isinstance(node.parent, nodes.reference | nodes.title):
                continue
            page = files.get(node.astext(), "").removesuffix(".md")
            if page and page != self.env.docname:
                self.link(node, self.app.builder.get_relative_uri(self.env.docname, page))
            if not (match := NAME.match(node.astext())):
                continue
            name, here = match[1], self.env.docname
            if found := self.resolve(name, node.get("context"), objects):
                page, anchor = found
                uri = self.app.builder.get_relative_uri(here, page) if page != here else ""
                if uri or anchor:
                    self.link(node, f"{uri}#{anchor}" if anchor else uri)
            elif re.match(r"(numrnn|gradcheck)\.", name) and name not in FIXTURE and not exists(name):
                logger.warning("%s does not exist", name, location=node.parent)

    @staticmethod
    def link(node: nodes.literal, uri: str) -> None:
        """Make a literal the text of a link."""
        link = nodes.reference("", "", refuri=uri, internal=True)
        node.replace_self(link)
        link += node

    def resolve(self, name: str, context: list[str] | None, objects: dict[str, ObjectEntry]) -> tuple[str, str] | None:
        """Return page and anchor of a name, looked up in its class, its module, and the packages."""
        tries = [name]
        if context:
            module, kind = context
            tries += [f"{scope}.{name}" for scope in (f"{module}.{kind}", kind, module, "numrnn", "gradcheck")]
        elif "." in name or re.search(r"[a-z]_[a-z]|[a-z][A-Z]|^[A-Z]{2,}[a-z]", name):
            tries += [f"{package}.{name}" for package in PACKAGES]
        for one in tries:
            if one in objects:
                entry = objects[one]
                return entry.docname, "" if entry.objtype == "module" else entry.node_id
        return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it."""
    app.add_role("name", name_role)
    app.connect("autodoc-process-docstring", process_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("env-updated", note_aliases)
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
