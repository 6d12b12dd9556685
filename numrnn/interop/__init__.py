"""Bridges to other libraries, each imported by one module only: `numrnn.interop.torch` for PyTorch."""
