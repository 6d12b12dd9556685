"""The fused engines, one folder each: `cpu` for NumPy arrays and `cuda` for CuPy arrays.

An engine says what it does not support in a checked `Problem` (`unsupported_reason`), and creates the `Tape` that runs
it (`make_tape`). The reference engine, which supports every problem, and the choice of the engine are in
numrnn/bptt.py.
"""
