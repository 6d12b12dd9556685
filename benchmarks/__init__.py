"""Timings of numrnn beside the frameworks, in one run: `python -m benchmarks`. What and how: docs/benchmarks.md."""
