"""Timings of numrnn and the frameworks in one run: `python -m benchmarks`. docs/benchmarks.md explains them."""
