"""The paper's figures, and three that it does not have; one module for each, with a `Config`, `run` and `main`."""
