# `make demo` and `make test` are all a new user needs; both make their own .venv.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

PYTEST = $(PY) -m pytest -n 2 --dist worksteal

.PHONY: demo cluster-demo check test test-fast test-orders lint format clean
demo: $(VENV)/.run-time  ## pretrain on the embedded data, evaluate, export, report
	$(PY) run.py --flagfile=quickstart

cluster-demo: $(VENV)/.run-time  ## several workers on this machine, some of them lost
	$(PY) deploy/cluster_demo.py

check: lint  ## before each commit: lint, and the tests that do not run the program
	$(PYTEST) -m "not story and not slow"

test: $(VENV)/.development  ## every test; OPTIONS go to pytest
	$(PYTEST) $(OPTIONS)

test-fast: $(VENV)/.development  ## without those marked slow
	$(PYTEST) -m "not slow"

test-orders: $(VENV)/.development  ## every test, three times with other seeds and orders
	for seed in 1 2 3; do \
	  $(PYTEST) -o addopts="-q -ra --strict-markers" \
	    --randomly-seed=$$seed || exit 1; \
	done

lint: $(VENV)/.development  ## style, layers, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

format: $(VENV)/.development
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) runs build *.egg-info

$(PY):
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(VENV)/.run-time: requirements.txt | $(PY)
	$(PY) -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.development: requirements.txt requirements-dev.txt | $(PY)
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@
