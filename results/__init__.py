"""The runs that reproduce the paper, and the tables of results/README.md, which are generated from their logs.

results/paper/PRESET/seed-N is one run: config.json, metrics.jsonl, result.json, final.npz and pictures, as an example
with `--preset PRESET --seed N` writes them. `python -m results` reads them and rewrites the tables.
"""
