"""docs/kill_matrix.md: bugs planted in the package, and how many of them gradcheck and other checkers find.

`python -m tools.kill_matrix` plants them, runs every checker that is installed, and writes the page. Table and counts
are made by `gradcheck.kill_matrix`; the checkers of other libraries are in tools/foreign.py.
"""
