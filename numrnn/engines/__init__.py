"""The fused engines, each a folder: `cpu` for NumPy arrays and `cuda` for CuPy arrays.

An engine tells of a checked `Problem` what of it it does not support (`unsupported_reason`), and makes the `Tape` that
runs it (`make_tape`). The reference engine, which supports every problem, is in numrnn/bptt.py, and so is the choice.
"""
