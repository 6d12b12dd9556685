"""A test bed for gradient checkers: functions with gradients written by hand, and mistakes planted in them.

`bed.functions()` returns all entries, `python -m tools.function_bed` runs the checkers on them and writes
docs/function_bed.md and results/gradcheck/function_bed.json.
"""
