"""Simulation of the search of the paper's grid: Dask's real scheduler, and workers that sleep in place of training."""
