# demo and test do all their own set-up: a virtual environment in .venv and everything that they need in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The tests start hundreds of processes, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test quick check lint types unit proofs examples doctest docs look package oracle checkers gradcheck-alone benchmarks results gpu-proof clean

help:
	@echo "make demo    train on the images that come with the package, beside an LSTM (under 5 minutes)"
	@echo "make test    all tests"
	@echo "make quick   lint, types and the fast tests, in under a minute"
	@echo "make check   what CI runs: lint, types, tests, experiments in short form, the pages' examples, the site"
	@echo "make package build wheel and source distribution, check them, use the wheel in an empty environment"
	@echo "make docs    build the site into site/, without a network"
	@echo "make look    open every page of the site in headless Chromium (to be installed by hand)"
	@echo "make oracle  compare with torch and torchrecurrent (installs them into an environment of their own)"
	@echo "make checkers    plant bugs and write docs/kill_matrix.md anew (in an environment of its own)"
	@echo "make gradcheck-alone  build the wheel of gradcheck alone and check it in an empty environment"
	@echo "make benchmarks  time the engine beside torch, jax and torchrecurrent (in an environment of its own)"
	@echo "make results     write the tables of results/README.md anew from the logs of the runs"
	@echo "make gpu-proof   on a machine with an NVIDIA GPU: tests, sanitizer and timings in at most 8 minutes"
	@echo "make clean   remove the environments and what tools left"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/examples: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .[examples]
	touch $@

$(VENV)/dev: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .[dev]
	touch $@ $(VENV)/examples

demo: $(VENV)/examples
	$(BIN)/numrnn demo

test: unit proofs examples doctest

# Of gradcheck, of the properties, and that both find planted mistakes: apart, so that `make --jobs=2` is done sooner.
PROOFS := tests/gradcheck tests/mutants tests/properties

unit: $(VENV)/dev
	$(BIN)/python -m pytest tests $(PROOFS:%=--ignore=%) --ignore=tests/experiments --ignore=tests/examples

proofs: $(VENV)/dev
	$(BIN)/python -m pytest $(PROOFS)

examples: $(VENV)/dev
	$(BIN)/python -m pytest tests/experiments tests/examples

# hypothesis's plugin breaks pytest where an example of a page fails, and hides which.
doctest: $(VENV)/dev
	$(BIN)/python -m pytest README.md docs numrnn gradcheck --doctest-modules -p no:hypothesispytest

# Fails at every warning of Sphinx, dead link, public name without a page, and page that is in no menu.
docs: $(VENV)/dev
	$(BIN)/python -m tools.site --out site

# Needs a Chromium, as Debian's package of that name.
look: docs
	$(BIN)/python -m tools.site.look

package: $(VENV)/dev
	$(BIN)/python -m tools.package

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/dev
	$(BIN)/mypy

# What a change breaks, mostly, in under a minute: the tests of a part of the package that none of them is slow in.
quick: lint types
	$(BIN)/python -m pytest -q -m "not slow" tests/cells tests/time tests/datasets tests/package

check: lint types test docs package

$(VENV)-oracle/done: setup.py
	$(PYTHON) -m venv $(VENV)-oracle
	$(VENV)-oracle/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)-oracle/bin/python -m pip install --quiet --editable .[dev,oracle]
	touch $@

oracle: $(VENV)-oracle/done
	$(VENV)-oracle/bin/python -m pytest tests/oracle

$(VENV)-checkers/done: setup.py
	$(PYTHON) -m venv $(VENV)-checkers
	$(VENV)-checkers/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)-checkers/bin/python -m pip install --quiet --editable .[dev,checkers]
	touch $@

checkers: $(VENV)-checkers/done
	$(VENV)-checkers/bin/python -m tools.kill_matrix --peer-seeds 5 --counts results/gradcheck/kill_matrix.json

gradcheck-alone:
	$(PYTHON) tools/gradcheck_alone.py

$(VENV)-benchmarks/done: setup.py
	$(PYTHON) -m venv $(VENV)-benchmarks
	$(VENV)-benchmarks/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)-benchmarks/bin/python -m pip install --quiet --editable .[benchmarks]
	touch $@

benchmarks: $(VENV)-benchmarks/done
	$(VENV)-benchmarks/bin/python -m benchmarks
	$(VENV)-benchmarks/bin/python -m benchmarks --scaling
	$(VENV)-benchmarks/bin/python -m benchmarks --write-docs

results: $(VENV)/examples
	$(BIN)/python -m results

# Ends with exit code 2 and one line where there is no GPU.
gpu-proof:
	$(PYTHON) tools/gpu_proof.py

clean:
	rm -rf $(VENV) $(VENV)-oracle $(VENV)-checkers $(VENV)-benchmarks $(VENV)-gpu build site distributions/*/build distributions/*/*.egg-info *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
