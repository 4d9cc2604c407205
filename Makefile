# `make demo` and `make test` are all a new user needs; both make their own .venv.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

PYTEST = $(PY) -m pytest -n 2 --dist worksteal
# Tests of what trains, on the newest TensorFlow that exists for TPUs.
OLDER := .venv-tf2.20
OF_TRAINING := tests/models tests/losses tests/optimizers tests/training \
  $(wildcard tests/test_distribution*.py tests/distribution) tests/test_tpu_readiness.py

.PHONY: demo cluster-demo check test test-fast test-orders test-tf2.20 lint format clean
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

test-tf2.20: $(OLDER)/.installed  ## quick tests of what trains, on TensorFlow 2.20
	$(OLDER)/bin/python -m pytest -n 2 --dist worksteal \
	  -m "not slow and not story" $(OF_TRAINING)

lint: $(VENV)/.development  ## style, layers, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

format: $(VENV)/.development
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(OLDER) runs build *.egg-info

$(PY):
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(VENV)/.run-time: requirements.txt | $(PY)
	$(PY) -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.development: requirements.txt requirements-dev.txt | $(PY)
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

$(OLDER)/.installed: requirements.txt requirements-tf2.20.txt
	$(PYTHON) -m venv $(OLDER)
	$(OLDER)/bin/python -m pip install --quiet --upgrade pip
	$(OLDER)/bin/python -m pip install --quiet -r requirements-tf2.20.txt
	touch $@
