"""The experiments of the package: two classification tasks, their pictures, the sweep, the demonstration, the figures.

Nothing else in numrnn imports this package, except the command.
"""
