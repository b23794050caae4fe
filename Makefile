# The whole set-up and every check; what is installed stays in .venv and is not installed twice.
#
#   make demo         installs, then runs the whole job on the synthetic sample corpus
#   make test         installs, then runs all tests, about half an hour on two cores
#   make test-fast    the same without training, browser, server, cluster and real data: some minutes
#   make lint         installs, then checks style and types
#   make constraints  writes constraints.txt anew from .venv, after a change of requirements*.txt
#   make clean        removes caches and what the demo wrote; never .venv, data/, runs/ or exports/
#
# Another Python 3.11 than the one on the path: make demo BASE_PYTHON=/path/to/python3.11

SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check -q
BASE_PYTHON ?=
# A file's tests share what they make, so they stay together; files come in the order of conftest.py.
IN_TWO_PROCESSES := -n 2 --dist loadfile --no-loadscope-reorder
IS_3_11 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'

.PHONY: help demo test test-fast lint constraints clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.libraries
	$(PYTHON) cli.py demo

test: $(VENV)/.libraries $(VENV)/.installed-dev
	$(PYTHON) -m pytest $(IN_TWO_PROCESSES)

test-fast: $(VENV)/.libraries $(VENV)/.installed-dev
	$(PYTHON) -m pytest $(IN_TWO_PROCESSES) \
	  -m "not slow and not browser and not server and not cluster and not real"

lint: $(VENV)/.installed-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

constraints: $(VENV)/.made
	@sed -n '/^#/p' constraints.txt > constraints.txt.new
	$(PYTHON) -m pip freeze --all | grep -v -E '^(pip|wheel)==' >> constraints.txt.new
	@mv constraints.txt.new constraints.txt

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache demo
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# === Set-up ===

$(VENV)/.made:
	@if [ -e $(PYTHON) ]; then \
	  $(PYTHON) $(IS_3_11) || { \
	    echo "Error: $(VENV) holds $$($(PYTHON) --version), 3.11 is needed; remove $(VENV) and run again" >&2; \
	    exit 1; }; \
	else \
	  base=; \
	  for candidate in $(BASE_PYTHON) python3.11 python3; do \
	    if "$$candidate" $(IS_3_11) 2>/dev/null; then base=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$base" ]; then \
	    echo "Error: no Python 3.11 here ($$(python3 --version 2>&1)); install it, or name it: make BASE_PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	  fi; \
	  echo "making $(VENV) with $$base"; \
	  "$$base" -m venv $(VENV) || { \
	    rm -rf $(VENV); \
	    echo "Error: no virtual environment could be made; on Debian or Ubuntu: sudo apt-get install -y python3.11-venv" >&2; \
	    exit 1; }; \
	fi
	@touch $@

$(VENV)/.installed: requirements.txt constraints.txt $(VENV)/.made
	@echo "installing into $(VENV): about 3 GB, some minutes"
	$(PIP) install -r requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-cluster.txt requirements-cloud.txt $(VENV)/.installed
	$(PIP) install -r requirements-dev.txt -c constraints.txt
	@touch $@

$(VENV)/.libraries: scripts/system_libraries.sh $(VENV)/.installed
	@sh scripts/system_libraries.sh $(PYTHON)
	@touch $@
