"""What the paper's grid search costs: seconds of an update are measured, and the search is simulated.

The simulation uses the real Dask scheduler.
"""
