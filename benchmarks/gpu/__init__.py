"""Timings on a GPU: `python -m benchmarks --gpu`. What and how: docs/benchmarks.md."""
