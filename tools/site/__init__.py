"""The site: pages, API reference and companion, built by Sphinx without a network. `python -m tools.site` builds it.

stage.py      prepares the pages for Sphinx, with links to the site or to the repository
menu.py       the place of each page in the menu
api.py        pages of the API reference, from the `__all__` of the public modules
companion.py  each tagged file in full, every tagged line beside its equation and its shapes
shapes.py     the shapes of the results of tagged lines, recorded while they run
formulas.py   Sphinx extension: formulas as MathML, equation numbers that lead to the code and back
names.py      Sphinx extension: names in docstrings and in pages as links
markup.py     docstrings as reStructuredText
verify.py     checks the built HTML: links, pictures, public names, equations
look.py       opens every page in headless Chromium, `make look`
"""
