"""The site: pages, API reference and companion, built by Sphinx without a network. `python -m tools.site` builds it.

stage.py      lays out the pages as Sphinx reads them, with links that lead somewhere on the site or to the repository
menu.py       which page stands where in the menu
api.py        pages of the API reference, from the `__all__` of the public modules
companion.py  each tagged file in full, every tagged line beside its equation and its shapes
shapes.py     the shapes of what a tagged line computes, watched while it runs
formulas.py   Sphinx extension: formulas as MathML, equation numbers that lead to the code and back
names.py      Sphinx extension: names in docstrings and in pages as links
markup.py     docstrings as reStructuredText
verify.py     checks the built HTML: links, pictures, public names, equations
look.py       opens every page in headless Chromium, `make look`
"""
