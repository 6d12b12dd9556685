"""Settings of Sphinx for the site; `python -m tools.site` prepares the pages and runs it."""

import numrnn.estimators  # noqa: F401  (before torch is mocked, which scikit-learn would ask for its types)
from tools import repository

project = "numrnn"
author = copyright = "The numrnn authors"
release = version = repository.version()
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
    "tools.site.formulas",
    "tools.site.names",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = ["as_is"]
nitpicky = True
# Classes of other libraries, which have no page here; private bases and type variables.
nitpick_ignore_regex = [
    ("py:.*", r"(abc|collections\.abc|sklearn|torch|typing)\..*"),
    ("py:.*", r"numrnn\..*\.(_\w+|[A-Z])"),
]
default_role = "name"
highlight_language = "none"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries = False  # every method of every class in the menu of every page would take most of the time
autodoc_mock_imports = ["torch"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"numrnn {release}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"source_repository": repository.repository(), "footer_icons": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
