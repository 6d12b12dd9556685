"""Bridges to other libraries, a module for each that alone imports it: `numrnn.interop.torch` for PyTorch."""
